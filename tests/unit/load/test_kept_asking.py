"""Customers of whom no interval has a change: every load asks for them until the mirror has them as the warehouse does."""

from datetime import date, timedelta

import pytest

from kfr.load import extract, lease, planning, watermark
from kfr.relationships.packing import text_of
from tests.faults.institution import Agreement, Institution
from tests.simulator import Switches
from tests.unit.load.one_load import OneLoad


def interval(load: OneLoad) -> OneLoad:
    """The next day's load of who changed, to its end."""
    load.pass_days(1)
    load = load.next(scope="interval", as_of=None)
    load.run_through()
    watermark.follow(load.world, extract.read(load.world))
    return load


def is_asked_for(load: OneLoad, customer: int) -> bool:
    return customer in extract.read(load.world).customers


@pytest.fixture
def refused(folder) -> tuple[OneLoad, int, Agreement]:
    """Who ended weeks ago while a row of theirs was refused, as it still is; and that row."""
    load = OneLoad(Institution(folder))
    customer = load.join(20)[3]
    load.first()
    load.pass_days(1)
    load.end([customer])
    wrong = Agreement(text_of(customer), load.today, load.today - timedelta(days=3))
    load.institution.warehouse.agreements_held.append(wrong)
    load = interval(load)
    for _ in range(3):
        load.pass_days(7)
        load = interval(load)
        assert customer in load.registered
    return load, customer, wrong


@pytest.mark.parametrize("ends", ["after the extract", "after the plan", "cleared"])
def test_who_was_refused_is_asked_for_until_they_are_removed_whatever_becomes_of_the_run(refused, ends):
    load, customer, wrong = refused
    load.institution.warehouse.agreements_held.remove(wrong)
    load.pass_days(1)
    load = load.next(scope="interval")
    assert load.acquire()
    extract.extract_relationships(load.world)
    assert is_asked_for(load, customer)
    if ends == "after the plan":
        assert planning.plan(load.world, first_load=False).removals == 1
    if ends == "cleared":
        load.run_through()
    lease.release(load.world)
    for _ in range(2):
        load = interval(load)
    assert customer not in load.registered
    assert not is_asked_for(interval(load), customer)


def test_a_load_as_of_a_past_day_does_not_tell_who_has_ended_since(refused):
    load, customer, wrong = refused
    load = load.next(scope="everyone", as_of=load.today - timedelta(days=40))
    load.run_through()
    watermark.follow(load.world, extract.read(load.world))
    load.institution.warehouse.agreements_held.remove(wrong)
    load = interval(load)
    assert customer not in load.registered


@pytest.mark.parametrize("who", ["active too", "never a customer"])
def test_of_a_refused_row_nobody_else_is_asked_for(folder, who):
    load = OneLoad(Institution(folder))
    customer = load.join(20)[3]
    load.first()
    load.pass_days(1)
    if who == "never a customer":
        (customer,) = load.join()
        load.institution.warehouse.agreements_held.pop()
    wrong = Agreement(text_of(customer), load.today, load.today - timedelta(days=3))
    load.institution.warehouse.agreements_held.append(wrong)
    load = interval(load)
    assert extract.read(load.world).tainted.tolist() == [customer]
    assert not extract._asked(load.world).size


@pytest.mark.parametrize("differs", ["left over", "another start"])
def test_what_a_reconciliation_has_found_is_mended_by_the_next_load_of_an_interval_if_it_dies(
    folder, differs
):
    takes = {"second_file": "changes_start", "file_after_single": "changes_start"}
    load = OneLoad(Institution(folder, switches=Switches(removal="erases", **takes)))
    customer = load.join(20)[3]
    load.first()
    if differs == "left over":
        load.pass_days(1)
        load.end([customer])
        load = interval(interval(load))
        assert customer not in load.registered
    else:
        load.pass_days(30)
        load.world.register.remove_one(customer)
    load.pass_days(30)
    load.world.register.register_one(customer)  # by another system
    load = interval(load)
    load.pass_days(1)
    load = load.with_run(scope="everyone").compare()
    lease.release(load.world)  # its worker dies before the plan
    for _ in range(3):
        load = interval(load)
    assert load.registered.get(customer) == (None if differs == "left over" else started(load, customer))
    assert not is_asked_for(interval(load), customer)


def started(load: OneLoad, customer: int) -> date | None:
    held = load.institution.warehouse.agreements_held
    return next(a.started for a in held if int(a.customer) == customer)
