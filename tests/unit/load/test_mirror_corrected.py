"""The mirror follows look-ups, and who comes back; each step by itself. Whole loads are in `test_returns.py`."""

from datetime import date

import numpy as np
import pytest

from kfr.load import mirror, start_pairs
from kfr.load.journal import Single, StartChange, Witness
from kfr.load.removal_queue import Entry, Removal, RemovalQueue
from kfr.relationships.customers import NOTHING
from kfr.relationships.packing import ids_of, pack
from tests.unit.load.one_load import START, OneLoad, a_send, file_of, packed, sent, states

OPEN_FILE = {"witnesses": (Witness(customer_id=1),)}  # not proven, so its rows may still come


def queue_of(load: OneLoad, **entries: Entry) -> None:
    """The removal queue with these entries, by customer (`c5` is customer 5)."""
    queue = RemovalQueue.read(load.world.state)
    queue.entries = {int(customer[1:]): entry for customer, entry in entries.items()}
    queue.write()


def entry(state: Removal, day: int = 0) -> Entry:
    return Entry(state=state, run="one", day=day)


def an_unproven_file(load: OneLoad, customers: list[int]) -> None:
    """It was waited out, and nothing shows that it was loaded."""
    rows = packed(customers, load.today)
    load.world.journal.intend(
        a_send(file_of(min(customers)), rows=len(rows), counts_from=load.world.now), rows
    )


def test_a_removal_that_turns_out_to_be_carried_out_is_kept_for_the_delivery_log(began):
    queue_of(began, c5=entry(Removal.INTENDED, day=100), c6=entry(Removal.DUE, day=100))
    mirror.correct(began.world, mirror.read(began.world), present=NOTHING, absent=np.array([5, 6]))
    removals = began.world.journal.removals_of(np.array([5, 6]))
    assert removals.tolist() == pack(np.array([5]), np.array([100])).tolist()
    assert states(began) == {}


def test_who_came_back_is_remembered_until_a_look_up_of_a_later_day_has_told(began):
    before, today = began.world.told - 1, began.world.told
    returned = {f"c{customer}": entry(Removal.RETURNED, before) for customer in (5, 6, 8)}
    queue_of(began, c7=entry(Removal.RETURNED, today), c9=entry(Removal.GONE, before), **returned)
    held = mirror.read(began.world)
    mirror.correct(began.world, held, present=packed([5, 7], START), absent=np.array([6]))
    assert states(began) == {7: Removal.RETURNED, 8: Removal.RETURNED, 9: Removal.GONE}


@pytest.mark.parametrize("was", ["proven", "possible", "added"])
def test_who_was_sent_before_and_is_to_be_sent_again_stays_possible_though_looked_up_in_vain(began, was):
    """The plan that sends them need not be carried out; then nobody would remove them when they end."""
    if was == "added":
        singles = np.column_stack([packed([5, 6], START), [Single.PROVEN] * 2])
        began.world.journal.put_singles(began.run.key, singles)
        held = mirror.read(began.world)
    else:
        sent(began, [5, 6], **({"proven_at": 1.0} if was == "proven" else OPEN_FILE))
        held = mirror.record(began.world)
        began.world.journal.archive(began.sends[0])
    began.pass_days(2)
    absent = np.array([5, 6])
    mirror.correct(began.world, held, present=NOTHING, absent=absent, sent_again=np.array([5]))
    assert (began.proven, began.possible) == ([], [5])


@pytest.mark.parametrize("days_ago", [0, 1])
def test_a_single_addition_that_may_wait_behind_a_file_stays_possible_though_looked_up_in_vain(
    began, days_ago
):
    an_unproven_file(began, [5])
    added = packed([8], date.fromordinal(began.today.toordinal() - days_ago))
    began.world.journal.put_singles("earlier-run", np.column_stack([added, [Single.ANSWERED]]))
    held = mirror.record(began.world)
    assert began.possible == [5, 8]
    mirror.correct(began.world, held, present=NOTHING, absent=np.array([8]))
    assert began.possible == ([5] if days_ago else [5, 8])  # it left before the file


def test_what_a_file_that_is_open_has_of_the_voided_is_missing_from_it_one_after_another(began):
    sent(began, [5], proven_at=1.0)
    rows = sent(began, [7, 8, 9], **OPEN_FILE)
    assert mirror.void(began.world, np.array([7])).tolist() == rows[:1].tolist()
    assert mirror.void(began.world, np.array([9])).tolist() == rows[2:].tolist()
    assert began.world.journal.missing(file_of(7)).tolist() == rows[[0, 2]].tolist()


def test_a_start_that_was_kept_or_not_taken_is_of_the_relationship_before(began):
    pairs = np.column_stack([packed([5, 6], START), packed([5, 6], date(2021, 1, 1))])
    for name in (start_pairs.KEPT, start_pairs.UNTAKEN):
        began.world.state.write_array(name, pairs)
    mirror.welcome_back(began.world, np.array([5]))
    assert (
        start_pairs.kept(began.world).tolist()
        == start_pairs.untaken(began.world).tolist()
        == [pairs[1].tolist()]
    )


def test_whose_return_is_known_already_is_not_welcomed_a_second_time(began):
    """What was sent since then speaks for them."""
    queue_of(began, c5=entry(Removal.RETURNED, began.world.day))
    sent(began, [5], proven_at=1.0)
    began.institution.clock.advance(3600)
    mirror.welcome_back(began.world, np.array([5]))
    assert len(began.sends) == 1
    assert states(began) == {5: Removal.RETURNED}


def test_whose_removal_was_only_meant_comes_back_on_the_day_of_today(began):
    """The DELETE may have gone out, and nobody knows when."""
    queue_of(began, c5=entry(Removal.INTENDED))
    mirror.welcome_back(began.world, np.array([5]))
    (back,) = RemovalQueue.read(began.world.state).entries.values()
    assert (back.state, back.day) == (Removal.RETURNED, began.world.day)


def test_who_is_back_and_perhaps_removed_is_possible_and_nothing_from_before_speaks_for_them(began):
    sent(began, [5, 6], proven_at=1.0)
    held = mirror.record(began.world)
    queue_of(began, c5=entry(Removal.INTENDED), c6=entry(Removal.HELD))
    began.institution.clock.advance(3600)
    after = mirror.leave_open(began.world, held, np.array([5]))
    assert (ids_of(after.proven).tolist(), ids_of(after.possible).tolist()) == ([6], [5])
    assert (began.proven, began.possible) == ([6], [5])
    assert states(began) == {5: Removal.RETURNED, 6: Removal.HELD}
    assert RemovalQueue.read(began.world.state).entries[5].day == began.world.day
    assert began.sends == []
    mirror.record(began.world)
    assert (began.proven, began.possible) == ([6], [5])


def test_who_came_back_is_remembered_as_long_as_the_removal(began):
    removed_on = pack(np.array([5, 6, 7]), np.array([99, 100, 101]))
    start_pairs.note_removed(began.world.state, removed_on)
    start_pairs.forget_old(began.world.state, 100)
    assert (
        start_pairs.came_back(began.world, packed([5, 6, 7], START)).tolist()
        == packed([6, 7], START).tolist()
    )
    assert began.world.state.read_array(start_pairs.REMOVED).tolist() == removed_on[1:].tolist()


def test_whom_two_files_hold_with_two_starts_has_a_start_that_is_open(began):
    sent(began, [5, 6], proven_at=1.0)
    began.world.journal.intend(a_send("0" * 64, rows=1, proven_at=2.0), packed([5], date(2015, 1, 1)))
    mirror.record(began.world)
    assert start_pairs.unsettled(began.world).tolist() == [5]


def test_a_start_is_open_from_the_moment_at_which_it_was_filed(began):
    """A run may die before its entries are merged; the next one asks for those customers at once."""
    states = [StartChange.SENT, StartChange.UNTAKEN, StartChange.KEPT, StartChange.CORRECTED]
    rows = packed([2, 4, 6, 8], START)
    began.world.journal.put_start_changes("one", np.column_stack([rows, rows + 1, states]))
    for name, customer in ((start_pairs.UNTAKEN, 1), (start_pairs.OPEN, 3)):
        start_pairs.add(began.world.state, name, np.column_stack([packed([customer], START)] * 2))
    assert start_pairs.unsettled(began.world).tolist() == [1, 2, 3, 4]
