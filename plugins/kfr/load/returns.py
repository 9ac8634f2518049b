"""Customers who come back after days on which they were none, and since when the register has them then.

What a registration does to a relationship that has ended is not documented. A register that takes it up again has
the customer since the earlier start, and finds them on the new one, too. So the day before the new start is looked
up: nothing may be found on it. Who is found is left possible, as whoever else has another start, so that the next
load finds out more, and files the start again. Where the relationship ended so late that its last day may be that
very day, no look-up tells, and nothing is said.
"""

from dataclasses import dataclass, field

import numpy as np

from kfr.load import start_pairs, strata
from kfr.load.removal_queue import Removal, RemovalQueue
from kfr.load.strata import Stratum
from kfr.load.world import World
from kfr.relationships.customers import common, union
from kfr.relationships.packing import Ints, ids_of, pack

NAME = "starts of who came back"
DAYS_A_YEAR = 366


def note(world: World, added: Ints) -> None:
    """Remember who of `added` (packed, sorted) was removed before, and when: the queue forgets it with this plan."""
    if not added.size:
        return
    customers = ids_of(added)
    queue = RemovalQueue.read(world.state)
    # Of an intended one it is not known whether it was carried out; of one that is held, who has done it.
    states = (Removal.REMOVED, Removal.GONE, Removal.INTENDED, Removal.HELD)
    known = union(queue.of(*states), queue.returned())
    waiting = common(known, customers)
    days = np.array([queue.entries[customer].day for customer in waiting.tolist()], np.int64)
    removed = union(pack(waiting, days), world.journal.removals_of(customers))
    start_pairs.note_removed(world.state, removed)
    # As long as the delivery log has their removal, and no longer.
    start_pairs.forget_old(world.state, world.day - DAYS_A_YEAR * world.run.retention.reports_years)


def note_gone(world: World, customers: Ints) -> None:
    """Remember that `customers` (sorted) are gone, by whomever: if they return, no removal of ours will tell."""
    begun = RemovalQueue.read(world.state).entries
    days = [begun[c].day if c in begun else 0 for c in customers.tolist()]  # 0: not asked for yet
    days = [day or world.day for day in days]
    start_pairs.note_removed(world.state, pack(customers, np.array(days, np.int64)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Returns:
    """Who came back with this load, packed and sorted."""

    rows: Ints = field(repr=False)
    earlier: Ints = field(repr=False)  # whom the register has on the day before, too
    unseen: Ints = field(repr=False)  # whom it does not have: misses of what has sent them


def verify(world: World, rows: Ints) -> tuple[Stratum, Returns]:
    """Look a sample of `rows` up, all of them if one began earlier."""
    looked_up = strata.sample(world, rows, NAME)
    earlier, unseen = strata.begun_earlier(world, looked_up)
    if earlier.size and len(looked_up) < len(rows):
        looked_up = rows
        earlier, unseen = strata.begun_earlier(world, rows)
    stratum = Stratum(
        name=NAME, rows=len(rows), sampled=len(looked_up), misses=0, start_not_corrected=len(earlier)
    )
    return stratum, Returns(rows=rows, earlier=earlier, unseen=unseen)
