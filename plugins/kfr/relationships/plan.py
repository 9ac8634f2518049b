"""The difference between what the register should hold and what it holds."""

from dataclasses import dataclass, field

import numpy as np

from kfr.relationships.packing import UNKNOWN_DAY, Ints, ids_of, starts_of


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
    desired_ids, mirror_ids = _ids_of_population(desired), _ids_of_population(mirror)
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


def _ids_of_population(packed: Ints) -> Ints:
    ids = ids_of(packed)
    if not (ids[1:] > ids[:-1]).all():
        raise ValueError("a population must be sorted and hold each customer once")
    return ids
