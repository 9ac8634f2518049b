"""Refused rows are kept, seen, and not sent again each day; what is repaired is found by itself."""

from datetime import timedelta

import numpy as np
import pytest

from kfr.load import extract, lease, refusals, watermark
from kfr.load.journal import Outcome
from kfr.load.planning import Plan
from kfr.load.upload import FileRefused
from kfr.register.client import RegisterClient
from kfr.relationships.customers import NOTHING
from tests.unit.load.one_load import START, OneLoad, packed, refuse_all


@pytest.fixture
def refused(load: OneLoad) -> int:
    """A customer whom the register refuses, among twelve of a first load that is over."""
    customer = load.join(12)[5]
    load.institution.simulator.refuses.add(customer)
    load.load()
    load.finish()
    return customer


def next_load(load: OneLoad, days: float = 1) -> tuple[OneLoad, Plan]:
    load.pass_days(days)
    again = load.with_run(dag_id="kfr_periodic_load", run_id=f"scheduled__{load.today}")
    lease.release(load.world)
    return again, again.plan(first_load=False)


def test_who_was_refused_is_not_sent_again_the_next_day_and_is_seen(load, refused):
    sent = len(load.calls("register_file"))
    again, plan = next_load(load)
    assert (plan.added, plan.held_back, plan.labels) == (0, 1, [])
    assert plan.fates["rejected"] == 1
    assert "1 customers were refused by the register" in " ".join(load.institution.said)
    assert len(again.calls("register_file")) == sent
    assert not any(str(refused) in line for line in load.institution.said)


def test_after_a_week_they_are_tried_in_a_file_of_their_own_so_that_nobody_else_waits_for_them(load, refused):
    load.join(3)
    again, plan = next_load(load, refusals.RETRY_DAYS)
    assert plan.labels == ["0001", "0002"]
    assert [again.send(label).refused for label in plan.labels] == [0, 1]
    assert len(again.calls("register_file")[-2:]) == 2
    _, plan = next_load(again)
    assert plan.held_back == 1  # and a week is waited again


def test_whom_the_register_takes_after_all_is_forgotten(load, refused):
    load.institution.simulator.refuses.clear()
    again, plan = next_load(load, refusals.RETRY_DAYS)
    again.send(plan.labels[0])
    assert refused in again.registered
    assert refusals.read(again.world.state).size == 0


def test_files_that_end_at_once_keep_each_other_s_refused_rows_and_a_cleared_task_changes_nothing(began):
    one, taken, other = packed([5, 6, 7], START)[:, None]
    refusals.record(began.world, "0001", NOTHING, taken)
    refusals.merge(began.world.state)
    for _ in range(2):
        refusals.record(began.world, "0002", np.concatenate([one, taken]), one)
        refusals.record(began.world, "0003", other, other)
    assert sorted(refusals.read(began.world.state)[:, 0]) == [*one, *other]
    refusals.merge(began.world.state)
    refusals.record(began.world, "0002", np.concatenate([one, taken]), one)
    assert sorted(refusals.read(began.world.state)[:, 0]) == [*one, *other]
    assert refusals.retry(began.world.state) == 2
    assert refusals.split(began.world, np.sort(np.concatenate([one, other])))[0].size == 0


def test_another_start_in_the_warehouse_is_sent_at_once(load, refused):
    load.institution.simulator.refuses.clear()
    for agreement in load.institution.warehouse.agreements_held:
        if int(agreement.customer) == refused:
            agreement.started -= timedelta(days=1)
    again, plan = next_load(load)
    assert (plan.added, plan.held_back) == (1, 0)
    again.send(plan.labels[0])
    assert refused in again.registered


def test_a_person_has_them_sent_again_by_the_next_load(load, refused):
    load.institution.simulator.refuses.clear()
    assert refusals.retry(load.world.state) == 1
    again, plan = next_load(load)
    again.send(plan.labels[0])
    assert refused in again.registered
    assert refusals.retry(load.world.state) == 0


@pytest.mark.parametrize("way", ["interval", "cleared"])
def test_it_is_so_in_a_load_of_an_interval_and_in_the_run_itself_too(load, refused, way):
    """Nothing of them has changed in the warehouse of late; and the run knows what the register said of the bytes."""
    if way == "interval":
        lease.release(load.world)
        load.pass_days(20)
        again = load.next(scope="interval")
        load.world.state.write_json(watermark.NAME, {"as_of": load.today.isoformat(), "run": "a daily load"})
    else:
        again = load
    load.institution.simulator.refuses.clear()
    refusals.retry(load.world.state)
    assert Outcome.REFUSED in [send.outcome for _, send, _ in load.world.journal.archived() if send]
    plan = again.plan(first_load=False)
    assert (plan.added, plan.held_back) == (1, 0)
    assert again.send(plan.labels[0]).refused == 0
    assert refused in again.registered


def test_a_row_that_is_repaired_in_the_warehouse_is_found_by_the_next_load_by_itself(load):
    first = load.join(3)[0]
    (agreement,) = [a for a in load.institution.warehouse.agreements_held if int(a.customer) == first]
    agreement.ended = agreement.started - timedelta(days=2)
    load.load()
    load.finish()
    assert int(agreement.customer) not in load.registered
    agreement.ended = None
    again, plan = next_load(load)
    assert plan.added == 1
    again.send(plan.labels[0])
    assert int(agreement.customer) in again.registered


def test_what_a_person_has_sent_again_is_not_refused_by_one_answer_that_names_no_row(
    load, refused, monkeypatch
):
    load.institution.simulator.refuses.clear()
    refusals.retry(load.world.state)
    again, plan = next_load(load)
    with monkeypatch.context() as patch:
        patch.setattr(RegisterClient, "send_file", refuse_all)
        with pytest.raises(FileRefused):
            again.send(plan.labels[0])
    assert again.send(plan.labels[0]).refused == 0
    assert refused in again.registered


@pytest.mark.parametrize("scope", ["everyone", "interval"])
@pytest.mark.parametrize(
    "since", ["ended", "another start", "vanished", "registered elsewhere", "refused still"]
)
def test_who_is_refused_is_kept_no_longer_than_a_week_after_it_says_nothing_any_more(
    load, refused, scope, since
):
    lease.release(load.world)
    load.institution.simulator.refuses.clear()
    held = load.institution.warehouse.agreements_held
    (agreement,) = (a for a in held if int(a.customer) == refused)
    if since == "ended":
        load.end([refused])
    elif since == "another start":
        agreement.started += timedelta(days=3)
    elif since == "vanished":
        load.forget([refused])
    elif since == "registered elsewhere":
        load.world.register.register_one(refused)
    else:
        load.institution.simulator.refuses.add(refused)
    watermark.follow(load.world, extract.read(load.world))
    for day in range(1, 10):
        load.pass_days(1)
        load = load.next(scope=scope, interval=None)
        load.run_through()
        watermark.follow(load.world, extract.read(load.world))
        if day < refusals.RETRY_DAYS:
            assert len(refusals.read(load.world.state)) == 1
    stays = since == "refused still" or (since == "vanished" and scope == "interval")
    assert len(refusals.read(load.world.state)) == stays
