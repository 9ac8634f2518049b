"""Sets of customers (or of packed relationships): sorted arrays without repeats, and what is done with two.

numpy's own set functions hash or sort anew what is sorted already: seconds for a population of five million, where
these take tenths.
"""

import numpy as np

from kfr.relationships.columns import Flags
from kfr.relationships.packing import Ints

NOTHING: Ints = np.empty(0, np.int64)
BLOCK_ROWS = 1 << 16  # looked for at a time: neighbours among neighbours, which fit the processor's cache


def distinct(values: Ints) -> Ints:
    """The values sorted, each once; they may come in any order."""
    # Stable is a merge sort that takes stretches which are sorted already as they are.
    ordered: Ints = np.sort(values, kind="stable")
    first = np.ones(len(ordered), np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    return ordered if first.all() else ordered[first]


def union(*sets: Ints) -> Ints:
    """All that are in any of the sets."""
    return distinct(np.concatenate([NOTHING, *sets]))


def common(ids: Ints, others: Ints) -> Ints:
    """Those that are in the other set, too."""
    both: Ints = ids[among(ids, others)]
    return both


def without(ids: Ints, *others: Ints) -> Ints:
    """Those that are in none of the other sets."""
    for other in others:
        ids = ids[~among(ids, other)]
    return ids


def among(values: Ints, members: Ints) -> Flags:
    """Which of the values, in any order, are in the set `members`."""
    found = np.zeros(len(values), np.bool_)
    for first in range(0, len(values), BLOCK_ROWS):
        block = values[first : first + BLOCK_ROWS]
        low, high = np.searchsorted(members, [block.min(), block.max() + 1])
        if low < high:
            neighbours = members[low:high]
            at = np.searchsorted(neighbours, block)
            at[at == len(neighbours)] = 0  # any place will do: what is larger than all of them differs there
            np.equal(neighbours[at], block, out=found[first : first + len(block)])
    return found
