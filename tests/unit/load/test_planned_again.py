"""A run that a person clears from its plan on, and one that is cleared after another has run: what it left."""

from datetime import date, timedelta
from unittest import mock

import pytest

from kfr.load import (
    arrivals,
    confirmation,
    extract,
    forecast,
    lease,
    mirror,
    removal,
    report,
    strata,
    upload,
    verification,
    volume,
    watermark,
)
from kfr.load.deliveries import MailNotSent
from kfr.load.planning import NotApproved
from kfr.load.upload import FileRefused
from kfr.register.client import RegisterClient
from kfr.relationships.packing import date_of, ids_of, starts_of
from tests.faults.fuse import Crash
from tests.faults.institution import Institution
from tests.simulator import FaultKind, Switches
from tests.unit.load.one_load import TEN_ROWS, OneLoad, refuse_all


@pytest.fixture
def load(folder) -> OneLoad:
    """A first load of twenty customers, over; the register takes every start."""
    takes = {"second_file": "changes_start", "file_after_single": "changes_start"}
    load = OneLoad(Institution(folder, switches=Switches(**takes)))
    load.join(20)
    load.first()
    load.pass_days(1)
    return load


@pytest.fixture
def fresh(folder) -> OneLoad:
    return OneLoad(Institution(folder))


def start_of(load: OneLoad, customer: int, start: date) -> None:
    """The warehouse says another start."""
    for agreement in load.institution.warehouse.agreements_held:
        if int(agreement.customer) == customer:
            agreement.started, agreement.recorded = start, load.today


def send_all(load: OneLoad) -> None:
    for label in load.plan(first_load=False).labels:
        load.send(label)


def finish(load: OneLoad) -> None:
    load.close_additions()
    load.finish()
    watermark.follow(load.world, extract.read(load.world))
    lease.release(load.world)


def is_right(load: OneLoad, customer: int, start: date) -> bool:
    """After two quiet days, to the register and to the mirror."""
    for _ in range(2):
        load.pass_days(1)
        load = load.next()
        load.run_through()
    proven = mirror.read(load.world).proven
    held = date_of(int(starts_of(proven[ids_of(proven) == customer])[0]))
    return load.registered[customer] == held == start


def test_a_start_that_was_filed_on_the_same_day_is_not_the_mirror_s_after_another_one_was_filed(load):
    customer = load.proven[3]
    first, second = (load.registered[customer] - timedelta(days=days) for days in (30, 60))
    load = load.next()
    start_of(load, customer, first)
    load.run_through()
    load.institution.clock.advance(3600)
    load = load.next()
    start_of(load, customer, second)
    send_all(load)
    send_all(load)  # planned again: what it filed is not known, and nothing else is either
    finish(load)
    start_of(load, customer, first)
    assert is_right(load, customer, first)


def test_a_single_addition_does_not_say_the_start_that_was_filed_since(load):
    load = load.next()
    (customer,) = load.join(1, days_ago=0)
    load.add()
    load.finish()
    for days in (30, 60):
        start_of(load, customer, load.today - timedelta(days=days))
        send_all(load)
    finish(load)
    start_of(load, customer, load.today)
    assert is_right(load, customer, load.today)


@pytest.mark.parametrize("is_again", [True, False], ids=["planned again", "two runs"])
def test_a_start_that_comes_late_is_not_known_by_a_look_up_from_before_it(load, is_again):
    customer = load.proven[3]
    first, second = (load.registered[customer] - timedelta(days=days) for days in (30, 60))
    load = load.next()
    start_of(load, customer, first)
    send_all(load)
    if not is_again:
        lease.release(load.world)
        load = load.next()
    start_of(load, customer, second)
    load.plan(first_load=False)
    load.fault(FaultKind.LOADING_STALLED, "register_file", seconds=3 * 3600.0)
    upload.upload(load.world, "0001")
    lease.release(load.world)
    start_of(load, customer, first)
    load.institution.clock.advance(900)
    load.next(scope="interval", compare_with="register", interval=(load.today, load.today)).run_through()
    load.institution.clock.advance(4 * 3600)
    assert load.registered[customer] == second
    assert is_right(load, customer, first)


def test_a_start_that_a_run_had_filed_before_it_was_planned_again_stays_open_for_loads_of_an_interval(load):
    customer = load.proven[3]
    start = load.registered[customer] - timedelta(days=30)
    start_of(load, customer, start)
    load.pass_days(9)
    load = load.next(scope="interval")
    load.fault(FaultKind.FILE_DROPPED)
    send_all(load)
    warehouse = load.institution.warehouse
    whole = list(warehouse.agreements_held)
    load.forget([customer])
    send_all(load)
    warehouse.agreements_held = whole
    finish(load)
    for _ in range(2):
        load.pass_days(10)  # the change is older than their interval
        load = load.next(scope="interval")
        load.add()
        load.finish()
        lease.release(load.world)
    assert load.registered[customer] == start


def test_additions_of_a_plan_that_is_over_take_no_removal_of_another_run_back(load):
    stopped = load.next()
    (customer,) = stopped.join(1, days_ago=0)
    stopped.plan(first_load=False)
    arrivals.register_today(stopped.world)
    lease.release(stopped.world)
    other = stopped.next()
    other.end([customer])
    other.run_through()
    other.pass_days(1)
    other.institution.simulator.plant_defect("leftover", customer)  # it had not worked
    stopped.acquire()
    with pytest.raises(NotApproved):
        arrivals.close_arrivals(stopped.world, arrivals=False)
    lease.release(stopped.world)
    other = other.next()
    other.add()
    removal.remove_ended(other.world)
    with pytest.raises(verification.NotEqual):
        verification.verify(other.world)
    assert removal.remove_ended(other.world).removed == 1


def test_d4_is_not_sent_by_figures_from_before_another_run(fresh):
    customers = fresh.join(30)
    fresh.load()
    fresh.finish()
    fresh.fault(FaultKind.STATUS, "mail")
    with pytest.raises(MailNotSent):
        confirmation.send_confirmation(fresh.world)
    lease.release(fresh.world)
    fresh.pass_days(1)
    other = fresh.next()
    other.end(customers[:5])
    other.run_through()
    fresh.acquire()
    with pytest.raises(NotApproved):
        confirmation.send_confirmation(fresh.world)
    assert fresh.institution.simulator.mails == []


def test_bits_is_not_told_of_the_volume_of_a_plan_that_is_over(load, monkeypatch):
    for module in (volume, forecast):
        monkeypatch.setattr(module, "NOTICE_ROWS_PER_DAY", 20)
    new = load.join(30)
    load = load.next()
    load.plan(first_load=False)
    load.fault(FaultKind.STATUS, "mail")
    with pytest.raises(MailNotSent):
        volume.announce_volume(load.world)
    lease.release(load.world)
    load.forget(new)
    load.next().run_through()
    load.acquire()
    with pytest.raises(NotApproved):
        volume.announce_volume(load.world)
    assert load.institution.simulator.mails == []


@pytest.mark.parametrize("is_again", [True, False], ids=["planned again", "verified again"])
def test_a_count_that_died_as_it_began_leaves_nobody_unproven_who_is_there(fresh, is_again, monkeypatch):
    def dies(*_: object) -> None:
        raise Crash

    fresh.join(30)
    fresh.load()
    removal.remove_ended(fresh.world)
    with monkeypatch.context() as patch:
        patch.setattr(strata, "missing", lambda _, rows, __: [int(rows[3])])  # it comes a moment later
        patch.setattr(verification, "_count_fully", dies)
        with pytest.raises(Crash):
            verification.verify(fresh.world)
    if is_again:
        assert fresh.plan().labels == []
        fresh.close()
    assert fresh.finish().holds == 30
    assert fresh.proven == sorted(fresh.registered)


def test_d4_does_not_say_that_all_were_looked_up_whom_an_earlier_plan_had_loaded(fresh):
    fresh.join(300)
    fresh.load()
    fresh.plan()
    fresh.close()
    assert fresh.finish().holds == 300
    text = report.confirmation(fresh.world).text
    assert "Kundeforhold lastet inn: 300\n" in text
    assert "Avvik etter retting: 0\n\nDenne e-posten" in text


def test_a_file_of_the_plan_counts_before_its_sample_though_the_same_bytes_were_sent_before(load):
    load = load.next()
    (customer,) = load.join()
    send_all(load)
    load.settle()
    load.institution.simulator.plant_defect("missing", customer)
    load.institution.clock.advance(3600)
    send_all(load)
    load.close_additions()
    mirror.record(load.world)
    assert customer in load.proven


def test_what_the_interface_took_of_an_earlier_plan_does_not_refuse_the_rows_of_this_one(load):
    load = load.next(max_batch_bytes=TEN_ROWS)
    load.join(15)
    send_all(load)
    load.join(3)
    load.plan(first_load=False)
    with mock.patch.object(RegisterClient, "send_file", refuse_all), pytest.raises(FileRefused):
        upload.upload(load.world, "0001")
