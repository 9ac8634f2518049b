"""Trying again within a task: a passing fault of the register is not worth a task's retry."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from kfr.clock import Clock
from kfr.register.errors import OutcomeUnknown, Retriable

TRIES = 6
FIRST_PAUSE_SECONDS = 1.0  # doubled at each try: 31 seconds in all, unless Retry-After says more
LONGEST_PAUSE_SECONDS = 120.0  # a longer Retry-After is the scheduler's business, not a worker's

T = TypeVar("T")


def persist(clock: Clock, call: Callable[[], T]) -> T:
    """Call until it answers. Only for calls that may be made twice."""
    for attempt in range(TRIES - 1):
        try:
            return call()
        except (Retriable, OutcomeUnknown) as trouble:
            clock.sleep(_pause(trouble, attempt))
    return call()


async def apersist(clock: Clock, call: Callable[[], Awaitable[T]]) -> T:
    """The same in a trigger."""
    for attempt in range(TRIES - 1):
        try:
            return await call()
        except (Retriable, OutcomeUnknown) as trouble:
            await clock.asleep(_pause(trouble, attempt))
    return await call()


def _pause(trouble: Retriable | OutcomeUnknown, attempt: int) -> float:
    wanted: float | None = trouble.retry_after
    if wanted is None:
        return FIRST_PAUSE_SECONDS * 2.0**attempt
    if wanted > LONGEST_PAUSE_SECONDS:
        raise trouble
    return wanted
