"""Customers whom the register refuses though their numbers are right by every rule that we know.

A file with one of them is refused as a whole, so sending them again each day would cost a halving each day, and
nobody would see it. They are kept, sealed, counted as rejected in each run's plan and report, and held back. They
are tried again once a week, in a file of their own; at once when the warehouse has another start for them; and by
the next load when a person says so (`python -m kfr rejects --retry`).
"""

import numpy as np

from kfr.clock import oslo_today
from kfr.load.staging import Place
from kfr.load.world import World
from kfr.relationships.customers import among, distinct
from kfr.relationships.packing import Ints, day_number

NAME = "refused"  # int64 of shape (n, 2): packed relationship, Oslo day number on which it was last refused
RETRY_DAYS = 7


def read(state: Place) -> Ints:
    return state.read_array(NAME) if state.exists(NAME) else np.empty((0, 2), np.int64)


def record(world: World, rows: Ints, refused: Ints) -> None:
    """Keep what the register refused of `rows` (packed), and forget what it took."""
    before = read(world.state)
    others = before[~among(before[:, 0], distinct(rows))]
    today = np.full(len(refused), day_number(oslo_today(world.clock)))
    after = np.concatenate([others, np.column_stack([refused, today])])
    if not np.array_equal(before, after):
        world.state.write_array(NAME, after)


def split(world: World, adds: Ints) -> tuple[Ints, Ints]:
    """Of planned additions (packed, sorted): who was refused of late and is held back, and who is tried again now."""
    known = read(world.state)
    known = known[among(known[:, 0], adds)]
    late = known[:, 1] > day_number(oslo_today(world.clock)) - RETRY_DAYS
    return np.sort(known[late, 0]), np.sort(known[~late, 0])


def forget(state: Place) -> int:
    """Let the next load send them all again; how many there were."""
    known = len(read(state))
    state.delete(NAME)
    return known
