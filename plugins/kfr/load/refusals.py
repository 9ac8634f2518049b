"""Customers whom the register refuses though their numbers are right by every rule that we know.

A file with one of them is refused as a whole, so sending them again each day would cost a halving each day, and
nobody would see it. They are kept, sealed, counted as rejected in each run's plan and report, and held back. They
are tried again once a week, in a file of their own; at once when the warehouse has another start for them; and by
the next load when a person says so (`python -m kfr rejects --retry`).
"""

from typing import TYPE_CHECKING

import numpy as np

from kfr.clock import oslo_today
from kfr.load.journal import Journal, Outcome
from kfr.load.staging import Place
from kfr.load.world import World
from kfr.relationships.customers import among, common, distinct, without
from kfr.relationships.packing import Ints, ids_of

if TYPE_CHECKING:
    from kfr.load.extract import Extract

NAME = "refused"  # int64 of shape (n, 2): packed relationship, Oslo day number on which it was last refused
BY_FILE = "refused_by"  # folder: the same of each file since, as two end at once; day 0 for what was taken
RETRY_DAYS = 7
LONG_AGO = 1  # a day number
MOST_IN_A_FILE = 100  # beyond that it is not single rows that are wrong, and the file is given up


def read(state: Place) -> Ints:
    known = _merged(state)
    for name in state.names(BY_FILE):
        shown = state.read_array(name)
        known = np.concatenate([known[~among(known[:, 0], distinct(shown[:, 0]))], shown[shown[:, 1] > 0]])
    return known


def record(world: World, label: str, rows: Ints, refused: Ints) -> None:
    """Keep what the register refused of a file's `rows` (packed), and what it took of those refused before."""
    known = distinct(_merged(world.state)[:, 0])
    taken = without(common(known, distinct(rows)), distinct(refused))
    today = np.full(len(refused), world.day)
    shown = np.concatenate(
        [np.column_stack([refused, today]), np.column_stack([taken, np.zeros_like(taken)])]
    )
    if len(shown):
        world.state.write_array(f"{BY_FILE}/{world.run.key}-{label}", shown)


def merge(state: Place) -> None:
    """Make one list of what the files have shown; for whoever holds the register, when no file is under way."""
    if names := state.names(BY_FILE):
        state.write_array(NAME, read(state))
        for name in names:
            state.delete(name)


def split(world: World, adds: Ints) -> tuple[Ints, Ints]:
    """Of planned additions (packed, sorted): who was refused of late and is held back, and who is tried again now."""
    known = read(world.state)
    known = known[among(known[:, 0], adds)]
    late = known[:, 1] > world.day - RETRY_DAYS
    return np.sort(known[late, 0]), np.sort(known[~late, 0])


def forget(world: World, found: "Extract", proven: Ints) -> None:
    """Keep those no longer who have ended or have another start by now, nor who are proven to be there.

    Not before a week is over: a file with them that got no answer may still be known.
    """
    known = _merged(world.state)
    over = ~among(known[:, 0], found.active) | among(known[:, 0], proven)
    over &= known[:, 1] <= world.day - RETRY_DAYS
    if found.days is not None:
        over &= among(ids_of(known[:, 0]), found.customers)
    if over.any() and found.as_of == oslo_today(world.clock):
        world.state.write_array(NAME, known[~over])


def retry(state: Place) -> int:
    """Let the next load send them all again, and a run that is cleared as well; how many there are.

    They stay known, so that a load of an interval reads them, though nothing of them has changed in the warehouse.
    """
    journal = Journal(state)
    for send in journal.sends():
        if send.outcome is Outcome.REFUSED and send.rows == 1 and send.code:
            journal.archive(send)  # else the run that sent it takes the same bytes for refused
    known = read(state)
    known[:, 1] = LONG_AGO
    if len(known):
        state.write_array(NAME, known)
    for name in state.names(BY_FILE):
        state.delete(name)
    return len(known)


def _merged(state: Place) -> Ints:
    return state.read_array(NAME) if state.exists(NAME) else np.empty((0, 2), np.int64)
