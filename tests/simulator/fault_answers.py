"""What a fault makes of an answer: refuses in the work's place, spoils the body, breaks the connection."""

from dataclasses import replace
from datetime import datetime, timedelta
from email.utils import format_datetime

from tests.simulator.faults import Body, Fault, FaultKind
from tests.simulator.maskinporten import oauth_error
from tests.simulator.messages import GATEWAY_PAGE, HTML, JSON, Answer, Break, encode, error

BREAKS: dict[FaultKind, Break] = {
    FaultKind.NO_CONNECTION: "no_connection",
    FaultKind.RESET_BEFORE_WORK: "reset",
    FaultKind.RESET_AFTER_WORK: "reset",
    FaultKind.CLOSED_BEFORE_WORK: "closed",
    FaultKind.CLOSED_AFTER_WORK: "closed",
}
BEFORE_WORK = {
    FaultKind.STATUS,
    FaultKind.NO_CONNECTION,
    FaultKind.RESET_BEFORE_WORK,
    FaultKind.CLOSED_BEFORE_WORK,
    FaultKind.MASKINPORTEN_ERROR,
}
# Their `seconds` pass before the answer comes, or the connection breaks.
DELAYING = {FaultKind.SLOW, FaultKind.STATUS, FaultKind.STATUS_AFTER_WORK, *BREAKS}

# The code of a status that a document names; the others come from a gateway, which knows no codes.
WRITE_CODES = {400: "KFR-004", 401: "KFR-001", 403: "KFR-002", 404: "KFR-008", 500: "KFR-007"}
LOOK_UP_CODES = {400: "ERR-002", 401: "ERR-001", 403: "ERR-001"}


def answer_instead(fault: Fault, operation: str, at: datetime) -> Answer:
    """The answer when a fault keeps the work from being done."""
    if fault.kind is FaultKind.MASKINPORTEN_ERROR:
        return oauth_error(fault.code, "planned by a fault")
    return spoil(Answer(status=0), fault, operation, at)


def spoil(answer: Answer, fault: Fault, operation: str, at: datetime) -> Answer:
    """The answer when a fault strikes after the work is done."""
    if fault.kind in {FaultKind.STATUS, FaultKind.STATUS_AFTER_WORK}:
        answer = _with_status(answer, fault, operation, at)
    elif fault.kind is FaultKind.BODY:
        answer = _with_body(answer, fault.body)
    delay = fault.seconds if fault.kind in DELAYING else 0.0
    return replace(answer, delay=delay, broken=BREAKS.get(fault.kind))


def _with_status(answer: Answer, fault: Fault, operation: str, at: datetime) -> Answer:
    codes = LOOK_UP_CODES if operation == "look_up" else WRITE_CODES
    code = codes.get(fault.status, "") if operation != "token" else ""
    if operation == "token":
        body = encode({"error": "server_error" if fault.status >= 500 else "temporarily_unavailable"})
    elif code:
        body = error(fault.status, code, at).body
    else:
        body = encode({"message": "planned by a fault"})
    headers = {}
    if fault.retry_after is not None:
        moment = at + timedelta(seconds=fault.retry_after)
        headers["Retry-After"] = (
            format_datetime(moment, usegmt=True) if fault.retry_after_as_date else f"{fault.retry_after:.0f}"
        )
    made = replace(answer, status=fault.status, body=body, content_type=JSON, headers=headers, code=code)
    return _with_body(made, fault.body)


def _with_body(answer: Answer, body: Body) -> Answer:
    if answer.status == 204 or body == "json":
        return answer
    if body == "html":
        return replace(answer, body=GATEWAY_PAGE % answer.status, content_type=HTML, code="")
    if body == "empty":
        return replace(answer, body=b"", content_type=None, code="")
    if body == "wrong_type":
        return replace(answer, content_type="text/plain; charset=utf-8")
    return replace(answer, body=answer.body[: len(answer.body) // 2], code="")
