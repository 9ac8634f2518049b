"""Identifiers of nobody: synthetic persons of every family, and organisations of the series for tests.

Written from section 5 of the contract and not from the package, so that an error there is found here.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Ints = npt.NDArray[np.int64]

K1_WEIGHTS = (3, 7, 6, 1, 8, 9, 4, 5, 2)
K2_WEIGHTS = (5, 4, 3, 2, 7, 6, 5, 4, 3, 2)
ORGANISATION_WEIGHTS = (3, 2, 7, 6, 5, 4, 3, 2)

MONTH_OFFSETS = (80, 40, 65, 60)  # Skatteetaten, NAV Dolly, Norsk Helsenett, synthetic NPID
MONTH_SHARES = (0.94, 0.02, 0.02, 0.02)
D_NUMBER_SHARE = 0.08
EXTENDED_SHARE = 0.1  # of the D-numbers of the 1900s: individual numbers 600 to 999
KIND_2032_SHARE = 0.02
ORGANISATION_SHARE = 0.05

BORN_FROM, BORN_UNTIL = np.datetime64("1920-01-01"), np.datetime64("2020-01-01")


def draw(rng: np.random.Generator, count: int, *, taken: Ints | None = None) -> Ints:
    """Draw different valid identifiers in random order, none of them among those taken (sorted)."""
    organisations = round(count * ORGANISATION_SHARE)
    found = [
        _draw_different(rng, organisations, _organisations, taken),
        _draw_different(rng, count - organisations, _persons, taken),
    ]
    return rng.permutation(np.concatenate(found))


def text_of(ids: Ints) -> "pa.Array[Any]":
    """Write identifiers as a warehouse does: 9 digits, or 11 with leading zeros."""
    numbers = pa.array(ids)
    text = numbers.cast(pa.string())
    return pc.if_else(pc.less(numbers, 10**9), text, pc.utf8_lpad(text, 11, "0"))


def with_check_digits(stems: Ints, k1_remainders: Ints | int = 0) -> Ints:
    """Complete nine digits to eleven; 0 where a check digit would have to be 10.

    The remainder that k1 leaves is 0, or 1, 2 or 3 for the kind of 2032.
    """
    k1 = (k1_remainders - _weighted(stems, K1_WEIGHTS)) % 11
    ten = stems * 10 + k1
    k2 = -_weighted(ten, K2_WEIGHTS) % 11
    return np.where((k1 < 10) & (k2 < 10), ten * 10 + k2, 0)


def _draw_different(rng: np.random.Generator, count: int, make: Any, taken: Ints | None) -> Ints:
    found = np.empty(0, np.int64)
    while len(found) < count:
        found = np.union1d(found, make(rng, round(1.3 * (count - len(found))) + 16))
        found = found[found > 0]
        if taken is not None:
            found = np.setdiff1d(found, taken, assume_unique=True)
    return rng.choice(found, count, replace=False)


def _persons(rng: np.random.Generator, count: int) -> Ints:
    born = BORN_FROM + rng.integers(0, (BORN_UNTIL - BORN_FROM).astype(int), count)
    months = born.astype("M8[M]")
    year = months.astype("M8[Y]").astype(int) + 1970
    month = months.astype(int) % 12 + 1
    day = (born - months).astype(int) + 1

    d_number = rng.random(count) < D_NUMBER_SHARE
    extended = d_number & (year >= 1940) & (year < 2000) & (rng.random(count) < EXTENDED_SHARE)
    of_2032 = rng.random(count) < KIND_2032_SHARE
    individual = np.where(year < 2000, rng.integers(0, 500, count), rng.integers(500, 1000, count))
    individual = np.where(extended, rng.integers(600, 1000, count), individual)
    individual = np.where(of_2032, rng.integers(0, 1000, count), individual)

    written_month = month + rng.choice(MONTH_OFFSETS, count, p=MONTH_SHARES)
    stems = ((day + 40 * d_number) * 100 + written_month) * 100 + year % 100
    return with_check_digits(stems * 1000 + individual, np.where(of_2032, rng.integers(1, 4, count), 0))


def _organisations(rng: np.random.Generator, count: int) -> Ints:
    stems = rng.integers(20_000_000, 40_000_000, count)  # real ones begin with 8 or 9
    check = -_weighted(stems, ORGANISATION_WEIGHTS) % 11
    return np.where(check < 10, stems * 10 + check, 0)


def _weighted(numbers: Ints, weights: tuple[int, ...]) -> Ints:
    places = range(len(weights) - 1, -1, -1)
    return sum(
        (numbers // 10**place % 10 * weight for place, weight in zip(places, weights, strict=True)),
        np.int64(0),
    )
