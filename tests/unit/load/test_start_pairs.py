"""Which starts the register did not take, and what is known of them when other runs begin."""

from datetime import date

import numpy as np

from kfr.load import mirror, start_pairs
from kfr.load.journal import StartChange
from kfr.load.start_pairs import KEPT, OPEN, UNTAKEN
from kfr.relationships.packing import DAY_BITS, Ints, ids_of
from tests.unit.load.one_load import START, OneLoad, packed, sent

OTHER = date(2021, 1, 1)


def pair(customer: int, filed: date = START, before: date | None = OTHER) -> list[int]:
    """A start that was filed, and the one that the register has; none if it is not known."""
    kept = int(packed([customer], before)[0]) if before else customer << DAY_BITS
    return [int(packed([customer], filed)[0]), kept]


def pairs(*those: list[int]) -> Ints:
    return np.array(those, np.int64)


def held(load: OneLoad, name: str) -> list[list[int]]:
    return start_pairs._pairs(load.world.state, name).tolist()


def test_a_pair_takes_the_place_of_the_one_that_the_same_customer_had(began):
    start_pairs.add(began.world.state, KEPT, pairs(pair(5), pair(6)))
    start_pairs.add(began.world.state, KEPT, pairs(pair(6, date(2019, 1, 1)), pair(7)))
    assert held(began, KEPT) == pairs(pair(5), pair(6, date(2019, 1, 1)), pair(7)).tolist()


def test_the_same_start_filed_once_more_makes_the_kept_one_known_and_never_unknown(began):
    start_pairs.add(began.world.state, KEPT, pairs(pair(5), pair(6, before=None), pair(7)))
    start_pairs.add(began.world.state, KEPT, pairs(pair(5, before=None), pair(6)))
    assert sorted(held(began, KEPT)) == pairs(pair(5), pair(6), pair(7)).tolist()
    start_pairs.add(began.world.state, KEPT, pairs(pair(5, before=START)))
    assert pair(5, before=START) in held(began, KEPT)


def test_of_another_start_it_is_not_known_what_the_register_kept(began):
    start_pairs.add(began.world.state, KEPT, pairs(pair(5)))
    start_pairs.add(began.world.state, KEPT, pairs(pair(5, date(2019, 1, 1), before=None)))
    assert held(began, KEPT) == [pair(5, date(2019, 1, 1), before=None)]


def test_of_a_plan_that_is_made_again_those_starts_stay_open_that_nobody_settled_or_files_anew(began):
    those = (StartChange.SENT, StartChange.UNTAKEN, StartChange.CORRECTED, StartChange.KEPT, StartChange.SENT)
    entries = [[*pair(5 + n), int(became)] for n, became in enumerate(those)]
    began.world.journal.put_start_changes(began.run.key, pairs(*entries))
    start_pairs.leave_open(began.world, packed([9], START))
    assert held(began, OPEN) == [pair(5), pair(6)]


def test_what_is_open_is_settled_when_the_start_is_known_or_the_customer_is_not_there(began):
    start_pairs.add(began.world.state, OPEN, pairs(pair(5), pair(6), pair(7)))
    unknown = np.array([5 << DAY_BITS])
    start_pairs.settle(began.world.state, np.concatenate([unknown, packed([6], START)]))
    assert held(began, OPEN) == [pair(5)]


def test_what_a_run_that_is_over_knew_of_starts_outlives_its_entries(began):
    """Who is known by it is not untaken any more, from whichever run."""
    untaken, filed, kept, corrected, earlier = 1, 2, 3, 4, 5
    sent(began, [1, 2, 3, 4, 5], proven_at=1.0)
    mirror.record(began.world)
    start_pairs.add(began.world.state, UNTAKEN, pairs(*map(pair, (kept, corrected, earlier))))
    states = [StartChange.UNTAKEN, StartChange.SENT, StartChange.KEPT, StartChange.CORRECTED]
    entries = [[*pair(customer, OTHER, START), s] for customer, s in zip(range(1, 5), states, strict=True)]
    began.world.journal.put_start_changes("over", pairs(*entries))
    mirror.record(began.world)
    assert sorted(held(began, UNTAKEN)) == [pair(untaken, OTHER, START), pair(earlier)]
    assert held(began, KEPT) == [pair(kept, OTHER, START)]
    assert filed not in ids_of(pairs(*held(began, UNTAKEN)).ravel()).tolist()
    assert held(began, OPEN) == []  # the one that was to be filed was in no file
    assert began.world.journal.runs_with("starts") == []


def test_a_start_that_was_kept_is_not_filed_again_where_the_mirror_knows_none(began):
    """As after it was lost and made anew; unless another start was filed since, and is open."""
    kept, other, open_, before = 5, 6, 7, 8
    start_pairs.add(began.world.state, KEPT, pairs(pair(kept), pair(open_), pair(before)))
    start_pairs.add(began.world.state, OPEN, pairs(pair(open_, date(2019, 1, 1), before=None)))
    changed = np.concatenate(
        [packed([kept], START), packed([other], START), packed([open_], START), packed([before], START)]
    )
    ours = np.array([c << DAY_BITS for c in (kept, other, open_)] + [pair(before)[1]])
    filed, again = start_pairs.without_kept(began.world, changed, ours)
    assert (ids_of(filed).tolist(), again) == ([other, open_], 2)
    filed, again = start_pairs.without_kept(began.world, packed([kept], date(2019, 1, 1)), ours)
    assert (ids_of(filed).tolist(), again) == ([kept], 0)


def test_that_a_start_was_kept_says_nothing_once_another_was_taken(began):
    taken, kept = 4, 5
    sent(began, [taken, kept], proven_at=1.0)
    start_pairs.add(began.world.state, KEPT, pairs(pair(taken), pair(kept)))
    other = pair(taken, date(2019, 1, 1), START)
    began.world.journal.put_start_changes("over", pairs([*other, StartChange.CORRECTED]))
    mirror.record(began.world)
    assert held(began, KEPT) == [pair(kept)]


def test_of_several_removals_of_a_customer_the_last_one_counts(began):
    day = date(2026, 1, 10)
    start_pairs.note_removed(began.world.state, packed([5, 6], day))
    start_pairs.note_removed(began.world.state, np.concatenate([packed([6], OTHER), packed([5, 7], START)]))
    held_now = began.world.state.read_array(start_pairs.REMOVED)
    assert held_now.tolist() == np.concatenate([packed([5, 6], day), packed([7], START)]).tolist()
    rows = packed([5, 6, 7, 8], date(2026, 1, 12))
    assert start_pairs.came_back(began.world, rows).tolist() == rows[:3].tolist()
    assert not start_pairs.came_back(began.world, packed([5, 6], date(2026, 1, 11))).size
