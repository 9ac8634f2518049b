"""HTTP as this project uses it: every phase has a time-out, nothing is taken from the surroundings.

No redirect is followed (a redirected write would go where nobody looked), no cookie is kept (one that is not
ASCII would break every later request), no proxy or .netrc is read from the environment, and the libraries'
own logs stay silent: a look-up would be a line each, and at DEBUG they show headers, CustomerID and the token
among them.
"""

import logging
import ssl
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Final

import httpx

from kfr.register.limits import (
    CONNECT_TIMEOUT_SECONDS,
    LONGEST_RETRY_AFTER_SECONDS,
    POOL_TIMEOUT_SECONDS,
    READ_TIMEOUT_SECONDS,
    WRITE_TIMEOUT_SECONDS,
)

TIMEOUT: Final = httpx.Timeout(
    connect=CONNECT_TIMEOUT_SECONDS,
    read=READ_TIMEOUT_SECONDS,
    write=WRITE_TIMEOUT_SECONDS,
    pool=POOL_TIMEOUT_SECONDS,
)
# Compression would save nothing on answers this small, and is one more way for them to be broken.
HEADERS: Final = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "airflow-kfr"}

_NOTHING_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)


def open_client(transport: httpx.BaseTransport | None) -> httpx.Client:
    """Open a client for a worker; ``transport`` None is the network."""
    return httpx.Client(transport=transport, **_options(on_network=transport is None))


def open_async_client(transport: httpx.AsyncBaseTransport | None) -> httpx.AsyncClient:
    """Open a client for a trigger; ``transport`` None is the network."""
    return httpx.AsyncClient(transport=transport, **_options(on_network=transport is None))


def was_sent(failure: httpx.HTTPError) -> bool:
    """Whether the other side may have got the request, or a part of it."""
    return not isinstance(failure, _NOTHING_SENT)


def describe(failure: httpx.HTTPError) -> str:
    """What happened, in words; never the library's own text, which may quote a header's value."""
    if isinstance(failure, httpx.TimeoutException):
        return f"no answer in time ({type(failure).__name__})"
    if isinstance(failure, httpx.ConnectError):
        return "no connection: look at the firewall openings, DNS and TLS inspection on the way"
    return f"the connection broke ({type(failure).__name__})"


def read_retry_after(response: httpx.Response, now: datetime) -> float | None:
    """The seconds to wait, from ``Retry-After`` as seconds or as a date; None without a readable one.

    At most LONGEST_RETRY_AFTER_SECONDS: a number with a hundred digits is a time that no one can wait for.
    """
    text = response.headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text), LONGEST_RETRY_AFTER_SECONDS)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(max(0.0, (moment - now).total_seconds()), LONGEST_RETRY_AFTER_SECONDS)


def _options(*, on_network: bool) -> dict[str, Any]:
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return {
        "timeout": TIMEOUT,
        "headers": HEADERS,
        "follow_redirects": False,
        "cookies": CookieJar(DefaultCookiePolicy(allowed_domains=())),
        "trust_env": False,
        "verify": tls_context() if on_network else True,
    }


@cache  # costs 40 ms, and is the same for all
def tls_context() -> ssl.SSLContext:
    """Whom every connection of this package trusts."""
    return httpx.create_ssl_context(trust_env=False)
