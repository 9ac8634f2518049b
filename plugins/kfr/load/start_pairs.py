"""Starts that the register did not take: pairs of the start that was filed, and the one that it has.

`starts_kept` has those that it keeps, filed twice and not taken; `starts_untaken` those filed once, so far;
`starts_open` those of which nothing is known: nobody has looked, or no look-up could tell. In the state folder, int64
of shape (n, 2), packed relationships. And who was removed and when, as far as it tells of starts: see `returns`.
"""

import numpy as np

from kfr.load.journal import StartChange
from kfr.load.staging import Place
from kfr.load.world import World
from kfr.relationships.customers import NOTHING, among, distinct, union
from kfr.relationships.packing import DAY_BITS, UNKNOWN_DAY, Ints, ids_of, lookup, starts_of

KEPT = "starts_kept"  # pairs of packed relationships: the start we filed, the one the register kept
UNTAKEN = "starts_untaken"  # the same of what was filed once, and was not taken so far
OPEN = "starts_open"  # the same of what was filed, and not settled by the run that did
REMOVED = "removed_before"  # no pairs, but customers with the day of their last removal, packed and sorted


def kept(world: World) -> Ints:
    """Starts that the register did not take: int64 of shape (n, 2), as filed and as kept, packed."""
    return _pairs(world.state, KEPT)


def without_kept(world: World, changed: Ints, ours: Ints) -> tuple[Ints, int]:
    """The starts to file again, and how many were filed before without effect: a date is never fixed twice.

    :param changed: packed and sorted, as the warehouse has them.
    :param ours: the mirror's relationships. One that knows no start, as a mirror that was made anew, says nothing
        against the one that was kept, unless another was filed since.
    """
    pairs = kept(world)
    if not pairs.size or not changed.size:
        return changed, 0
    settled = pairs[~among(ids_of(pairs[:, 0]), unsettled(world)), 0].tolist()
    known = {*map(tuple, pairs.tolist()), *((row, row >> DAY_BITS << DAY_BITS) for row in settled)}
    held = lookup(ours, ids_of(changed)).tolist()
    again = np.array([pair in known for pair in zip(changed.tolist(), held, strict=True)])
    return changed[~again], int(again.sum())


def untaken(world: World) -> Ints:
    """Starts that were filed once, by a run that is over, and not taken: int64 of shape (n, 2), as `kept`."""
    return _pairs(world.state, UNTAKEN)


def came_back(world: World, rows: Ints) -> Ints:
    """Those of `rows` (packed, sorted) with which customers came back after a day at least as none."""
    removed = lookup(_removed(world.state), ids_of(rows))
    return rows[(removed >= 0) & (starts_of(rows) - 1 > starts_of(removed))]


def note_removed(state: Place, removed: Ints) -> None:
    """Keep that customers were `removed` (packed with the day, in any order); of each the last day counts."""
    if removed.size:
        known = union(_removed(state), removed)
        last = np.append(ids_of(known)[1:] != ids_of(known)[:-1], True)
        state.write_array(REMOVED, known[last])


def unsettled(world: World) -> Ints:
    """Customers of whom a start was filed again and is not known to be taken or kept, sorted."""
    entries = [world.journal.start_changes(run) for run in world.journal.runs_with("starts")]
    filed = [e[np.isin(e[:, 2], (StartChange.SENT, StartChange.UNTAKEN)), 0] for e in entries]
    filed += [_pairs(world.state, name)[:, 0] for name in (UNTAKEN, OPEN)]
    return union(*map(ids_of, filed))


def add(state: Place, name: str, pairs: Ints) -> None:
    """Keep `pairs`, in place of those of the same customers; a start that is known is not forgotten."""
    before = _pairs(state, name)
    known = before[starts_of(before[:, 1]) != UNKNOWN_DAY, 0]
    pairs = pairs[(starts_of(pairs[:, 1]) != UNKNOWN_DAY) | ~np.isin(pairs[:, 0], known)]
    if len(pairs):
        left = before[~np.isin(ids_of(before[:, 0]), ids_of(pairs[:, 0]))]
        state.write_array(name, np.concatenate([left, pairs]))


def forget(state: Place, name: str, customers: Ints) -> None:
    """Keep those pairs no longer that are of `customers` (sorted)."""
    pairs = _pairs(state, name)
    if (theirs := among(ids_of(pairs[:, 0]), customers)).any():
        state.write_array(name, pairs[~theirs])


def forget_other_starts(world: World, filed: Ints) -> None:
    """That a start was not taken says nothing any more once another one is `filed` (packed, sorted)."""
    before = untaken(world)[:, 0]
    now = lookup(filed, ids_of(before))
    forget(world.state, UNTAKEN, np.sort(ids_of(before[(now >= 0) & (now != before)])))


def leave_open(world: World, filed: Ints) -> None:
    """What an earlier plan of this run filed and nobody settled stays open, unless it is `filed` (packed) anew."""
    entries = world.journal.start_changes(world.run.key)
    left = np.isin(entries[:, 2], (StartChange.SENT, StartChange.UNTAKEN))
    left &= ~among(ids_of(entries[:, 0]), distinct(ids_of(filed)))
    add(world.state, OPEN, entries[left, :2])


def forget_old(state: Place, day: int) -> None:
    """Keep those no longer who were removed before a day (a number)."""
    removed = _removed(state)
    if (old := starts_of(removed) < day).any():
        state.write_array(REMOVED, removed[~old])


def settle(state: Place, proven: Ints) -> None:
    """Keep what is open only of those who are proven without a start: of the others it is known by now."""
    open_ = np.sort(ids_of(_pairs(state, OPEN)[:, 0]))
    rows = lookup(proven, open_)
    forget(state, OPEN, open_[(rows < 0) | (starts_of(rows) != UNKNOWN_DAY)])


def _pairs(state: Place, name: str) -> Ints:
    return state.read_array(name) if state.exists(name) else np.empty((0, 2), np.int64)


def _removed(state: Place) -> Ints:
    return state.read_array(REMOVED) if state.exists(REMOVED) else NOTHING
