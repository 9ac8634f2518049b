"""What the agreements of one customer look like, each pattern with its share of the customers.

A pattern takes a random generator, the number of customers and the day, and gives the agreements as
(which customer, start, end); NaT is null.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Days = npt.NDArray[np.datetime64]
Agreements = tuple[npt.NDArray[np.int64], Days, Days]
Pattern = Callable[[np.random.Generator, int, np.datetime64], Agreements]

NONE = np.datetime64("NaT", "D")
NEVER = np.datetime64("9999-12-31")
LONGEST = 40 * 365  # days


def _rows(count: int, *agreements: tuple[Any, Any]) -> Agreements:
    """So many customers with these agreements each: starts and ends, arrays of that length or one day."""
    starts, ends = (
        [np.broadcast_to(np.asarray(each[at], "M8[D]"), count) for each in agreements] for at in (0, 1)
    )
    return np.tile(np.arange(count), len(agreements)), np.concatenate(starts), np.concatenate(ends)


def _ago(rng: np.random.Generator, count: int, day: Any, least: int = 0, most: int = LONGEST) -> Days:
    """Some days before a day (or before a day each)."""
    return np.asarray(day - rng.integers(least, most, count))


# --- active on the day --------------------------------------------------------------------------


def still_open(rng: np.random.Generator, count: int, day: np.datetime64) -> Agreements:
    return _rows(count, (_ago(rng, count, day), NONE))


def ends_later(rng: np.random.Generator, count: int, day: np.datetime64) -> Agreements:
    return _rows(count, (_ago(rng, count, day), day + rng.integers(1, 3650, count)))


def ends_in_9999(rng: np.random.Generator, count: int, day: np.datetime64) -> Agreements:
    return _rows(count, (_ago(rng, count, day), NEVER))


def starts_today(_: np.random.Generator, count: int, day: np.datetime64) -> Agreements:
    return _rows(count, (day, NONE))


def one_of_two_ended(rng: np.random.Generator, count: int, day: np.datetime64) -> Agreements:
    """They overlap, and the older one ended: the relationship is as old as that one."""
    ended = _ago(rng, count, day, 0, 2000)
    return _rows(count, (_ago(rng, count, ended, 1000), ended), (_ago(rng, count, ended, 0, 1000), NONE))


def newer_ended(rng: np.random.Generator, count: int, day: np.datetime64) -> Agreements:
    ended = _ago(rng, count, day, 0, 2000)
    return _rows(count, (_ago(rng, count, ended, 1000), NONE), (_ago(rng, count, ended, 1, 1000), ended))


def goes_on_next_day(rng: np.random.Generator, count: int, day: np.datetime64) -> Agreements:
    ended = _ago(rng, count, day, 1, 3000)
    return _rows(count, (_ago(rng, count, ended, 1), ended), (ended + 1, NONE))


def goes_on_same_day(rng: np.random.Generator, count: int, day: np.datetime64) -> Agreements:
    ended = _ago(rng, count, day, 0, 3000)
    return _rows(count, (_ago(rng, count, ended, 1), ended), (ended, NONE))


def came_back(rng: np.random.Generator, count: int, day: np.datetime64) -> Agreements:
    """After a gap of at least one day too many: the relationship is as old as the return."""
    back = _ago(rng, count, day, 0, 3000)
    ended = _ago(rng, count, back, 2, 800)
    return _rows(count, (_ago(rng, count, ended, 1, 3000), ended), (back, NONE))


def many(rng: np.random.Generator, count: int, day: np.datetime64) -> Agreements:
    """Six in a chain, the second one within the first."""
    starts = [_ago(rng, count, day, 2400, 6000)]
    agreements = [(starts[0], starts[0] + 900), (starts[0] + rng.integers(0, 400, count), starts[0] + 500)]
    for begin, end in ((800, 1200), (1201, 1500), (1500, 1900)):
        agreements.append((starts[0] + begin, starts[0] + end))
    return _rows(count, *agreements, (starts[0] + 1600 + rng.integers(0, 301, count), NONE))


def start_unknown(_: np.random.Generator, count: int, day: np.datetime64) -> Agreements:
    del day
    return _rows(count, (NONE, NONE))


def older_start_unknown(rng: np.random.Generator, count: int, day: np.datetime64) -> Agreements:
    """One without a start, one with: the known start is registered."""
    ended = _ago(rng, count, day, 0, 2000)
    return _rows(count, (NONE, ended), (_ago(rng, count, ended, 0, 1000), NONE))


def start_before_1753(rng: np.random.Generator, count: int, day: np.datetime64) -> Agreements:
    """A default of some old system, no start."""
    del day
    return _rows(
        count, (rng.choice(np.array(["0001-01-01", "1700-01-01", "1752-12-31"], "M8[D]"), count), NONE)
    )


def another_in_future(rng: np.random.Generator, count: int, day: np.datetime64) -> Agreements:
    return _rows(count, (_ago(rng, count, day), NONE), (day + rng.integers(1, 300, count), NONE))


def row_twice(rng: np.random.Generator, count: int, day: np.datetime64) -> Agreements:
    start = _ago(rng, count, day)
    return _rows(count, (start, NONE), (start, NONE))


def another_ended_before_started(rng: np.random.Generator, count: int, day: np.datetime64) -> Agreements:
    wrong = _ago(rng, count, day, 0, 3000)
    return _rows(count, (_ago(rng, count, day), NONE), (wrong, _ago(rng, count, wrong, 1, 400)))


# --- not active on the day ----------------------------------------------------------------------


def ended(rng: np.random.Generator, count: int, day: np.datetime64) -> Agreements:
    end = _ago(rng, count, day, 1, 4000)
    return _rows(count, (_ago(rng, count, end, 1), end))


def ended_today(rng: np.random.Generator, count: int, day: np.datetime64) -> Agreements:
    return _rows(count, (_ago(rng, count, day, 1), day))


def both_ended(rng: np.random.Generator, count: int, day: np.datetime64) -> Agreements:
    later = _ago(rng, count, day, 1, 4000)
    return _rows(count, (_ago(rng, count, later, 1), later), (_ago(rng, count, later, 500), later - 400))


def ended_start_unknown(rng: np.random.Generator, count: int, day: np.datetime64) -> Agreements:
    return _rows(count, (NONE, _ago(rng, count, day, 1, 4000)))


def ended_on_first_day(rng: np.random.Generator, count: int, day: np.datetime64) -> Agreements:
    """Never active."""
    start = _ago(rng, count, day, 0, 3000)
    return _rows(count, (start, start))


def goes_on_tomorrow(rng: np.random.Generator, count: int, day: np.datetime64) -> Agreements:
    """Not active on the day, and not to be removed either: the chain goes on."""
    return _rows(count, (_ago(rng, count, day, 1), day), (day + 1, NONE))


def only_ended_before_started(rng: np.random.Generator, count: int, day: np.datetime64) -> Agreements:
    start = _ago(rng, count, day, 0, 3000)
    return _rows(count, (start, _ago(rng, count, start, 1, 400)))


def ended_and_wrong(rng: np.random.Generator, count: int, day: np.datetime64) -> Agreements:
    """Ended, but another row is wrong: nobody knows, so it is not removed."""
    end = _ago(rng, count, day, 1, 4000)
    return _rows(count, (_ago(rng, count, end, 1), end), (end, _ago(rng, count, end, 1, 400)))


def only_in_future(rng: np.random.Generator, count: int, day: np.datetime64) -> Agreements:
    return _rows(count, (day + rng.integers(1, 365, count), NONE))


# Shares of the active customers; the rest is `still_open`.
ACTIVE: dict[Pattern, float] = {
    ends_later: 0.05,
    ends_in_9999: 0.03,
    starts_today: 0.002,
    one_of_two_ended: 0.04,
    newer_ended: 0.04,
    goes_on_next_day: 0.03,
    goes_on_same_day: 0.02,
    came_back: 0.04,
    many: 0.01,
    start_unknown: 0.003,
    older_start_unknown: 0.003,
    start_before_1753: 0.001,
    another_in_future: 0.01,
    row_twice: 0.01,
    another_ended_before_started: 0.001,
}

# Customers beside the active ones, as shares of these.
NOT_ACTIVE: dict[Pattern, float] = {
    ended: 0.05,
    ended_today: 0.001,
    both_ended: 0.02,
    ended_start_unknown: 0.002,
    ended_on_first_day: 0.002,
    goes_on_tomorrow: 0.001,
    only_ended_before_started: 0.0005,
    ended_and_wrong: 0.0005,
    only_in_future: 0.005,
}
