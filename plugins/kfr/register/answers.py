"""What an answer of the register means, or the lack of one: pure, the same for a worker and a trigger.

An error body is ``{"errorCode", "errorMessage", "timestamp"}`` (OAS), but a gateway in front may answer with
HTML or nothing. So only a code of the documented form is read, and never the message: it may quote the
identifier that it refuses.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import httpx

from kfr.register.errors import (
    AccessRefused,
    ConfigurationError,
    Fatal,
    InvalidDate,
    InvalidIdentifier,
    InvalidRequest,
    KfrError,
    NotRegistered,
    OutcomeUnknown,
    Retriable,
)
from kfr.register.transport import describe, read_retry_after, was_sent

NOT_REGISTERED: Final = "KFR-008"
INTERNAL_ERROR: Final = "KFR-007"

Meaning = tuple[type[KfrError], str]  # the error, and what to do

REFUSALS: Final[Mapping[str, Meaning]] = {  # OAS
    "KFR-001": (AccessRefused, "not authenticated: look at the client, the scope and the environment"),
    "KFR-002": (AccessRefused, "no access: Bits opens it, by DSOP@bits.no (ONB B-1, D-2)"),
    "KFR-003": (AccessRefused, "not allowed for this organisation number: look at fid and consumer_org"),
    "ERR-001": (AccessRefused, "not authorised: Bits opens it, by DSOP@bits.no (ONB B-1, D-2)"),
    "KFR-004": (InvalidRequest, "invalid request: this is a fault of the program, or the interface changed"),
    "KFR-005": (InvalidIdentifier, "invalid customer identifier: the source has to be put right"),
    "ERR-002": (InvalidIdentifier, "invalid customer identifier: the source has to be put right"),
    "KFR-009": (InvalidRequest, "invalid relationship type: the interface changed"),
    "KFR-010": (InvalidDate, "invalid date: the source has to be put right"),
    "ERR-003": (InvalidDate, "invalid period or date: look at the days that are asked for"),
}
_TURNED_DOWN: Final[Meaning] = (
    InvalidRequest,
    "turned down: this is a fault of the program, or the interface changed",
)
_WITHOUT_CODE: Final[Mapping[int, Meaning]] = {
    401: (AccessRefused, "a fresh token was refused: look at the client, the scope and the environment"),
    403: (AccessRefused, "no access, or a gateway or firewall on the way: look at the openings (ONB A-7)"),
    404: (ConfigurationError, "host: there is no such address; look at the base URL and fid"),
    413: (InvalidRequest, "too large for the register or a gateway: cut the files smaller"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call before it is sent. ``path`` follows the base URL; the token is not part of it."""

    operation: str
    method: str
    path: str
    correlation_id: str
    headers: dict[str, str] = field(repr=False)
    params: dict[str, str] | None = None
    content: Sequence[bytes | memoryview] | None = field(
        default=None, repr=False
    )  # of the body, in its order

    @property
    def writes(self) -> bool:
        return self.method != "GET"


def failed(call: Call, failure: httpx.HTTPError) -> KfrError:
    """What it means that no answer came: a write that was sent may have been done."""
    error: type[KfrError] = Retriable
    message = f"{describe(failure)}: try again"
    if call.writes and was_sent(failure):
        error = OutcomeUnknown
        message = f"{describe(failure)}, it may have been done: send the same again"
    return error(message, correlation_id=call.correlation_id, operation=call.operation)


def explain(call: Call, response: httpx.Response, now: datetime) -> KfrError:
    """The error for an answer that is not the documented success. ``now`` is for a dated Retry-After."""
    status, code = response.status_code, read_code(response)
    error, message = _classify(call, status, code)
    return error(
        message,
        correlation_id=call.correlation_id,
        status=status,
        code=code,
        operation=call.operation,
        retry_after=read_retry_after(response, now),
    )


def read_code(response: httpx.Response) -> str | None:
    """The KFR or ERR code of an error body; None if there is none of that form."""
    answer = _parse(response)
    code = answer.get("errorCode") if isinstance(answer, dict) else None
    return code if isinstance(code, str) and re.fullmatch(r"(?:KFR|ERR)-[0-9]{3}", code) else None


def read_found(call: Call, response: httpx.Response, fid: str, now: datetime) -> bool:
    """Whether ``fid`` is among the banks of a look-up's answer.

    What "no relationship" looks like is not documented: ``banks`` empty, null or absent, or a 404 with a
    code. Anything that is less clear raises: it must not pass for an absence.
    """
    if response.status_code == httpx.codes.NOT_FOUND and read_code(response):
        return False
    if response.status_code != httpx.codes.OK:
        raise explain(call, response, now)
    answer = _parse(response)
    banks = answer.get("banks") if isinstance(answer, dict) and "errorCode" not in answer else ""
    if banks is None:
        return False
    if not isinstance(banks, list) or not all(_is_bank(bank) for bank in banks):
        raise explain(call, response, now)
    return any(str(bank["organizationID"]) == fid for bank in banks)


def _is_bank(bank: object) -> bool:
    return isinstance(bank, dict) and isinstance(bank.get("organizationID"), str | int)


def _parse(response: httpx.Response) -> Any:
    try:
        return response.json()
    except (ValueError, RecursionError):
        return None


def _classify(call: Call, status: int, code: str | None) -> Meaning:
    if status == httpx.codes.TOO_MANY_REQUESTS:
        return Retriable, "the register asks for fewer requests: wait, then send it again"
    if status == httpx.codes.CONFLICT:
        return Retriable, "the register could not do it in its present state: send it again later"
    # A success that is not documented is no success, and no failure either.
    if status < 300 or status >= 500 or status == httpx.codes.REQUEST_TIMEOUT or code == INTERNAL_ERROR:
        if call.writes:
            return OutcomeUnknown, "no answer says whether it was carried out: send the same again"
        return Retriable, "the answer cannot be used: try again"
    if status < 400:
        return ConfigurationError, "host: the register redirects elsewhere; give the base URL itself"
    return _classify_refusal(call, status, code)


def _classify_refusal(call: Call, status: int, code: str | None) -> Meaning:
    if code == NOT_REGISTERED and status == httpx.codes.NOT_FOUND:
        return NotRegistered, "there is no such relationship"
    if (refusal := REFUSALS.get(code or "")) is not None:
        return refusal
    if status == httpx.codes.FORBIDDEN and call.operation == "send_file":
        return Fatal, "most likely a malformed multipart boundary or a gateway, not a lack of access (FAQ)"
    if status == httpx.codes.NOT_FOUND and code:
        return _TURNED_DOWN
    return _WITHOUT_CODE.get(status, _TURNED_DOWN)
