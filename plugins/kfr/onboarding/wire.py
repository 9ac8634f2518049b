"""A case's request as it goes over the wire, wrong on purpose where the case says so, and its answer."""

import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Final

import httpx

from kfr.onboarding.cases import Case, Expectation
from kfr.register.answers import Call, read_code, read_found
from kfr.register.client import RELATIONSHIP_TYPE
from kfr.register.errors import KfrError
from kfr.register.settings import Settings
from kfr.relationships.batch_file import CONTENT_TYPE, request_body

METHODS: Final[Mapping[str, str]] = {
    "register_one": "POST",
    "remove_one": "DELETE",
    "register_file": "POST",
    "look_up": "GET",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A request before it is sent; ``correlation_id`` is "" when the case sends none."""

    method: str
    url: str
    headers: dict[str, str] = field(repr=False)
    params: dict[str, str] | None = None
    content: bytes | None = field(default=None, repr=False)

    @property
    def correlation_id(self) -> str:
        return self.headers.get("CorrelationID", "")

    def request(self, http: httpx.Client) -> httpx.Request:
        return http.build_request(
            self.method, self.url, params=self.params, headers=self.headers, content=self.content
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the register said, as far as a case can expect it; ``found`` None when it is no look-up's answer."""

    status: int
    code: str | None
    found: bool | None

    def meets(self, expect: Expectation) -> bool:
        return (
            self.status in expect.statuses
            and (not expect.codes or self.code in expect.codes)
            and (expect.found is None or self.found == expect.found)
        )

    def __str__(self) -> str:
        found = {None: "", True: "funnet", False: "ikke funnet"}[self.found]
        return ", ".join(part for part in (str(self.status), self.code or "", found) if part)


def build(
    settings: Settings, case: Case, customers: Sequence[str], *, token: str, other: str, today: date
) -> Sent:
    """Build a case's request; ``other`` is the organisation number of an institution that is not ours."""
    send = case.send
    institution = other if send.get("institution") else settings.fid
    base = f"{settings.base_url}/customers/financialInstitutions/{institution}"
    headers = _headers(send, token)
    if case.operation == "register_file":
        quoted = "boundary" in send
        headers["Content-Type"] = CONTENT_TYPE.replace("=", '="') + '"' if quoted else CONTENT_TYPE
        content = _file(case, customers, today)
        return Sent(method="POST", url=f"{base}/batch", headers=headers, content=content)
    if customers[0]:
        headers["CustomerID"] = customers[0]
    method = send.get("method", METHODS[case.operation])
    if case.operation == "look_up":
        days = {f"{name}Date": _day(send[name], today) for name in ("from", "to") if name in send}
        return Sent(method=method, url=f"{base}/", headers=headers, params=days or None)
    kind = send.get("relationship_type", RELATIONSHIP_TYPE)
    return Sent(method=method, url=f"{base}/relationshipType/{kind}", headers=headers)


def read_answer(response: httpx.Response, fid: str, now: datetime) -> Answer:
    """Read status, code and, of a look-up, whether our own number is among the banks."""
    found = None
    if response.request.method == "GET":
        call = Call(operation="look_up", method="GET", path="", correlation_id="", headers={})
        with suppress(KfrError):  # the case says which refusal is right
            found = read_found(call, response, fid, now)
    return Answer(status=response.status_code, code=read_code(response), found=found)


def _headers(send: Mapping[str, Any], token: str) -> dict[str, str]:
    headers = {"CorrelationID": str(uuid.uuid4())}
    if send.get("correlation_id") == "none":
        del headers["CorrelationID"]
    if send.get("correlation_id") == "malformed":
        headers["CorrelationID"] = "not-a-uuid"
    if send.get("token") != "none":
        headers["Authorization"] = f"Bearer {'not-a-token' if send.get('token') else token}"
    return headers


def _file(case: Case, customers: Sequence[str], today: date) -> bytes:
    entries = []
    for word, customer in zip(case.customers, customers, strict=True):
        start = word.partition("#")[2]
        entries.append(f"{customer}#{_day(start, today)}" if start else customer)
    body = request_body(",".join(entries).encode())
    own = f"\r\n{RELATIONSHIP_TYPE}\r\n".encode()
    return body.replace(own, f"\r\n{case.send.get('customer_type', RELATIONSHIP_TYPE)}\r\n".encode(), 1)


def _day(said: int | str, today: date) -> str:
    """A day as it is sent: an offset from today in days, or the text as it stands."""
    text = str(said)
    return (today + timedelta(days=int(text))).isoformat() if text.removeprefix("-").isdecimal() else text
