import asyncio
import base64
import dataclasses
import json
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qs

import httpx
import jwt
import pytest
from cryptography import x509

from kfr.register import transport
from kfr.register.errors import MaskinportenRefused, Retriable
from kfr.register.maskinporten import REMEDIES, TokenSource
from tests.unit.register.loopback import Loopback, answer, hang_up, reset, stay_silent, unreachable

CODES = ("011", "100", "110", "120", "121", "122", "123", "124", "130", "200", "201", "250", "251")


@pytest.fixture
def source_with(settings, certificate, clock):
    """A token source with a transport, and settings that differ."""

    def make(handler, **changes):
        mock = httpx.MockTransport(handler)
        changed = dataclasses.replace(settings, **changes)
        return TokenSource(changed, certificate, clock, transport=mock, async_transport=mock)

    return make


def assertion_of(request):
    return parse_qs(request.content.decode())["assertion"][0]


def part(assertion, number):
    text = assertion.split(".")[number]
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


def always(status, body=None, *, text=None, headers=None):
    content = {"text": text} if body is None else {"json": body}
    return lambda request: httpx.Response(status, headers=headers, **content)


def in_turn(*handlers):
    left = list(handlers)

    def answer_next(request):
        return left.pop(0)(request)

    return answer_next


# What is sent


def test_the_request_is_the_grant_of_rfc_7523(tokens, maskinporten):
    tokens.token()
    (request,) = maskinporten.requests
    form = parse_qs(request.content.decode(), strict_parsing=True)
    assert (request.method, str(request.url)) == ("POST", "https://maskinporten.test/token")
    assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert set(form) == {"grant_type", "assertion"}
    assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]


def test_the_header_is_the_algorithm_and_the_leaf_alone(tokens, maskinporten, certificate):
    tokens.token()
    header = part(assertion_of(maskinporten.requests[0]), 0)
    assert header == {"alg": "RS256", "x5c": [base64.b64encode(certificate.leaf_der).decode()]}


def test_the_signature_is_that_of_the_leaf_s_key(tokens, maskinporten, certificate):
    tokens.token()
    key = x509.load_der_x509_certificate(certificate.leaf_der).public_key()
    options = {"verify_exp": False, "verify_iat": False, "verify_aud": False}
    assert (
        jwt.decode(assertion_of(maskinporten.requests[0]), key, ["RS256"], options=options)["iss"]
        == "the-client"
    )


def test_a_registered_key_is_named_in_place_of_the_certificate(source_with, maskinporten):
    source_with(maskinporten, kid="key-1").token()
    assert part(assertion_of(maskinporten.requests[0]), 0) == {"alg": "RS256", "kid": "key-1"}


def test_the_claims_are_the_contract_s_and_no_other(tokens, maskinporten, clock):
    tokens.token()
    claims = part(assertion_of(maskinporten.requests[0]), 1)
    assert claims.pop("jti")
    now = int(clock.now().timestamp())
    assert claims == {
        "aud": "https://maskinporten.test/",
        "iss": "the-client",
        "iat": now,
        "exp": now + 100,
        "scope": "bits:kundeforhold.write",
    }


def test_a_supplier_asks_on_the_institution_s_behalf(source_with, maskinporten, settings):
    source_with(maskinporten, consumer_org=settings.fid).token()
    claims = part(assertion_of(maskinporten.requests[0]), 1)
    assert set(claims) == {"aud", "iss", "iat", "exp", "jti", "scope", "consumer_org"}
    assert claims["consumer_org"] == settings.fid


def test_an_assertion_is_used_once(tokens, maskinporten):
    for _ in range(3):
        tokens.token()
        tokens.invalidate()
    assert len({part(assertion_of(request), 1)["jti"] for request in maskinporten.requests}) == 3


# How long a token is used


def test_a_token_is_reused_until_ten_seconds_before_it_expires(tokens, clock):
    assert tokens.token() == "token-1"
    clock.advance(109.9)
    assert tokens.token() == "token-1"
    clock.advance(0.1)
    assert tokens.token() == "token-2"


def test_a_token_s_time_runs_from_before_it_was_asked_for(source_with, clock):
    def slow(request):
        clock.advance(50)
        return httpx.Response(200, json={"access_token": f"at-{clock.monotonic():.0f}", "expires_in": 120})

    tokens = source_with(slow)
    assert tokens.token() == "at-50"
    clock.advance(59)
    assert tokens.token() == "at-50"
    clock.advance(1)
    assert tokens.token() == "at-160"


@pytest.mark.parametrize(
    ("lifetime", "fetches"),
    [
        ({}, 1),
        ({"expires_in": 600}, 1),
        ({"expires_in": 10}, 2),
        ({"expires_in": "x"}, 2),
        ({"expires_in": -1}, 2),
        ({"expires_in": None}, 2),
        ({"expires_in": 10**400}, 1),
        ({"expires_in": -(10**400)}, 2),
    ],
)
def test_a_token_that_hardly_lasts_is_used_once_and_120_seconds_is_the_default(
    source_with, clock, lifetime, fetches
):
    asked = []

    def give(request):
        asked.append(request)
        return httpx.Response(200, json={"access_token": "t", **lifetime})

    tokens = source_with(give)
    tokens.token()
    clock.advance(60)
    tokens.token()
    assert len(asked) == fetches


def test_a_refused_token_is_replaced_once_however_many_calls_it_was_refused_for(tokens, maskinporten):
    first = tokens.token()
    for _ in range(10):
        tokens.invalidate(first)
        tokens.token()
    assert len(maskinporten.requests) == 2


def test_threads_wait_for_one_fetch(source_with, maskinporten):
    def slow(request):
        time.sleep(0.05)
        return maskinporten(request)

    tokens, together = source_with(slow), threading.Barrier(8)

    def ask(_):
        together.wait()
        return tokens.token()

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(8))) == {"token-1"}


def test_coroutines_wait_for_one_fetch(source_with, maskinporten):
    async def slow(request):
        await asyncio.sleep(0.02)
        return maskinporten(request)

    tokens = source_with(slow)

    async def ask_together():
        return await asyncio.gather(*(tokens.atoken() for _ in range(8)))

    assert set(asyncio.run(ask_together())) == {"token-1"}


# What a refusal means


def test_every_code_of_the_contract_has_a_remedy():
    assert {f"MP-{number}" for number in CODES} | {"forbidden"} == set(REMEDIES)


@pytest.mark.parametrize("code", [f"MP-{number}" for number in CODES])
@pytest.mark.parametrize("where", ["error_uri", "error_description"])
def test_a_code_becomes_an_error_that_says_what_to_do(source_with, code, where):
    body = {"error": "invalid_grant", where: f"see https://docs.example/errors/{code} for more"}
    with pytest.raises(MaskinportenRefused) as caught:
        source_with(always(400, body)).token()
    assert (caught.value.code, caught.value.status) == (code, 400)
    assert REMEDIES[code] in str(caught.value)


def test_a_code_that_is_not_known_is_passed_on_with_where_to_look(source_with):
    with pytest.raises(MaskinportenRefused, match="look the code up in Digdir's list") as caught:
        source_with(always(400, {"error": "invalid_grant", "error_uri": "x/MP-999"})).token()
    assert caught.value.code == "MP-999"


def test_an_oauth_error_without_a_code_is_passed_on(source_with):
    with pytest.raises(MaskinportenRefused) as caught:
        source_with(always(401, {"error": "invalid_client"})).token()
    assert caught.value.code == "invalid_client"


def test_a_scope_that_is_not_granted_leads_to_bits(source_with):
    with pytest.raises(MaskinportenRefused, match=r"DSOP@bits\.no"):
        source_with(always(403, {"error": "forbidden", "error_description": "no access"})).token()


@pytest.mark.parametrize("status", [301, 400, 403, 404])
def test_an_answer_of_something_on_the_way_leads_to_the_way(source_with, status):
    with pytest.raises(MaskinportenRefused, match="gateways on the way") as caught:
        source_with(always(status, text="<html>Blocked</html>")).token()
    assert (caught.value.status, caught.value.code) == (status, None)


def test_an_assertion_taken_for_reused_is_cured_by_the_next_one(source_with, maskinporten):
    refused = always(400, {"error": "invalid_grant", "error_uri": "errors/MP-012"})
    tokens = source_with(in_turn(refused, maskinporten))
    with pytest.raises(Retriable) as caught:
        tokens.token()
    assert caught.value.code == "MP-012"
    assert tokens.token() == "token-1"


def test_an_assertion_that_grew_too_old_on_a_slow_line_is_cured_by_the_next_one(
    source_with, maskinporten, clock
):
    """The clocks agree: a token service that hung for twenty seconds takes the assertion for old."""

    def answer_late(request):
        clock.sleep(20)
        return httpx.Response(400, json={"error": "invalid_grant", "error_uri": "errors/MP-130"})

    tokens = source_with(in_turn(answer_late, maskinporten))
    with pytest.raises(Retriable) as caught:
        tokens.token()
    assert caught.value.code == "MP-130"
    assert tokens.token() == "token-1"


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_trouble_at_maskinporten_may_be_tried_again_when_it_says(source_with, status):
    with pytest.raises(Retriable) as caught:
        source_with(always(status, text="", headers={"Retry-After": "7"})).token()
    assert (caught.value.status, caught.value.retry_after) == (status, 7)


@pytest.mark.parametrize(
    "body",
    ["", "<html>", '{"access_token"', "[]", "null", "{}", '{"access_token": 5}', '{"access_token": ""}', '{"access_token": "a\\nb"}', '{"access_token": "æ"}', "[" * 100_000],
)  # fmt: skip
def test_an_answer_without_a_usable_token_may_be_tried_again(source_with, body):
    with pytest.raises(Retriable, match="holds no token"):
        source_with(always(200, text=body)).token()


@pytest.mark.parametrize(
    "body", [["MP-121"], {"error": ["x"]}, {"error": "Two Words 01010112345"}, {"error_uri": {"a": 1}}]
)
def test_an_error_of_another_form_is_survived(source_with, body):
    with pytest.raises(MaskinportenRefused) as caught:
        source_with(always(400, body)).token()
    assert caught.value.code is None


def test_what_maskinporten_wrote_is_not_repeated(source_with):
    body = {
        "error": "invalid_grant",
        "error_description": "Invalid assertion eyJhbGciOi for 01010112345 (MP-124)",
    }
    with pytest.raises(MaskinportenRefused) as caught:
        source_with(always(400, body)).token()
    assert "eyJ" not in str(caught.value)
    assert "0101" not in str(caught.value)


def test_a_trigger_gets_the_same_errors(source_with, maskinporten):
    assert asyncio.run(source_with(maskinporten).atoken()) == "token-1"
    with pytest.raises(MaskinportenRefused) as caught:
        asyncio.run(source_with(always(400, {"error_uri": "MP-130"})).atoken())
    assert "NTP" in str(caught.value)


# Real trouble on a real line


@pytest.fixture(params=["token", "atoken"])
def ask(request, settings, certificate, clock, monkeypatch):
    """Ask an issuer on the network for a token, in a worker's and in a trigger's way."""
    monkeypatch.setattr(transport, "TIMEOUT", httpx.Timeout(0.2))

    def ask_at(url):
        tokens = TokenSource(dataclasses.replace(settings, maskinporten_issuer=url + "/"), certificate, clock)
        return tokens.token() if request.param == "token" else asyncio.run(tokens.atoken())

    return ask_at


HALF = answer('HTTP/1.1 200 OK\nContent-Length: 100\n\n{"access_token":')


@pytest.mark.parametrize(
    "trouble", [stay_silent, reset, hang_up, HALF], ids=["silent", "reset", "hung up", "half"]
)
def test_no_answer_may_be_tried_again(ask, trouble):
    with Loopback(trouble) as server, pytest.raises(Retriable, match="was not reached") as caught:
        ask(server.url)
    assert caught.value.__context__ is None


def test_nobody_there_may_be_tried_again(ask):
    with pytest.raises(Retriable, match="firewall"):
        ask(unreachable())


def test_a_token_comes_over_a_real_line(ask):
    body = '{"access_token":"abc"}'
    given = f"HTTP/1.1 200 OK\nContent-Length: {len(body)}\nConnection: close\n\n{body}"
    with Loopback(answer(given)) as server:
        assert ask(server.url) == "abc"
    assert server.requests[0].startswith(b"POST /token HTTP/1.1")


# What must not be seen


def test_neither_assertion_nor_token_nor_key_is_shown_anywhere(source_with, maskinporten, caplog):
    caplog.set_level(logging.DEBUG)
    tokens = source_with(maskinporten)
    token = tokens.token()
    shown = caplog.text + repr(tokens) + repr(vars(tokens)) + str(vars(tokens)["_held"])
    assert token not in shown
    assert assertion_of(maskinporten.requests[0]) not in shown
    assert "PRIVATE" not in shown


def test_an_error_holds_no_request(source_with):
    def refuse(request):
        raise httpx.ReadTimeout("x", request=request)

    with pytest.raises(Retriable) as caught:
        source_with(refuse).token()
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None
