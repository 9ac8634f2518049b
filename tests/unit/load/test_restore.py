"""What docs/operations.md says about a backup that is put back, and about a state that is gone."""

import shutil
from pathlib import Path

import pytest

from kfr.load import lease, mirror, planning, removal
from kfr.register.errors import Fatal
from tests.unit.load.one_load import OneLoad


def state_of(load: OneLoad) -> Path:
    folder: Path = load.institution.folder / load.world.state.scope
    return folder


def equal(load: OneLoad) -> bool:
    wanted = sorted(int(customer) for customer in load.institution.desired())
    return sorted(load.registered) == sorted(load.proven) == wanted


@pytest.fixture
def restored(load: OneLoad, tmp_path: Path) -> OneLoad:
    """A backup of after the first load, put back two loads later: some came, some left, some did both."""
    customers = load.join(20)
    load.first()
    shutil.copytree(state_of(load), tmp_path / "backup")
    brief, _ = load.join(2, days_ago=1)
    load = load.next()
    load.end(customers[:3])
    load.run_through()
    load.pass_days(1)
    load = load.next()
    load.end([brief, customers[5]])
    load.run_through()
    load.pass_days(1)
    assert equal(load)
    shutil.rmtree(state_of(load))
    shutil.copytree(tmp_path / "backup", state_of(load))
    return load


def test_after_a_restore_a_reconciliation_makes_all_equal_and_sends_nobody_twice(restored):
    files = len(restored.calls("register_file"))
    load = restored.reconcile()
    assert equal(load)
    assert len(load.calls("register_file")) == files
    load.pass_days(1)
    load = load.next()
    assert load.run_through().misses == 0
    assert equal(load)


def test_after_a_restore_a_periodic_load_stops_at_who_is_gone_and_a_reconciliation_makes_it_good(restored):
    load = restored.next()
    load.add()
    with pytest.raises(Fatal, match="closed long since"):
        removal.remove_ended(load.world)
    lease.release(load.world)
    assert equal(load.reconcile())


def test_a_state_that_is_gone_is_made_anew_by_a_first_load_and_a_reconciliation(load):
    customers = load.join(20)
    load.first()
    shutil.rmtree(state_of(load))
    load.end(customers[:3])
    load.pass_days(1)
    load = load.next("kfr_initial_load", approval="auto")
    plan = load.plan()
    assert planning.needs_person(load.world, plan)  # the register is not empty
    for label in plan.labels:
        load.send(label)
    load.close()
    load.finish()
    lease.release(load.world)
    assert set(customers[:3]) <= set(load.registered)  # nobody remembers that they were registered
    assert not set(customers[:3]) & set(load.proven)
    load.pass_days(1)
    load = load.reconcile()
    assert equal(load)
    assert mirror.read(load.world).possible.size == 0
