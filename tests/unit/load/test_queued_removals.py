"""Removals that the institution's own queue asks for, and those of an interval: whom a run may remove, and no other."""

from datetime import timedelta

import pytest

from kfr.load import lease
from kfr.load.removal import remove_ended
from kfr.load.removal_queue import Entry, Removal, RemovalQueue
from kfr.relationships.packing import ids_of, text_of
from tests.faults.institution import Agreement
from tests.unit.load.one_load import OneLoad


@pytest.fixture
def loaded(load: OneLoad) -> OneLoad:
    """Thirty customers loaded and proven, and nothing loading any more."""
    load.join(30)
    load.load()
    return load


def customers_of(load: OneLoad) -> list[int]:
    return ids_of(load.world.place.read_array("files/0001")).tolist()


def removed(load: OneLoad) -> list[int]:
    return [e.customer_id for e in load.calls("remove_one") if e.kind == "remove_one"]


def ask(load: OneLoad, *texts: str) -> None:
    load.institution.warehouse.queue |= dict.fromkeys(texts)


def answers(load: OneLoad) -> dict[str, str | None]:
    return load.institution.warehouse.queue


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
    assert load.plan(first_load=False).removals == 1
    load.close_additions()
    result = remove_ended(load.world)
    assert removed(load) == sorted([changed, waits, asked])
    assert (result.due, result.vanished) == (3, 0)
    assert other in load.registered
