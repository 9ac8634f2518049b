import numpy as np
import pytest

from kfr.load.removal_queue import Entry, Removal, RemovalQueue
from kfr.relationships.packing import day_number
from tests.unit.load.one_load import OneLoad


@pytest.fixture
def queue(load: OneLoad) -> RemovalQueue:
    return RemovalQueue.read(load.world.state)


def entry(state: Removal, day: int = 0) -> Entry:
    return Entry(state=state, run="one-run", day=day)


def test_a_queue_that_was_never_written_is_empty(queue: RemovalQueue):
    assert queue.entries == {}
    assert queue.of(*Removal).tolist() == []


def test_an_entry_outlives_the_run_that_made_it(load: OneLoad, queue: RemovalQueue):
    queue.entries = {7: entry(Removal.DUE), 3: entry(Removal.REMOVED, day=100_000)}
    queue.write()
    assert RemovalQueue.read(load.with_run(run_id="another").world.state).entries == queue.entries


def test_customers_are_given_by_state_in_order(queue: RemovalQueue):
    queue.entries = {9: entry(Removal.DUE), 3: entry(Removal.HELD), 5: entry(Removal.DUE)}
    assert queue.of(Removal.DUE).tolist() == [5, 9]
    assert queue.of(Removal.DUE, Removal.HELD).tolist() == [3, 5, 9]


def test_gone_is_what_the_register_answered_and_nothing_that_was_only_meant(queue: RemovalQueue):
    queue.entries = {n: entry(state) for n, state in enumerate(Removal)}
    states = [queue.entries[customer].state for customer in queue.gone().tolist()]
    assert states == [Removal.REMOVED, Removal.GONE]


def test_begun_is_each_removal_that_may_have_been_asked_for_and_one_that_did_not_work_no_more(
    queue: RemovalQueue,
):
    queue.entries = {n: entry(state) for n, state in enumerate(Removal)}
    queue.entries[8] = entry(Removal.DUE, day=100_000)  # once more, on the day on which they had come back
    states = [queue.entries[customer].state for customer in queue.begun().tolist()]
    assert states == [*(state for state in Removal if state is not Removal.DUE), Removal.DUE]


def test_returned_is_who_came_back_also_if_they_have_left_again(queue: RemovalQueue):
    queue.entries = {n: entry(state, day=100) for n, state in enumerate(Removal)}
    queue.entries[8] = entry(Removal.DUE)  # for the first time: there is no day
    states = [queue.entries[customer].state for customer in queue.returned().tolist()]
    assert states == [state for state in Removal if state in (Removal.RETURNED, Removal.DUE)]


def test_of_a_removal_that_was_meant_no_look_up_of_the_day_after_tells(queue: RemovalQueue):
    """The DELETE may have gone out after midnight."""
    queue.entries = {
        1: entry(Removal.INTENDED, day=100),
        2: entry(Removal.INTENDED, day=99),
        3: entry(Removal.INTENDED, day=98),
        4: entry(Removal.REMOVED, day=100),
        5: entry(Removal.REMOVED, day=99),
    }
    assert queue.untold(100).tolist() == [1, 2, 4]


def test_nobody_is_a_set_of_whole_numbers_so_that_who_is_joined_with_nobody_stays_who_they_are(
    queue: RemovalQueue,
):
    relationship = (1 << 53) + 1  # the first whole number that a float takes for another
    for nobody in (
        queue.of(*Removal),
        queue.gone(),
        queue.begun(),
        queue.returned(),
        queue.open(),
        queue.gone_before("one-run"),
    ):
        assert np.concatenate([nobody, [relationship]]).tolist() == [relationship]


def test_a_customer_who_is_forgotten_has_no_removal_to_wait_for(queue: RemovalQueue):
    queue.entries = {7: entry(Removal.DUE), 3: entry(Removal.HELD)}
    queue.forget([7, 11])
    assert list(queue.entries) == [3]


def test_only_a_removal_that_was_begun_and_is_not_due_any_more_leaves_open_who_is_there(queue: RemovalQueue):
    queue.entries = {number: entry(state, day=1) for number, state in enumerate(Removal, start=1)}
    begun = queue.of(Removal.INTENDED, Removal.HELD).tolist()
    queue.want(np.array([3]))
    assert queue.open().tolist() == [c for c in begun if c != 3]
    queue.want(queue.of(*Removal))
    assert queue.open().tolist() == []


@pytest.mark.parametrize("then", ["come back", "revive"])
def test_who_comes_back_or_is_there_is_not_left_open_by_the_removal_that_was_begun(
    queue: RemovalQueue, then: str
):
    queue.entries = {3: entry(Removal.INTENDED, day=100)}
    queue.want(np.array([], np.int64))
    assert queue.open().tolist() == [3]
    if then == "revive":
        assert queue.revive([3]) == []
    else:
        queue.come_back([3], 100, 100)
    assert queue.open().tolist() == []


def test_a_printed_queue_shows_no_customer(queue: RemovalQueue):
    queue.entries = {17_912_345_678: entry(Removal.DUE)}
    assert "17912345678" not in repr(queue)


@pytest.mark.parametrize(
    ("state", "days_ago", "is_kept"),
    [
        (Removal.REMOVED, 0, True),
        (Removal.REMOVED, 1, False),
        (Removal.INTENDED, 0, True),
        (Removal.INTENDED, 1, True),  # tried for minutes, it may have been carried out after midnight
        (Removal.INTENDED, 2, False),
        (Removal.INTENDED, None, True),  # by an earlier version, which did not say when
        (Removal.HELD, None, True),
        (Removal.DUE, 1, False),
        (Removal.DUE, 0, True),
        (Removal.GONE, 0, True),
        (Removal.GONE, 1, False),
    ],
)
def test_that_somebody_came_back_is_kept_while_the_day_of_the_removal_lasts(began, state, days_ago, is_kept):
    today = day_number(began.today)
    queue = RemovalQueue.read(began.world.state)
    day = 0 if days_ago is None else today - days_ago
    queue.entries = {5: Entry(state=state, run="one", day=day)}
    queue.come_back([5], today, today)
    assert {c: e.state for c, e in queue.entries.items()} == ({5: Removal.RETURNED} if is_kept else {})
    assert queue.untold(today).tolist() == ([5] if is_kept else [])
    assert queue.untold(today + 1).tolist() == []


@pytest.mark.parametrize(("state", "day"), [(Removal.REMOVED, -1), (Removal.INTENDED, 0)])
def test_just_after_midnight_a_look_up_may_speak_of_the_day_before(began, state, day):
    today = day_number(began.today)
    queue = RemovalQueue.read(began.world.state)
    queue.entries = {5: Entry(state=state, run="one", day=today - 1)}
    queue.come_back([5], today, today - 1)
    assert queue.entries[5].state is Removal.RETURNED
    assert queue.entries[5].day == today + day  # of an intention the DELETE may have come after midnight
    assert queue.untold(today - 1).tolist() == [5]
    assert queue.untold(today).tolist() == ([] if day else [5])


def test_entries_of_an_earlier_version_are_read(began):
    entry_then = {"state": "removed", "run": "one", "day": 5, "since": 0.0, "asked": True, "known": True}
    began.world.state.write_json("removals", {"7": entry_then})
    queue = RemovalQueue.read(began.world.state)
    assert queue.entries == {7: Entry(state=Removal.REMOVED, run="one", day=5, asked=True)}


def test_a_removal_that_an_earlier_version_took_for_gone_is_looked_up_once_more(began):
    entry_then = {"state": "gone", "run": "one", "day": 5, "since": 0.0, "asked": False, "known": True}
    began.world.state.write_json("removals", {"7": entry_then})
    assert RemovalQueue.read(began.world.state).entries[7].state is Removal.REMOVED
