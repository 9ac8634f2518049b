"""The register's four operations (OAS): what a request must be, what is done, what is answered."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import lru_cache
from urllib.parse import parse_qs

from tests.simulator.batch_file import RELATIONSHIP_TYPE, read_request
from tests.simulator.faults import Fault, FaultKind
from tests.simulator.identifiers import is_identifier
from tests.simulator.loading import Batch, Load, LoadingQueue
from tests.simulator.maskinporten import Maskinporten
from tests.simulator.messages import Answer, Refusal, Request, encode, error
from tests.simulator.register import Act, Register, batch_of_one, is_ignored, removal
from tests.simulator.switches import Switches

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
OTHER_BANK = {"organizationID": "298765438", "bankName": "Another bank", "activeAccount": False}


@dataclass(frozen=True, slots=True)
class Route:
    """Where a request belongs: the operation, the institution in its path, the type if it has one."""

    operation: str
    fid: str
    relationship_type: str = RELATIONSHIP_TYPE


PATHS = (
    (re.compile(r"/customers/financialInstitutions/([^/]+)/relationshipType/([^/]+)"), "relationship"),
    (re.compile(r"/customers/financialInstitutions/([^/]+)/batch"), "batch"),
    (re.compile(r"/customers/financialInstitutions/([^/]+)/"), "look_up"),  # the slash belongs to it
)
OPERATIONS = {
    ("relationship", "POST"): "register_one",
    ("relationship", "DELETE"): "remove_one",
    ("batch", "POST"): "register_file",
    ("look_up", "GET"): "look_up",
}


@lru_cache
def find_route(method: str, path: str) -> Route:
    """The route of a path below the base URL; Refusal (404, 405, by the gateway) when there is none."""
    for pattern, resource in PATHS:
        match = pattern.fullmatch(path)
        if match:
            operation = OPERATIONS.get((resource, method))
            if operation is None:
                raise Refusal(405)
            return Route(operation, *match.groups())
    raise Refusal(404)


# The share of an accepted file's rows that is loaded.
FILE_FAULTS: dict[FaultKind, Callable[[Fault], float]] = {
    FaultKind.FILE_DROPPED: lambda _: 0.0,
    FaultKind.FILE_PARTLY_LOADED: lambda fault: fault.share,
    FaultKind.FILE_LOADED_TWICE: lambda _: 1.0,
}


@dataclass(slots=True, kw_only=True)
class Operations:
    """The register's front door for one institution."""

    fid: str
    maskinporten: Maskinporten
    register: Register
    queue: LoadingQueue
    switches: Switches
    refuses: set[int] = field(default_factory=set)  # numbers that it takes for wrong, though they are right
    _files: int = 0

    def serve(self, route: Route, request: Request, at: datetime, fault: Fault | None) -> Answer:
        """Answer a request; what it asks for is done when the answer is made."""
        answer = self._answer(route, request, at, fault)
        if correlation_id := request.headers.get("correlationid"):
            answer.headers = {"CorrelationID": correlation_id}
        return answer

    def _answer(self, route: Route, request: Request, at: datetime, fault: Fault | None) -> Answer:
        customer_id: int | None = None
        try:
            self._authorise(route, request.headers, at)
            self._check_headers(route, request)
            if route.operation == "register_file":
                return self._register_file(request, at, fault)
            customer_id = _read_customer_id(request.headers, route.operation)
            if customer_id in self.refuses:
                raise Refusal(400, "ERR-002" if route.operation == "look_up" else "KFR-005")
            return self._serve_one(route.operation, customer_id, request, at, fault)
        except Refusal as refusal:
            return refusal.answer(at, customer_id)

    def _authorise(self, route: Route, headers: Mapping[str, str], at: datetime) -> None:
        family = "ERR" if route.operation == "look_up" else "KFR"
        scheme, _, token = headers.get("authorization", "").partition(" ")
        grant = self.maskinporten.grant_of(token, at) if scheme == "Bearer" else None
        if grant is None:
            raise Refusal(401, f"{family}-001")
        if route.fid != grant.organisation:
            raise Refusal(403, "ERR-001" if family == "ERR" else "KFR-003")

    def _check_headers(self, route: Route, request: Request) -> None:
        correlation_id = request.headers.get("correlationid")
        if route.operation == "look_up":
            # Optional here; no code is documented for one that is malformed.
            if correlation_id is not None and not UUID.fullmatch(correlation_id):
                raise Refusal(400, "ERR-003", "CorrelationID is not a UUID")
            return
        if correlation_id is None or not UUID.fullmatch(correlation_id):
            raise Refusal(400, "KFR-004", "Invalid request: CorrelationID is missing or not a UUID")
        if route.relationship_type != RELATIONSHIP_TYPE:
            raise Refusal(400, "KFR-009")
        if route.operation != "register_file" and request.body:
            raise Refusal(400, "KFR-004", "Invalid request: it has a body")

    def _serve_one(
        self, operation: str, customer_id: int, request: Request, at: datetime, fault: Fault | None
    ) -> Answer:
        if operation == "look_up":
            lag = (
                fault.seconds if fault and fault.kind is FaultKind.LOOK_UP_LAGS else self.switches.look_up_lag
            )
            return self._look_up(customer_id, request, at, lag)
        if operation == "register_one":
            return self._register_one(customer_id, self.register.moment(at))
        return self._remove_one(customer_id, at)

    def _register_one(self, customer_id: int, moment: float) -> Answer:
        switches = self.switches
        periods = self.register.periods(customer_id, moment)
        active = bool(periods) and periods[-1].last is None
        ignored = bool(periods) and is_ignored(periods[-1], switches, self.register.today(moment))
        if active or ignored:
            return Answer(status=200, content_type=None, customer_id=customer_id)
        if switches.single == "after_files" and self.queue.pending_rows:
            self._load(batch_of_one(customer_id), None, moment, None)
        else:
            day = self.register.today(moment)
            self.register.record(customer_id, moment, Act.REGISTER, switches, day=day)
        return Answer(status=201, content_type=None, customer_id=customer_id)

    def _remove_one(self, customer_id: int, at: datetime) -> Answer:
        moment = self.register.moment(at)
        if not self.register.is_active(customer_id, moment):
            return error(404, "KFR-008", at, customer_id=customer_id)
        act, last, shown = removal(self.switches, self.register.today(moment))
        self.register.record(customer_id, moment, act, self.switches, day=last, ended_on=shown)
        return Answer(status=204, content_type=None, customer_id=customer_id)

    def _look_up(self, customer_id: int, request: Request, at: datetime, lag: float) -> Answer:
        moment = self.register.moment(at)
        first, last = _read_window(request.query, self.register.today(moment))
        periods = self.register.periods(customer_id, moment - lag)
        found = any(period.overlaps(first, last) for period in periods)
        banks = [OTHER_BANK] if self.switches.other_bank else []
        if found:
            banks.append({"organizationID": self.fid, "bankName": "The institution", "activeAccount": False})
        body: dict[str, object] = {"banks": banks}
        if not banks:
            form = self.switches.no_relationship
            if form.startswith("not_found"):
                code = "KFR-008" if form == "not_found_kfr" else "ERR-004"
                answer = error(404, code, at, customer_id=customer_id)
                answer.found = False
                return answer
            body = {"banks": []} if form == "empty_banks" else {}
        return Answer(status=200, body=encode(body), customer_id=customer_id, found=found)

    def _register_file(self, request: Request, at: datetime, fault: Fault | None) -> Answer:
        batch = read_request(request.headers.get("content-type", ""), request.body, self.switches)
        if self.refuses and not self.refuses.isdisjoint(batch.ids.tolist()):
            raise Refusal(400, "KFR-005")
        self._files += 1
        self._load(batch, self._files, self.register.moment(at), fault)
        return Answer(status=201, content_type=None, file=self._files, rows=len(batch))

    def _load(self, batch: Batch, file: int | None, moment: float, fault: Fault | None) -> None:
        fault = fault if fault and fault.kind in FILE_FAULTS else None
        limit = int(len(batch) * FILE_FAULTS[fault.kind](fault)) if fault else len(batch)
        passes = [moment]
        if fault and fault.kind is FaultKind.FILE_LOADED_TWICE:
            passes.append(moment + fault.seconds)
        for available in passes:
            load = Load(batch, self.switches, file, available, limit, fault.kind if fault else "")
            self.register.add_load(load)
            self.queue.put(load)


def _read_customer_id(headers: Mapping[str, str], operation: str) -> int:
    text = headers.get("customerid")
    if operation == "look_up":
        missing = malformed = Refusal(400, "ERR-002")
    else:
        missing = Refusal(400, "KFR-004", "Invalid request: CustomerID is missing")
        malformed = Refusal(400, "KFR-005")
    if text is None:
        raise missing
    if not is_identifier(text):
        raise malformed
    return int(text)


@lru_cache
def _read_window(query: str, today: int) -> tuple[int, int]:
    """The days asked about, as ordinals, both included; what is not given is today."""
    fields = parse_qs(query, keep_blank_values=True)
    first, last = (_read_day(fields.get(name), today) for name in ("fromDate", "toDate"))
    if first > last:
        raise Refusal(400, "ERR-003", "Invalid period: it ends before it begins")
    return first, last


def _read_day(values: list[str] | None, today: int) -> int:
    if values is None:
        return today
    if len(values) != 1 or not ISO_DATE.fullmatch(values[0]):
        raise Refusal(400, "ERR-003")
    try:
        return date.fromisoformat(values[0]).toordinal()
    except ValueError:
        raise Refusal(400, "ERR-003") from None
