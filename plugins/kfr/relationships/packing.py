"""A relationship as one integer: identifier and start day, so that sorting orders by both.

An identifier of 9 digits and one of 11 never collide as integers (the smallest of 11 digits is
01000000000), so an identifier is an integer below 2**37. The start is a day number of 17 bits.
A sorted array of such integers is at once a population, a plan's input and a mirror.
"""

from datetime import date

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

DAY_BITS = 17
DAY_MASK = (1 << DAY_BITS) - 1
FIRST_DATE = date(1753, 1, 1)  # day number 1; what is earlier is no start that a warehouse knows
UNKNOWN_DAY = 0  # the start of a relationship that has none recorded
LAST_DAY = DAY_MASK  # 2111; as an end: never

_FIRST_ORDINAL = FIRST_DATE.toordinal() - 1
UNIX_OFFSET = date(1970, 1, 1).toordinal() - _FIRST_ORDINAL  # add to days since 1970 to get a day number


def day_number(day: date) -> int:
    """The day number of a date, 1 for 1753-01-01; ValueError outside 1753 to 2111."""
    number = day.toordinal() - _FIRST_ORDINAL
    if not UNKNOWN_DAY < number <= LAST_DAY:
        msg = f"{day} lies outside the dates that a relationship can have"
        raise ValueError(msg)
    return number


def date_of(number: int) -> date | None:
    """The date of a day number; None for UNKNOWN_DAY."""
    return None if number == UNKNOWN_DAY else date.fromordinal(int(number) + _FIRST_ORDINAL)


def pack(ids: Ints, days: npt.NDArray[np.integer]) -> Ints:
    """Identifiers and day numbers, arrays of one length, as packed relationships (not sorted)."""
    return (ids.astype(np.int64, copy=False) << DAY_BITS) | days


def ids_of(packed: Ints) -> Ints:
    return packed >> DAY_BITS


def starts_of(packed: Ints) -> Ints:
    return packed & DAY_MASK


def lookup(population: Ints, ids: Ints) -> Ints:
    """The packed rows of `ids` in a sorted population, -1 for those who are not in it."""
    found = np.full(len(ids), -1, np.int64)
    at = np.searchsorted(population, ids << DAY_BITS)
    inside = at < len(population)
    rows = population[at[inside]]
    found[inside] = np.where(ids_of(rows) == ids[inside], rows, -1)
    return found


def text_of(customer_id: int) -> str:
    """An identifier as the register writes it: 9 digits, or 11 with leading zeros."""
    return f"{customer_id:09d}" if customer_id < 10**9 else f"{customer_id:011d}"
