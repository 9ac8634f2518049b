import asyncio
import dataclasses
import logging
import re
import threading
import uuid
from datetime import date

import httpx
import numpy as np
import pytest

from kfr.register import transport
from kfr.register.client import AsyncRegisterClient, RegisterClient
from kfr.register.errors import (
    AccessRefused,
    InvalidRequest,
    MaskinportenRefused,
    NotRegistered,
    OutcomeUnknown,
    Retriable,
)
from kfr.register.maskinporten import TokenSource
from kfr.relationships.batch_file import CONTENT_TYPE, FRAME_BYTES, MAX_BODY_BYTES, request_body
from tests.unit.register.loopback import Loopback, answer, hang_up, reset, stay_silent, unreachable

PERSON = 1810112345  # 01810112345: the month is + 80, so it belongs to no one
COMPANY = 212345679
DAY, NEXT_DAY = date(2026, 11, 23), date(2026, 11, 24)
INSTITUTION = "/kar-ws/api/v1/customers/financialInstitutions/312345676"
FILE = b"01810112345#2020-01-31,212345679"


class Register:
    """Answers in turn, the last answer for ever; keeps the requests."""

    def __init__(self, *answers):
        self.answers = [httpx.Response(one) if isinstance(one, int) else one for one in answers]
        self.requests = []

    def __call__(self, request):
        self.requests.append(request)
        given = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return httpx.Response(given.status_code, headers=given.headers, content=given.content)


@pytest.fixture
def client_of(settings, tokens, clock):
    """A client of a register that answers as given."""
    opened = []

    def make(register, **options):
        opened.append(
            RegisterClient(settings, tokens, clock, transport=httpx.MockTransport(register), **options)
        )
        return opened[-1]

    yield make
    for client in opened:
        client.close()


def look_up_async(settings, tokens, clock, register=None, url=None):
    """One look-up in a trigger's way."""

    async def run():
        chosen = settings if url is None else dataclasses.replace(settings, base_url=url)
        transport = None if register is None else httpx.MockTransport(register)
        client = AsyncRegisterClient(chosen, tokens, clock, async_transport=transport)
        try:
            return await client.look_up(PERSON, DAY, NEXT_DAY)
        finally:
            await client.aclose()

    return asyncio.run(run())


CALLS = {
    "register_one": lambda client: client.register_one(PERSON),
    "remove_one": lambda client: client.remove_one(PERSON),
    "send_file": lambda client: client.send_file(FILE),
    "look_up": lambda client: client.look_up(PERSON, DAY, NEXT_DAY),
}
SUCCESS = {"register_one": 201, "remove_one": 204, "send_file": 201, "look_up": httpx.Response(200, json={})}
operations = pytest.mark.parametrize("operation", CALLS)


def code(status, text):
    return httpx.Response(status, json={"errorCode": text, "errorMessage": "01810112345", "timestamp": "now"})


# What is sent


def test_one_relationship_is_registered_without_body_or_date(client_of):
    register = Register(201)
    client_of(register).register_one(PERSON)
    (request,) = register.requests
    assert (request.method, request.url.path) == ("POST", f"{INSTITUTION}/relationshipType/DSOPBANK")
    assert request.headers["CustomerID"] == "01810112345"
    assert request.url.query == b""
    assert request.content == b""
    assert request.headers["Content-Length"] == "0"


def test_one_relationship_is_removed_by_the_same_address(client_of):
    register = Register(204)
    client_of(register).remove_one(COMPANY)
    (request,) = register.requests
    assert (request.method, request.url.path) == ("DELETE", f"{INSTITUTION}/relationshipType/DSOPBANK")
    assert request.headers["CustomerID"] == "212345679"
    assert request.content == b""


def test_a_file_is_sent_as_it_is_with_an_unquoted_boundary(client_of):
    register = Register(201)
    correlation_id = client_of(register).send_file(FILE)
    (request,) = register.requests
    assert (request.method, request.url.path) == ("POST", f"{INSTITUTION}/batch")
    assert request.content == request_body(FILE)
    assert request.headers["Content-Type"] == CONTENT_TYPE
    assert '"' not in request.headers["Content-Type"]
    assert request.headers["CorrelationID"] == correlation_id
    assert "CustomerID" not in request.headers


def test_a_look_up_keeps_the_slash_and_sends_both_dates(client_of):
    register = Register(httpx.Response(200, json={"banks": []}))
    client_of(register).look_up(PERSON, DAY, NEXT_DAY)
    (request,) = register.requests
    assert request.method == "GET"
    assert request.url.raw_path == f"{INSTITUTION}/?fromDate=2026-11-23&toDate=2026-11-24".encode()
    assert request.headers["CustomerID"] == "01810112345"


@operations
def test_every_call_carries_token_and_a_correlation_id_of_its_own(client_of, operation):
    register = Register(SUCCESS[operation])
    client = client_of(register)
    CALLS[operation](client)
    CALLS[operation](client)
    ids = [request.headers["CorrelationID"] for request in register.requests]
    assert len({uuid.UUID(one) for one in ids}) == 2
    assert all(uuid.UUID(one).version == 4 for one in ids)
    assert {request.headers["Authorization"] for request in register.requests} == {"Bearer token-1"}


def test_an_identifier_out_of_an_array_is_written_in_full(client_of):
    register = Register(201)
    client_of(register).register_one(np.int64(PERSON))
    assert register.requests[0].headers["CustomerID"] == "01810112345"


def test_a_file_over_the_limit_is_not_sent(client_of):
    register = Register(201)
    client = client_of(register)
    client.send_file(b"1" * (MAX_BODY_BYTES - FRAME_BYTES))
    with pytest.raises(InvalidRequest, match="was not sent"):
        client.send_file(b"1" * (MAX_BODY_BYTES - FRAME_BYTES + 1))
    assert len(register.requests) == 1


# What the answers mean


def test_a_registration_says_whether_it_was_added_or_there_already(client_of):
    assert client_of(Register(201)).register_one(PERSON) is True
    assert client_of(Register(200)).register_one(PERSON) is False


def test_a_removal_of_what_is_not_there_says_so(client_of):
    with pytest.raises(NotRegistered):
        client_of(Register(code(404, "KFR-008"))).remove_one(PERSON)


def test_found_is_our_own_number(client_of, settings, tokens, clock):
    banks = httpx.Response(200, json={"banks": [{"organizationID": settings.fid}]})
    assert client_of(Register(banks)).look_up(PERSON, DAY, NEXT_DAY) is True
    assert look_up_async(settings, tokens, clock, Register(banks)) is True
    assert client_of(Register(code(404, "KFR-008"))).look_up(PERSON, DAY, NEXT_DAY) is False
    assert look_up_async(settings, tokens, clock, Register(code(404, "KFR-008"))) is False


@pytest.mark.parametrize(
    ("operation", "status"),
    [("register_one", 202), ("register_one", 204), ("remove_one", 200), ("remove_one", 202), ("send_file", 200), ("send_file", 202)],
)  # fmt: skip
def test_a_success_that_is_not_documented_is_none(client_of, operation, status):
    with pytest.raises(OutcomeUnknown):
        CALLS[operation](client_of(Register(status)))


@operations
def test_every_error_carries_the_correlation_id_that_was_sent(client_of, operation):
    for answered in (400, 403, 429, 500, code(400, "KFR-005")):
        register = Register(answered)
        with pytest.raises(Exception, match="CorrelationID") as caught:
            CALLS[operation](client_of(register))
        assert caught.value.correlation_id == register.requests[0].headers["CorrelationID"]
        assert caught.value.operation == operation


# A token that is refused


@operations
def test_a_401_is_answered_with_one_fresh_token(client_of, operation):
    register = Register(code(401, "KFR-001"), SUCCESS[operation])
    CALLS[operation](client_of(register))
    assert [request.headers["Authorization"] for request in register.requests] == [
        "Bearer token-1",
        "Bearer token-2",
    ]
    assert len({request.headers["CorrelationID"] for request in register.requests}) == 1
    assert register.requests[0].content == register.requests[1].content


@operations
@pytest.mark.parametrize("answered", [code(401, "KFR-001"), code(401, "ERR-001"), 401])
def test_a_second_401_is_a_refusal_and_no_third_token_is_fetched(
    client_of, maskinporten, operation, answered
):
    register = Register(answered)
    with pytest.raises(AccessRefused):
        CALLS[operation](client_of(register))
    assert len(register.requests) == 2
    assert len(maskinporten.requests) == 2


def test_a_trigger_s_401_is_answered_with_one_fresh_token(settings, tokens, clock, maskinporten):
    assert look_up_async(settings, tokens, clock, Register(401, SUCCESS["look_up"])) is False
    with pytest.raises(AccessRefused):
        look_up_async(settings, tokens, clock, Register(401))
    assert len(maskinporten.requests) == 3


def test_without_a_token_nothing_is_sent(settings, certificate, clock):
    refusing = httpx.MockTransport(lambda request: httpx.Response(400, json={"error_uri": "MP-250"}))
    tokens = TokenSource(settings, certificate, clock, transport=refusing)
    register = Register(201)
    with (
        RegisterClient(settings, tokens, clock, transport=httpx.MockTransport(register)) as client,
        pytest.raises(MaskinportenRefused),
    ):
        client.register_one(PERSON)
    assert register.requests == []


# The pace


def test_calls_keep_the_pace_of_the_settings(client_of, clock):
    client = client_of(Register(201))
    for _ in range(21):
        client.register_one(PERSON)
    assert clock.monotonic() == pytest.approx(1.0)


def test_a_task_may_be_given_its_share_of_the_pace(client_of, clock):
    client = client_of(Register(201), requests_per_second=4)
    for _ in range(5):
        client.register_one(PERSON)
    assert clock.monotonic() == pytest.approx(1.0)


def test_the_second_try_after_a_401_keeps_the_pace_too(client_of, clock):
    client_of(Register(401, 201), requests_per_second=1).register_one(PERSON)
    assert clock.monotonic() == pytest.approx(1.0)


def test_a_trigger_keeps_the_pace(settings, tokens, clock):
    async def run():
        client = AsyncRegisterClient(
            settings,
            tokens,
            clock,
            requests_per_second=10,
            async_transport=httpx.MockTransport(Register(SUCCESS["look_up"])),
        )
        for _ in range(11):
            await client.look_up(PERSON, DAY, NEXT_DAY)
        await client.aclose()

    asyncio.run(run())
    assert clock.monotonic() == pytest.approx(1.0)


# Real trouble on a real line


@pytest.fixture
def call_at(settings, tokens, clock, monkeypatch):
    """Make a call to a register on the network, with little patience."""
    monkeypatch.setattr(transport, "TIMEOUT", httpx.Timeout(0.2))

    def call(operation, url):
        if operation == "look_up_async":
            return look_up_async(settings, tokens, clock, url=url)
        with RegisterClient(dataclasses.replace(settings, base_url=url), tokens, clock) as client:
            return CALLS[operation](client)

    return call


HALF_HEAD = answer("HTTP/1.1 201 Crea")
HALF_BODY = answer('HTTP/1.1 201 Created\nContent-Length: 50\n\n{"a":')
GARBAGE = answer("SMTP ready\n\n")


@pytest.mark.parametrize(
    "trouble",
    [stay_silent, reset, hang_up, HALF_HEAD, HALF_BODY, GARBAGE],
    ids=["silent", "reset", "hung up", "half a head", "half a body", "garbage"],
)
@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        ("register_one", OutcomeUnknown),
        ("remove_one", OutcomeUnknown),
        ("send_file", OutcomeUnknown),
        ("look_up", Retriable),
        ("look_up_async", Retriable),
    ],
)
def test_after_sending_began_a_write_may_have_been_done_and_a_look_up_may_be_repeated(
    call_at, operation, kind, trouble
):
    with Loopback(trouble) as server, pytest.raises(kind) as caught:
        call_at(operation, server.url)
    assert type(caught.value) is kind
    assert f"CorrelationID: {caught.value.correlation_id}".encode() in server.requests[0]
    assert caught.value.__context__ is None


def test_a_file_that_nobody_takes_ends_in_time(call_at, monkeypatch):
    """The other side accepts the connection and never reads, so that sending itself comes to a stop."""
    monkeypatch.setitem(CALLS, "send_file", lambda client: client.send_file(b"1" * 9_000_000))
    gave_up = threading.Event()
    with Loopback(lambda connection: gave_up.wait(5), reads=False) as server:
        with pytest.raises(OutcomeUnknown, match="WriteTimeout"):
            call_at("send_file", server.url)
        gave_up.set()


@pytest.mark.parametrize("operation", [*CALLS, "look_up_async"])
def test_where_nobody_listens_nothing_was_done(call_at, operation):
    with pytest.raises(Retriable, match="no connection"):
        call_at(operation, unreachable())


def test_a_file_goes_over_a_real_line_byte_by_byte(call_at):
    created = answer("HTTP/1.1 201 Created\nContent-Length: 0\nConnection: close\n\n")
    with Loopback(created) as server:
        correlation_id = call_at("send_file", server.url)
    head, body = server.requests[0].split(b"\r\n\r\n", 1)
    assert body == request_body(FILE)
    assert f"CorrelationID: {correlation_id}".encode() in head
    assert re.search(rb"(?m)^Content-Length: %d\r?$" % len(body), head)


# What must not be seen


@operations
def test_no_identifier_or_token_is_logged_put_in_a_url_or_quoted_in_an_error(client_of, caplog, operation):
    caplog.set_level(logging.DEBUG)
    refusing = Register(code(400, "KFR-005"))
    with pytest.raises(Exception, match="KFR-005") as caught:
        CALLS[operation](client_of(refusing))
    seen = (
        caplog.text
        + str(caught.value)
        + repr(caught.value)
        + repr(vars(caught.value))
        + str(refusing.requests[0].url)
    )
    for secret in ("01810112345", "1810112345", "token-1"):
        assert secret not in seen
    assert caught.value.__context__ is None


def test_httpx_failures_are_not_chained_for_they_hold_the_request(client_of):
    def cut(request):
        raise httpx.ReadError("broken", request=request)

    with pytest.raises(OutcomeUnknown) as caught:
        client_of(cut).register_one(PERSON)
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None
