import asyncio
import logging
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kfr.register.limits import LONGEST_RETRY_AFTER_SECONDS
from kfr.register.transport import describe, open_async_client, open_client, read_retry_after, was_sent
from tests.unit.register.loopback import Loopback, answer

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)


def retry_after(text):
    return read_retry_after(httpx.Response(429, headers={"Retry-After": text}), NOW)


@pytest.mark.parametrize("open_it", [open_client, open_async_client])
def test_every_phase_has_a_time_out(open_it):
    timeout = open_it(None).timeout
    assert (timeout.connect, timeout.read, timeout.write, timeout.pool) == (10, 60, 60, 10)


def test_no_redirect_is_followed():
    moved = "HTTP/1.1 307 Moved\nLocation: /elsewhere\nContent-Length: 0\nConnection: close\n\n"
    with Loopback(answer(moved)) as server, open_client(None) as client:
        assert client.post(server.url, content=b"x").status_code == 307
    assert len(server.requests) == 1


def test_no_proxy_is_taken_from_the_environment(monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with (
        Loopback(answer("HTTP/1.1 204 No Content\nConnection: close\n\n")) as server,
        open_client(None) as client,
    ):
        assert client.get(server.url).status_code == 204


def test_certificates_are_verified():
    with open_client(None) as client:
        context = client._transport._pool._ssl_context
    assert context.check_hostname
    assert context.verify_mode.name == "CERT_REQUIRED"


def test_the_libraries_log_neither_url_nor_headers(caplog):
    caplog.set_level(logging.DEBUG)
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    ok = "HTTP/1.1 200 OK\nContent-Length: 0\nX-Echo: 01010112345\nConnection: close\n\n"
    with Loopback(answer(ok)) as server, open_client(None) as client:
        client.get(server.url, headers={"CustomerID": "01010112345"})
    assert [record for record in caplog.records if record.name.startswith(("httpx", "httpcore"))] == []


@pytest.mark.parametrize(
    ("error", "sent"),
    [
        (httpx.ConnectError, False),
        (httpx.ConnectTimeout, False),
        (httpx.PoolTimeout, False),
        (httpx.UnsupportedProtocol, False),
        (httpx.ReadTimeout, True),
        (httpx.WriteTimeout, True),
        (httpx.ReadError, True),
        (httpx.WriteError, True),
        (httpx.CloseError, True),
        (httpx.RemoteProtocolError, True),
        (httpx.LocalProtocolError, True),
        (httpx.DecodingError, True),
    ],
)
def test_only_a_failure_before_sending_means_that_nothing_was_sent(error, sent):
    assert was_sent(error("x")) is sent


@pytest.mark.parametrize("error", [httpx.LocalProtocolError, httpx.ReadTimeout, httpx.ConnectError])
def test_a_failure_is_described_without_the_library_s_text(error):
    said = describe(error("Illegal header value b'01010112345'"))
    assert "01010112345" not in said
    assert len(said) > 10


@pytest.mark.parametrize(("text", "seconds"), [("0", 0), ("120", 120), (" 7 ", 7)])
def test_retry_after_in_seconds(text, seconds):
    assert retry_after(text) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Mon, 23 Nov 2026 09:02:00 GMT", 120),
        ("Mon, 23 Nov 2026 10:02:00 +0100", 120),
        ("Mon, 23 Nov 2026 09:02:00 -0000", 120),
        ("Mon, 23 Nov 2026 08:00:00 GMT", 0),
    ],
)
def test_retry_after_as_a_date(text, seconds):
    assert retry_after(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-5", "1.5", "١٢"])
def test_a_retry_after_that_cannot_be_read_is_none(text):
    assert read_retry_after(httpx.Response(429, headers=[(b"Retry-After", text.encode())]), NOW) is None
    assert read_retry_after(httpx.Response(429), NOW) is None


@given(st.one_of(st.text(), st.from_regex(r"\w{3}, \d{1,2} \w{3} \d{1,9} \d\d:\d\d:\d\d [+-]?\w{1,9}")))
def test_no_retry_after_breaks_the_reading(text):
    response = httpx.Response(429, headers=[(b"Retry-After", text.encode(errors="replace"))])
    seconds = read_retry_after(response, NOW)
    assert seconds is None or 0 <= seconds <= LONGEST_RETRY_AFTER_SECONDS


def test_a_date_far_ahead_is_far_ahead():
    later = (NOW + timedelta(days=2)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    assert retry_after(later) == 172_800


@pytest.mark.parametrize("cookie", ["a=b", "a=\u00e9"])
def test_no_cookie_is_kept(cookie):
    requests = []

    def set_cookie(request):
        requests.append(request)
        return httpx.Response(200, headers={"Set-Cookie": cookie.encode("latin-1")})

    transport = httpx.MockTransport(set_cookie)

    async def ask_twice():
        async with open_async_client(transport) as client:
            for _ in range(2):
                await client.get("https://register.test")

    with open_client(transport) as client:
        for _ in range(2):
            client.get("https://register.test")
    asyncio.run(ask_twice())
    assert len(requests) == 4
    assert not any("Cookie" in request.headers for request in requests)


@pytest.mark.parametrize("text", ["604801", "9" * 400, "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_a_wait_that_nobody_can_wait_for_is_cut_to_a_week(text):
    assert retry_after(text) == LONGEST_RETRY_AFTER_SECONDS == timedelta(days=7).total_seconds()
