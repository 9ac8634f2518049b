"""Coroutines in virtual time without an event loop: who waits for the earliest moment goes first."""

import asyncio
import heapq
from collections.abc import Coroutine, Generator, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from tests.simulator import VirtualClock


class Until:
    """What `TurnClock.asleep` awaits."""

    def __init__(self, moment: float) -> None:
        self.moment = moment

    def __await__(self) -> Generator[float, None, None]:
        yield self.moment


class TurnClock(VirtualClock):
    """A virtual clock whose sleepers are woken by `play_together`, or by asyncio where a loop runs."""

    async def asleep(self, seconds: float) -> None:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            await Until(self.monotonic() + max(0.0, seconds))
        else:
            await super().asleep(seconds)


@contextmanager
def no_loop() -> Iterator[None]:
    """As in another process: there, no loop of a worker that is stopped is running."""
    loop = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    try:
        yield
    finally:
        asyncio._set_running_loop(loop)


class SkewedClock:
    """The institution's own clock, so many seconds off the register's."""

    def __init__(self, true: VirtualClock) -> None:
        self._true = true
        self.off = 0.0
        self.was_off = False

    def set_off(self, seconds: float) -> None:
        self.off = seconds
        self.was_off = True

    def now(self) -> datetime:
        return self._true.now() + timedelta(seconds=self.off)

    def monotonic(self) -> float:
        return self._true.monotonic()

    def sleep(self, seconds: float) -> None:
        self._true.sleep(seconds)

    async def asleep(self, seconds: float) -> None:
        await self._true.asleep(seconds)


def play_together(clock: VirtualClock, *coroutines: Coroutine[Any, Any, Any]) -> list[Any]:
    """Run coroutines that wait only on the clock to their ends; their results, in order."""
    results: list[Any] = [None] * len(coroutines)
    waiting = [(clock.monotonic(), number) for number in range(len(coroutines))]
    try:
        while waiting:
            moment, number = heapq.heappop(waiting)
            clock.advance(max(0.0, moment - clock.monotonic()))
            try:
                heapq.heappush(waiting, (coroutines[number].send(None), number))
            except StopIteration as end:
                results[number] = end.value
    finally:
        for coroutine in coroutines:
            coroutine.close()
    return results
