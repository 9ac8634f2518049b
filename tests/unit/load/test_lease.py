from collections.abc import Callable
from typing import Any

import pytest

from kfr.load import arrivals, confirmation, lease, mirror, removal, upload, verification
from kfr.load.lease import InstitutionMismatch, Lease, LeaseLost
from kfr.register.errors import Fatal
from tests.unit.load.one_load import OneLoad

HEARTBEAT = 300.0


def acquire(load: OneLoad, *, finished: bool = False, first_load: bool = True) -> Lease | None:
    return lease.acquire(
        load.world, finished=lambda _: finished, heartbeat_seconds=HEARTBEAT, first_load=first_load
    )


@pytest.fixture
def other(load: OneLoad) -> OneLoad:
    """Another Dag's run for the same institution."""
    return load.with_run(dag_id="kfr_periodic_load", run_id="scheduled__2026-11-24")


def test_the_first_to_come_may_write_and_the_next_one_waits_and_is_told_for_whom(load, other):
    assert acquire(load)
    assert acquire(other) is None
    lease.check(load.world)
    assert not lease.is_held(other.world)
    assert "held by run manual__1 of kfr_initial_load since 2026-11-23T09:00" in load.institution.said[-1]


def test_a_lease_given_back_is_the_next_one_s(load, other):
    acquire(load)
    assert lease.release(load.world)
    assert not lease.is_held(load.world)
    assert acquire(other)
    lease.check(other.world)


def test_nobody_gives_back_what_another_run_holds(load, other):
    acquire(load)
    assert not lease.release(other.world)
    lease.check(load.world)


def test_a_finished_run_s_lease_is_taken_over_only_when_its_tasks_cannot_be_alive(load, other):
    acquire(load)
    assert acquire(other, finished=True) is None
    load.institution.clock.advance(HEARTBEAT - 1)
    assert acquire(other, finished=True) is None
    lease.check(load.world)
    load.institution.clock.advance(1)
    assert acquire(other, finished=True)
    lease.check(other.world)


def test_a_run_that_was_finished_and_lives_again_is_waited_for_anew(load, other):
    acquire(load)
    acquire(other, finished=True)
    load.institution.clock.advance(HEARTBEAT)
    assert acquire(other, finished=False) is None  # it was cleared
    assert acquire(other, finished=True) is None
    load.institution.clock.advance(HEARTBEAT)
    assert acquire(other, finished=True)


def test_the_time_is_counted_anew_for_a_lease_taken_anew(load, other):
    acquire(load)
    acquire(other, finished=True)
    load.institution.clock.advance(HEARTBEAT)
    touches = 1
    while not (lease.current(load.world).generation == 2 and load.world.state.exists("takeover")):
        load.crash(touches, lambda: acquire(load))  # dies before it has crossed the old watch out
        touches += 1
    assert acquire(other, finished=True) is None


def test_a_writer_back_from_the_dead_is_told_that_its_time_is_over_and_what_to_clear(load, other):
    acquire(load)
    acquire(other, finished=True)
    load.institution.clock.advance(HEARTBEAT)
    acquire(other, finished=True)
    with pytest.raises(LeaseLost, match=r"held by run scheduled__2026-11-24.*clear acquire_register too"):
        lease.check(load.world)


def test_a_run_that_takes_its_lease_again_gets_a_generation_that_only_grows(load, other):
    generations = [acquire(load), acquire(load)]
    lease.release(load.world)
    generations += [acquire(other)]
    lease.release(other.world)
    generations += [acquire(load)]
    assert [taken and taken.generation for taken in generations] == [1, 2, 3, 4]


def test_who_never_took_the_lease_does_not_hold_it(load):
    with pytest.raises(LeaseLost, match="nobody does"):
        lease.check(load.world)


def test_a_crash_while_taking_the_lease_leaves_nobody_with_it_and_the_next_try_takes_it(load):
    for touches in range(1, 20):
        died = load.crash(touches, lambda: acquire(load))
        before = lease.current(load.world)
        held = lease.is_held(load.world)
        assert held == (before is not None and before.held and before == _own(load))
        assert acquire(load)
        lease.check(load.world)
        lease.release(load.world)
        if not died:
            return
    pytest.fail("acquire touches the world for ever")


def _own(load: OneLoad) -> Lease:
    return Lease(**load.world.place.read_json("lease"))


def test_only_a_first_load_may_begin_an_institution_s_state(load):
    with pytest.raises(Fatal, match=r"Run kfr_initial_load first.*kfr_staging"):
        acquire(load, first_load=False)
    assert not load.world.state.exists("institution")
    acquire(load)
    lease.release(load.world)
    with pytest.raises(Fatal, match="Nothing was ever loaded"):  # begun by the integration test, say
        acquire(load, first_load=False)
    mirror.record(load.world)
    assert acquire(load, first_load=False)


@pytest.mark.parametrize("who", [{"environment": "production"}, {"fid": "298765438"}])
def test_state_of_another_institution_or_environment_is_refused(load, who: dict[str, Any]):
    load.world.state.write_json("institution", {"environment": "test", "fid": "312345676"} | who)
    with pytest.raises(InstitutionMismatch, match="Give each its own"):
        acquire(load)


@pytest.mark.parametrize(
    "write",
    [
        lambda load: upload.upload(load.world, "0001"),
        lambda load: arrivals.register_singly(load.world, load.world.place.read_array("files/0001")),
        lambda load: removal.remove_ended(load.world),
        lambda load: verification.verify(load.world),
        lambda load: confirmation.send_confirmation(load.world),
    ],
    ids=["upload", "arrivals", "removal", "verification", "confirmation"],
)
def test_no_step_writes_anything_without_the_lease(load, write: Callable[[OneLoad], Any]):
    load.join(3)
    load.plan()
    lease.release(load.world)
    before = load.world.state.read_json("mirror")
    with pytest.raises(LeaseLost, match="Nothing was sent"):
        write(load)
    assert load.calls("register_file", "register_one", "remove_one", "mail") == []
    assert load.world.state.read_json("mirror") == before
