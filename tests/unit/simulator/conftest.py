import pytest

from tests.simulator import Simulator
from tests.unit.simulator.caller import Caller, make_simulator


@pytest.fixture
def simulator() -> Simulator:
    return make_simulator()


@pytest.fixture
def caller(simulator: Simulator) -> Caller:
    return Caller(simulator)
