"""Requests and answers as both fronts carry them, and the bodies of refusals."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

Break = Literal["no_connection", "reset", "closed"]

JSON = "application/json"
HTML = "text/html; charset=utf-8"
GATEWAY_PAGE = (
    b"<html><head><title>%d</title></head><body><h1>The gateway could not serve this</h1></body></html>"
)

MEANINGS = {
    "KFR-001": "Not authenticated",
    "KFR-002": "No access",
    "KFR-003": "Not allowed for this organisation number",
    "KFR-004": "Invalid request",
    "KFR-005": "Invalid customer identifier",
    "KFR-007": "Internal error",
    "KFR-008": "Relationship not found",
    "KFR-009": "Invalid relationship type",
    "KFR-010": "Invalid date format",
    "ERR-001": "Not authorised",
    "ERR-002": "Invalid customer id",
    "ERR-003": "Invalid period or date",
    "ERR-004": "No relationship",  # in no document; a client must not need to know it
}


@dataclass(slots=True, kw_only=True)
class Request:
    """What arrived. `path` and `query` are as on the wire, header names in lower case."""

    method: str
    origin: str  # scheme, host and port
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = field(default=b"", repr=False)


@dataclass(slots=True, kw_only=True)
class Answer:
    """What goes back, what the event log keeps of it, and how the way back fails."""

    status: int
    body: bytes = b""
    content_type: str | None = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0  # seconds before the answer comes
    broken: Break | None = None  # the connection breaks and no answer comes
    code: str = ""
    customer_id: int | None = None
    file: int | None = None
    rows: int = 0
    found: bool | None = None


class Refusal(Exception):  # noqa: N818 - what the register says, not a flaw of the simulator
    """The request breaks a rule of the contract; raised where the rule is checked.

    A code of "" stands for a refusal by the gateway, which answers with a page of its own.
    """

    def __init__(self, status: int, code: str = "", message: str = "") -> None:
        super().__init__(message or code)
        self.status = status
        self.code = code
        self.message = message or MEANINGS.get(code, "")

    def answer(self, at: datetime, customer_id: int | None = None) -> Answer:
        if not self.code:
            return gateway_page(self.status)
        return error(self.status, self.code, at, self.message, customer_id=customer_id)


def error(
    status: int, code: str, at: datetime, message: str = "", *, customer_id: int | None = None
) -> Answer:
    """The register's error body (OAS)."""
    text = message or MEANINGS.get(code, "")
    body = encode({"errorCode": code, "errorMessage": text, "timestamp": at.isoformat()})
    return Answer(status=status, body=body, code=code, customer_id=customer_id)


def gateway_page(status: int) -> Answer:
    return Answer(status=status, body=GATEWAY_PAGE % status, content_type=HTML)


def encode(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
