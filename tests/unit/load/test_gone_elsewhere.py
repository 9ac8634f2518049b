"""Customers whom another system has removed, and who come back: is their day before looked up?"""

from datetime import date, timedelta

import pytest

from kfr.load import mirror
from kfr.relationships.packing import date_of, ids_of, starts_of, text_of
from tests.faults.institution import Agreement, Institution
from tests.simulator import Switches
from tests.unit.load.one_load import OneLoad, be_denied


@pytest.fixture
def elsewhere(folder) -> tuple[OneLoad, int]:
    """A customer whom another system has removed, and who has ended since, from a register that takes them up again."""
    load = OneLoad(
        Institution(folder, switches=Switches(re_registration="revives", second_file="changes_start"))
    )
    customer = load.join(20)[3]
    load.first()
    load.pass_days(2)
    load.world.register.remove_one(customer)
    load.pass_days(1)
    load.end([customer])
    return load, customer


def come_back(load: OneLoad, customer: int) -> date:
    start = load.today - timedelta(days=2)
    load.institution.warehouse.agreements_held.append(Agreement(text_of(customer), start))
    return start


def assert_right(load: OneLoad, customer: int, start: date) -> None:
    for _ in range(4):
        load = load.next("kfr_periodic_load")
        assert load.run_through().misses == 0
        load.pass_days(1)
    proven = mirror.read(load.world).proven
    held = date_of(int(starts_of(proven[ids_of(proven) == customer])[0]))
    assert load.registered[customer] == start == held


@pytest.mark.parametrize("by_delete", [False, True], ids=["by looking up", "by 404"])
def test_whom_a_reconciliation_lets_go_is_looked_up_on_the_day_before_if_they_come_back(elsewhere, by_delete):
    load, customer = elsewhere
    if by_delete:
        load = be_denied(load)
        load.pass_days(1)
    load = load.reconcile()
    assert customer not in load.proven
    load.pass_days(10)
    assert_right(load, customer, come_back(load, customer))


def test_so_is_who_is_back_before_the_reconciliation(elsewhere):
    load, customer = elsewhere
    load = be_denied(load)
    load.pass_days(6)
    start = come_back(load, customer)
    assert_right(load.reconcile(), customer, start)
