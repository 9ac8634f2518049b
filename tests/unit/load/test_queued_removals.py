"""Removals that the institution's own queue asks for, and those of an interval: whom a run may remove, and no other."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from kfr.load import extract, lease, mirror, removal
from kfr.load.ingestion import LookUpsUnreliable
from kfr.load.removal import remove_ended
from kfr.load.removal_queue import Entry, Removal, RemovalQueue
from kfr.register.client import RegisterClient
from kfr.relationships.customers import NOTHING
from kfr.relationships.packing import text_of
from tests.faults.institution import Agreement
from tests.unit.load.one_load import OneLoad, a_send, customers_of, packed, removed


def ask(load: OneLoad, *texts: str) -> None:
    load.institution.warehouse.queue |= dict.fromkeys(texts)


def answers(load: OneLoad) -> dict[str, str | None]:
    return load.institution.warehouse.queue


def at_question(load: OneLoad, nth: int, change: Callable[[], None]) -> list[int]:
    """Let the warehouse change before it answers its nth question about customers; how many each was about."""
    warehouse, asked = load.institution.warehouse, []
    ask_it = warehouse.agreements_of

    def agreements_of(customer_ids):
        asked.append(len(customer_ids))
        if len(asked) == nth:
            change()
        return ask_it(customer_ids)

    warehouse.agreements_of = agreements_of
    return asked


def lists_the_future(load: OneLoad) -> None:
    """Let the warehouse give agreements that begin tomorrow, as a query may that does not keep to the day."""
    warehouse = load.institution.warehouse
    everyone = warehouse.agreements
    warehouse.agreements = lambda as_of: everyone(as_of + timedelta(days=1))


def refuse_a_row_of(load: OneLoad, customer: int, text: str = "") -> Agreement:
    wrong = Agreement(text or text_of(customer), load.today, load.today - timedelta(days=10))
    load.institution.warehouse.agreements_held.append(wrong)
    return wrong


def begins(load: OneLoad, customer: int, *, in_days: int = 0) -> None:
    agreement = Agreement(text_of(customer), load.today + timedelta(days=in_days))
    load.institution.warehouse.agreements_held.append(agreement)


def unproven_today(load: OneLoad, customer: int) -> None:
    """A file with this customer was sent a minute ago, and has no witness that could prove it."""
    send = a_send(run=load.run.key, counts_from=load.world.now - 60, rows=1)
    load.world.journal.intend(send, packed([customer], load.today))


def interval_of_today(loaded: OneLoad) -> OneLoad:
    """The next load, of whom anything changed today; the first one lies twenty days back."""
    loaded.finish()
    lease.release(loaded.world)
    loaded.pass_days(20)
    return loaded.next(scope="interval", interval=(loaded.today, loaded.today))


def test_who_vanished_is_removed_when_the_queue_asks_for_it_and_the_queue_is_told(loaded):
    gone, other = customers_of(loaded)[:2]
    loaded.forget([gone, other])
    ask(loaded, text_of(gone))
    result = remove_ended(loaded.world)
    assert (result.due, result.removed, result.vanished) == (1, 1, 1)
    assert removed(loaded) == [gone]
    assert answers(loaded) == {text_of(gone): "removed"}


def test_the_queue_does_not_outweigh_the_warehouse(loaded):
    active, tomorrow, *_ = customers_of(loaded)
    loaded.end([tomorrow])
    loaded.institution.warehouse.agreements_held.append(
        Agreement(text_of(tomorrow), loaded.today + timedelta(days=1))
    )
    ask(loaded, text_of(active), text_of(tomorrow))
    assert remove_ended(loaded.world).due == 0
    assert answers(loaded) == {text_of(active): "customer", text_of(tomorrow): "waits"}
    loaded.pass_days(1)
    assert remove_ended(loaded.world).due == 0
    assert answers(loaded) == {text_of(active): "customer", text_of(tomorrow): "customer"}
    assert removed(loaded) == []


def test_a_refused_row_lets_a_request_wait(loaded):
    (customer, *_) = customers_of(loaded)
    loaded.end([customer])
    wrong = Agreement(text_of(customer), loaded.today, loaded.today - timedelta(days=10))
    loaded.institution.warehouse.agreements_held.append(wrong)
    ask(loaded, text_of(customer))
    assert remove_ended(loaded.world).due == 0
    assert answers(loaded) == {text_of(customer): "waits"}
    loaded.institution.warehouse.agreements_held.remove(wrong)  # repaired: the request still stands
    assert remove_ended(loaded.world).removed == 1
    assert answers(loaded) == {text_of(customer): "removed"}


def test_the_queue_is_told_of_numbers_that_are_none_and_of_people_who_are_not_ours(loaded):
    stranger = loaded.institution.new_customer()
    ask(loaded, stranger, "12345678901", "nonsense", "")
    assert remove_ended(loaded.world).due == 0
    assert removed(loaded) == []
    assert answers(loaded) == {
        stranger: "not_ours",
        "12345678901": "not_valid",
        "nonsense": "not_valid",
        "": "not_valid",
    }
    assert {call.status for call in loaded.calls("look_up")} == {200}  # none of a number that is none


def test_a_request_is_answered_again_after_a_crash_that_came_before_the_answer(loaded):
    (gone, *_) = customers_of(loaded)
    loaded.forget([gone])
    ask(loaded, text_of(gone))
    for touches in range(1, 200):
        if not loaded.crash(touches, lambda: remove_ended(loaded.world)):
            break
    assert removed(loaded) == [gone]
    assert answers(loaded) == {text_of(gone): "removed"}


def test_an_interval_removes_whom_it_is_about_who_waits_and_who_is_asked_for(loaded):
    """Asked for by name: everyone else is left alone, and counted as nothing."""
    changed, waits, asked, other, *_ = customers_of(loaded)
    loaded.finish()
    lease.release(loaded.world)
    loaded.pass_days(20)
    loaded.end([waits, other], on=loaded.today - timedelta(days=15))
    loaded.end([changed])
    loaded.forget([asked])
    ask(loaded, text_of(asked))
    queue = RemovalQueue.read(loaded.world.state)
    queue.entries[waits] = Entry(state=Removal.DUE, run="earlier")
    queue.write()
    load = loaded.next(scope="interval", interval=(loaded.today - timedelta(days=1), loaded.today))
    assert load.plan(first_load=False).removals == 2  # who changed, and who waits
    load.close_additions()
    result = remove_ended(load.world)
    assert removed(load) == sorted([changed, waits, asked])
    assert (result.due, result.vanished) == (3, 0)
    assert other in load.registered


def test_the_queue_is_told_who_is_a_customer_of_an_interval_in_which_nothing_changed_for_them(loaded):
    (customer, *_) = customers_of(loaded)
    load = interval_of_today(loaded)
    ask(load, text_of(customer))
    load.plan(first_load=False)
    load.close_additions()
    assert remove_ended(load.world).due == 0
    assert answers(load) == {text_of(customer): "customer"}


def test_a_row_that_an_interval_refused_holds_a_removal_up_though_asking_by_number_does_not_give_it(loaded):
    """It stands under the number with blanks around it, and the question is about the number."""
    blanks, clean = customers_of(loaded)[:2]
    load = interval_of_today(loaded)
    load.end([blanks, clean])
    refuse_a_row_of(load, blanks, f" {text_of(blanks)} ")
    load.plan(first_load=False)
    load.close_additions()
    remove_ended(load.world)
    assert removed(load) == [clean]


@pytest.mark.parametrize("scope", ["everyone", "interval"])
def test_a_refused_row_that_is_repaired_just_before_the_last_question_still_holds_the_removal_up(
    loaded, scope
):
    """Each question is a guard of its own: a warehouse that is being repaired is asked again by the next run."""
    repaired, clean = customers_of(loaded)[:2]
    load = loaded
    if scope == "interval":
        load = interval_of_today(loaded)
        load.end([repaired, clean])
        load.plan(first_load=False)
        load.close_additions()
    load.end([repaired, clean])
    wrong = refuse_a_row_of(load, repaired)
    held = load.institution.warehouse.agreements_held
    asked = at_question(load, 1 if scope == "everyone" else 2, lambda: held.remove(wrong))
    assert remove_ended(load.world).due == 1
    assert removed(load) == [clean]
    assert wrong not in held
    assert asked[-1] == 1  # only who may be due is asked about again


def test_a_row_that_is_refused_only_at_the_last_question_holds_the_removal_up(loaded):
    refused, clean = customers_of(loaded)[:2]
    loaded.end([refused, clean])
    at_question(loaded, 1, lambda: refuse_a_row_of(loaded, refused))
    assert remove_ended(loaded.world).due == 1
    assert removed(loaded) == [clean]


@pytest.mark.parametrize("in_days", [0, 1])
def test_who_is_or_will_be_a_customer_when_everyone_is_read_is_not_removed_though_they_vanish_then(
    loaded, in_days
):
    """The queue asks for them, and both answers of the warehouse must agree to it."""
    vanishes, ended = customers_of(loaded)[:2]
    lists_the_future(loaded)
    loaded.end([vanishes, ended])
    begins(loaded, vanishes, in_days=in_days)
    ask(loaded, text_of(vanishes))
    at_question(loaded, 1, lambda: loaded.forget([vanishes]))
    assert remove_ended(loaded.world).due == 1
    assert removed(loaded) == [ended]
    assert answers(loaded) == {text_of(vanishes): "customer"}


@pytest.mark.parametrize("in_days", [0, 1])
def test_who_had_vanished_and_is_a_customer_at_the_last_question_is_not_removed(loaded, in_days):
    (back, *_) = customers_of(loaded)
    loaded.forget([back])
    ask(loaded, text_of(back))
    at_question(loaded, 1, lambda: begins(loaded, back, in_days=in_days))
    assert remove_ended(loaded.world).due == 0
    assert removed(loaded) == []


def test_who_begins_tomorrow_or_has_only_a_refused_row_has_not_vanished(loaded):
    future, refused, vanished = customers_of(loaded)[:3]
    loaded.forget([future, refused, vanished])
    lists_the_future(loaded)
    begins(loaded, future, in_days=1)
    refuse_a_row_of(loaded, refused)
    assert remove_ended(loaded.world).vanished == 1


def test_who_vanished_and_is_asked_for_has_not_vanished_though_the_removal_must_wait_for_tomorrow(loaded):
    (customer, *_) = customers_of(loaded)
    unproven_today(loaded, customer)
    loaded.forget([customer])
    ask(loaded, text_of(customer))
    result = remove_ended(loaded.world)
    assert (result.due, result.held_back, result.vanished) == (0, 1, 0)


def test_a_removal_that_is_due_and_must_wait_for_tomorrow_stays_in_the_queue(loaded):
    (customer, *_) = customers_of(loaded)
    unproven_today(loaded, customer)
    queue = RemovalQueue.read(loaded.world.state)
    queue.entries[customer] = waits = Entry(state=Removal.DUE, run="earlier", since=1.0)
    queue.write()
    loaded.end([customer])
    result = remove_ended(loaded.world)
    assert (result.due, result.removed, result.held_back) == (0, 0, 1)  # one customer, counted once
    assert RemovalQueue.read(loaded.world.state).entries == {customer: waits}


def test_the_warehouse_is_asked_about_so_many_at_a_time_and_never_about_nobody(loaded, monkeypatch):
    """A list of nobody is wrong SQL in most databases."""
    monkeypatch.setattr(extract, "QUESTION", 3)
    asked = at_question(loaded, 0, lambda: None)
    assert remove_ended(loaded.world).due == 0
    assert asked == []
    loaded.end(customers_of(loaded)[:7])
    assert remove_ended(loaded.world).removed == 7
    assert asked == [3, 3, 1]


def test_what_is_outstanding_is_due_and_not_what_waits_from_before_without_being_found(loaded):
    due, intended, held = customers_of(loaded)[:3]
    queue = RemovalQueue.read(loaded.world.state)
    for customer, state in ((due, Removal.DUE), (intended, Removal.INTENDED), (held, Removal.HELD)):
        queue.entries[customer] = Entry(state=state, run="earlier")
    queue.write()
    assert removal.outstanding(loaded.world).tolist() == [due]
    loaded.world.place.write_array(removal.DUE, np.array([held]))  # this run found them
    assert removal.outstanding(loaded.world).tolist() == [due, held]


@pytest.mark.parametrize("is_registered", [True, False])
def test_whom_only_the_register_knows_is_removed_when_asked_for_and_not_answered_by_our_own_records(
    loaded, is_registered
):
    """As after the loss of a state, or where another system of the institution has registered them."""
    stranger = int(loaded.institution.new_customer())
    if is_registered:
        loaded.institution.simulator.plant_defect("leftover", stranger)
    ask(loaded, text_of(stranger))
    remove_ended(loaded.world)
    assert answers(loaded)[text_of(stranger)] == ("removed" if is_registered else "not_ours")
    assert removed(loaded) == ([stranger] if is_registered else [])


def test_whom_we_know_is_not_looked_up_to_be_removed(loaded):
    """Nor does the mirror lose their start for it."""
    customer, ended = customers_of(loaded)[:2]
    loaded.forget([customer])
    loaded.end([ended])
    ask(loaded, text_of(customer), text_of(ended))
    looked_up = len(loaded.calls("look_up"))
    remove_ended(loaded.world)
    assert removed(loaded) == [customer, ended]
    assert len(loaded.calls("look_up")) == looked_up


@pytest.mark.parametrize("state", [Removal.DUE, Removal.INTENDED, Removal.HELD, Removal.RETURNED])
def test_whose_removal_stands_in_the_queue_is_ours_though_the_mirror_does_not_have_them(loaded, state):
    """As when a mirror was made anew by look-ups that were behind."""
    customer, stays = customers_of(loaded)[:2]
    held = mirror.record(loaded.world)
    loaded.pass_days(2)
    mirror.correct(loaded.world, held, present=NOTHING, absent=np.array([customer, stays]))
    assert not {customer, stays} & {*loaded.proven, *loaded.possible}
    queue = RemovalQueue.read(loaded.world.state)
    queue.entries[customer] = Entry(state=state, run="another run", day=1)
    queue.write()
    loaded.end([customer])
    assert remove_ended(loaded.world).due == 1
    assert removed(loaded) == [customer]


def test_a_register_that_finds_nobody_for_a_moment_makes_nobody_a_stranger(loaded, monkeypatch):
    """The queue would be told that they are not ours, and not ask again."""
    stranger = int(loaded.institution.new_customer())
    loaded.institution.simulator.plant_defect("leftover", stranger)
    ask(loaded, text_of(stranger))
    with monkeypatch.context() as patch:
        patch.setattr(RegisterClient, "look_up", lambda *_: False)
        with pytest.raises(LookUpsUnreliable):
            remove_ended(loaded.world)
    assert answers(loaded)[text_of(stranger)] is None
    remove_ended(loaded.world)
    assert removed(loaded) == [stranger]


def test_whose_removal_was_begun_by_a_worker_that_died_does_not_speak_for_the_look_ups(loaded):
    """The mirror still has them, and the register does not: asked for these alone it would find nobody for ever."""
    institution = loaded.institution
    institution.simulator.switches = replace(institution.simulator.switches, removal="erases")
    ask(loaded, institution.new_customer())
    leave = customers_of(loaded)[:-3]
    loaded.end(leave)
    touches = 0
    while len(set(removed(loaded))) < len(leave):
        touches += 1
        loaded.crash(touches, lambda: remove_ended(loaded.world))
    assert RemovalQueue.read(loaded.world.state).of(Removal.INTENDED).tolist() == leave
    assert remove_ended(loaded.world).removed == len(leave)
