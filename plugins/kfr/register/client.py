"""The register's four operations over HTTP, for a worker; the look-up for a trigger, too (OAS).

Each operation sends a CorrelationID of its own, which every error of it carries. A 401 is answered with one
fresh token and one more try. Nothing else is tried again here: the class of the error says who may.
"""

import uuid
from collections.abc import Sequence
from datetime import date
from types import TracebackType
from typing import Final, Self, cast

import httpx

from kfr.clock import Clock
from kfr.register.answers import Call, explain, failed, read_found
from kfr.register.errors import InvalidRequest
from kfr.register.limits import Pace
from kfr.register.maskinporten import TokenSource
from kfr.register.settings import Settings
from kfr.register.transport import open_async_client, open_client
from kfr.register.watch import Watch, unwatched
from kfr.relationships.batch_file import CONTENT_TYPE, FRAME_BYTES, MAX_BODY_BYTES, request_parts
from kfr.relationships.packing import text_of

RELATIONSHIP_TYPE: Final = "DSOPBANK"  # the only value (OAS)


class RegisterClient:
    """Talks to the register from a worker.

    ``requests_per_second`` is this task's share of the rate; None takes all of it. Raises the errors of
    ``kfr.register.errors``; those of getting a token carry no CorrelationID, for nothing was sent.
    """

    def __init__(
        self,
        settings: Settings,
        tokens: TokenSource,
        clock: Clock,
        *,
        requests_per_second: float | None = None,
        transport: httpx.BaseTransport | None = None,
        watch: Watch = unwatched,
    ) -> None:
        self._settings = settings
        self._tokens = tokens
        self._clock = clock
        self._pace = Pace(requests_per_second or settings.requests_per_second, clock)
        self._http = open_client(transport)
        self._watch = watch

    def register_one(self, customer_id: int) -> bool:
        """Register a relationship that starts today: True if it was added, False if it was there already."""
        call = _call_one("register_one", "POST", self._settings, customer_id)
        response = self._exchange(call)
        if response.status_code not in {httpx.codes.OK, httpx.codes.CREATED}:
            raise explain(call, response, self._clock.now())
        return response.status_code == httpx.codes.CREATED

    def remove_one(self, customer_id: int) -> None:
        """End a relationship; NotRegistered if the register says (404, KFR-008) that there is none."""
        call = _call_one("remove_one", "DELETE", self._settings, customer_id)
        response = self._exchange(call)
        if response.status_code != httpx.codes.NO_CONTENT:
            raise explain(call, response, self._clock.now())

    def send_file(self, customers: bytes) -> str:
        """Send a batch file as ``batch_file.render`` made it; returns the CorrelationID.

        That means accepted, not loaded: loading goes on afterwards, at the register's rate (ONB D-3).
        """
        call = _call_file(self._settings, customers)
        response = self._exchange(call)
        if response.status_code != httpx.codes.CREATED:
            raise explain(call, response, self._clock.now())
        return call.correlation_id

    def look_up(self, customer_id: int, first: date, last: date) -> bool:
        """Whether the register holds our relationship on any day of ``first`` to ``last``, both included."""
        call = _call_look_up(self._settings, customer_id, first, last)
        return read_found(call, self._exchange(call), self._settings.fid, self._clock.now())

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _exchange(self, call: Call) -> httpx.Response:
        response = self._send(call)
        return self._send(call) if response.status_code == httpx.codes.UNAUTHORIZED else response

    def _send(self, call: Call) -> httpx.Response:
        self._pace.wait()
        token = self._tokens.token()
        failure = None
        with self._watch(call.operation, call.correlation_id) as ended:
            try:
                response = self._http.send(_request(self._http, self._settings, call, token))
                ended(str(response.status_code))
            except httpx.HTTPError as error:
                failure = failed(call, error)
                ended(type(failure).__name__)
        # Raised out here so that httpx's error, which holds the request with its headers, is not chained.
        if failure:
            raise failure
        if response.status_code == httpx.codes.UNAUTHORIZED:
            self._tokens.invalidate(token)
        return response


class AsyncRegisterClient:
    """Looks up from a trigger. It writes nothing: a trigger that is restarted would write again."""

    def __init__(
        self,
        settings: Settings,
        tokens: TokenSource,
        clock: Clock,
        *,
        requests_per_second: float | None = None,
        async_transport: httpx.AsyncBaseTransport | None = None,
        watch: Watch = unwatched,
    ) -> None:
        self._settings = settings
        self._tokens = tokens
        self._clock = clock
        self._pace = Pace(requests_per_second or settings.requests_per_second, clock)
        self._http = open_async_client(async_transport)
        self._watch = watch

    async def look_up(self, customer_id: int, first: date, last: date) -> bool:
        """Do as RegisterClient.look_up does."""
        call = _call_look_up(self._settings, customer_id, first, last)
        response = await self._send(call)
        if response.status_code == httpx.codes.UNAUTHORIZED:
            response = await self._send(call)
        return read_found(call, response, self._settings.fid, self._clock.now())

    async def aclose(self) -> None:
        await self._http.aclose()

    async def _send(self, call: Call) -> httpx.Response:
        await self._pace.await_turn()
        token = await self._tokens.atoken()
        failure = None
        with self._watch(call.operation, call.correlation_id) as ended:
            try:
                response = await self._http.send(_request(self._http, self._settings, call, token))
                ended(str(response.status_code))
            except httpx.HTTPError as error:
                failure = failed(call, error)
                ended(type(failure).__name__)
        if failure:
            raise failure
        if response.status_code == httpx.codes.UNAUTHORIZED:
            self._tokens.invalidate(token)
        return response


def _request(
    http: httpx.Client | httpx.AsyncClient, settings: Settings, call: Call, token: str
) -> httpx.Request:
    return http.build_request(
        call.method,
        settings.base_url + call.path,
        params=call.params,
        headers={**call.headers, "CorrelationID": call.correlation_id, "Authorization": f"Bearer {token}"},
        content=cast("Sequence[bytes] | None", call.content),  # httpx sends whatever has bytes
    )


def _institution(settings: Settings) -> str:
    return f"/customers/financialInstitutions/{settings.fid}"


def _call_one(operation: str, method: str, settings: Settings, customer_id: int) -> Call:
    return Call(
        operation=operation,
        method=method,
        path=f"{_institution(settings)}/relationshipType/{RELATIONSHIP_TYPE}",
        correlation_id=str(uuid.uuid4()),
        headers={"CustomerID": text_of(customer_id)},
    )


def _call_file(settings: Settings, customers: bytes) -> Call:
    size = len(customers) + FRAME_BYTES
    call = Call(
        operation="send_file",
        method="POST",
        path=f"{_institution(settings)}/batch",
        correlation_id=str(uuid.uuid4()),
        headers={"Content-Type": CONTENT_TYPE, "Content-Length": str(size)},
        content=request_parts(customers),
    )
    if size > MAX_BODY_BYTES:
        raise InvalidRequest(
            f"the request would be over {MAX_BODY_BYTES} bytes and was not sent: cut the file (ONB D-3)",
            correlation_id=call.correlation_id,
            operation=call.operation,
        )
    return call


def _call_look_up(settings: Settings, customer_id: int, first: date, last: date) -> Call:
    return Call(
        operation="look_up",
        method="GET",
        path=f"{_institution(settings)}/",  # the slash belongs to the path (OAS)
        correlation_id=str(uuid.uuid4()),
        headers={"CustomerID": text_of(customer_id)},
        params={"fromDate": first.isoformat(), "toDate": last.isoformat()},
    )
