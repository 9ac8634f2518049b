"""The stand-in as a whole: independence of the package, defects, and what it costs."""

import asyncio
import random
import re
import time
import tracemalloc
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from tests.simulator.identifiers import is_identifier, make_synthetic, text_of
from tests.unit.simulator.caller import ORGANISATIONS, Caller, make_simulator


def test_only_the_clock_comes_from_the_package():
    folder = Path(__file__).parents[2] / "simulator"
    sources = "\n".join(path.read_text() for path in folder.glob("*.py"))
    taken = set(re.findall(r"^ *((?:from|import) kfr.*)$", sources, re.MULTILINE))
    assert taken == {"from kfr.clock import Clock", "from kfr.clock import SystemClock"}


def loaded(caller):
    caller.send(",".join(f"{one}#2020-01-31" for one in ORGANISATIONS))
    caller.simulator.clock.sleep(10)
    return caller.starts()


def test_a_defect_can_take_a_relationship_away(caller):
    before = loaded(caller)
    gone = text_of(caller.simulator.plant_defect("missing"))
    assert caller.starts() == {one: start for one, start in before.items() if one != gone}
    assert not caller.finds(gone)


def test_a_defect_can_move_a_start(caller):
    before = loaded(caller)
    moved = text_of(caller.simulator.plant_defect("other_start"))
    assert caller.starts() == before | {moved: "2020-01-01"}


def test_a_defect_can_leave_somebody_over(caller):
    before = loaded(caller)
    extra = text_of(caller.simulator.plant_defect("leftover"))
    assert is_identifier(extra)
    start = (caller.simulator.clock.now() - timedelta(days=30)).date().isoformat()
    assert caller.starts() == before | {extra: start}


def test_a_defect_can_be_planted_at_a_given_customer_and_stands_in_the_log(caller):
    loaded(caller)
    assert caller.simulator.plant_defect("missing", int(ORGANISATIONS[1])) == int(ORGANISATIONS[1])
    event = caller.simulator.log[-1]
    assert (event.kind, event.operation, event.customer_id) == ("defect", "missing", int(ORGANISATIONS[1]))


def test_a_defect_that_cannot_be_is_refused(caller):
    for kind in ("missing", "other_start", "anything"):
        with pytest.raises(ValueError):
            caller.simulator.plant_defect(kind)


def test_requests_of_one_loop_take_turns(caller):
    headers = {one: caller.headers(one) for one in ORGANISATIONS}

    async def look_up_twice(http: httpx.AsyncClient, one: str) -> None:
        for _ in range(2):
            await http.get(f"{caller.institution}/", headers=headers[one])

    async def look_all_up() -> None:
        async with httpx.AsyncClient(transport=caller.simulator.async_transport()) as http:
            await asyncio.gather(*(look_up_twice(http, one) for one in ORGANISATIONS))

    asyncio.run(look_all_up())
    asked = [text_of(event.customer_id) for event in caller.simulator.log if event.kind == "look_up"]
    assert asked == [*ORGANISATIONS] * 2


def test_a_rate_of_nothing_is_refused():
    with pytest.raises(ValueError, match="rows_per_second"):
        make_simulator(rate=0)


def test_a_look_up_costs_well_under_a_millisecond_with_many_files():
    caller = Caller(make_simulator(rate=1e5))
    rng = random.Random(1)
    ids = [text_of(make_synthetic(rng)) for _ in range(3000)]
    for first in range(0, 3000, 30):
        caller.send(",".join(ids[first : first + 30]))
    caller.simulator.clock.sleep(1)
    headers = [caller.headers(one) for one in ids]
    url = f"{caller.institution}/"
    began = time.perf_counter()
    for one in headers:
        assert caller.http.get(url, headers=one).json()["banks"]
    assert (time.perf_counter() - began) / 3000 < 0.002  # 0.3 ms here, mostly httpx


def test_a_row_of_a_large_file_costs_tens_of_bytes():
    caller = Caller(make_simulator(rate=1e6))
    rng = random.Random(2)
    rows = ",".join(f"{text_of(make_synthetic(rng))}#2020-01-01" for _ in range(2000))
    customers = ",".join([rows] * 50)
    caller.token()
    tracemalloc.start()
    caller.send(customers)
    caller.simulator.clock.sleep(1)
    caller.finds(customers[:11])
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held / 100_000 < 50
