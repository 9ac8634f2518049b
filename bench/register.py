"""Calls to a register on loopback: this package's client, and the barest client that could do the same."""

import asyncio
import time
import uuid
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from kfr.clock import SystemClock, oslo_today

STAGING_KEY = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
UNLIMITED = 1_000_000.0  # requests a second
IN_FLIGHT = 4
TODAY = oslo_today(SystemClock())


def settings_of(stand: dict[str, Any], requests_per_second: float) -> Any:
    from kfr.register.settings import Settings

    return Settings.from_fields(
        host=stand["base_url"],
        login=stand["client_id"],
        password=stand["keystore_password"],
        extra={
            "environment": "test",
            "fid": stand["fid"],
            "keystore": stand["keystore"],
            "maskinporten_issuer": stand["issuer"],
            "staging_key": STAGING_KEY,
            "requests_per_second": requests_per_second,
        },
    )


def _customers(count: int, seed: int) -> list[int]:
    import random

    from tests.simulator.identifiers import make_synthetic

    rng = random.Random(seed)
    return [int(make_synthetic(rng)) for _ in range(count)]


def singles(stand: dict[str, Any], calls: int, rate: float, seed: int) -> Generator[dict[str, Any]]:
    """Register and remove, one by one."""
    from kfr.hooks.kfr import client_of

    customers = _customers(calls // 2, seed)
    with client_of(settings_of(stand, rate), 1.0) as client:
        client.look_up(customers[0], TODAY, TODAY)  # a token, and a connection
        yield {}
        ends = []
        for customer in customers:
            client.register_one(customer)
            ends.append(time.perf_counter())
            client.remove_one(customer)
            ends.append(time.perf_counter())
    yield {"calls": len(ends), "most_in_a_second": _most_in_a_second(ends)}


def look_ups(stand: dict[str, Any], calls: int, rate: float, seed: int) -> Generator[dict[str, Any]]:
    from kfr.hooks.kfr import client_of

    customers = _customers(calls, seed)
    with client_of(settings_of(stand, rate), 1.0) as client:
        client.look_up(customers[0], TODAY, TODAY)
        yield {}
        for customer in customers:
            client.look_up(customer, TODAY, TODAY)
    yield {"calls": calls}


def look_ups_in_flight(
    stand: dict[str, Any], calls: int, rate: float, seed: int
) -> Generator[dict[str, Any]]:
    """A trigger's client, several look-ups at a time; its start is in the time."""
    from kfr.hooks.kfr import async_client_of

    customers, settings = _customers(calls, seed), settings_of(stand, rate)
    yield {}

    async def look_all_up() -> None:
        client = async_client_of(settings, 1.0)
        slots = asyncio.Semaphore(IN_FLIGHT)

        async def look_up(customer: int) -> None:
            async with slots:
                await client.look_up(customer, TODAY, TODAY)

        await asyncio.gather(*(look_up(customer) for customer in customers))
        await client.aclose()

    asyncio.run(look_all_up())
    yield {"calls": calls}


def singles_in_flight(stand: dict[str, Any], calls: int, rate: float, seed: int) -> Generator[dict[str, Any]]:
    """Several workers, a client each, as the tasks of a run have; each takes its share of the rate."""
    from kfr.hooks.kfr import client_of

    customers, settings = _customers(calls // 2, seed), settings_of(stand, rate)
    clients = [client_of(settings, 1 / IN_FLIGHT) for _ in range(IN_FLIGHT)]
    for client in clients:
        client.look_up(customers[0], TODAY, TODAY)
    yield {}

    def work(number: int) -> None:
        for customer in customers[number::IN_FLIGHT]:
            clients[number].register_one(customer)
            clients[number].remove_one(customer)

    with ThreadPoolExecutor(IN_FLIGHT) as threads:
        list(threads.map(work, range(IN_FLIGHT)))
    yield {"calls": 2 * len(customers)}


def bare_singles(stand: dict[str, Any], calls: int, seed: int) -> Generator[dict[str, Any]]:
    """httpx, kept alive, the same calls; no errors are told apart, nothing is paced."""
    import httpx

    url, token = _bare(stand)
    customers = _customers(calls // 2, seed)
    with httpx.Client() as client:
        client.get(stand["url"] + "/simulator/")
        yield {}
        for customer in customers:
            for method in ("POST", "DELETE"):
                client.request(method, url, headers=_headers(token, customer)).raise_for_status()
    yield {"calls": 2 * len(customers)}


def bare_in_flight(stand: dict[str, Any], calls: int, seed: int) -> Generator[dict[str, Any]]:
    """The same in a raw asyncio loop, several at a time, one connection each."""
    import httpx

    url, token = _bare(stand)
    customers = _customers(calls // 2, seed)
    yield {}

    async def work(mine: Sequence[int]) -> None:
        async with httpx.AsyncClient() as client:
            for customer in mine:
                for method in ("POST", "DELETE"):
                    answer = await client.request(method, url, headers=_headers(token, customer))
                    answer.raise_for_status()

    async def work_together() -> None:
        await asyncio.gather(*(work(customers[number::IN_FLIGHT]) for number in range(IN_FLIGHT)))

    asyncio.run(work_together())
    yield {"calls": 2 * len(customers)}


def upload(port: int, file: str) -> Generator[dict[str, Any]]:
    """The package's client sends a file of ten megabytes to a server that only takes it in."""
    from kfr.register.client import RegisterClient

    settings: Any = SimpleNamespace(
        base_url=f"http://127.0.0.1:{port}", fid="312345676", requests_per_second=UNLIMITED
    )
    tokens: Any = SimpleNamespace(token=lambda: "token", invalidate=lambda _: None)
    customers = Path(file).read_bytes()
    seconds = []
    yield {}
    for _ in range(7):
        with RegisterClient(settings, tokens, SystemClock()) as client:
            began = time.perf_counter()
            client.send_file(customers)
            seconds.append(time.perf_counter() - began)
    yield {"each": seconds}


def tokens(calls: int) -> Generator[dict[str, Any]]:
    """How many assertions are signed for so many calls at 20 a second, in virtual time."""
    from tests.faults.institution import Institution, fast_folder
    from tests.simulator import Switches

    institution = Institution(folder=fast_folder() / "none", switches=Switches(), requests_per_second=20.0)
    from kfr.load.world import Run

    world = institution.world(Run(dag_id="bench", run_id="tokens"))
    [customer] = _customers(1, 1)
    yield {}
    for _ in range(calls):
        world.register.look_up(customer, TODAY, TODAY)
    signed = sum(event.kind == "token" for event in institution.simulator.log)
    yield {"calls": calls, "signed": signed}


def _bare(stand: dict[str, Any]) -> tuple[str, str]:
    from kfr.hooks.kfr import tokens_of

    url = f"{stand['base_url']}/customers/financialInstitutions/{stand['fid']}/relationshipType/DSOPBANK"
    return url, tokens_of(settings_of(stand, UNLIMITED), SystemClock()).token()


def _headers(token: str, customer: int) -> dict[str, str]:
    return {
        "Authorization": f"Bearer {token}",
        "CustomerID": f"{customer:011d}",
        "CorrelationID": str(uuid.uuid4()),
    }


def _most_in_a_second(ends: Sequence[float]) -> int:
    """The most calls within any second that begins with one."""
    import bisect

    return max(bisect.bisect_left(ends, end + 1.0) - at for at, end in enumerate(ends))
