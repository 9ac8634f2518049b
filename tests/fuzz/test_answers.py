"""Whatever answers, the register's client and the token's source end with a result or a documented error."""

import json
from datetime import date

import httpx
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kfr.register.client import RegisterClient
from kfr.register.errors import KfrError
from kfr.register.maskinporten import TokenSource
from kfr.relationships.packing import text_of
from tests.fuzz.institution import CERTIFICATE, CLOCK, SETTINGS, assert_quotes_nothing

CUSTOMER = 1810112345  # the month is + 80, so it belongs to no one
TOKEN = "a-token-that-nobody-must-see"
QUOTED = (text_of(CUSTOMER), str(CUSTOMER), TOKEN)
DAY = date(2026, 11, 23)

CALLS = {
    "register_one": lambda client: client.register_one(CUSTOMER),
    "remove_one": lambda client: client.remove_one(CUSTOMER),
    "send_file": lambda client: client.send_file(text_of(CUSTOMER).encode()),
    "look_up": lambda client: client.look_up(CUSTOMER, DAY, DAY),
}

LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([10**400, -(10**400)]),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(
        [
            *QUOTED,
            "KFR-005",
            "KFR-008",
            "ERR-002",
            "MP-121",
            "invalid_grant",
            SETTINGS.fid,
            int(SETTINGS.fid),
        ]
    ),
)
KEYS = st.sampled_from(
    [
        "errorCode",
        "errorMessage",
        "banks",
        "organizationID",
        "access_token",
        "expires_in",
        "error",
        "error_uri",
        "error_description",
    ]
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=8,
)
JSON = st.dictionaries(KEYS, VALUES, max_size=4).map(lambda value: json.dumps(value).encode())
BODIES = st.one_of(
    JSON,
    VALUES.map(lambda value: json.dumps(value).encode()),
    st.builds(lambda body, length: body[:length], JSON, st.integers(0, 60)),
    JSON.map(lambda body: b"\xef\xbb\xbf" + body),
    JSON.map(lambda body: body.decode().encode("utf-16")),
    st.binary(max_size=40),
    st.sampled_from([b"[" * 100_000, b"<html>" + QUOTED[0].encode()]),
)
HEADER_TEXTS = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF), max_size=30)
HEADERS = st.dictionaries(
    st.sampled_from(
        [
            "Retry-After",
            "Location",
            "Set-Cookie",
            "Content-Type",
            "Content-Encoding",
            "Content-Length",
            "CorrelationID",
        ]
    ),
    HEADER_TEXTS
    | st.sampled_from(
        [
            "9" * 400,
            "gzip",
            "deflate",
            "Mon, 23 Nov 2026 09:00:00 +9999999999",
            "http://[",
            "//\u00e9..x",
            "a=\u00e9",
            "text/html; charset=utf-7",
            f"a={QUOTED[0]}; Domain=.test; Max-Age=x",
        ]
    ),
    max_size=3,
).map(lambda headers: {name: value.encode("latin-1") for name, value in headers.items()})
ANSWERS = st.builds(
    lambda status, headers, content: (status, headers, content), st.integers(100, 599), HEADERS, BODIES
)


def answering(answer):
    status, headers, content = answer
    stream = httpx.ByteStream(content)  # as it came over the line, whatever the headers say of it
    return httpx.MockTransport(lambda _: httpx.Response(status, headers=headers, stream=stream))


def assert_stands_alone(error):
    assert_quotes_nothing(error, *QUOTED)
    assert error.__context__ is None  # it would hold the request


class _Held:
    """A source of tokens that always has one."""

    def token(self):
        return TOKEN

    def invalidate(self, refused=None):
        pass


@settings(deadline=None)
@given(st.sampled_from(sorted(CALLS)), ANSWERS)
@example("look_up", (200, {"Set-Cookie": "a=\u00e9".encode("latin-1")}, b"{}"))
def test_no_answer_of_a_register_ends_in_an_undocumented_error_or_in_one_that_quotes(operation, answer):
    with RegisterClient(SETTINGS, _Held(), CLOCK, transport=answering(answer)) as client:
        for _ in range(2):  # the first answer may spoil what comes after
            try:
                CALLS[operation](client)
            except KfrError as error:
                assert_stands_alone(error)


@settings(deadline=None)
@given(ANSWERS)
@example((200, {}, b'{"access_token": "t", "expires_in": 1%s}' % (b"0" * 400)))
def test_no_answer_of_maskinporten_ends_in_an_undocumented_error_or_in_one_that_quotes(answer):
    source = TokenSource(SETTINGS, CERTIFICATE, CLOCK, transport=answering(answer))
    try:
        token = source.token()
    except KfrError as error:
        assert_stands_alone(error)
    else:
        httpx.Headers({"Authorization": f"Bearer {token}"}).raw  # noqa: B018 - it can be sent
        assert token.isascii()
        assert token.isprintable()
