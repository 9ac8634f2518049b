"""Starts that the register did not take: pairs of the start that was filed, and the one that it has.

`starts_kept` has those that it keeps, filed twice and not taken; `starts_untaken` those filed once, so far. In the
state folder, int64 of shape (n, 2), packed relationships.
"""

import numpy as np

from kfr.load.staging import Place
from kfr.load.world import World
from kfr.relationships.customers import among
from kfr.relationships.packing import UNKNOWN_DAY, Ints, ids_of, starts_of

KEPT = "starts_kept"  # pairs of packed relationships: the start we filed, the one the register kept
UNTAKEN = "starts_untaken"  # the same of what was filed once, and was not taken so far


def kept(world: World) -> Ints:
    """Starts that the register did not take: int64 of shape (n, 2), as filed and as kept, packed."""
    return _pairs(world.state, KEPT)


def untaken(world: World) -> Ints:
    """Starts that were filed once, by a run that is over, and not taken: int64 of shape (n, 2), as `kept`."""
    return _pairs(world.state, UNTAKEN)


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


def _pairs(state: Place, name: str) -> Ints:
    return state.read_array(name) if state.exists(name) else np.empty((0, 2), np.int64)
