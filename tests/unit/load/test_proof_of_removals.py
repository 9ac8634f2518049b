"""The proof of removals: by a look-up of a later day, and who is there again is removed again."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from kfr.load import lease, mirror, removal, verification
from kfr.load.removal_queue import Entry, Removal, RemovalQueue
from kfr.load.verification import NotEqual
from kfr.relationships.customers import NOTHING
from kfr.relationships.packing import day_number, text_of
from tests.faults.warehouse import Agreement
from tests.simulator import Switches
from tests.unit.load.one_load import die_removing, removed, states, verify
from tests.unit.load.test_verification import customers_of, loaded, stratum


@pytest.mark.parametrize("way", ["ends_yesterday", "ends_today_inclusive", "ends_today_exclusive", "erases"])
def test_a_removal_is_proven_by_a_look_up_of_a_later_day_whatever_the_register_says_on_its_own(load, way):
    load.institution.simulator.switches = Switches(removal=way)
    load = loaded(load)
    gone = customers_of(load)[:2]
    load.end(gone)
    removal.remove_ended(load.world)
    verify(load.world)
    assert (stratum(load, "removals").rows, stratum(load, "removals").pending) == (0, 2)
    load.pass_days(1)
    verify(load.world)
    assert (stratum(load, "removals").rows, stratum(load, "removals").pending) == (2, 0)
    states = {e.state for e in RemovalQueue.read(load.world.state).entries.values()}
    assert states == {Removal.GONE}


def test_a_removal_just_before_midnight_by_our_clock_may_be_of_the_next_day_by_the_register_s(load):
    load.institution.simulator.switches = Switches(removal="ends_today_inclusive")
    load = loaded(load)
    (customer, *_) = customers_of(load)
    load.institution.clock.set(datetime(2026, 11, 23, 23, 0, 2, tzinfo=UTC))  # two past midnight in Oslo
    load.institution.own_clock.set_off(-8.0)
    load.end([customer], on=date(2026, 11, 23))
    removal.remove_ended(load.world)
    assert RemovalQueue.read(load.world.state).entries[customer].day == day_number(date(2026, 11, 24))
    load.institution.clock.advance(60)
    assert verify(load.world).misses == 0
    assert stratum(load, "removals").pending == 1
    assert RemovalQueue.read(load.world.state).entries[customer].state is Removal.REMOVED


def test_a_removal_that_did_not_work_is_due_again(load):
    load = loaded(load)
    (customer, *_) = customers_of(load)
    load.end([customer])
    removal.remove_ended(load.world)
    load.pass_days(1)
    load.world.register.register_one(customer)  # somebody registered the customer again
    with pytest.raises(NotEqual, match=r"misses .*removals.*1"):
        verify(load.world)
    assert RemovalQueue.read(load.world.state).entries[customer].state is Removal.DUE
    assert removal.remove_ended(load.world).removed == 1


def test_whom_a_run_has_removed_does_not_speak_for_its_look_ups(load):
    """The mirror still has them; asked for these alone the register finds nobody, however often the task is cleared."""
    load.institution.simulator.switches = Switches(removal="erases")
    load = loaded(load)
    yesterday, *today = customers_of(load)[:-3]
    for gone in ([yesterday], today):
        load.pass_days(1)
        load.end(gone)
        removal.remove_ended(load.world)
    assert verify(load.world).misses == 0
    assert (stratum(load, "removals").rows, stratum(load, "removals").pending) == (1, 26)


def test_a_removal_that_waits_for_a_person_ends_the_claim(load):
    load = loaded(load)
    load.end(customers_of(load)[:1])
    removal.remove_ended(load.world)
    queue = RemovalQueue.read(load.world.state)
    queue.entries[customers_of(load)[0]].state = Removal.HELD
    queue.write()
    with pytest.raises(NotEqual, match=r"removals that wait 1.*Nothing is confirmed"):
        verify(load.world)


def test_a_removal_that_was_begun_and_has_no_evidence_any_more_waits_without_ending_the_claim(load):
    """The customer has vanished from the warehouse: no later run could carry the removal out, and each would be red."""
    load = loaded(load)
    vanished = customers_of(load)[0]
    load.end([vanished])
    queue = RemovalQueue.read(load.world.state)
    queue.entries[vanished] = Entry(state=Removal.INTENDED, run=load.run.key)
    queue.write()
    load.forget([vanished])
    assert removal.remove_ended(load.world).vanished == 1
    assert verify(load.world).misses == 0
    assert RemovalQueue.read(load.world.state).entries[vanished].state is Removal.INTENDED


def test_who_is_there_again_the_day_after_the_removal_is_ours_again_and_removed_again(load):
    """A file that loads late brings them back; nobody would ever remove them if they were forgotten."""
    customer = load.join(3)[0]
    load.load()
    load.end([customer])
    load.institution.simulator.switches = Switches(removal="ends_today_inclusive")
    load.finish()
    load.pass_days(1)
    load.institution.simulator.plant_defect("leftover", customer)
    with pytest.raises(NotEqual):
        verification.verify(load.world)
    mirror.record(load.world)
    assert customer in load.proven
    removal.remove_ended(load.world)
    assert customer not in load.registered


def test_who_was_asked_for_and_is_there_again_is_asked_for_again(load):
    """Who vanished is removed for the queue's sake alone, and that was told "removed"."""
    vanished, ended, *_ = load.join(4)
    load.load()
    load.forget([vanished])
    load.end([ended])
    queue = load.institution.warehouse.queue
    queue[text_of(vanished)] = None
    load.institution.simulator.switches = Switches(removal="ends_today_inclusive")
    load.finish()
    assert queue == {text_of(vanished): "removed"}
    load.pass_days(1)
    for customer in (vanished, ended):
        load.institution.simulator.plant_defect("leftover", customer)
    with pytest.raises(NotEqual, match="clear remove_ended"):
        verification.verify(load.world)
    assert queue == {text_of(vanished): "waits"}
    removal.remove_ended(load.world)
    assert not {vanished, ended} & load.registered.keys()
    assert queue == {text_of(vanished): "removed"}


@pytest.mark.parametrize("then", ["came back", "vanished", "has a refused row"])
@pytest.mark.parametrize("carried_out", [True, False])
def test_whose_removal_a_worker_died_in_is_not_proven_though_it_is_not_wanted_any_more(
    load, then, carried_out
):
    """The load ends green, and neither the mirror nor a mail to Bits may claim them."""
    load = loaded(load)
    customer, other = customers_of(load)[:2]
    load.end([customer])
    load.institution.simulator.switches = Switches(removal="erases")
    die_removing(load, sent=carried_out)
    assert (customer in load.registered) == (not carried_out)
    if then == "came back":
        load.institution.warehouse.agreements_held.append(Agreement(text_of(customer), load.today))
    elif then == "vanished":
        load.forget([customer])
    else:
        wrong = Agreement(text_of(customer), load.today, load.today - timedelta(days=1))
        load.institution.warehouse.agreements_held.append(wrong)
    proof = load.finish()
    assert removed(load) == [customer] * carried_out
    assert (customer in load.proven, customer in load.possible) == (False, True)
    assert other in load.proven
    assert proof.holds == len(load.proven)
    lease.release(load.world)
    for _ in range(2):  # on the first day the removal may have been carried out behind midnight
        load.pass_days(1)
        load = load.next()
        load.run_through()
    assert (customer in load.proven) == (then == "came back")
    assert then != "came back" or customer in load.registered


def test_a_removal_that_was_begun_and_of_which_nothing_came_is_due_again_when_a_later_day_shows_it(load):
    load = loaded(load)
    today, before = customers_of(load)[:2]
    queue = RemovalQueue.read(load.world.state)
    for customer, days_ago in ((today, 0), (before, 2)):
        day = load.world.day - days_ago
        entry = Entry(state=Removal.INTENDED, run="one-run", day=day, asked=True, wanted=False)
        queue.entries[customer] = entry
        load.institution.warehouse.queue[text_of(customer)] = "removed"
    queue.write()
    held = mirror.record(load.world)
    mirror.correct(load.world, held, present=held.possible, absent=NOTHING)
    assert states(load) == {today: Removal.INTENDED, before: Removal.DUE}
    assert RemovalQueue.read(load.world.state).entries[before].day == 0
    assert load.institution.warehouse.queue == {text_of(today): "removed", text_of(before): "waits"}
    mirror.record(load.world)
    assert (before in load.proven, today in load.proven) == (True, False)


def test_on_a_past_day_it_is_open_whether_somebody_is_there_whose_removal_was_begun(load):
    load = loaded(load)
    customer, other = customers_of(load)[:2]
    load.end([customer], on=load.today - timedelta(days=3))
    die_removing(load)
    lease.release(load.world)
    load.pass_days(1)
    load = load.next(as_of=load.today - timedelta(days=1))
    load.run_through()
    assert customer not in load.proven
    assert other in load.proven
    lease.release(load.world)
    load = load.next(as_of=None)
    load.run_through()
    assert removed(load) == [customer]
    assert customer not in load.possible
    assert states(load) == {customer: Removal.REMOVED}


def test_who_is_removed_before_the_queue_asks_for_it_is_asked_for_again_when_there_again(load):
    load = loaded(load)
    customer = customers_of(load)[0]
    load.end([customer])
    load.institution.simulator.switches = Switches(removal="ends_today_inclusive")
    removal.remove_ended(load.world)
    queue = load.institution.warehouse.queue
    queue[text_of(customer)] = None
    load.finish()
    assert queue == {text_of(customer): "removed"}
    load.forget([customer])
    load.pass_days(1)
    load.institution.simulator.plant_defect("leftover", customer)
    with pytest.raises(NotEqual, match="clear remove_ended"):
        verification.verify(load.world)
    assert queue == {text_of(customer): "waits"}
    removal.remove_ended(load.world)
    assert customer not in load.registered
    assert queue == {text_of(customer): "removed"}


def test_whom_the_queue_did_not_ask_for_it_is_not_said_to_have_asked_for(load):
    load = loaded(load)
    asked, other = customers_of(load)[:2]
    load.end([asked, other])
    removal.remove_ended(load.world)
    load.institution.warehouse.queue[text_of(asked)] = None
    removal.remove_ended(load.world)
    entries = RemovalQueue.read(load.world.state).entries
    assert {c: entry.asked for c, entry in entries.items()} == {asked: True, other: False}


def test_a_removal_that_was_begun_and_has_to_wait_for_tomorrow_is_still_wanted(load):
    load = loaded(load)
    customer = customers_of(load)[0]
    load.end([customer])
    queue = RemovalQueue.read(load.world.state)
    queue.entries[customer] = Entry(state=Removal.INTENDED, run="one-run", day=load.world.day)
    queue.write()
    (send,) = load.sends
    load.world.journal.put(replace(send, proven_at=None, closed_because="looked into"))
    assert removal.remove_ended(load.world).held_back == 1
    assert RemovalQueue.read(load.world.state).entries[customer].wanted
