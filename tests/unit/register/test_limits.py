import asyncio
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kfr.register.limits import Pace
from tests.simulator.clock import VirtualClock


def test_requests_are_spaced_evenly_from_the_first_on(clock):
    pace, turns = Pace(20, clock), []
    for _ in range(5):
        pace.wait()
        turns.append(clock.monotonic())
    assert turns == pytest.approx([0, 0.05, 0.10, 0.15, 0.20])


def test_one_who_is_slower_than_the_pace_never_waits(clock):
    pace = Pace(20, clock)
    pace.wait()
    clock.advance(0.06)
    pace.wait()
    assert clock.monotonic() == pytest.approx(0.06)


def test_a_pause_saves_up_no_burst(clock):
    pace = Pace(20, clock)
    pace.wait()
    clock.advance(60)
    pace.wait()
    pace.wait()
    assert clock.monotonic() == pytest.approx(60.05)


def test_a_trigger_waits_its_turn_as_a_worker_does(clock):
    pace = Pace(10, clock)

    async def take_turns():
        for _ in range(4):
            await pace.await_turn()

    asyncio.run(take_turns())
    assert clock.monotonic() == pytest.approx(0.3)


@given(
    per_second=st.floats(0.5, 200),
    pauses=st.lists(st.floats(0, 2), min_size=2, max_size=60),
)
def test_no_stretch_of_time_sees_more_requests_than_the_rate_allows(per_second, pauses):
    clock, turns = VirtualClock(), []
    pace = Pace(per_second, clock)
    for pause in pauses:
        clock.advance(pause)
        pace.wait()
        turns.append(clock.monotonic())
    gaps = [later - earlier for earlier, later in itertools.pairwise(turns)]
    assert min(gaps) >= 1 / per_second - 1e-6
