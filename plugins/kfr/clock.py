"""Time, handed in: everything that waits or dates takes a clock, so that tests can turn it."""

import asyncio
import time
from datetime import UTC, date, datetime
from typing import Protocol
from zoneinfo import ZoneInfo

OSLO = ZoneInfo("Europe/Oslo")  # all dates of the register are calendar dates here


class Clock(Protocol):
    """What a load needs to know of time."""

    def now(self) -> datetime:
        """The moment, aware, in UTC."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary origin, never backwards; for durations."""

    def sleep(self, seconds: float) -> None:
        """Wait in a worker."""

    async def asleep(self, seconds: float) -> None:
        """Wait in a trigger."""


class SystemClock:
    """The machine's own time."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(max(0.0, seconds))

    async def asleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))


def oslo_date(moment: datetime) -> date:
    """The calendar date in Norway at an aware moment."""
    return moment.astimezone(OSLO).date()


def oslo_today(clock: Clock) -> date:
    return oslo_date(clock.now())
