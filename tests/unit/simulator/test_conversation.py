"""What the client sends and what the simulator answers, over HTTP, is what tests/simulator/openapi describes."""

import asyncio
import base64
import contextlib
from datetime import UTC, date, datetime

import httpx
import numpy as np
import pytest

from kfr.clock import SystemClock
from kfr.register.certificate import load_keystore
from kfr.register.client import AsyncRegisterClient, RegisterClient
from kfr.register.errors import KfrError, NotRegistered
from kfr.register.maskinporten import REMEDIES, TokenSource
from kfr.register.settings import Settings
from kfr.relationships.batch_file import render
from kfr.relationships.packing import day_number, pack
from tests import keystores
from tests.simulator import Fault, Simulator, Switches
from tests.simulator.certificates import Holder
from tests.simulator.http_front import HttpFront
from tests.unit.simulator.caller import CLIENT_ID, FID, make_simulator
from tests.unit.simulator.description import Description

ORGANISATION = 298765438
TODAY = datetime.now(UTC).date()
FILE = render(pack(np.array([298765446, 298765454]), np.array([0, day_number(date(2020, 1, 31))])))
CERTIFICATE = load_keystore(
    base64.b64encode(keystores.make_keystore()).decode(),
    keystores.PASSWORD,
    expected_organisation=FID,
    environment="test",
    at=datetime.now(UTC),
)
CALLS = {
    "register_one": lambda client: client.register_one(ORGANISATION),
    "remove_one": lambda client: client.remove_one(ORGANISATION),
    "register_file": lambda client: client.send_file(FILE),
    "look_up": lambda client: client.look_up(ORGANISATION, date(2020, 1, 31), TODAY),
}


class Recorder(httpx.HTTPTransport):
    """The network, of which every answer is kept."""

    def __init__(self, kept: list[httpx.Response]) -> None:
        super().__init__()
        self._kept = kept

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = super().handle_request(request)
        response.request = request
        request.read()
        response.read()
        self._kept.append(response)
        return response


class AsyncRecorder(httpx.AsyncHTTPTransport):
    def __init__(self, kept: list[httpx.Response]) -> None:
        super().__init__()
        self._kept = kept

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        response.request = request
        await request.aread()
        await response.aread()
        self._kept.append(response)
        return response


class Conversation:
    """An institution with the package's own clients, and everything that was said between it and the simulator."""

    def __init__(self, simulator: Simulator, **fields: str) -> None:
        self.simulator = simulator
        self.said: list[httpx.Response] = []
        settings = Settings.from_fields(
            host=simulator.base_url,
            login=CLIENT_ID,
            password=keystores.PASSWORD,
            extra={
                "environment": "test",
                "fid": FID,
                "keystore": "is handed in",
                "maskinporten_issuer": simulator.issuer,
                "staging_key": base64.b64encode(bytes(32)).decode(),
                "requests_per_second": 1e6,
                **fields,
            },
        )
        clock = SystemClock()
        self.tokens = TokenSource(
            settings,
            CERTIFICATE,
            clock,
            transport=Recorder(self.said),
            async_transport=AsyncRecorder(self.said),
        )
        self.client = RegisterClient(settings, self.tokens, clock, transport=Recorder(self.said))
        self.in_trigger = AsyncRegisterClient(
            settings, self.tokens, clock, async_transport=AsyncRecorder(self.said)
        )

    async def look_up_in_trigger(self) -> bool:
        try:
            return await self.in_trigger.look_up(ORGANISATION, TODAY, TODAY)
        finally:
            await self.in_trigger.aclose()

    def check(self) -> list[tuple[str, int]]:
        """Check what was said, and forget it; return the operations and the statuses, in order."""
        register = Description("register", self.simulator.base_url)
        maskinporten = Description("maskinporten", self.simulator.issuer)
        said, self.said[:] = list(self.said), []
        return [
            (
                (register if register.has(response.request) else maskinporten).check(response),
                response.status_code,
            )
            for response in said
        ]


@pytest.fixture
def simulator():
    holder = Holder(key=CERTIFICATE.key.public_key(), organisation=FID)
    simulator = make_simulator(clock=SystemClock(), rate=1e6, registered_keys={"the-key": holder})
    with HttpFront(simulator):
        yield simulator


@pytest.fixture
def conversation(simulator):
    conversation = Conversation(simulator)
    with conversation.client:
        yield conversation


def test_every_operation_is_asked_and_answered_as_described(conversation):
    client = conversation.client
    assert client.register_one(ORGANISATION)
    assert not client.register_one(ORGANISATION)
    assert client.send_file(FILE)
    assert client.look_up(ORGANISATION, TODAY, TODAY)
    client.remove_one(ORGANISATION)
    with pytest.raises(NotRegistered):
        client.remove_one(ORGANISATION)
    assert conversation.check() == [
        ("token", 200),
        ("register_one", 201),
        ("register_one", 200),
        ("register_file", 201),
        ("look_up", 200),
        ("remove_one", 204),
        ("remove_one", 404),
    ]


def test_a_trigger_asks_as_described(conversation):
    assert not asyncio.run(conversation.look_up_in_trigger())
    assert conversation.check() == [("token", 200), ("look_up", 200)]


def test_every_form_of_finding_nobody_is_described(conversation):
    for form in ("empty_banks", "no_banks", "not_found_kfr", "not_found_err"):
        for other_bank in (False, True):
            conversation.simulator.switches = Switches(no_relationship=form, other_bank=other_bank)
            assert not CALLS["look_up"](conversation.client)
    (_, *look_ups) = conversation.check()
    assert [status for _, status in look_ups] == [200, 200, 200, 200, 404, 200, 404, 200]


def test_an_identifier_that_the_register_takes_for_wrong_is_refused_as_described(conversation):
    conversation.simulator.refuses.update({ORGANISATION, 298765446})
    for call in CALLS.values():
        with pytest.raises(KfrError):
            call(conversation.client)
    assert conversation.check() == [("token", 200), *((operation, 400) for operation in CALLS)]


@pytest.mark.parametrize("body", ["json", "html", "empty", "wrong_type"])
def test_every_refusal_that_is_described_can_be_survived(conversation, body):
    for operation, call in CALLS.items():
        described = Description("register", "").operations()[operation]["responses"]
        refusals = [int(status) for status in described if int(status) >= 400]
        for status in refusals:
            for _ in range(1 + (status == 401)):  # the first is answered with a fresh token and one more try
                plan = Fault(kind="status", operation=operation, nth=1, status=status, body=body)
                conversation.simulator.faults.add(plan)
            with contextlib.suppress(KfrError):  # a look-up may well take a 404 for an answer
                call(conversation.client)
        said = [status for name, status in conversation.check() if name == operation]
        assert sorted(said) == sorted([*refusals, 401])


def test_every_refusal_of_a_token_is_described(conversation):
    for code in REMEDIES:
        plan = Fault(kind="maskinporten_error", operation="token", nth=1, code=code)
        conversation.simulator.faults.add(plan)
        with pytest.raises(KfrError):
            conversation.tokens.token()
    assert len(conversation.check()) == len(REMEDIES)


@pytest.mark.parametrize("fields", [{"kid": "the-key"}, {"consumer_org": FID}])
def test_a_registered_key_and_a_consumer_are_named_as_described(simulator, fields):
    conversation = Conversation(simulator, **fields)
    with conversation.client:
        conversation.tokens.token()
    assert conversation.check() == [("token", 200)]
