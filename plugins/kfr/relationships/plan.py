"""The difference between what the register should hold and what it holds."""

from dataclasses import dataclass, field

import numpy as np

from kfr.relationships.packing import DAY_BITS, UNKNOWN_DAY, Ints, ids_of, starts_of

BLOCK_ROWS = 1 << 16  # compared at a time


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Difference:
    """What to do to come from the mirror to the desired state. Arrays of packed relationships, sorted."""

    add: Ints = field(repr=False)  # as desired
    remove: Ints = field(repr=False)  # as in the mirror
    start_changed: Ints = field(repr=False)  # as desired
    unchanged: int


def difference(desired: Ints, mirror: Ints) -> Difference:
    """Compare two populations of packed relationships, sorted, each customer once.

    A relationship whose start the warehouse does not know is `unchanged` whatever start the mirror has:
    filed without a date, it could only get a worse one. ValueError for input that is not as said.
    """
    _require_population(desired)
    _require_population(mirror)
    parts = []
    first = 0
    for at in range(0, len(desired), BLOCK_ROWS):
        block = desired[at : at + BLOCK_ROWS]
        beyond = len(mirror)
        if at + BLOCK_ROWS < len(desired):
            beyond = int(np.searchsorted(mirror, (int(ids_of(block[-1])) + 1) << DAY_BITS))
        parts.append(_difference_of_block(block, mirror[first:beyond]))
        first = beyond
    rest = mirror[first:]  # all of it, where nothing is desired
    return Difference(
        add=np.concatenate([desired[:0], *(part.add for part in parts)]),
        remove=np.concatenate([rest, *(part.remove for part in parts)]),
        start_changed=np.concatenate([desired[:0], *(part.start_changed for part in parts)]),
        unchanged=sum(part.unchanged for part in parts),
    )


def _difference_of_block(desired: Ints, mirror: Ints) -> Difference:
    """Compare neighbouring customers of both: few enough for the processor's cache."""
    mirror_ids, desired_ids = ids_of(mirror), ids_of(desired)
    at = np.searchsorted(mirror_ids, desired_ids)
    in_both = np.zeros(len(desired), np.bool_)
    inside = at < len(mirror)
    in_both[inside] = mirror_ids[at[inside]] == desired_ids[inside]
    wanted, held_at = desired[in_both], at[in_both]
    stays = np.zeros(len(mirror), np.bool_)
    stays[held_at] = True
    changed = (wanted != mirror[held_at]) & (starts_of(wanted) != UNKNOWN_DAY)
    return Difference(
        add=desired[~in_both],
        remove=mirror[~stays],
        start_changed=wanted[changed],
        unchanged=len(wanted) - int(changed.sum()),
    )


def _require_population(packed: Ints) -> None:
    for first in range(0, len(packed), BLOCK_ROWS):
        ids = ids_of(packed[first : first + BLOCK_ROWS + 1])  # the next block's first, too
        if not (ids[1:] > ids[:-1]).all():
            raise ValueError("a population must be sorted and hold each customer once")
