"""The front inside a process: httpx transports, so that a test swaps the transport and patches nothing."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from kfr.clock import Clock
from tests.simulator.messages import Answer, Break, Request

Handle = Callable[[Request], Answer]

BROKEN: Mapping[Break, tuple[type[httpx.TransportError], str]] = {
    "no_connection": (httpx.ConnectError, "Connection refused"),
    "reset": (httpx.ReadError, "Connection reset by peer"),
    "closed": (httpx.RemoteProtocolError, "Server disconnected without sending a response."),
}


class UnknownHost(Exception):  # noqa: N818 - a name that nobody answers to
    """The request is for a host that the simulator does not stand in for."""


class SyncFront(httpx.BaseTransport):
    """Serves `httpx.Client`; whatever waits, waits on the clock."""

    def __init__(self, handle: Handle, clock: Clock) -> None:
        self._handle = handle
        self._clock = clock

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.read()
        answer = _serve(self._handle, request)
        seconds, failure = _foresee(answer, request)
        if seconds:
            self._clock.sleep(seconds)
        if failure:
            raise failure
        return _as_response(answer)


class AsyncFront(httpx.AsyncBaseTransport):
    """Serves `httpx.AsyncClient`; every request lets the others of the loop have a turn."""

    def __init__(self, handle: Handle, clock: Clock) -> None:
        self._handle = handle
        self._clock = clock

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        await asyncio.sleep(0)
        answer = _serve(self._handle, request)
        seconds, failure = _foresee(answer, request)
        if seconds:
            await self._clock.asleep(seconds)
        if failure:
            raise failure
        return _as_response(answer)


def _serve(handle: Handle, request: httpx.Request) -> Answer:
    url = request.url
    path, _, query = url.raw_path.decode("ascii").partition("?")
    port = "" if url.port is None else f":{url.port}"
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in request.headers.raw}
    try:
        return handle(
            Request(
                method=request.method,
                origin=f"{url.scheme}://{url.host}{port}",
                path=path,
                query=query,
                headers=headers,
                body=request.read(),
            )
        )
    except UnknownHost:
        raise httpx.ConnectError("Name or service not known", request=request) from None


def _foresee(answer: Answer, request: httpx.Request) -> tuple[float, httpx.TransportError | None]:
    """How long the client waits, and what it then meets."""
    timeouts: Mapping[str, Any] = request.extensions.get("timeout", {})
    connecting = answer.broken == "no_connection"
    limit = timeouts.get("connect" if connecting else "read")
    if limit is not None and answer.delay >= limit:
        timed_out = httpx.ConnectTimeout if connecting else httpx.ReadTimeout
        return limit, timed_out("timed out", request=request)
    if answer.broken is None:
        return answer.delay, None
    kind, text = BROKEN[answer.broken]
    return answer.delay, kind(text, request=request)


def _as_response(answer: Answer) -> httpx.Response:
    headers = dict(answer.headers)
    if answer.content_type is not None:
        headers["Content-Type"] = answer.content_type
    return httpx.Response(answer.status, headers=headers, content=answer.body)
