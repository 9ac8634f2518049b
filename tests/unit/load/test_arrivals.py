from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from kfr.load import arrivals, extract, lease, mirror, returns
from kfr.load.arrivals import Pass
from kfr.load.extract import CountMismatch
from kfr.load.journal import Single
from kfr.relationships.packing import ids_of, text_of
from tests.faults.warehouse import Agreement
from tests.simulator import FaultKind, Switches
from tests.unit.load.one_load import TEN_ROWS, OneLoad, refuse_all


@pytest.fixture
def loading(load: OneLoad) -> OneLoad:
    """A load of five customers under way."""
    load.join(5)
    load.plan()
    load.send()
    return load


def one_pass(load: OneLoad) -> Pass:
    return arrivals.register_arrivals(load.world)


def singly(load: OneLoad) -> list[int]:
    return [e.customer_id for e in load.calls("register_one")]


def test_only_who_starts_today_is_registered_singly_and_the_others_wait_for_the_file(loading):
    new, dated = loading.join(3, days_ago=0), loading.join(2, days_ago=4)
    assert one_pass(loading) == Pass(arrived=5, registered=3, for_the_file=2)
    assert singly(loading) == new
    (label,) = arrivals.close_arrivals(loading.world)
    assert ids_of(loading.world.place.read_array(f"files/{label}")).tolist() == dated
    loading.close()
    assert {loading.registered[c] for c in new} == {loading.today}
    assert {loading.registered[c] for c in dated} == {loading.today - timedelta(days=4)}


def test_a_second_pass_registers_nobody_again(loading):
    loading.join(3, days_ago=0)
    one_pass(loading)
    assert one_pass(loading) == Pass(arrived=0, registered=0, for_the_file=0)
    assert len(singly(loading)) == 3


def test_who_stood_in_the_list_did_not_arrive(loading):
    assert one_pass(loading).arrived == 0


@pytest.mark.parametrize(
    ("utc", "singly_"), [("22:49:59", True), ("22:50:01", False), ("23:09:59", False), ("23:10:01", True)]
)
def test_nobody_goes_singly_within_ten_minutes_of_midnight_in_oslo(load, utc, singly_):
    load.join(2)
    load.plan()
    load.institution.clock.set(datetime.fromisoformat(f"2026-11-23T{utc}").replace(tzinfo=UTC))
    load.join(1, days_ago=0)
    assert one_pass(load).registered == int(singly_)
    assert arrivals.around_midnight(load.world) != singly_


def test_a_stretch_that_reaches_midnight_stops_and_the_rest_goes_by_file_with_its_date(load):
    slow = OneLoad(type(load.institution)(load.institution.folder, requests_per_second=0.1))
    slow.join(2)
    slow.plan()
    slow.institution.clock.set(datetime(2026, 11, 23, 22, 49, 30, tzinfo=UTC))
    new = slow.join(10, days_ago=0)
    today = slow.today
    done = one_pass(slow).registered
    assert 0 < done < 10
    assert len(slow.world.journal.singles(slow.run.key)) == done  # the others were never called
    slow.institution.clock.advance(3600)
    slow.close()
    assert len(singly(slow)) == done
    assert {slow.registered[c] for c in new} == {today}


def test_the_intention_stands_before_the_call(loading):
    """Whatever the register has taken, the journal knows, at whichever touch the worker dies."""
    for touches in range(1, 60):
        new = loading.join(2, days_ago=0)
        died = loading.crash(touches, lambda: one_pass(loading))
        known = set(ids_of(loading.world.journal.singles(loading.run.key)[:, 0]).tolist())
        assert {c for c in new if c in loading.registered} <= known
        if not died:
            break
    one_pass(loading)
    assert len(loading.registered) == 5 + 2 * touches


def test_a_single_addition_that_is_refused_is_tried_by_file(loading):
    (new,) = loading.join(1, days_ago=0)
    loading.fault(FaultKind.STATUS, "register_one", status=400)
    assert one_pass(loading) == Pass(arrived=1, registered=0, for_the_file=1)
    (label,) = arrivals.close_arrivals(loading.world)
    assert ids_of(loading.world.place.read_array(f"files/{label}")).tolist() == [new]
    assert text_of(new) not in " ".join(loading.institution.said)


def test_an_answer_that_got_lost_is_asked_for_again_and_counts_once(loading):
    loading.join(2, days_ago=0)
    loading.fault(FaultKind.RESET_AFTER_WORK, "register_one")
    with pytest.raises(Exception, match="register_one"):
        one_pass(loading)
    one_pass(loading)
    states = loading.world.journal.singles(loading.run.key)[:, 1].tolist()
    assert states == [Single.THERE_BEFORE, Single.ANSWERED]
    assert len(loading.registered) == 7


def test_the_closing_files_are_staged_once_and_a_retry_goes_on_with_the_same_bytes(loading):
    loading = loading.with_run(max_batch_bytes=TEN_ROWS)
    loading.join(25, days_ago=4)
    labels = arrivals.close_arrivals(loading.world)
    assert labels == ["closing-1", "closing-2", "closing-3"]
    before = [loading.world.place.read_array(f"files/{label}").tolist() for label in labels]
    loading.join(9, days_ago=4)
    assert arrivals.close_arrivals(loading.world) == labels
    assert [loading.world.place.read_array(f"files/{label}").tolist() for label in labels] == before


def test_nobody_arrived_means_no_closing_file(loading):
    assert loading.close() == []


def test_a_load_as_of_a_past_day_claims_nothing_about_who_came_later(load):
    load.join(3)
    past = load.with_run(as_of=load.today - timedelta(days=10))
    past.plan()
    past.join(2, days_ago=0)
    assert one_pass(past) == Pass(arrived=0, registered=0, for_the_file=0)
    assert arrivals.close_arrivals(past.world) == []


def test_an_extract_that_is_incomplete_lets_nobody_arrive(loading):
    loading.join(2, days_ago=0)
    loading.institution.warehouse.lies_about_count = 1
    with pytest.raises(CountMismatch):
        one_pass(loading)
    assert singly(loading) == []


def test_who_is_in_the_register_still_did_not_arrive(loading):
    """Ended before the list was made, and back before the removals: nothing has to be sent."""
    loading.close()
    mirror.record(loading.world)
    lease.release(loading.world)
    back = loading.proven[2]
    loading.end([back])
    again = loading.with_run(run_id="again")
    assert again.plan().removals == 1
    for agreement in again.institution.warehouse.agreements_held:
        agreement.ended = None
    assert one_pass(again).arrived == 0
    again.close()
    again.finish()
    assert back in again.registered
    assert again.calls("register_one", "remove_one") == []


@pytest.mark.parametrize("days_ago", [0, 4])
@pytest.mark.parametrize("way", ["ends_yesterday", "ends_today_inclusive"])  # the proof is there, or pending
def test_a_customer_who_was_removed_once_and_arrives_again_is_held_again_and_removed_again(
    loading, days_ago, way
):
    loading.institution.simulator.switches = Switches(removal=way, re_registration="new_start")
    back = ids_of(loading.world.place.read_array("files/0001")).tolist()[2]
    loading.end([back])
    loading.close()
    loading.finish()
    lease.release(loading.world)
    loading.pass_days(5)
    again = loading.with_run(run_id="again")
    again.plan()
    agreements = [a for a in again.institution.warehouse.agreements_held if int(a.customer) == back]
    agreements[0].started, agreements[0].ended = again.today - timedelta(days=days_ago), None
    again.close()
    again.finish()
    assert back in again.registered
    assert back in again.proven
    again.pass_days(1)
    again.end([back])
    again.finish()
    assert back not in again.registered
    assert back not in again.proven


@pytest.mark.parametrize("days_ago", [0, 2], ids=["singly", "by file"])
def test_who_arrives_again_and_is_taken_up_with_the_earlier_start_is_not_proven_with_the_new_one(
    loading, days_ago
):
    takes_starts = Switches(re_registration="revives", second_file="changes_start")
    loading.institution.simulator.switches = replace(takes_starts, file_after_single="changes_start")
    back = ids_of(loading.world.place.read_array("files/0001")).tolist()[2]
    loading.close()
    loading.end([back])
    loading.finish()
    lease.release(loading.world)
    loading.pass_days(5)
    load = loading.with_run(run_id="again")
    load.plan()
    start = load.today - timedelta(days=days_ago)
    load.institution.warehouse.agreements_held.append(Agreement(text_of(back), start))
    load.close()
    load.finish()
    assert load.registered[back] < start
    assert back in load.possible
    for _ in range(2):
        lease.release(load.world)
        load.pass_days(1)
        load = load.next()
        load.run_through()
    assert load.registered[back] == start
    assert back in load.proven


def test_a_run_that_lost_the_register_while_it_read_who_arrived_keeps_nothing_of_it(loading, monkeypatch):
    read = extract.extract

    def read_and_lose(world, name):
        found = read(world, name)
        lease.release(world)
        return found

    monkeypatch.setattr(extract, "extract", read_and_lose)
    monkeypatch.setattr(returns, "note", refuse_all)
    with pytest.raises(lease.LeaseLost):
        one_pass(loading)


def test_who_was_to_go_singly_yesterday_goes_by_file_with_the_date(load):
    """A plan is carried out a day late when it is cleared: a single POST would register them from today on."""
    load.join(2)
    load.load()
    load.finish()
    mirror.record(load.world)
    (customer,) = load.join(1, days_ago=0)
    lease.release(load.world)
    later = load.with_run(dag_id="kfr_periodic_load", run_id="scheduled__1")
    assert later.plan(first_load=False).singly == 1
    started = later.today
    later.pass_days(1)
    assert arrivals.register_today(later.world).registered == 0
    for label in arrivals.close_arrivals(later.world, arrivals=False):
        later.send(label)
    assert later.registered[customer] == started
