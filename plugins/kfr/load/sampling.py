"""Draws that a retry repeats: one row at random in each equal block, from a fixed seed."""

import numpy as np

from kfr.relationships.packing import Ints


def draw(rows: int, wanted: int, seed: str) -> Ints:
    """Sorted positions in `range(rows)`: all when `wanted` covers them, else one in each of `wanted` blocks.

    `seed` is a fingerprint (hex): the same one draws the same rows, so nothing is drawn anew to pass.
    """
    if wanted >= rows:
        return np.arange(rows, dtype=np.int64)
    edges = np.arange(wanted + 1, dtype=np.int64) * rows // wanted
    random = np.random.Generator(np.random.PCG64(int(seed[:32], 16)))
    return edges[:-1] + random.integers(0, np.diff(edges))
