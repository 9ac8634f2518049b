"""The hazards that the rules guard against are real: with a rule turned off, the register ends wrong."""

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kfr.load import arrivals, removal, upload
from kfr.load.journal import Journal
from kfr.relationships.customers import NOTHING
from tests.faults.institution import Institution, fast_folder
from tests.unit.load.one_load import OneLoad

CUSTOMERS = 400  # at 250 a second they are not loaded before the removals come


@pytest.fixture
def load() -> Iterator[OneLoad]:
    """A first load that is planned and approved, nothing of it sent."""
    with tempfile.TemporaryDirectory(dir=fast_folder()) as folder:
        load = OneLoad(Institution(Path(folder), seed=11))
        load.join(CUSTOMERS)
        load.plan()
        yield load


def _leave_while_the_file_loads(load: OneLoad) -> int:
    """Send the file; while it loads, the customer of its last row leaves."""
    upload.upload(load.world, "0001")
    arrivals.close_arrivals(load.world)
    last = int(load.world.place.read_array("files/0001")[-1]) >> 17
    load.end([last])
    return last


def _registered(load: OneLoad, customer: int) -> bool:
    """Once all has loaded that ever will."""
    load.institution.clock.advance(24 * 3600)
    found = load.institution.simulator.relationships().get(customer)
    return found is not None and found[1] is None


def test_without_waiting_for_the_proof_a_customer_who_left_stays_registered(load, monkeypatch):
    customer = _leave_while_the_file_loads(load)
    monkeypatch.setattr(removal, "require_closed_sends", lambda _: None)
    monkeypatch.setattr(Journal, "doubtful", lambda *_: NOTHING)
    result = removal.remove_ended(load.world)
    assert result.removed == 1  # the register answered 404: it looked as if there was nothing to remove
    assert _registered(load, customer)


def test_with_the_rule_the_same_removal_waits_and_then_holds(load):
    customer = _leave_while_the_file_loads(load)
    with pytest.raises(removal.SendsOpen):
        removal.remove_ended(load.world)
    load.send("0001")
    load.settle()
    assert removal.remove_ended(load.world).removed == 1
    assert not _registered(load, customer)


def test_without_the_second_copy_in_mind_a_file_that_loads_twice_brings_the_customer_back(load, monkeypatch):
    """Proven is not enough: a copy of the file may still be loading when its witnesses are found."""
    from tests.simulator import Fault, FaultKind

    load.institution.simulator.faults.add(
        Fault(kind=FaultKind.FILE_LOADED_TWICE, operation="register_file", nth=1, times=1, seconds=0.0)
    )
    customer = _leave_while_the_file_loads(load)
    loading = load.wait([send.file for send in load.world.journal.sends()])
    upload.finish(load.world, "0001", loading.proven, loading.late)
    closed = replace(load.world.journal.sends()[0], closed_because="the rule is off")
    load.world.journal.put(closed)
    monkeypatch.setattr(Journal, "doubtful", lambda *_: NOTHING)
    assert removal.remove_ended(load.world).removed == 1
    assert _registered(load, customer)
