import asyncio
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest

from tests.simulator import VirtualClock
from tests.simulator.clock import oslo_day, oslo_days


def test_a_wait_of_sixteen_hours_takes_no_time_and_moves_the_clock_by_sixteen_hours():
    clock = VirtualClock()
    before, since = clock.now(), clock.monotonic()
    clock.sleep(16 * 3600)
    assert clock.now() - before == timedelta(hours=16)
    assert clock.monotonic() - since == 16 * 3600


def test_of_several_who_wait_the_earliest_wakes_first_and_nobody_waits_for_the_sum():
    clock, woken = VirtualClock(), []

    async def wait(seconds: float) -> None:
        await clock.asleep(seconds)
        woken.append((seconds, clock.monotonic()))

    async def wait_all() -> None:
        await asyncio.gather(wait(30), wait(10), wait(20))

    asyncio.run(wait_all())
    assert woken == [(10, 10.0), (20, 20.0), (30, 30.0)]


def test_one_who_gives_up_waiting_holds_nobody_back():
    clock = VirtualClock()

    async def give_up() -> None:
        sleeper = asyncio.create_task(clock.asleep(5))
        await asyncio.sleep(0)
        sleeper.cancel()
        await clock.asleep(10)

    asyncio.run(give_up())
    assert clock.monotonic() == 10


def test_even_a_wait_of_nothing_gives_the_others_a_turn():
    clock, turns = VirtualClock(), []

    async def other() -> None:
        turns.append("other")

    async def wait() -> None:
        task = asyncio.create_task(other())
        await clock.asleep(0)
        turns.append("waiter")
        await task

    asyncio.run(wait())
    assert turns == ["other", "waiter"]


def test_time_can_be_set_to_a_later_moment_and_never_back():
    clock = VirtualClock(datetime(2026, 1, 1, tzinfo=UTC))
    clock.set(datetime(2026, 1, 2, tzinfo=UTC))
    assert clock.now() == datetime(2026, 1, 2, tzinfo=UTC)
    with pytest.raises(ValueError, match="does not go back"):
        clock.set(datetime(2026, 1, 1, tzinfo=UTC))
    with pytest.raises(ValueError, match="aware"):
        VirtualClock(datetime(2026, 1, 1))  # noqa: DTZ001 - that is the mistake


def test_a_day_begins_at_midnight_in_oslo_summer_and_winter():
    winter = datetime(2026, 1, 31, 23, 0, tzinfo=UTC).timestamp()
    summer = datetime(2026, 6, 30, 22, 0, tzinfo=UTC).timestamp()
    assert date.fromordinal(oslo_day(winter)) == date(2026, 2, 1)
    assert date.fromordinal(oslo_day(winter - 1)) == date(2026, 1, 31)
    assert date.fromordinal(oslo_day(summer)) == date(2026, 7, 1)
    assert date.fromordinal(oslo_day(summer - 1)) == date(2026, 6, 30)


def test_many_days_at_once_are_the_same_as_one_by_one_across_the_change_to_summer_time():
    moments = datetime(2026, 3, 27, tzinfo=UTC).timestamp() + np.arange(0, 5 * 86_400, 1800.0)
    assert oslo_days(moments).tolist() == [oslo_day(moment) for moment in moments]
    assert oslo_days(np.zeros(0)).tolist() == []
