"""A thin stand-in for `httpx.Client` before the same transport, for most of the fault runs.

httpx takes more than half of a run's time, for URLs and headers that are the same each time. The client's own
code, answers, errors and time-outs are the real ones; some of the runs, and all other tests, go through httpx.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Self
from unittest import mock
from urllib.parse import urlencode, urlsplit

import httpx

from kfr.register import client, maskinporten
from kfr.register.transport import TIMEOUT
from tests.simulator.in_process import BROKEN
from tests.simulator.messages import Answer
from tests.simulator.messages import Request as Wire
from tests.simulator.simulator import Simulator


class Request:
    """What the client asks to be sent, and what the fused transport looks at."""

    __slots__ = ("_parts", "headers", "method", "url")

    def __init__(self, method: str, url: str, headers: Mapping[str, str], parts: Sequence[bytes]) -> None:
        self.method, self.url, self.headers, self._parts = method, url, headers, parts

    def read(self) -> bytes:
        return b"".join(self._parts)


class Response:
    """What the client reads of an answer."""

    __slots__ = ("_body", "headers", "status_code")

    def __init__(self, answer: Answer) -> None:
        self.status_code, self.headers, self._body = answer.status, answer.headers, answer.body

    def json(self) -> Any:
        return json.loads(self._body)


class Front:
    """The register in this process, without a line of HTTP."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator

    def handle_request(self, request: Request) -> Response:
        origin, path, query = _split(request.url)
        answer = self._simulator.handle(
            Wire(
                method=request.method,
                origin=origin,
                path=path,
                query=query,
                headers={name.lower(): value for name, value in request.headers.items()},
                body=request.read(),
            )
        )
        clock, limit = (
            self._simulator.clock,
            TIMEOUT.connect if answer.broken == "no_connection" else TIMEOUT.read,
        )
        if answer.delay and limit is not None and answer.delay >= limit:
            clock.sleep(limit)
            raise (httpx.ConnectTimeout if answer.broken == "no_connection" else httpx.ReadTimeout)(
                "timed out"
            )
        if answer.delay:
            clock.sleep(answer.delay)
        if answer.broken:
            kind, text = BROKEN[answer.broken]
            raise kind(text)
        return Response(answer)


@lru_cache
def _split(url: str) -> tuple[str, str, str]:
    """Origin, path and query: those of a run's look-ups are a handful."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}", parts.path, parts.query


_encode = lru_cache(urlencode)


class ThinClient:
    """What `RegisterClient` and `TokenSource` call of an `httpx.Client`."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def post(self, url: str, *, data: Mapping[str, str]) -> Response:
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        return self.send(Request("POST", url, form, [urlencode(data).encode()]))

    def build_request(
        self,
        method: str,
        url: str,
        *,
        params: Mapping[str, str] | None,
        headers: dict[str, str],
        content: Sequence[bytes] | None,
    ) -> Request:
        if params:
            url = f"{url}?{_encode(tuple(params.items()))}"
        return Request(method, url, headers, content or ())

    def send(self, request: Request) -> Response:
        return self._transport.handle_request(request)

    def close(self) -> None:
        """Nothing is open."""


@contextmanager
def thin_clients() -> Iterator[None]:
    """As long as it lasts, a client that is opened is a thin one; its transport must be before a `Front`."""
    with (
        mock.patch.object(client, "open_client", ThinClient),
        mock.patch.object(maskinporten, "open_client", ThinClient),
    ):
        yield
