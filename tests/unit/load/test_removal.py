from contextlib import suppress
from dataclasses import asdict, replace
from datetime import timedelta

import numpy as np
import pytest

from kfr.clock import OSLO
from kfr.load import extract, lease, planning, removal
from kfr.load.journal import Outcome, Witness
from kfr.load.last_word import ExtractUnfit
from kfr.load.removal import Removals, SendsOpen, remove_ended
from kfr.load.removal_queue import Entry, Removal, RemovalQueue
from kfr.relationships.guards import Limits
from kfr.relationships.packing import day_number, text_of
from tests.faults.warehouse import Agreement
from tests.simulator import FaultKind
from tests.unit.load.one_load import a_send, customers_of, packed, removed, states


def test_who_has_ended_is_removed_and_nobody_else(loaded):
    ended = customers_of(loaded)[3:7]
    loaded.end(ended)
    result = remove_ended(loaded.world)
    assert (result.due, result.removed, result.held_back, result.vanished) == (4, 4, 0, 0)
    assert removed(loaded) == ended
    assert set(states(loaded).values()) == {Removal.REMOVED}
    assert loaded.institution.said[-1] == "Removals: 4 due, 4 removed, 0 held back."
    assert loaded.world.place.read_json("removals.json") == asdict(result)  # for the report


def test_a_removal_is_kept_with_its_run_its_day_and_since_when_it_waited(loaded):
    first, second = customers_of(loaded)[:2]
    queue = RemovalQueue.read(loaded.world.state)
    queue.entries[first] = Entry(state=Removal.DUE, run="earlier", since=1.0)
    queue.write()
    loaded.end([first, second])
    now = loaded.world.now
    assert remove_ended(loaded.world).removed == 2
    entries = RemovalQueue.read(loaded.world.state).entries
    assert {(e.state, e.day) for e in entries.values()} == {(Removal.REMOVED, day_number(loaded.today))}
    assert (entries[first].run, entries[first].since) == ("earlier", 1.0)
    assert entries[second].run == loaded.run.key
    assert entries[second].since == pytest.approx(now, abs=60)


def test_nobody_is_removed_twice(loaded):
    loaded.end(customers_of(loaded)[:2])
    remove_ended(loaded.world)
    assert remove_ended(loaded.world).due == 0
    assert len(removed(loaded)) == 2


def test_no_removal_leaves_while_a_file_may_be_loading_for_all_that_is_proven(load):
    """Proven is not enough: a second copy may be loading, and would bring the row to life again."""
    load.join(300)
    load.plan()
    load.fault(FaultKind.FILE_LOADED_TWICE)
    load.send()
    load.end(customers_of(load)[:1])
    with pytest.raises(SendsOpen, match=r"removals wait, and none is lost\. A send") as caught:
        remove_ended(load.world)
    now = load.institution.clock.now().astimezone(OSLO)
    until = (now + timedelta(seconds=caught.value.retry_after)).isoformat(timespec="seconds")
    assert f"still be loading until {until}, 0 of them unproven" in str(caught.value)
    assert removed(load) == []
    load.institution.clock.advance(caught.value.retry_after + 0.001)
    assert remove_ended(load.world).removed == 1
    assert load.institution.simulator.pending_rows == 0


@pytest.mark.parametrize("outcome", [Outcome.ACCEPTED, Outcome.UNKNOWN, Outcome.INTENDED])
def test_no_removal_leaves_while_any_send_of_any_run_is_unproven_however_long_ago(loaded, outcome):
    (nobody,) = loaded.join(1)
    send = a_send(run="another", outcome=outcome, rows=1, witnesses=(Witness(customer_id=nobody),))
    loaded.world.journal.intend(send, packed([nobody], loaded.today))
    loaded.end(customers_of(loaded)[:1])
    with pytest.raises(SendsOpen, match="1 of them unproven") as caught:
        remove_ended(loaded.world)
    assert "stays unproven after that is closed by a person: see the runbook." in str(caught.value)
    assert caught.value.retry_after == 1.0  # its time is over: nothing says when it will be proven
    assert removed(loaded) == []
    loaded.world.journal.put(replace(send, closed_because="Bits: never loaded"))
    assert remove_ended(loaded.world).removed == 1


def test_a_send_that_has_loaded_since_is_seen_and_closed(loaded):
    (late,) = loaded.join(1)
    send = a_send(run="another", rows=1, witnesses=(Witness(customer_id=late),))
    loaded.world.journal.intend(send, packed([late], loaded.today))
    loaded.world.register.register_one(late)
    loaded.end(customers_of(loaded)[:1])
    now = loaded.world.now
    with pytest.raises(SendsOpen) as waits:
        remove_ended(loaded.world)
    # Nobody saw a witness of it missing, so it is taken for no slower than the rate; a second copy may be next.
    assert loaded.world.journal.of_file(send.file) == [replace(send, proven_at=now)]
    assert 10 < waits.value.retry_after < 11
    loaded.institution.clock.advance(waits.value.retry_after)
    assert remove_ended(loaded.world).removed == 1


@pytest.mark.parametrize(("seconds_left", "is_looked_for"), [(0.5, False), (0.0, True)])
def test_a_send_is_looked_for_from_the_moment_at_which_it_should_be_loaded(
    loaded, seconds_left, is_looked_for
):
    (new,) = loaded.join(1)
    loaded.world.register.register_one(new)
    loading_since = loaded.world.now - 1.0 + seconds_left  # 250 rows take one second
    send = a_send(run="another", counts_from=loading_since, witnesses=(Witness(customer_id=new),))
    loaded.world.journal.intend(send, packed([new], loaded.today))
    with pytest.raises(SendsOpen):
        remove_ended(loaded.world)
    (kept,) = loaded.world.journal.of_file(send.file)
    assert (kept.proven_at is not None) == is_looked_for


def test_a_past_day_removes_nobody(load):
    load.join(3)
    past = load.with_run(as_of=load.today - timedelta(days=1))
    past.load()
    past.end(customers_of(past)[:1], on=past.today - timedelta(days=30))
    assert remove_ended(past.world) == Removals(due=0, removed=0, held_back=0, vanished=0)
    assert removed(past) == []
    assert "no removal is authorised" in past.institution.said[-1]


def test_a_run_that_is_asked_for_today_removes(loaded):
    today = loaded.with_run(as_of=loaded.today)
    today.end(customers_of(today)[:1])
    assert remove_ended(today.world).removed == 1


def test_who_vanished_from_the_warehouse_is_counted_and_never_removed(loaded):
    loaded.forget(customers_of(loaded)[:3])
    result = remove_ended(loaded.world)
    assert (result.due, result.vanished) == (0, 3)
    assert removed(loaded) == []
    assert "3 customers have vanished" in loaded.institution.said[-1]


def test_who_has_a_refused_row_is_never_removed(loaded):
    tainted, clean = customers_of(loaded)[:2]
    loaded.end([tainted, clean])
    loaded.institution.warehouse.agreements_held.append(
        Agreement(text_of(tainted), loaded.today, loaded.today - timedelta(days=10))
    )
    remove_ended(loaded.world)
    assert removed(loaded) == [clean]


@pytest.mark.parametrize(("days", "is_removed"), [(0, False), (1, False), (2, True)])
def test_who_begins_anew_within_the_bridge_of_one_day_is_not_removed(loaded, days, is_removed):
    (customer, *_) = customers_of(loaded)
    loaded.end([customer])
    loaded.institution.warehouse.agreements_held.append(
        Agreement(text_of(customer), loaded.today + timedelta(days=days))
    )
    remove_ended(loaded.world)
    assert (customer in removed(loaded)) == is_removed


def test_the_warehouse_is_asked_again_just_before_and_its_last_word_counts(loaded):
    stays, goes = customers_of(loaded)[:2]
    loaded.end([stays, goes])
    warehouse = loaded.institution.warehouse
    ask = warehouse.agreements_of

    def asked_again(customer_ids):
        warehouse.agreements_held.append(Agreement(text_of(stays), loaded.today))
        return ask(customer_ids)

    warehouse.agreements_of = asked_again
    assert remove_ended(loaded.world).due == 1
    assert removed(loaded) == [goes]


def test_who_was_sent_and_not_proven_is_removed_the_day_after_and_not_before(load):
    customers = load.join(5)
    load.acquire()
    for customer in customers:
        load.world.register.register_one(customer)  # nobody is absent: no witness, waited out
    load.load()
    load.end(customers[:1])
    assert remove_ended(load.world).due == 0
    load.pass_days(1)
    assert remove_ended(load.world).removed == 1


@pytest.mark.parametrize("why", ["empty", "small"])
def test_an_extract_that_is_not_fit_removes_nobody(loaded, why):
    customers = customers_of(loaded)
    loaded = loaded.with_run(limits=Limits())
    loaded.end(customers[:1])
    if why == "small":
        loaded.forget(customers[1:8])  # over 20 % are missing
    else:
        loaded.end(customers)
    remedy = (
        r"Mend the source, then clear\. If it is right, clear extract_relationships with what follows it: "
    )
    with pytest.raises(ExtractUnfit, match=rf"authorises no removal\. {remedy}the plan is judged anew\.$"):
        remove_ended(loaded.world)
    assert removed(loaded) == []


def test_reading_everyone_again_leaves_the_plan_s_extract_and_is_not_taken_for_what_became_of_removals(
    loaded,
):
    planned = extract.read(loaded.world).rows
    loaded.forget(customers_of(loaded)[:8])
    with pytest.raises(ExtractUnfit):
        remove_ended(loaded.with_run(limits=Limits()).world)
    assert extract.read(loaded.world).rows == planned  # a retry judges by it again
    assert extract.read(loaded.world, "extract_again").rows == planned - 8
    assert not loaded.world.place.exists("removals.json")  # the report would show its facts as counts


def test_an_empty_extract_removes_nobody_whatever_the_limits_allow(loaded):
    loaded = loaded.with_run(limits=Limits(shrink_share=1.0))
    loaded.end(customers_of(loaded))
    with pytest.raises(ExtractUnfit, match="has 0 active relationships where the plan's had 30"):
        remove_ended(loaded.world)
    assert removed(loaded) == []


def test_an_extract_that_is_smaller_by_just_the_limit_is_fit(loaded):
    loaded = loaded.with_run(limits=Limits(shrink_share=0.2))
    loaded.end(customers_of(loaded)[:6])  # of thirty
    assert remove_ended(loaded.world).removed == 6


def test_more_removals_than_the_limit_are_kept_for_a_person(loaded):
    asks = loaded.with_run(approval="auto", limits=Limits(removal_share=0.05, removals=500))
    loaded.end(customers_of(loaded)[:2])
    remedy = r"Look at the source; if it is right, clear extract_relationships with what follows: a person is asked then\."
    with pytest.raises(ExtractUnfit, match=rf"They are kept\. {remedy}"):
        remove_ended(asks.world)
    assert removed(loaded) == []
    assert list(states(loaded).values()) == [Removal.DUE] * 2
    never_asks = asks.with_run(approval="never")
    assert remove_ended(never_asks.world).removed == 2


def test_a_customer_who_came_back_leaves_the_queue(loaded):
    (back, *_) = customers_of(loaded)
    asks = loaded.with_run(approval="auto", limits=Limits(removals=0))
    loaded.end([back])
    with suppress(ExtractUnfit):
        remove_ended(asks.world)
    assert states(loaded) == {back: Removal.DUE}
    loaded.institution.warehouse.agreements_held.append(Agreement(text_of(back), loaded.today))
    assert remove_ended(loaded.world).due == 0
    assert states(loaded) == {}
    assert removed(loaded) == []


def test_a_run_that_loses_the_register_between_two_removals_stops_there(loaded, monkeypatch):
    monkeypatch.setattr(removal, "STRETCH", 3)
    ended = customers_of(loaded)[:9]
    loaded.end(ended)
    world = loaded.world
    delete = world.register.remove_one

    def remove_and_lose(customer_id):
        delete(customer_id)
        if len(removed(loaded)) == 2:
            lease.release(world)

    monkeypatch.setattr(world.register, "remove_one", remove_and_lose)
    with pytest.raises(lease.LeaseLost):
        remove_ended(world)
    assert removed(loaded) == ended[:2]
    assert set(states(loaded).values()) == {
        Removal.INTENDED,
        Removal.DUE,
    }  # it wrote nothing into another's queue
    loaded.acquire()
    assert remove_ended(loaded.world).removed == 9
    assert removed(loaded) == ended


def test_nothing_is_removed_by_a_plan_that_was_made_anew_after_it_was_approved(loaded):
    loaded.end(customers_of(loaded)[:2])
    extract.extract_relationships(loaded.world)
    planning.plan(loaded.world, first_load=True)
    with pytest.raises(planning.NotApproved, match="Clear approve_changes"):
        remove_ended(loaded.world)
    assert removed(loaded) == []
    planning.approve(loaded.world, "a person")
    loaded.world.place.write_json("closing.json", [])
    assert remove_ended(loaded.world).removed == 2


def test_removals_that_were_in_the_approved_plan_are_not_judged_a_second_time(loaded):
    """A person let twenty go; only what has come since counts against the limit."""
    ended = customers_of(loaded)
    loaded.finish()
    lease.release(loaded.world)
    load = loaded.next(approval="auto", limits=Limits(removals=2, removal_share=1.0, shrink_share=0.99))
    load.end(ended[:20])
    plan = load.plan(first_load=False)
    assert plan.removals == 20
    assert planning.needs_person(load.world, plan)
    load.end(ended[20:23])
    load.close_additions()
    with pytest.raises(ExtractUnfit, match="3 removals are due that the plan did not have, where 2"):
        remove_ended(load.world)
    assert removed(load) == []
    for agreement in load.institution.warehouse.agreements_held:
        if int(agreement.customer) == ended[22]:
            agreement.ended = None
    assert remove_ended(load.world).removed == 22


def test_the_words_of_removing_name_no_customer(loaded):
    ended = customers_of(loaded)[:3]
    loaded.end(ended)
    remove_ended(loaded.world)
    assert not [c for c in map(text_of, ended) if c in " ".join(loaded.institution.said)]


def test_who_was_only_filed_again_in_a_file_that_nothing_proves_is_removed_the_next_day(loaded):
    """The row may load late, and would bring them back."""
    goes = customers_of(loaded)[0]
    rows = packed([goes], loaded.today - timedelta(days=200))
    send = replace(a_send(run=loaded.run.key), witnesses=(), counts_from=loaded.world.now - 60, rows=1)
    loaded.world.journal.intend(send, rows)
    changes = np.column_stack([rows, packed([goes], loaded.today - timedelta(days=100)), [0]])
    loaded.world.journal.put_start_changes(loaded.run.key, changes)
    loaded.end([goes])
    assert remove_ended(loaded.world).held_back == 1
    assert removed(loaded) == []


@pytest.mark.parametrize("in_days", [-9, 1])
def test_with_an_interval_both_answers_must_say_that_a_customer_has_ended(loaded, monkeypatch, in_days):
    """Here the second one does not find the row with a tab behind the identifier, which is the one that holds."""
    monkeypatch.setattr(extract, "_require_whole_customers", lambda *_: None)  # of many, it asks about some
    customer = customers_of(loaded)[0]
    loaded.finish()
    lease.release(loaded.world)
    loaded.end([customer])
    warehouse = loaded.institution.warehouse
    warehouse.agreements_held.append(
        Agreement(text_of(customer) + "\t", loaded.today + timedelta(days=in_days))
    )
    load = loaded.next(scope="interval", interval=(loaded.today, loaded.today))
    counted = 1 if in_days > 0 else 0  # the plan still counts who begins anew tomorrow
    assert load.plan(first_load=False).removals == counted
    load.close_additions()
    assert remove_ended(load.world).due == 0
    assert removed(load) == []


def test_with_an_interval_who_has_only_a_refused_row_by_now_is_not_removed_nor_passed_over_in_silence(loaded):
    """The second query does find them: it is not the two that disagree."""
    spoiled, ended = customers_of(loaded)[:2]
    loaded.finish()
    lease.release(loaded.world)
    loaded.end([spoiled, ended])
    load = loaded.next(scope="interval", interval=(loaded.today, loaded.today))
    assert load.plan(first_load=False).removals == 2
    load.close_additions()
    for agreement in load.institution.warehouse.agreements_held:
        if int(agreement.customer) == spoiled:
            agreement.ended = agreement.started - timedelta(days=1)
    assert remove_ended(load.world).due == 1
    assert removed(load) == [ended]


@pytest.mark.parametrize("interval", [False, True])
def test_two_queries_that_do_not_find_the_same_rows_remove_nobody_and_say_so(loaded, interval):
    """A tab behind the identifier, which the extract trims and the other query does not; it was passed over."""
    ended = customers_of(loaded)[:2]
    loaded.finish()
    lease.release(loaded.world)
    loaded.end(ended)
    for agreement in loaded.institution.warehouse.agreements_held:
        if int(agreement.customer) == ended[0]:
            agreement.customer += "\t"
    days = {"scope": "interval", "interval": (loaded.today, loaded.today)} if interval else {}
    load = loaded.next(**days)
    assert load.plan(first_load=False).removals == 2
    load.close_additions()
    with pytest.raises(extract.HalfCustomers, match=r"agreements_of\.sql gives no agreement of 1 customers"):
        remove_ended(load.world)
    assert removed(load) == []
    for agreement in load.institution.warehouse.agreements_held:
        agreement.customer = agreement.customer.strip()
    assert remove_ended(load.world).removed == 2
