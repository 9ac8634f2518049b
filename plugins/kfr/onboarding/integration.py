"""Running the integration test's cases against the register in test, and leaving nothing behind (ONB C-2).

Whom a case registers is written down, sealed, before it is sent; `clean_up` removes them all, also after a
crash. A customer of a file that was accepted is removed only once he is found: a DELETE that comes before its
row finds nothing, and the row comes to life afterwards (ONB D-3).
"""

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import Any, Final

import httpx

from kfr.clock import oslo_today
from kfr.load import lease
from kfr.load.patience import persist
from kfr.load.world import World
from kfr.onboarding import synthetic
from kfr.onboarding.cases import Case
from kfr.onboarding.wire import Sent, build, read_answer
from kfr.register.errors import Fatal, KfrError, NotRegistered, Retriable
from kfr.register.limits import Pace
from kfr.register.maskinporten import TokenSource
from kfr.register.transport import describe, open_client

PASSED, FAILED, NOT_RUN = "passed", "failed", "not_run"
CUSTOMERS: Final = "integration/customers.json"
RESULTS: Final = "integration/results.json"
LOADING_SECONDS: Final = 900  # for a file of three rows; the queue before it is not ours to see
PAUSE_SECONDS: Final = 5
DRAWS: Final = 5


class ProductionRefused(Fatal):
    """Raised when the connection leads to production: synthetic customers have no place there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How one case went. No customer is named."""

    id: str
    outcome: str
    actual: str
    correlation_id: str = ""
    at: str = ""
    milliseconds: int = 0


def require_test(world: World) -> None:
    if world.settings.environment != "test":
        raise ProductionRefused(
            "The integration test is for the test environment; this connection leads to production. Nothing was sent."
        )


def run_cases(world: World, tokens: TokenSource, cases: Sequence[Case]) -> list[Result]:
    """Run every case in order; one that fails does not keep the others from running."""
    require_test(world)
    lease.check(world)
    with open_client(None) as http:
        tester = _Tester(world, tokens, http)
        results = [tester.run(case) for case in cases]
    world.place.write_json(RESULTS, [asdict(result) for result in results])
    for result in results:
        world.say(f"{result.id} {result.outcome}: {result.actual}")
    return results


def read_results(world: World) -> list[Result]:
    return [Result(**one) for one in world.place.read_json(RESULTS)]


def clean_up(world: World) -> int:
    """Remove everyone whom the cases may have registered; return how many there were to remove."""
    require_test(world)
    if not world.place.exists(CUSTOMERS):
        return 0
    lease.check(world)
    noted: dict[str, bool] = world.place.read_json(CUSTOMERS)
    removed = 0
    for customer, in_file in list(noted.items()):
        if in_file and not _await(world, int(customer), oslo_today(world.clock)):
            raise Retriable(
                "A file of the test was accepted and is not loaded yet, so its customers cannot be removed. The next "
                "try goes on there."
            )
        removed += _remove(world, int(customer))
        del noted[customer]
        world.place.write_json(CUSTOMERS, noted)
    world.say(f"{removed} synthetic customers removed.")
    return removed


def _remove(world: World, customer: int) -> bool:
    try:
        persist(world.clock, lambda: world.register.remove_one(customer))
    except NotRegistered:
        return False
    return True


def _await(world: World, customer: int, day: date) -> bool:
    """Look a customer up until found; False when the time is out."""
    deadline = world.now + LOADING_SECONDS
    while not world.look_up(customer, day, day):
        if world.now >= deadline:
            return False
        world.clock.sleep(PAUSE_SECONDS)
    return True


class _Tester:
    """The cases of one run, and the customers that they draw."""

    def __init__(self, world: World, tokens: TokenSource, http: httpx.Client) -> None:
        self._world = world
        self._tokens = tokens
        self._http = http
        self._pace = Pace(world.settings.requests_per_second, world.clock)
        self._rng = random.Random()  # noqa: S311 - drawn, not secret
        self._noted: dict[str, bool] = (
            world.place.read_json(CUSTOMERS) if world.place.exists(CUSTOMERS) else {}
        )

    def run(self, case: Case) -> Result:
        if case.not_run:
            return Result(id=case.id, outcome=NOT_RUN, actual=case.not_run)
        at = self._world.clock.now().isoformat(timespec="seconds")
        try:
            customers = [self._customer(word) for word in case.customers]
            sent = build(
                self._world.settings,
                case,
                customers,
                token=self._tokens.token(),
                other=synthetic.draw_organisation(self._rng),
                today=oslo_today(self._world.clock),
            )
        except KfrError as error:
            return Result(id=case.id, outcome=FAILED, actual=f"ikke klargjort: {type(error).__name__}", at=at)
        return self._send(case, sent, customers, at)

    def _send(self, case: Case, sent: Sent, customers: list[str], at: str) -> Result:
        if case.operation == "register_file":
            self._mark(customers, in_file=True)  # before it is sent: after a crash it may be loading
        self._pace.wait()
        began = self._world.clock.monotonic()
        failure = ""
        try:
            response = self._http.send(sent.request(self._http))
        except httpx.HTTPError as error:
            failure = describe(error)
        milliseconds = round((self._world.clock.monotonic() - began) * 1000)
        passed, actual = (False, failure) if failure else self._judge(case, response, customers)
        return Result(
            id=case.id,
            outcome=PASSED if passed else FAILED,
            actual=actual,
            correlation_id=sent.correlation_id,
            at=at,
            milliseconds=milliseconds,
        )

    def _judge(self, case: Case, response: httpx.Response, customers: list[str]) -> tuple[bool, str]:
        answer = read_answer(response, self._world.settings.fid, self._world.clock.now())
        if case.operation == "register_file" and response.is_client_error:
            self._mark(customers, in_file=False)
        passed, actual = answer.meets(case.expect), str(answer)
        if passed and case.expect.loaded:
            passed = self._are_loaded(case, customers)
            actual += ", innlastet" if passed else ", ikke innlastet"
        return passed, actual

    def _are_loaded(self, case: Case, customers: list[str]) -> bool:
        today = oslo_today(self._world.clock)
        try:
            return all(
                _await(self._world, int(customer), day_of(word, today) or today)
                for word, customer in zip(case.customers, customers, strict=True)
            )
        except KfrError:
            return False

    def _customer(self, word: str) -> str:
        """The number that a word stands for; "" for none. Whoever may come to be registered is noted first."""
        kind = word.partition("#")[0]
        if kind == "none":
            return ""
        if kind == "letters":
            return "ABCDEFGHIJK"
        draw = synthetic.draw_organisation if kind == "new_organisation" else synthetic.draw_person
        if kind == "wrong_check_digit":
            return synthetic.spoil(draw(self._rng))
        customer = self._draw_unknown(draw)
        self._noted[customer] = False
        self._world.place.write_json(CUSTOMERS, self._noted)
        if kind == "registered_person":
            persist(self._world.clock, lambda: self._world.register.register_one(int(customer)))
        return customer

    def _draw_unknown(self, draw: Any) -> str:
        """Draw someone with whom there is no relationship: it would be removed afterwards."""
        today = oslo_today(self._world.clock)
        for _ in range(DRAWS):
            customer: str = draw(self._rng)
            if not self._world.look_up(int(customer), today, today):
                return customer
        raise Fatal("Every number that was drawn is registered already: is this register in order?")

    def _mark(self, customers: list[str], *, in_file: bool) -> None:
        """Say of those who may come to be registered whether a file may register them."""
        self._noted |= {customer: in_file for customer in customers if customer in self._noted}
        self._world.place.write_json(CUSTOMERS, self._noted)


def day_of(word: str, today: date) -> date | None:
    """The start that a word like ``new_person#-30`` gives; None without a readable one."""
    offset = word.partition("#")[2]
    return today + timedelta(days=int(offset)) if offset.removeprefix("-").isdecimal() else None
