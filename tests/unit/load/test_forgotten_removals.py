"""Removals that something else has forgotten, of customers who are back, or gone once more."""

from datetime import date, timedelta

import pytest

from kfr.load import comparison, lease, mirror, removal, verification
from kfr.relationships.packing import date_of, ids_of, starts_of, text_of
from tests.faults.institution import Agreement, Institution
from tests.simulator import FaultKind, Switches
from tests.unit.load.one_load import OneLoad, be_denied, die_before_telling, die_removing, end_and_ask


def a_load(folder, **switches: object) -> tuple[OneLoad, int]:
    """A first load of twenty customers, over, and one of them."""
    load = OneLoad(Institution(folder, switches=Switches(**switches)))
    customer = load.join(20)[3]
    return load.first(), customer


def next_day(load: OneLoad) -> OneLoad:
    load.pass_days(1)
    load = load.next()
    load.run_through()
    return load


def come_back(load: OneLoad, customer: int, start: date) -> None:
    load.institution.warehouse.agreements_held.append(Agreement(text_of(customer), start))


def test_who_was_added_singly_and_removed_by_the_same_run_is_not_proven_by_the_addition(folder):
    load, customer = a_load(folder, re_registration="new_start")
    load.pass_days(1)
    load.end([customer])
    load = load.next()
    load.run_through()
    load.end([customer], on=load.today - timedelta(days=30))
    come_back(load, customer, load.today)
    load = load.next()
    load.add()
    load.pass_days(1)
    load.acquire()
    removal.remove_ended(load.world)
    verification.verify(load.world)  # the worker dies, and somebody clears it
    load.end([customer])
    load.acquire()
    assert removal.remove_ended(load.world).removed == 1
    load.pass_days(1)
    load.acquire()
    verification.verify(load.world)
    mirror.record(load.world)
    lease.release(load.world)
    assert customer not in load.proven
    assert customer not in load.registered
    next_day(load)


def test_a_mirror_that_is_made_anew_has_who_came_back_on_the_day_of_a_removal(folder):
    load, customer = a_load(folder, re_registration="revives")
    load.end([customer])
    load = next_day(load)
    come_back(load, customer, load.today)
    load.join(2)
    load = load.next()
    load.run_through()
    load.forget([customer])  # vanished
    load = next_day(load)
    load.pass_days(1)
    load.world.state.delete("mirror")
    for name in load.world.state.names("mirrors"):
        load.world.state.delete(name)
    load = load.reconcile()
    assert customer in load.registered
    assert customer in load.proven


def test_who_comes_back_after_another_system_removed_them_is_looked_up_on_the_day_before(folder):
    load, customer = a_load(folder, re_registration="revives", second_file="changes_start")
    load.pass_days(1)
    load = next_day(load)
    load.pass_days(1)
    load.world.register.remove_one(customer)
    load.pass_days(1)
    load.end([customer])
    load = be_denied(load)
    load.pass_days(10)
    start = load.today - timedelta(days=2)
    come_back(load, customer, start)
    load = load.next()
    load.run_through()
    assert customer in load.possible
    for _ in range(2):
        load = next_day(load)
    proven = mirror.read(load.world).proven
    assert (
        date_of(int(starts_of(proven[ids_of(proven) == customer])[0])) == start == load.registered[customer]
    )


@pytest.mark.parametrize("is_refused", [True, False], ids=["refused", "vanished"])
def test_who_may_have_been_removed_and_is_nobody_s_customer_any_more_is_not_repaired(folder, is_refused):
    load, _ = a_load(folder, removal="erases")
    load.pass_days(1)
    load = load.next()
    (customer,) = load.join()
    load.add()
    load.end([customer])
    die_removing(load)
    if is_refused:
        wrong = Agreement(text_of(customer), load.today, load.today - timedelta(days=3))
        load.institution.warehouse.agreements_held.append(wrong)
    else:
        load.forget([customer])
    load.pass_days(2)
    load.acquire()
    assert load.finish().misses == 0
    assert customer not in load.registered


def test_the_queue_is_told_of_a_removal_though_a_plan_that_nobody_carried_out_had_them_back(folder):
    load, customer = a_load(folder)
    load.pass_days(1)
    load = end_and_ask(load, customer)
    queue = load.institution.warehouse.queue
    die_before_telling(load)
    lease.release(load.world)
    load.pass_days(1)
    again = Agreement(text_of(customer), load.today - timedelta(days=1))
    load.institution.warehouse.agreements_held.append(again)
    load = load.next()
    load.plan(first_load=False)
    lease.release(load.world)
    load.institution.warehouse.agreements_held.remove(again)
    next_day(load)
    assert queue[text_of(customer)] == "removed"


def lose_the_mirror(load: OneLoad) -> None:
    for name in ("mirror", *load.world.state.names("mirrors")):
        load.world.state.delete(name)


@pytest.mark.parametrize("is_gone", [False, True], ids=["there", "removed since"])
def test_who_was_registered_singly_just_before_the_mirror_was_lost_is_not_forgotten_by_one_look_up(
    folder, is_gone, monkeypatch
):
    load, _ = a_load(folder)
    load.pass_days(1)
    (customer,) = load.join(days_ago=0)
    load = load.next()
    load.run_through()
    if is_gone:
        load.end([customer])
        load.acquire()
        removal.remove_ended(load.world)
        lease.release(load.world)
    load.institution.clock.advance(60)
    lose_the_mirror(load)
    if not is_gone:
        load.end([customer])
    see = comparison._see

    def behind(world, who, *asked, **more):
        if who == customer:
            load.fault(FaultKind.LOOK_UP_LAGS, "look_up", seconds=300.0)
        return see(world, who, *asked, **more)

    monkeypatch.setattr(comparison, "_see", behind)
    load = load.reconcile()
    assert customer not in load.registered
    assert sum(call.customer_id == customer for call in load.calls("remove_one")) == 1
