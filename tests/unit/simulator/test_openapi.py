"""The description, the simulator and the client, each held against the others."""

import asyncio
import base64
import json
from contextlib import suppress
from dataclasses import replace
from datetime import date, timedelta
from http import HTTPStatus

import httpx
import pytest
import schemathesis
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from openapi_spec_validator import validate
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    positive_data_acceptance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from kfr.clock import SystemClock
from kfr.register.certificate import load_keystore
from kfr.register.client import AsyncRegisterClient, RegisterClient
from kfr.register.errors import KfrError
from kfr.register.maskinporten import TokenSource
from kfr.register.settings import Settings
from kfr.relationships.batch_file import request_body
from tests import keystores
from tests.simulator import Fault, Switches
from tests.simulator.certificates import Holder
from tests.simulator.description import DESCRIPTION, flaws_of
from tests.simulator.http_front import HttpFront
from tests.simulator.identifiers import is_identifier
from tests.simulator.in_process import AsyncFront, SyncFront, _as_response
from tests.unit.simulator.caller import CLIENT_ID, FID, ORGANISATIONS, Caller, make_simulator, make_x5c

OPERATIONS = ("register_one", "remove_one", "register_file", "look_up", "token")


def test_the_description_is_openapi():
    validate(DESCRIPTION)


# --- the simulator, as described ---

IDS = st.sampled_from(ORGANISATIONS) | st.from_regex("[0-9]{9}", fullmatch=True).filter(is_identifier)
ENTRIES = IDS | st.builds("{}#{}".format, IDS, st.dates().map(date.isoformat))
schemathesis.openapi.format("customer-id", IDS)
schemathesis.openapi.format("batch-file", st.lists(ENTRIES, min_size=1, max_size=4).map(",".join))
SCHEMA = schemathesis.openapi.from_dict(json.loads(json.dumps(DESCRIPTION)))
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@schemathesis.serializer("multipart/form-data")
def write_form(_, fields):
    """As the contract has it: OpenAPI has no word for the name of a file."""
    named = {"customers": '; filename="customers.csv"\r\nContent-Type: text/plain'}
    parts = (
        f'--xyz\r\nContent-Disposition: form-data; name="{name}"{named.get(name, "")}\r\n\r\n{value}\r\n'
        for name, value in (fields if isinstance(fields, dict) else {"": fields}).items()
    )
    return "".join([*parts, "--xyz--\r\n"]).encode(errors="replace")


@pytest.fixture(scope="module")
def caller():
    simulator = make_simulator(clock=SystemClock(), rate=1000)
    with HttpFront(simulator), httpx.Client(timeout=5.0, trust_env=False) as http:
        yield Caller(simulator, http)


def sign(header, claims):
    """An assertion of any header and any claims, rightly signed."""
    parts = (base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, claims))
    signed = b".".join(parts)
    signature = keystores.rsa_key().sign(signed, PKCS1v15(), SHA256())
    return (signed + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


@pytest.mark.parametrize("mode", GenerationMode)
@pytest.mark.parametrize("name", OPERATIONS)
def test_the_simulator_answers_as_described(caller, name, mode):
    header = {"alg": "RS256", "x5c": make_x5c(caller.simulator.clock)}
    schemathesis.openapi.format("assertion", st.builds(lambda: sign(header, caller.claims())))
    judge = negative_data_rejection if mode is GenerationMode.NEGATIVE else positive_data_acceptance
    checks = [*CHECKS, judge]
    base_url, headers, in_path = caller.simulator.base_url, {}, {"fid": FID}
    if name == "token":
        base_url, in_path = caller.simulator.issuer.rstrip("/"), {}
    if name == "register_file":
        headers["Content-Type"] = "multipart/form-data; boundary=xyz"
    if name == "look_up":
        checks.remove(judge)  # a period may end before it begins, and most texts are no query at all

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(SCHEMA.find_operation_by_id(name).as_strategy(mode, path_parameters=in_path))
    def answers(case):
        authorization = {"Authorization": f"Bearer {caller.token()}"} if name != "token" else {}
        case.call_and_validate(base_url=base_url, headers=headers | authorization, checks=checks)

    answers()


def test_a_path_with_a_line_break_is_answered_as_described(caller):
    operation = SCHEMA.find_operation_by_id("remove_one")
    case = operation.Case(
        path_parameters={"fid": FID, "relationshipType": "a\nb"},
        headers={
            "CustomerID": ORGANISATIONS[0],
            "CorrelationID": "c",
            "Authorization": f"Bearer {caller.token()}",
        },
    )
    answer = case.call_and_validate(base_url=caller.simulator.base_url, checks=CHECKS)
    assert answer.status_code == HTTPStatus.BAD_REQUEST


PARTS = st.dictionaries(
    st.sampled_from(["alg", "x5c", "kid", "iat", "exp", "jti", "aud", "scope", "typ"]),
    st.recursive(
        st.none() | st.just(10**400) | st.integers() | st.floats() | st.text(max_size=5) | st.just("RS256"),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    ),
    max_size=4,
)


@settings(deadline=None)
@given(PARTS, PARTS, st.booleans())
@example({}, {"iat": 10**400}, True)
def test_maskinporten_answers_any_assertion(header, claims, rightly):
    caller = Caller(make_simulator())
    if rightly:
        claims = caller.claims() | claims
        if type(claims["iat"]) is int:
            claims["exp"] = claims["iat"] + 100
        header = {"alg": "RS256", "x5c": make_x5c(caller.simulator.clock)}
    answer = caller.post_assertion(sign(header, claims))
    assert answer.status_code in {200, 400, 403}
    assert ("access_token" in answer.json()) is (answer.status_code == HTTPStatus.OK)


# --- the client, as described ---

CUSTOMER = int(ORGANISATIONS[0])
DAY = date(2020, 1, 31)
TROUBLES = {
    "none": None,
    "tokens are refused": {"status": 401, "times": 2},
    "the register fails": {"status": 500},
    "a gateway fails": {"status": 503, "body": "html", "retry_after": 1},
    "a gateway says nothing": {"status": 429, "body": "empty"},
    "too large": {"status": 413},
}


class Wire:
    """A simulator whose requests and answers are kept."""

    def __init__(self, trouble="none", **options):
        key = Holder(key=keystores.rsa_key("leaf").public_key(), organisation=FID)
        self.simulator = make_simulator(registered_keys={"our-key": key}, **options)
        for operation in OPERATIONS if TROUBLES[trouble] else ():
            fault = Fault(kind="status", operation=operation, nth=1, **TROUBLES[trouble])
            self.simulator.faults.add(fault)
        self.exchanges = []

    def handle(self, request):
        answer = self.simulator.handle(request)
        self.exchanges.append((request, answer))
        return answer

    def flaws(self):
        base_url, issuer = self.simulator.base_url, self.simulator.issuer
        return [
            flaw
            for request, _ in self.exchanges
            for flaw in flaws_of(request, base_url=base_url, issuer=issuer)
        ]


def settings_of(simulator, **options):
    return Settings(
        environment="test",
        fid=FID,
        base_url=simulator.base_url,
        client_id=CLIENT_ID,
        keystore="unused",
        keystore_password=keystores.PASSWORD,
        maskinporten_issuer=simulator.issuer,
        staging_key=bytes(32),
        **options,
    )


def use_all_operations(wire, **options):
    """Each operation once and more, by worker and trigger, whatever comes back."""
    clock, made = wire.simulator.clock, settings_of(wire.simulator, **options)
    times = {"not_before": clock.now() - timedelta(days=9), "not_after": clock.now() + timedelta(days=9)}
    certificate = load_keystore(
        base64.b64encode(keystores.make_keystore(**times)).decode(),
        keystores.PASSWORD,
        expected_organisation=FID,
        environment="test",
        at=clock.now(),
    )
    transports = {
        "transport": SyncFront(wire.handle, clock),
        "async_transport": AsyncFront(wire.handle, clock),
    }
    tokens = TokenSource(made, certificate, clock, **transports)
    with RegisterClient(made, tokens, clock, transport=transports["transport"]) as client:
        for call in (
            lambda: client.look_up(CUSTOMER, DAY, DAY),
            lambda: client.register_one(CUSTOMER),
            lambda: client.register_one(CUSTOMER),
            lambda: client.look_up(CUSTOMER, DAY, date(2026, 1, 1)),
            lambda: client.remove_one(CUSTOMER),
            lambda: client.remove_one(CUSTOMER),
            lambda: client.send_file(f"{ORGANISATIONS[0]}#2020-01-31,{ORGANISATIONS[1]}".encode()),
            lambda: client.send_file(b"123456789"),
            lambda: asyncio.run(look_up_in_a_trigger(made, tokens, clock, transports["async_transport"])),
        ):
            tokens.invalidate()
            with suppress(KfrError):
                call()


async def look_up_in_a_trigger(made, tokens, clock, transport):
    client = AsyncRegisterClient(made, tokens, clock, async_transport=transport)
    await client.look_up(CUSTOMER, DAY, DAY)
    await client.aclose()


@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize("options", [{}, {"kid": "our-key"}, {"consumer_org": FID}], ids=str)
def test_the_client_sends_what_is_described(options, trouble):
    wire = Wire(trouble)
    use_all_operations(wire, **options)
    assert {event.operation for event in wire.simulator.log if event.status} == set(OPERATIONS)
    assert wire.flaws() == []


@pytest.mark.parametrize(
    ("trouble", "form"),
    [
        *((trouble, "empty_banks") for trouble in TROUBLES),
        *(("none", form) for form in ("no_banks", "not_found_kfr", "not_found_err")),
    ],
)
def test_what_is_not_documented_is_described_either_way(trouble, form):
    wire = Wire(trouble, switches=Switches(no_relationship=form))
    use_all_operations(wire)
    calls = [event.operation for event in wire.simulator.log if event.status]
    for (_, answer), operation in zip(wire.exchanges, calls, strict=True):
        response = _as_response(answer)
        response.request, response.elapsed = httpx.Request("GET", "https://register.test"), timedelta()
        SCHEMA.find_operation_by_id(operation).validate_response(response)


@pytest.mark.parametrize(
    "change",
    [
        {"path": "/kar-ws/api/v1/customers/financialInstitutions/312345676"},
        {"path": "/kar-ws/api/v1/customers/financialInstitutions/31234567/"},
        {"method": "PUT"},
        {"query": "fromDate=2020-1-31&toDate=2020-01-31"},
        {"query": "from=2020-01-31"},
        {"query": "fromDate=2020-01-31&fromDate=2020-01-31"},
        {"headers": {"customerid": "298765439"}},
        {"headers": {"customerid": None}},
        {"headers": {"correlationid": "1"}},
        {"headers": {"authorization": None}},
        {"body": b"x"},
    ],
    ids=str,
)
def test_a_request_that_is_not_as_described_is_found(change):
    wire = Wire()
    use_all_operations(wire)
    right = wire.exchanges[1][0]
    headers = dict(right.headers) | change.get("headers", {})
    headers = {name: value for name, value in headers.items() if value is not None}
    wrong = replace(right, **(change | {"headers": headers}))
    addresses = {"base_url": wire.simulator.base_url, "issuer": wire.simulator.issuer}
    assert flaws_of(right, **addresses) == []
    assert len(flaws_of(wrong, **addresses)) == 1


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data; boundary=kfr-batch-file", request_body(b"298765438;298765446")),
        (
            "multipart/form-data; boundary=kfr-batch-file",
            request_body(b"298765438").replace(b"DSOPBANK", b"X"),
        ),
        (
            "multipart/form-data; boundary=kfr-batch-file",
            request_body(b"298765438").replace(b"/plain", b"/csv"),
        ),
        (
            "multipart/form-data; boundary=kfr-batch-file",
            request_body(b"298765438").replace(b"s.csv", b".csv"),
        ),
        ('multipart/form-data; boundary="kfr-batch-file"', request_body(b"298765438")),
        ("text/plain", b"298765438"),
    ],
)
def test_a_file_that_is_not_as_described_is_found(content_type, body):
    wire = Wire()
    use_all_operations(wire)
    (right, *_) = (request for request, _ in wire.exchanges if request.path.endswith("/batch"))
    wrong = replace(right, headers=dict(right.headers) | {"content-type": content_type}, body=body)
    addresses = {"base_url": wire.simulator.base_url, "issuer": wire.simulator.issuer}
    assert flaws_of(right, **addresses) == []
    assert len(flaws_of(wrong, **addresses)) == 1
