import asyncio
import bisect
import itertools
import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kfr.register.limits import CATCH_UP_SECONDS, Pace
from tests.simulator.clock import VirtualClock

SLOWER = 1 + CATCH_UP_SECONDS
GAP = SLOWER / 20  # seconds between two turns at 20 a second


def test_requests_are_spaced_evenly_from_the_first_on(clock):
    pace, turns = Pace(20, clock), []
    for _ in range(5):
        pace.wait()
        turns.append(clock.monotonic())
    gaps = [later - earlier for earlier, later in itertools.pairwise(turns)]
    assert gaps == pytest.approx(
        [GAP - CATCH_UP_SECONDS, GAP, GAP, GAP]
    )  # before the first, some time was unused


def test_one_who_is_slower_than_the_pace_never_waits(clock):
    pace = Pace(20, clock)
    pace.wait()
    clock.advance(0.06)
    pace.wait()
    assert clock.monotonic() == pytest.approx(0.06)


def test_a_pause_saves_up_no_burst(clock):
    pace = Pace(20, clock)
    pace.wait()
    clock.advance(60)
    pace.wait()
    pace.wait()
    assert clock.monotonic() == pytest.approx(60 + GAP - CATCH_UP_SECONDS)


def test_a_trigger_waits_its_turn_as_a_worker_does(clock):
    pace = Pace(20, clock)

    async def take_turns():
        for _ in range(4):
            await pace.await_turn()

    asyncio.run(take_turns())
    assert clock.monotonic() == pytest.approx(3 * GAP - CATCH_UP_SECONDS)


def test_a_turn_that_came_a_little_late_is_made_up_for(clock):
    pace = Pace(500, clock)
    for _ in range(500):
        pace.wait()
        clock.advance(
            0.008 if clock.monotonic() % 0.1 < 0.002 else 0.001
        )  # a slow answer each tenth of a second
    assert clock.monotonic() == pytest.approx(SLOWER, abs=CATCH_UP_SECONDS)


@given(
    per_second=st.floats(0.5, 600),
    pauses=st.lists(st.one_of(st.floats(0, 0.05), st.floats(0, 2)), min_size=2, max_size=200),
)
@example(per_second=150, pauses=[0.1] + [0] * 199)  # as many as there can be
def test_no_second_sees_more_requests_than_the_rate_allows(per_second, pauses):
    clock, turns = VirtualClock(), []
    pace = Pace(per_second, clock)
    for pause in pauses:
        clock.advance(pause)
        pace.wait()
        turns.append(clock.monotonic())
    for at, turn in enumerate(turns):  # a request at either end of a second makes one more than fits between
        within = bisect.bisect_right(turns, turn + 1 - 1e-9) - at
        assert within <= math.floor(per_second + 1e-6) + 1
