"""The stand-in itself: register, Maskinporten and mailbox on one clock, one seed and one log."""

import random
import threading
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Literal, get_args
from urllib.parse import urlsplit

import httpx
from cryptography import x509

from kfr.clock import Clock
from tests.simulator.certificates import Authority, Holder
from tests.simulator.events import Event
from tests.simulator.fault_answers import BEFORE_WORK, answer_instead, spoil
from tests.simulator.faults import Fault, FaultKind, FaultPlan
from tests.simulator.identifiers import make_synthetic
from tests.simulator.in_process import AsyncFront, SyncFront, UnknownHost
from tests.simulator.loading import LoadingQueue
from tests.simulator.mailbox import Mail, read_mail
from tests.simulator.maskinporten import Maskinporten
from tests.simulator.messages import Answer, Refusal, Request
from tests.simulator.operations import Operations, Route, find_route
from tests.simulator.register import Act, Register, Snapshot, date_of
from tests.simulator.switches import Switches

Environment = Literal["test", "production"]
Defect = Literal["missing", "other_start", "leftover"]

STANDARD = Switches()
BASE_URLS = {
    "test": "https://preprod.api.bits.no/kar-ws/api/v1",
    "production": "https://api.bits.no/kar-ws/api/v1",
}
ISSUERS = {"test": "https://test.maskinporten.no/", "production": "https://maskinporten.no/"}
EVENT_KINDS = {"register_file": "file_accepted"}  # where it is not the operation's name
DAYS_OFF = 30  # by which a defect moves a start


class Simulator:
    """A stand-in for KFR, Maskinporten and a mail server, for one institution.

    `trusted` are authorities' or leaves' certificates; without any, any RSA leaf of the right organisation is trusted.
    Without `client_id` any client is known. The same calls under the same seed give the same log.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        fid: str,
        rows_per_second: float = 250,
        switches: Switches = STANDARD,
        seed: int = 0,
        environment: Environment = "test",
        base_url: str | None = None,
        issuer: str | None = None,
        client_id: str | None = None,
        trusted: Sequence[x509.Certificate] = (),
        suppliers: frozenset[str] = frozenset(),
        registered_keys: Mapping[str, Holder] | None = None,
    ) -> None:
        if rows_per_second <= 0:
            raise ValueError("rows_per_second is above 0")
        self.clock = clock
        self.fid = fid
        self.base_url = base_url or BASE_URLS[environment]
        self.issuer = issuer or ISSUERS[environment]
        self.mails: list[Mail] = []
        self.faults = FaultPlan(random.Random(f"faults {seed}"))
        self._rng = random.Random(f"defects {seed}")
        self._lock = threading.RLock()
        self._log: list[Event] = []
        self._queue = LoadingQueue(rows_per_second, random.Random(f"loading {seed}"))
        self._register = Register(clock.now())
        self._maskinporten = Maskinporten(
            issuer=self.issuer,
            authority=Authority(environment, tuple(trusted)),
            fid=fid,
            client_id=client_id,
            rng=random.Random(f"tokens {seed}"),
            suppliers=suppliers,
            registered_keys=registered_keys or {},
        )
        self._operations = Operations(
            fid=fid,
            maskinporten=self._maskinporten,
            register=self._register,
            queue=self._queue,
            switches=switches,
        )

    def sync_transport(self) -> httpx.BaseTransport:
        """An in-process front for the hosts of both the register and Maskinporten."""
        return SyncFront(self.handle, self.clock)

    def async_transport(self) -> httpx.AsyncBaseTransport:
        return AsyncFront(self.handle, self.clock)

    def move_to(self, *, base_url: str, issuer: str) -> None:
        """Answer at other addresses; Maskinporten's audience is its own address."""
        self.base_url, self.issuer, self._maskinporten.issuer = base_url, issuer, issuer

    @property
    def refuses(self) -> set[int]:
        """Identifiers that the register refuses as wrong, though they are right; to be changed at will."""
        return self._operations.refuses

    @property
    def switches(self) -> Switches:
        return self._operations.switches

    @switches.setter
    def switches(self, switches: Switches) -> None:
        """Behave otherwise from now on; what was accepted before keeps the switches of then."""
        with self._lock:
            self._operations.switches = switches

    @property
    def rows_per_second(self) -> float:
        return self._queue.rows_per_second

    @rows_per_second.setter
    def rows_per_second(self, rate: float) -> None:
        with self._lock:
            self._advance()
            self._queue.rows_per_second = rate

    @property
    def log(self) -> list[Event]:
        """What has happened so far, in order."""
        with self._lock:
            self._advance()
            return self._log

    @property
    def pending_rows(self) -> int:
        """Rows that are accepted and will still be loaded."""
        with self._lock:
            self._advance()
            return self._queue.pending_rows

    def snapshot(self) -> Snapshot:
        """The state of the register as arrays: sorted identifiers, starts, ends shown."""
        with self._lock:
            return self._register.snapshot(self._advance())

    def relationships(self) -> dict[int, tuple[date, date | None]]:
        """The state of the register: identifier to start and end, the latest period of each customer."""
        ids, starts, ends = (column.tolist() for column in self.snapshot())
        return {
            one: (date.fromordinal(start), date_of(end))
            for one, start, end in zip(ids, starts, ends, strict=True)
        }

    def handle(self, request: Request) -> Answer:
        """Answer one HTTP request; UnknownHost when it is meant for somebody else."""
        with self._lock:
            at = self.clock.now()
            moment = self._advance()
            route = self._find_route(request)
            if isinstance(route, Refusal):
                answer = route.answer(at)
                self._log_call("", answer, request, None)
                return answer
            fault = self.faults.strike(route.operation)
            if fault and fault.kind is FaultKind.LOADING_STALLED:
                self._queue.stall(moment, moment + fault.seconds)
            return self._answer(route, request, at, fault)

    def take_mail(self, sender: str, recipients: list[str], raw: bytes) -> Fault | None:
        """Take a mail in; return the fault that struck. A mail refused or cut off before is not kept."""
        with self._lock:
            self._advance()
            fault = self.faults.strike("mail")
            done = fault is None or fault.kind is FaultKind.CLOSED_AFTER_WORK
            if done:
                self.mails.append(read_mail(self.clock.now(), sender, recipients, raw))
            status = fault.status if fault and fault.kind is FaultKind.STATUS else 250
            kind = "mail" if done else "fault"
            at = self.clock.now()
            self._log.append(Event(at=at, kind=kind, operation="mail", status=status, fault=_name(fault)))
            return fault

    def plant_defect(self, kind: Defect, customer_id: int | None = None) -> int:
        """Make the register wrong: a relationship goes missing, gets another start, or is left over.

        Returns whose it is; an active one is drawn (or, for `leftover`, a number is made) if none is given. ValueError
        when there is no such kind, or no relationship to spoil.
        """
        if kind not in get_args(Defect):
            raise ValueError(f"a defect is one of {', '.join(get_args(Defect))}")
        with self._lock:
            moment = self._advance()
            today = self._register.today(moment)
            if customer_id is None:
                customer_id = self._draw(kind, moment)
            acts = {"missing": Act.ERASE, "other_start": Act.MOVE_START, "leftover": Act.REGISTER}
            periods = self._register.periods(customer_id, moment)
            start = periods[-1].start if periods else today
            self._register.record(customer_id, moment, acts[kind], self.switches, day=start - DAYS_OFF)
            at = self.clock.now()
            self._log.append(Event(at=at, kind="defect", operation=kind, customer_id=customer_id))
            return customer_id

    def _draw(self, kind: Defect, moment: float) -> int:
        if kind == "leftover":
            return make_synthetic(self._rng)
        ids, _, ends = self._register.snapshot(moment)
        active = ids[ends == 0]
        if not len(active):
            raise ValueError("there is no relationship to spoil")
        return int(active[self._rng.randrange(len(active))])

    def _find_route(self, request: Request) -> Route | Refusal:
        url = f"{request.origin}{request.path}"
        if url.startswith(self.issuer) and not url.startswith(f"{self.base_url}/"):
            return Route("token" if url == f"{self.issuer}token" else "metadata", self.fid)
        if not url.startswith(f"{self.base_url}/"):
            origins = {_origin(self.base_url), _origin(self.issuer)}
            if request.origin not in origins:
                raise UnknownHost(request.origin)
            return Refusal(404)
        try:
            return find_route(request.method, url.removeprefix(self.base_url))
        except Refusal as refusal:
            return refusal

    def _answer(self, route: Route, request: Request, at: datetime, fault: Fault | None) -> Answer:
        if fault and fault.kind in BEFORE_WORK:
            answer = answer_instead(fault, route.operation, at)
            self._log_call(route.operation, answer, request, fault, kind="fault")
            return answer
        if route.operation in {"token", "metadata"}:
            path = f"{request.origin}{request.path}".removeprefix(self.issuer)
            answer = self._maskinporten.serve(request, path, at)
        else:
            answer = self._operations.serve(route, request, at, fault)
        self._log_call(route.operation, answer, request, fault)
        return spoil(answer, fault, route.operation, at) if fault else answer

    def _advance(self) -> float:
        """Load what is due by now; return the moment."""
        moment = self._register.moment(self.clock.now())
        for when, kind, load in self._queue.advance(moment):
            if load.file is not None:
                at = self._register.at(when)
                event = Event(at=at, kind=kind, file=load.file, rows=load.limit, fault=load.fault)
                self._log.append(event)
        return moment

    def _log_call(
        self, operation: str, answer: Answer, request: Request, fault: Fault | None, kind: str = ""
    ) -> None:
        done = answer.status < 400 or answer.found is not None
        event = Event(
            at=self.clock.now(),
            kind=kind or (EVENT_KINDS.get(operation, operation) if done else "refused"),
            operation=operation,
            status=answer.status,
            code=answer.code,
            correlation_id=request.headers.get("correlationid", ""),
            customer_id=answer.customer_id,
            file=answer.file,
            rows=answer.rows,
            found=answer.found,
            fault=_name(fault),
        )
        self._log.append(event)


def _name(fault: Fault | None) -> str:
    return str(fault.kind) if fault else ""


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
