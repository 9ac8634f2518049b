"""Whatever comes from outside, only the documented errors are raised, and none repeats what must not be seen.

Each property is run by hypothesis here, and by atheris, guided by the coverage of `kfr`, in `make fuzz`.
"""

import base64
import contextlib
import json
import math
import re
from datetime import UTC, date, datetime, timedelta
from functools import cache
from ipaddress import ip_address
from urllib.parse import urlsplit

import httpx
import numpy as np
import pyarrow as pa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, pkcs12
from hypothesis import given, settings
from hypothesis import strategies as st

from kfr.register.certificate import EnterpriseCertificate, load_keystore
from kfr.register.client import RegisterClient
from kfr.register.errors import CertificateError, ConfigurationError, KfrError, MaskinportenRefused, Retriable
from kfr.register.maskinporten import TokenSource
from kfr.register.settings import BASE_URLS, EXTRA_FIELDS, ISSUERS, Settings
from kfr.relationships.agreements import ColumnError, read_agreements
from kfr.relationships.batch_file import MAX_BODY_BYTES, cut, render, request_body
from kfr.relationships.identifiers import Reason, check
from kfr.relationships.packing import FIRST_DATE, LAST_DAY, pack, text_of
from tests import keystores
from tests.simulator.clock import VirtualClock
from tests.unit.relationships.reference import (
    complete_organisation,
    judge_text,
    make_organisation,
    make_person,
)

unhurried = settings(deadline=None)  # the first call loads what it needs, and being watched costs time

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
PERSON, ORGANISATION = make_person(), make_organisation()
SECRET = "S3cretS3cret"

# Identifiers

BLANKS = st.text(" \t\n\v\f\r", max_size=2)
RAW = st.one_of(
    st.binary(max_size=14),
    st.text("0123456789", max_size=13).map(str.encode),
    st.builds("{}{}{}".format, BLANKS, st.sampled_from([PERSON, ORGANISATION]), BLANKS).map(str.encode),
)


@unhurried
@given(st.lists(st.none() | RAW, max_size=12))
def test_identifiers_of_any_bytes_are_judged_by_the_rules(rows):
    checked = check(pa.array(rows, pa.binary()).view(pa.string()))  # a driver may hand over what is no UTF-8
    for raw, number, reason in zip(rows, checked.ids.tolist(), checked.reasons.tolist(), strict=True):
        text = None if raw is None else raw.decode("latin-1")
        assert Reason(reason).label == judge_text(text)[0]
        assert (text_of(number) == text.strip(" \t\n\v\f\r")) if reason == Reason.ACCEPTED else number == 0


# Dates

DAY_ZERO = FIRST_DATE.toordinal() - 1
UNIX_DAY = date(1970, 1, 1).toordinal() - DAY_ZERO
SECONDS_A_DAY = 86_400
TICKS_A_DAY = {
    pa.date32(): 1,
    pa.date64(): SECONDS_A_DAY * 10**3,
    pa.timestamp("s"): SECONDS_A_DAY,
    pa.timestamp("ms"): SECONDS_A_DAY * 10**3,
    pa.timestamp("us"): SECONDS_A_DAY * 10**6,
    pa.timestamp("ns"): SECONDS_A_DAY * 10**9,
}


@st.composite
def draw_dates(draw):
    """A type of date, and a column of it as ticks, nearly always of whole days."""
    kind = draw(st.sampled_from(list(TICKS_A_DAY)))
    bits, ticks = (32 if kind == pa.date32() else 64), TICKS_A_DAY[kind]
    first, last = -(2 ** (bits - 1)) // ticks + 1, (2 ** (bits - 1) - 1) // ticks
    near = st.integers(max(first, -UNIX_DAY - 3), min(last, LAST_DAY - UNIX_DAY + 3))
    days = (near | st.integers(first, last)).map(lambda day: day * ticks)
    anything = st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return kind, draw(
        st.lists(st.none() | days, min_size=2, max_size=2) | st.lists(anything, min_size=2, max_size=2)
    )


def expect_dates(start, end):
    """Start and end as day numbers that may lie anywhere, None for a null; the rules once more, in plain numbers."""
    start, end = (0 if start is None else start), (math.inf if end is None else end)
    if start != 0 and end < start:
        return "ended_before_started"
    return "date_out_of_range" if start > LAST_DAY or end <= 0 else "accepted"


@unhurried
@given(draw_dates())
def test_dates_of_any_size_are_read_exactly_or_refused(drawn):
    kind, ticks = drawn
    integers = pa.int32() if kind == pa.date32() else pa.int64()
    columns = [pa.array([tick], integers).view(kind) for tick in ticks]
    batch = pa.record_batch([[PERSON], *columns], ["customer_id", "started_on", "ended_on"])
    if any(tick is not None and tick % TICKS_A_DAY[kind] for tick in ticks):
        with contextlib.suppress(ColumnError):
            raise AssertionError(read_agreements(batch))
        return
    read = read_agreements(batch)
    start, end = (None if tick is None else tick // TICKS_A_DAY[kind] + UNIX_DAY for tick in ticks)
    assert Reason(read.reasons[0]).label == expect_dates(start, end)
    assert read.starts[0] == min(max(start or 0, 0), LAST_DAY)
    assert read.ends[0] == (LAST_DAY if end is None else min(max(end, 0), LAST_DAY))


# Batch files

ENTRY = re.compile(r"([0-9]{9}|[0-9]{11})(?:#([0-9]{4}-[0-9]{2}-[0-9]{2}))?")
NUMBERS = st.integers(0, 10**9 - 1) | st.integers(10**9, 10**11 - 1)
PAIRS = st.lists(st.tuples(NUMBERS, st.integers(0, LAST_DAY)), min_size=1, max_size=60)


def parse_entry(text):
    number, start = ENTRY.fullmatch(text).groups()
    return int(number), date.fromisoformat(start).toordinal() - DAY_ZERO if start else 0


@unhurried
@given(PAIRS, st.integers(400, 1200) | st.just(MAX_BODY_BYTES))
def test_a_batch_is_read_back_as_the_same_relationships_within_its_limit(pairs, limit):
    numbers, days = (np.array(column, np.int64) for column in zip(*pairs, strict=True))
    read = []
    for file in cut(pack(numbers, days), limit):
        rendered = render(file)
        assert len(request_body(rendered)) <= limit
        read += [parse_entry(entry) for entry in rendered.decode("ascii").split(",")]
    assert read == pairs


# Answers

OF_THE_REGISTER = ["errorCode", "errorMessage", "timestamp", "banks", "organizationID"]
OF_MASKINPORTEN = ["error", "error_uri", "error_description", "access_token", "expires_in"]
NAMES = st.sampled_from([*OF_THE_REGISTER, *OF_MASKINPORTEN])
CODES = st.sampled_from(
    ["KFR-001", "KFR-005", "KFR-008", "ERR-002", "ERR-003", "KFR-007", "MP-012", "MP-121"]
)
PERSONAL = st.sampled_from(
    [PERSON, int(PERSON), f"KFR-005 {PERSON}", f"https://x/{PERSON}/MP-121", f"invalid_{PERSON}"]
)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([10**400, -(10**400)]),
    st.floats(),
    st.text(max_size=12),
    CODES,
    PERSONAL,
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5)
)
OBJECTS = st.fixed_dictionaries(
    {}, optional=dict.fromkeys([*OF_THE_REGISTER, *OF_MASKINPORTEN], PERSONAL | VALUES)
)
BODIES = (OBJECTS | VALUES).map(json.dumps).map(str.encode) | st.binary(max_size=60) | st.just(b"[" * 5_000)
TIMES = st.sampled_from(
    ["9" * 400, "86400", "Mon, 23 Nov 2026 09:02:00 GMT", "Fri, 31 Dec 9999 23:59:59 -9999"]
)
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "Content-Type": st.sampled_from(
            ["application/json", "text/html; charset=klingon", "", "application/json;;="]
        ),
        "Content-Encoding": st.sampled_from(["gzip", "br", "identity", "x"]),
        "Retry-After": TIMES | st.text(max_size=12) | st.integers(0).map(str),
    },
)
STATUSES = st.sampled_from([200, 201, 204, 302, 400, 401, 403, 404, 413, 429, 500, 503]) | st.integers(
    100, 999
)
FIELDS = {
    "environment": "test",
    "fid": keystores.ORGANISATION,
    "keystore": "none",
    "staging_key": base64.b64encode(bytes(32)).decode(),
    "requests_per_second": 1e9,
}
OF_THE_CONNECTION = Settings.from_fields(
    host="http://127.0.0.1", login="a-client", password="x", extra=FIELDS
)
CALLS = (
    lambda client: client.register_one(int(PERSON)),
    lambda client: client.remove_one(int(PERSON)),
    lambda client: client.send_file(PERSON.encode()),
    lambda client: client.look_up(int(PERSON), NOW.date(), NOW.date()),
)


def answering(status, headers, body):
    """A transport whose every answer is that."""
    sent = {name: value.encode(errors="replace") for name, value in headers.items()}
    return httpx.MockTransport(
        lambda _: httpx.Response(status, headers=sent, stream=httpx.ByteStream(body)),
    )


def check_error(error, *unseen):
    """An error says when to try again in a form that can be waited for, and nothing that was told in confidence."""
    if error.retry_after is not None:
        assert timedelta(0) <= timedelta(seconds=error.retry_after) <= timedelta(days=7)
    told = f"{error} {error!r} {vars(error)} {error.__cause__!r}"
    assert not any(secret in told for secret in unseen)


class OneToken:
    def token(self):
        return SECRET

    def invalidate(self, refused=None):
        pass


@unhurried
@given(st.sampled_from(CALLS), STATUSES, HEADERS, BODIES)
def test_any_answer_of_the_register_is_an_answer_or_a_documented_error(call, status, headers, body):
    transport = answering(status, headers, body)
    with RegisterClient(OF_THE_CONNECTION, OneToken(), VirtualClock(), transport=transport) as client:
        try:
            call(client)
        except KfrError as error:
            check_error(error, PERSON, SECRET)


@cache
def certificate() -> EnterpriseCertificate:
    return open_keystore(keystores.make_keystore())


def open_keystore(content, password=keystores.PASSWORD):
    return load_keystore(
        base64.b64encode(content).decode(),
        password,
        expected_organisation=keystores.ORGANISATION,
        environment="test",
        at=datetime.now(UTC),
    )


@unhurried
@given(STATUSES, HEADERS, BODIES)
def test_any_answer_of_maskinporten_is_a_token_or_a_documented_error(status, headers, body):
    source = TokenSource(
        OF_THE_CONNECTION, certificate(), VirtualClock(), transport=answering(status, headers, body)
    )
    try:
        assert source.token()
        assert status == 200
    except (MaskinportenRefused, Retriable) as error:
        check_error(error, PERSON)


# The keystore


@cache
def parts() -> tuple[bytes, bytes, bytes]:
    """A keystore without encryption, so that a change reaches what is read; one with; the certificate in both."""
    key, leaf = keystores.rsa_key(), keystores.make_certificate(keystores.rsa_key())
    plain = pkcs12.serialize_key_and_certificates(b"x", key, leaf, None, NoEncryption())
    return plain, keystores.make_keystore(), leaf.public_bytes(Encoding.DER)


@st.composite
def draw_keystore(draw):
    """Bytes of any kind, or a keystore of which a few bytes were changed, most often within its certificate."""
    plain, encrypted, leaf = parts()
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=200) | st.just(encrypted[: draw(st.integers(0, len(encrypted)))]))
    content = bytearray(plain)
    at = plain.find(leaf)
    first, last = (at, at + len(leaf) - 260) if draw(st.booleans()) else (0, len(plain) - 1)
    for _ in range(draw(st.integers(1, 3))):
        content[draw(st.integers(first, last))] = draw(st.integers(0, 255))
    return bytes(content)


@unhurried
@given(draw_keystore(), st.sampled_from([SECRET, "", "\ud800" + SECRET, SECRET * 200]))
def test_a_keystore_of_any_bytes_is_read_or_refused_as_one(content, password):
    try:
        assert open_keystore(content, password).organisation_number == keystores.ORGANISATION
    except CertificateError as error:
        check_error(error, SECRET)


# The connection

HOSTS = st.one_of(
    st.builds(
        str.replace,
        st.sampled_from([*BASE_URLS.values(), *ISSUERS.values(), "http://localhost.x", "http://127.0.0.1.x"]),
        st.sampled_from([".", "s", "/", "o"]),
        st.text(max_size=1) | st.sampled_from(["\u3002", "\uff0e", "\uff61", "\u017f", "%2e", "\u00ad."]),
    ),
    st.text(max_size=20),
    st.builds(
        "{}://{}{}".format, st.sampled_from(["https", "http", "HTTPS", "ftp"]), st.text(max_size=15), BLANKS
    ),
    st.builds("https://{}.no:{}/{}".format, st.text(max_size=8), st.integers(), st.text(max_size=5)),
    st.sampled_from(
        [f"https://{SECRET}@bits.no", f"https://bits.no/?{SECRET}", f"https://[{SECRET}]", "https://[::1"]
    ),
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.just(SECRET)
FIELD = SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(st.text(max_size=3), SCALARS, max_size=2)
CHANGES = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(EXTRA_FIELDS, FIELD)
    | {
        "maskinporten_issuer": HOSTS,
        "fid": FIELD | st.builds(complete_organisation, st.from_regex(r"\A[0-9]{8}\Z")),
    },
)


@unhurried
@given(st.none() | HOSTS, SCALARS.filter(lambda value: value is None or isinstance(value, str)), CHANGES)
def test_any_connection_can_be_used_or_is_refused_by_the_name_of_a_field(host, login, changes):
    fields = FIELDS | changes
    try:
        read = Settings.from_fields(host=host, login=login, password=SECRET, extra=fields)
    except ConfigurationError as error:
        check_error(error, SECRET)
        return
    assert SECRET not in repr(read) or SECRET in {login, fields.get("kid")}
    for url, known in ((f"{read.base_url}/batch", BASE_URLS), (f"{read.maskinporten_issuer}token", ISSUERS)):
        called = httpx.Request("GET", url).url
        assert called.host
        assert called.path.endswith(("/batch", "token"))
        assert called.raw_host.decode() != urlsplit(known["production"]).hostname
        assert (
            called.scheme == "https"
            or called.host.rstrip(".") == "localhost"
            or ip_address(called.host).is_loopback
        )
    assert read.sample_size >= 1
