"""Look-ups that are behind, and copies of a file that come after all is proven: neither may settle anything."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, time, timedelta
from pathlib import Path

import numpy as np
import pytest

from kfr.clock import OSLO
from kfr.load import arrivals, lease, mirror, planning, removal, starts, upload, verification, watermark
from kfr.load.removal_queue import Removal
from kfr.load.verification import NotEqual
from kfr.load.world import World
from kfr.register.client import RegisterClient
from kfr.register.errors import OutcomeUnknown
from tests.faults.fuse import Crash
from tests.faults.institution import Institution
from tests.simulator import FaultKind, Switches
from tests.unit.load.one_load import OneLoad, removed, states


def begun(folder: Path, customers: int = 10, **switches: object) -> tuple[OneLoad, list[int]]:
    """An institution a day after its first load, which will wait an hour for what is late."""
    load = OneLoad(Institution(folder, switches=Switches(**switches))).with_run(loading_grace=3600)
    known = load.join(customers)
    load.first()
    load.pass_days(1)
    return load, known


def sleep_until(load: OneLoad, at: time) -> None:
    now = load.institution.clock.now().astimezone(OSLO)
    then = datetime.combine(now.date(), at, OSLO)
    load.institution.clock.advance(((then - now) % timedelta(days=1)).total_seconds())


def move_start(load: OneLoad, customer: int, days: int) -> None:
    (agreement,) = (a for a in load.institution.warehouse.agreements_held if int(a.customer) == customer)
    agreement.started += timedelta(days=days)


def stay(load: OneLoad, customer: int) -> None:
    """Their agreement has not ended after all."""
    (agreement,) = (a for a in load.institution.warehouse.agreements_held if int(a.customer) == customer)
    agreement.ended = None


def next_day(load: OneLoad) -> OneLoad:
    load.pass_days(1)
    load = load.next()
    load.run_through()
    return load


def require_equal(load: OneLoad) -> None:
    desired = {int(customer): start for customer, start in load.institution.desired().items()}
    assert load.registered == desired
    assert load.proven == sorted(desired)


@pytest.mark.parametrize(("lag", "at"), [(180.0, time(23, 58)), (40.0, time(23, 59, 30))])
def test_a_look_up_just_after_midnight_may_speak_of_the_day_of_a_removal(folder, lag, at):
    load, customers = begun(folder, removal="ends_yesterday", look_up_lag=lag)
    customer = customers[4]
    sleep_until(load, at)
    load.end([customer])
    load = load.next()
    load.run_through()
    assert removed(load) == [customer]
    stay(load, customer)
    sleep_until(load, time(0, 0, 3))
    load = load.next()
    load.run_through()
    assert customer in load.registered
    assert customer in load.possible
    require_equal(next_day(load))


def added_by_a_run_that_died(folder: Path) -> tuple[OneLoad, int]:
    """Look-ups are behind by more than the seconds since then."""
    load, _ = begun(folder, look_up_lag=40.0)
    (customer,) = load.join(days_ago=0)
    load = load.next()
    load.plan(first_load=False)
    arrivals.register_today(load.world)
    lease.release(load.world)
    load.institution.clock.advance(10)
    return load, customer


def test_who_was_added_and_is_not_found_at_once_stays_possible_though_the_plan_is_not_carried_out(folder):
    load, customer = added_by_a_run_that_died(folder)
    load = load.next()
    assert load.plan(first_load=False).added == 1  # the look-up was behind
    lease.release(load.world)  # nobody approves it
    load.end([customer])
    load = next_day(load)
    assert customer not in load.registered
    require_equal(next_day(load))


def test_who_was_added_and_is_not_found_at_once_is_not_forgotten_with_a_lost_mirror(folder):
    load, customer = added_by_a_run_that_died(folder)
    for name in ("mirror", *load.world.state.names("mirrors")):
        load.world.state.delete(name)
    load = load.compare()
    assert customer in load.possible
    lease.release(load.world)
    load.end([customer])
    load = next_day(load)
    require_equal(next_day(load))


def test_a_start_is_not_settled_while_the_look_up_may_be_from_before_the_customer_was_there(folder):
    """Not found before the later start: that is so as well while the first file was not loaded."""
    load, _ = begun(folder, second_file="keeps_start")
    (customer,) = load.join()
    load = load.next()
    load.run_through()
    move_start(load, customer, 5)
    load.institution.clock.advance(60)
    load = load.next()
    load.add()
    removal.remove_ended(load.world)
    load.fault(FaultKind.LOOK_UP_LAGS, "look_up", nth=2, seconds=300.0)
    verification.verify(load.world)
    mirror.record(load.world)
    lease.release(load.world)
    load = next_day(load)
    (shown,) = (s for s in verification.read(load.world).strata if s.name == starts.NAME)
    assert shown.start_not_corrected == 1
    load = next_day(load)
    assert planning.read(next_day(load).world).start_kept == 1


def test_a_second_copy_that_files_an_older_start_does_not_come_after_the_last_word(folder):
    load, customers = begun(folder, second_file="changes_start")
    load = load.with_run(loading_grace=60)
    customer = customers[3]
    move_start(load, customer, -20)
    load.join(5)
    load = load.next()
    labels = load.plan(first_load=False).labels
    load.fault(FaultKind.FILE_LOADED_TWICE, seconds=600.0)
    for label in labels:
        load.send(label)
    load.close_additions()
    load.finish()
    lease.release(load.world)
    move_start(load, customer, 20)  # taken back
    load.institution.clock.advance(120)
    load = load.next()
    load.run_through()
    load.institution.clock.advance(1200)
    require_equal(next_day(load))


def left_while_a_copy_was_late(load: OneLoad, customer: int) -> None:
    """Removed today and not there now; but half an hour later they are, and the next day's load says so."""
    load.end([customer])
    load.close_additions()
    removal.remove_ended(load.world)
    load.institution.clock.advance(60)
    verification.verify(load.world)
    mirror.record(load.world)
    lease.release(load.world)
    assert customer not in load.registered
    assert states(load) == {customer: Removal.REMOVED}
    load.institution.clock.advance(1800)
    assert customer in load.registered
    load.pass_days(1)
    load = load.next()
    with pytest.raises(NotEqual, match="clear remove_ended"):
        load.run_through()
    removal.remove_ended(load.world)
    verification.verify(load.world)
    lease.release(load.world)
    require_equal(next_day(load))


def test_a_second_copy_of_a_file_brings_nobody_back_who_counts_as_gone(folder):
    load, _ = begun(folder, 300)
    new = load.join(5)
    load = load.next()
    load.plan(first_load=False)
    load.fault(FaultKind.FILE_LOADED_TWICE, seconds=5.0)
    load.send()
    load.fault(FaultKind.LOADING_STALLED, "look_up", seconds=900.0)
    load.world.look_up(new[2], load.today, load.today)
    left_while_a_copy_was_late(load, new[2])


def test_the_same_bytes_sent_twice_bring_nobody_back_who_counts_as_gone(folder):
    """The first try got no answer, and look-ups were behind."""
    load, _ = begun(folder, 300, look_up_lag=40.0)
    new = load.join(5)
    load = load.next()
    load.plan(first_load=False)
    load.fault(FaultKind.RESET_AFTER_WORK)
    with pytest.raises(OutcomeUnknown):
        upload.upload(load.world, "0001")
    load.institution.clock.advance(30)
    load.fault(FaultKind.LOADING_STALLED, "register_file", seconds=900.0)
    load.send()
    left_while_a_copy_was_late(load, new[2])


def test_more_possible_than_are_looked_up_leave_none_with_another_start_to_chance(folder, monkeypatch):
    """As an addition the new start would be found under the old one, and the mirror would have the new one."""
    monkeypatch.setattr(planning, "MOST_LOOKED_UP", 5)
    load, _ = begun(folder, second_file="keeps_start")
    load = load.with_run(loading_grace=60)
    new = load.join(40)
    load = load.next()
    load.plan(first_load=False)
    load.fault(FaultKind.FILE_PARTLY_LOADED, share=0.9)
    with pytest.raises(upload.NotLoaded):
        load.send()
    lease.release(load.world)
    for send in load.sends:
        if send.proven_at is None:
            load.world.journal.put(replace(send, closed_because="it was not loaded to the end"))
    load.pass_days(1)
    moved = new[20:23]
    for customer in moved:
        move_start(load, customer, 30)
    load = load.next()
    assert load.plan(first_load=False).start_changed == len(moved)
    assert np.isin(new, load.proven + load.possible).all()


def dies_in(load: OneLoad, call: str, step: Callable[[World], object]) -> None:
    """The worker dies in a step, right after a call has been carried out."""
    made = getattr(RegisterClient, call)

    def and_dies(self: RegisterClient, customer: int) -> None:
        made(self, customer)
        raise Crash

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RegisterClient, call, and_dies)
        with pytest.raises(Crash):
            step(load.world)


def quiet_days(load: OneLoad, scope: str) -> None:
    """Three loads without a fault, of those who changed of late, or of everyone."""
    load.world.state.write_json(watermark.NAME, {"as_of": load.today.isoformat(), "run": "a load"})
    load.pass_days(10)
    for _ in range(3):
        load.pass_days(1)
        load = load.next(scope=scope)
        load.run_through()


@pytest.mark.parametrize("scope", ["interval", "everyone"])
def test_a_removal_that_was_begun_and_is_not_wanted_any_more_is_settled_by_a_load_of_an_interval_too(
    folder, scope
):
    load, customers = begun(folder, re_registration="new_start")
    load.end(customers[4:5])
    load = load.next()
    load.plan(first_load=False)
    load.close_additions()
    dies_in(load, "remove_one", removal.remove_ended)
    lease.release(load.world)
    stay(load, customers[4])
    quiet_days(load, scope)
    require_equal(load)


@pytest.mark.parametrize("scope", ["interval", "everyone"])
def test_a_start_that_two_files_leave_open_is_settled_by_a_load_of_an_interval_too(folder, scope):
    load, _ = begun(folder, second_file="changes_start", file_order="newest_first")
    customer, *_ = load.join(3)
    load = load.next(loading_grace=7200.0)
    load.plan(first_load=False)
    load.fault(FaultKind.LOADING_STALLED, seconds=1800.0)
    upload.upload(load.world, "0001")
    mirror.record(load.world)
    lease.release(load.world)
    move_start(load, customer, 10)
    load.institution.clock.advance(300)
    load = load.next()
    load.add()
    with pytest.raises(removal.SendsOpen):
        load.finish()
    load.institution.clock.advance(3600)
    load.finish()
    lease.release(load.world)
    quiet_days(load, scope)
    require_equal(load)


@pytest.mark.parametrize("dies", [False, True])
def test_nobody_is_removed_whose_single_addition_may_wait_behind_a_file(folder, dies):
    """Also where the worker died in the call, and its run is over."""
    load, customers = begun(folder, single="after_files", second_file="changes_start")
    move_start(load, customers[2], -5)
    (customer,) = load.join(days_ago=0)
    load = load.next()
    load.plan(first_load=False)
    load.fault(FaultKind.LOADING_STALLED, seconds=3 * 3600.0)
    load.send()  # nothing but another start: it has no witness
    if dies:
        dies_in(load, "register_one", arrivals.register_today)
    else:
        arrivals.register_today(load.world)
    lease.release(load.world)
    load.end([customer])
    load.institution.clock.advance(1800)
    load = load.next()
    load.run_through()
    assert not load.calls("remove_one")
    next_day(load)
    assert removed(load) == [customer]
