"""A worker that dies between two writes, and a warehouse that says something else before the next try."""

from datetime import timedelta

import pytest

from kfr.load import extract, lease, mirror, planning, reconciliation, removal, start_pairs, verification
from kfr.load.verification import NotEqual
from kfr.relationships.packing import date_of, ids_of, starts_of, text_of
from tests.faults.fuse import Crash
from tests.faults.institution import Institution
from tests.faults.warehouse import Agreement
from tests.simulator import FaultKind, Switches
from tests.unit.load.one_load import OneLoad, die_before_telling, die_removing, end_and_ask


@pytest.fixture
def load(folder):
    """A first load of twenty customers, over; the register takes every start."""
    load = OneLoad(Institution(folder, switches=Switches(second_file="changes_start")))
    load.join(20)
    return load.first()


def dies(*_, **__) -> None:
    raise Crash


def next_day(load: OneLoad) -> OneLoad:
    load.pass_days(1)
    load = load.next()
    load.run_through()
    return load


def held_start(load: OneLoad, customer: int):
    proven = mirror.read(load.world).proven
    return date_of(int(starts_of(proven[ids_of(proven) == customer])[0]))


@pytest.mark.parametrize("died_at", ["void", "_move"])
def test_who_was_removed_and_is_back_is_sent_though_a_comparison_died_before_the_mirror_moved(
    load, died_at, monkeypatch
):
    customer = load.proven[3]
    load.pass_days(1)
    load = load.next()
    load.end([customer])
    load.add()
    die_removing(load)
    lease.release(load.world)
    load.pass_days(2)
    load = load.next("kfr_reconcile")
    load.acquire()
    extract.extract_relationships(load.world)
    with monkeypatch.context() as patch:
        patch.setattr(mirror, died_at, dies)
        with pytest.raises(Crash):
            reconciliation.compare(load.world, full=True, seconds=1e6)
    lease.release(load.world)
    for agreement in load.institution.warehouse.agreements_held:  # the end is taken back
        if int(agreement.customer) == customer:
            agreement.ended = None
    load = next_day(next_day(load))
    assert customer in load.registered
    assert customer in load.proven


def test_whose_removal_did_not_work_is_not_forgotten_by_a_half_list_after_a_worker_died(load, monkeypatch):
    customer = load.proven[3]
    load.end([customer])
    load = next_day(load)
    load.pass_days(1)
    load.institution.simulator.plant_defect("leftover", customer)
    load = load.next()
    load.add()
    removal.remove_ended(load.world)
    with monkeypatch.context() as patch:
        patch.setattr(mirror, "_move", dies)
        with pytest.raises(Crash):
            verification.verify(load.world)
    with pytest.raises(NotEqual):
        verification.verify(load.world)
    warehouse = load.institution.warehouse
    whole = list(warehouse.agreements_held)
    load.forget([customer])
    load.finish()
    lease.release(load.world)
    warehouse.agreements_held = whole
    load = next_day(next_day(load))
    assert customer not in load.registered


def test_who_came_back_is_looked_up_with_the_start_that_is_sent_though_an_earlier_plan_had_another(load):
    customer = load.proven[3]
    load.end([customer])
    load = next_day(load)
    load.pass_days(2)
    again = Agreement(text_of(customer), load.today)
    load.institution.warehouse.agreements_held.append(again)
    load = load.next()
    load.plan(first_load=False)  # and nobody carries it out
    lease.release(load.world)
    load.pass_days(1)
    again.started = load.today
    load = load.next()
    load.run_through()
    assert load.registered[customer] < again.started  # the register has taken the earlier relationship up
    assert customer in load.possible
    load = next_day(next_day(load))
    assert held_start(load, customer) in (None, load.registered[customer])


def test_a_start_that_was_lost_once_and_again_after_another_one_is_not_kept(load):
    customer = load.proven[3]
    (agreement,) = (a for a in load.institution.warehouse.agreements_held if int(a.customer) == customer)
    first, second = (load.today - timedelta(days=days) for days in (50, 10))
    agreement.started = first
    load.fault(FaultKind.FILE_DROPPED)
    load = next_day(load)
    load.pass_days(1)
    agreement.started = second
    load = load.next()
    load.add()  # and nobody looks
    lease.release(load.world)
    agreement.started = first
    load.fault(FaultKind.FILE_DROPPED)
    load = next_day(load)
    assert start_pairs.kept(load.world).size == 0
    load = next_day(load)
    assert planning.read(load.world).start_changed == 1
    assert load.registered[customer] == first == held_start(load, customer)


@pytest.mark.parametrize("looked_up", [True, False])
def test_the_queue_is_told_of_a_removal_by_whoever_comes_first_though_the_worker_died_before_it_was_told(
    load, looked_up
):
    """Also where nobody but the delivery log has the removal by then."""
    customer = load.proven[3]
    load.pass_days(1)
    load = end_and_ask(load, customer)
    queue = load.institution.warehouse.queue
    if looked_up:
        die_removing(load)
        lease.release(load.world)
        load.pass_days(2)
        load = load.reconcile()
    else:
        die_before_telling(load)
        lease.release(load.world)
        load.pass_days(1)
        load = load.next(as_of=load.today - timedelta(days=1))
        load.run_through()
        load = next_day(load.with_run(as_of=None))
    assert customer not in load.registered
    assert queue[text_of(customer)] == "removed"
