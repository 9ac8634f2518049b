"""Starts that were filed again, and whether the register took them.

Not documented is whether a second file with another date changes a start. So nothing is taken for granted: each
is looked up in days that only the new start satisfies. Where the old start holds, that is reported. It may hold
because the file is lost or late, too, which no look-up tells apart, so the next load files the start once more.
Only if it is not taken then either, after the first file can no longer come, the register counts as keeping the
old start: the mirror keeps it, and the same start is not filed again. A date is never fixed by a DELETE.
"""

from datetime import date, timedelta

import numpy as np

from kfr.load import lease, mirror, refusals, start_pairs, strata
from kfr.load.ingestion import LookUpsUnreliable, finds_known
from kfr.load.journal import StartChange
from kfr.load.strata import Stratum
from kfr.load.world import World
from kfr.relationships.columns import Flags
from kfr.relationships.customers import NOTHING, among, common, distinct, union, without
from kfr.relationships.packing import DAY_MASK, UNKNOWN_DAY, Ints, date_of, ids_of

NAME = "changed starts"


def verify(world: World, removed: Ints, earlier: Ints = NOTHING) -> Stratum:
    """Look a sample of the changed starts up; all of them, if one was not taken.

    :param earlier: relationships, packed and sorted, that this proof has just seen to begin earlier: one answer that
        says otherwise may be behind.
    """
    entries = world.journal.start_changes(world.run.key)
    refused = distinct(refusals.read(world.state)[:, 0])
    # Those were not filed after all: that shows nothing of what is kept.
    entries = entries[~among(entries[:, 0], refused)]
    looked_up = strata.sample(world, np.sort(entries[:, 0]), NAME, but=removed)
    entries = entries[~np.isin(ids_of(entries[:, 0]), removed)]
    filed_before = dict(start_pairs.untaken(world).tolist())
    again = np.isin(entries[:, 0], np.array([*filed_before], np.int64))
    # The start that the first filing found is remembered: since then the mirror knows none.
    entries[again, 1] = [filed_before[row] for row in entries[again, 0].tolist()]
    before = dict(zip(entries[:, 0].tolist(), entries[:, 1].tolist(), strict=True))
    kept = strata.patiently(world, looked_up.tolist(), lambda row: not _is_taken(world, row, before[row]))
    if kept and len(looked_up) < len(entries):
        looked_up = np.sort(entries[:, 0])
        kept = [row for row in looked_up.tolist() if not _is_taken(world, row, before[row])]
    doubted = without(common(earlier, looked_up), distinct(np.array(kept, np.int64)))
    kept += union(*strata.begun_earlier(world, doubted)).tolist()
    absent = strata.patiently(world, kept, lambda row: not strata.is_present(world, row))
    lease.check(world)  # looking up takes its time: another run may have written meanwhile
    stays = np.array([row for row in kept if row not in set(absent)], np.int64)
    not_taken = np.where(again, StartChange.KEPT, StartChange.UNTAKEN)
    entries[:, 2] = np.where(np.isin(entries[:, 0], stays), not_taken, StartChange.CORRECTED)
    may_change = other_starts_coming(world, entries[:, 0])
    entries[np.isin(entries[:, 0], absent) | may_change, 2] = StartChange.SENT
    world.journal.put_start_changes(world.run.key, entries)
    if absent:  # who was proven to be there is not: the next load adds them
        held = mirror.read(world)
        if not finds_known(world, mirror.take(held.proven, ids_of(np.array(absent, np.int64)))):
            raise LookUpsUnreliable("The register finds nobody, not even who is proven to be there.")
        mirror.correct(world, held, present=NOTHING, absent=np.sort(ids_of(np.array(absent, np.int64))))
    return Stratum(
        name=NAME,
        rows=len(entries),
        sampled=len(looked_up),
        misses=len(absent),
        start_not_corrected=len(stays),
    )


def other_starts_coming(world: World, filed: Ints) -> Flags:
    """Of which rows another start left of late: no look-up settles them.

    It may come yet, by a file that is late or by a second copy; and a look-up may be behind, from before it came.
    """
    if not filed.size:
        return among(filed, NOTHING)
    recent = world.journal.recent_rows(world.now)
    others = recent[~among(recent, np.sort(filed))]
    return among(ids_of(filed), distinct(ids_of(others)))


def _is_taken(world: World, row: int, before: int) -> bool:
    """Whether the new start holds: by days that the old one does not reach, or no longer reaches.

    Where it is the earlier one it must hold up to the old one: an earlier relationship, ended since, has days too.
    """
    if not strata.is_present(world, row):
        return False
    start, old = _day(row), _day(before)
    if start is None:
        return True
    day_before = start - timedelta(days=1)
    if old is not None and old < start:
        return not strata.is_found(world, row, old, day_before) and strata.is_found(world, row, start, start)
    if not strata.is_found(world, row, start, start):
        return False
    if (
        old is None
    ):  # filed without a date it began on the day on which it was loaded, before or after this start
        return not strata.is_found(world, row, day_before, day_before)
    return old == start or strata.is_found(world, row, old - timedelta(days=1), old - timedelta(days=1))


def _day(row: int) -> date | None:
    return date_of(row & DAY_MASK) if row & DAY_MASK != UNKNOWN_DAY else None
