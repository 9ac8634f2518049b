"""Virtual time, and the calendar days of Norway.

The protocol that the virtual clock follows is the package's own (`kfr.clock.Clock`); the calendar is not
taken from there, so that a wrong day in the package shows.
"""

import asyncio
import heapq
import itertools
import threading
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

OSLO = ZoneInfo("Europe/Oslo")
DEFAULT_START = datetime(2026, 11, 23, 9, tzinfo=UTC)  # a Monday, 10 o'clock in Oslo


class VirtualClock:
    """A clock that moves only when someone waits; sixteen hours of loading pass in no time.

    Of several coroutines that wait, the one with the earliest end goes first, as in real time. Threads
    that wait each push the clock on by their own time.
    """

    def __init__(self, start: datetime = DEFAULT_START) -> None:
        """Start at an aware moment; ValueError when it has no zone."""
        if start.tzinfo is None:
            raise ValueError("a clock starts at an aware moment")
        self._start = start.astimezone(UTC)
        self._elapsed = 0.0
        self._now = (self._start, 0.0)
        self._lock = threading.Lock()
        self._sleepers: list[tuple[float, int]] = []
        self._turn = itertools.count()

    def now(self) -> datetime:
        at, elapsed = self._now
        if elapsed != self._elapsed:  # asked far more often than it moves
            elapsed = self._elapsed
            at = self._start + timedelta(seconds=elapsed)
            self._now = at, elapsed
        return at

    def monotonic(self) -> float:
        return self._elapsed

    def sleep(self, seconds: float) -> None:
        self.advance(max(0.0, seconds))

    async def asleep(self, seconds: float) -> None:
        """Wait at least one turn of the loop, then until nobody waits for an earlier moment."""
        until = self._elapsed + max(0.0, seconds)
        sleeper = (until, next(self._turn))
        heapq.heappush(self._sleepers, sleeper)
        try:
            await asyncio.sleep(0)
            while self._sleepers[0] < sleeper:  # noqa: ASYNC110 - a turn of the loop is what is counted
                await asyncio.sleep(0)
        finally:
            self._sleepers.remove(sleeper)
            heapq.heapify(self._sleepers)
        with self._lock:
            self._elapsed = max(self._elapsed, until)

    def advance(self, seconds: float) -> None:
        """Let time pass; ValueError for less than none."""
        if seconds < 0:
            raise ValueError("time does not go back")
        with self._lock:
            self._elapsed += seconds

    def set(self, moment: datetime) -> None:
        """Let time pass until an aware moment; ValueError when it has passed."""
        self.advance((moment - self.now()).total_seconds())


def oslo_day(timestamp: float) -> int:
    """The ordinal (`date.toordinal`) of the day in Norway at seconds since 1970."""
    return datetime.fromtimestamp(timestamp, OSLO).toordinal()


def oslo_days(timestamps: npt.NDArray[np.float64]) -> npt.NDArray[np.int32]:
    """The same for many moments at once."""
    if len(timestamps) == 0:
        return np.zeros(0, np.int32)
    first, last = oslo_day(float(timestamps.min())), oslo_day(float(timestamps.max()))
    midnights = [_midnight(day) for day in range(first + 1, last + 1)]
    return (first + np.searchsorted(midnights, timestamps, side="right")).astype(np.int32)


def _midnight(ordinal: int) -> float:
    day = date.fromordinal(ordinal)
    return datetime(day.year, day.month, day.day, tzinfo=OSLO).timestamp()
