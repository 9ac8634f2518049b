"""An institution in a box: warehouse in memory, register in process, state on a fast disk, one virtual clock."""

import os
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from email.message import EmailMessage
from functools import cache, lru_cache
from pathlib import Path

import httpx
from cryptography.hazmat.primitives.serialization import Encoding

from kfr.clock import oslo_today
from kfr.load.staging import Place, Staging, run_key
from kfr.load.world import Attachment, MailNotSent, Run, World
from kfr.register.certificate import EnterpriseCertificate, load_keystore
from kfr.register.client import RegisterClient
from kfr.register.errors import CertificateError, OutcomeUnknown
from kfr.register.limits import NOTICE_ROWS_PER_DAY
from kfr.register.maskinporten import TokenSource
from kfr.register.settings import Environment, Settings
from tests.faults.fuse import Fuse, FusedTransport, fused_staging
from tests.faults.store import MemoryPath
from tests.faults.turns import SkewedClock, TurnClock
from tests.faults.warehouse import Agreement, MemoryWarehouse
from tests.faults.wire import Front
from tests.keystores import (
    ORGANISATION,
    PASSWORD,
    PRODUCTION_ISSUER,
    TEST_ISSUER,
    make_certificate,
    make_keystore,
    rsa_key,
)
from tests.simulator import FaultKind, Simulator, Switches
from tests.simulator.identifiers import make_synthetic, text_of

KEY = bytes(range(32))
RATE = 250.0
_staging = lru_cache(maxsize=8)(Staging)


class SimulatedMail:
    """The package's mailer, towards the simulator's mailbox."""

    def __init__(self, institution: "Institution") -> None:
        self._simulator = institution.simulator
        self._fuse = institution.fuse
        self._facts = institution.facts_of_d4

    def send(
        self, *, to: str, subject: str, text: str, message_id: str, attachments: Sequence[Attachment] = ()
    ) -> None:
        assert not attachments, "a load's mails have none"
        self._fuse.touch("mail")
        message = EmailMessage()
        message["Subject"], message["To"], message["Message-ID"] = subject, to, message_id
        message.set_content(text)
        before = len(self._simulator.mails)
        fault = self._simulator.take_mail("kfr@bank.example", [to], message.as_bytes())
        if subject.startswith("D-4") and len(self._simulator.mails) > before:
            registered = sum(end is None for _, end in self._simulator.relationships().values())
            looked_up = sum(e.kind == "look_up" for e in self._simulator.log)
            self._facts.append((registered, looked_up))
        self._fuse.touch("mail", "after")
        if fault and fault.kind is FaultKind.STATUS:
            raise MailNotSent("refused")
        if fault:
            raise OutcomeUnknown("no answer")

    def check(self) -> None:
        return


@dataclass(slots=True)
class Call:
    """One request to the register or Maskinporten, as it left, and what came back."""

    at: float  # virtual seconds since the institution began
    operation: str
    run: str  # whose
    holder: str  # who held the lease then; writes only
    customer_id: str
    body: bytes
    url: str
    task: str
    attempt: int  # of a worker: another one after a crash, or when a person has cleared
    status: int = 0  # 0: no answer
    fine: bool = False  # the answer is as it was meant
    retry_after: float | None = None
    checked: bool = False


@dataclass
class Institution:
    """Everything of one bank, and the register that it reports to."""

    folder: Path | MemoryPath
    seed: int = 0
    switches: Switches = field(default_factory=Switches)
    requests_per_second: float = 200.0
    rows_per_second: float = RATE
    sample_size: int = 40
    environment: Environment = "test"
    thin: bool = False  # without httpx, for speed: under `thin_clients`
    clock: TurnClock = field(default_factory=TurnClock)

    def __post_init__(self) -> None:
        self.random = random.Random(f"institution {self.seed}")
        self.fuse = Fuse()
        self.own_clock = SkewedClock(self.clock)
        self.simulator = Simulator(
            clock=self.clock,
            fid=ORGANISATION,
            rows_per_second=self.rows_per_second,
            switches=self.switches,
            seed=self.seed,
            environment=self.environment,
        )
        self.warehouse = MemoryWarehouse(self.clock, self.own_clock)
        self.settings = Settings.from_fields(
            host=None,
            login="client",
            password=PASSWORD,
            extra={
                "environment": self.environment,
                "fid": ORGANISATION,
                "keystore": _keystore(self.environment),
                "staging_key": _b64(KEY),
                "rows_per_second": self.rows_per_second,
                "requests_per_second": self.requests_per_second,
                "sample_size": self.sample_size,
            },
        )
        self.said: list[str] = []
        self.calls: list[Call] = []
        self.current = ""  # the run whose worker is at work
        self.task = ""  # which task of it
        self.attempt = 0
        self.largest: dict[str, int] = {}  # bytes of a request, by run
        self.certificate = _certificate(self.environment)
        self.certificate_expired = False
        self.facts_of_d4: list[tuple[int, int]] = []  # as each left: who is registered, and look-ups made
        self.most_rows_without_notice = NOTICE_ROWS_PER_DAY
        self.closed_in_haste: set[int | None] = set()  # files that a person took for lost while they loaded
        self.removed_wrongly: list[str] = []  # of which removals there was no evidence when they left
        self.verified = False  # a first load, once: D-4 may go; what is cleared later does not undo it
        self._connect()

    def world(self, run: Run) -> World:
        """A new worker's world, as after a crash; only the client is shared, since making one takes time."""
        self.current = run.key
        self.largest[run.key] = run.max_batch_bytes
        return World(
            settings=self.settings,
            clock=self.own_clock,
            certificate=self.certificate,
            register=self._register,
            warehouse=self.warehouse,
            staging=self.staging(),
            mailer=SimulatedMail(self),
            mail_to="onboarding@bank.example",
            run=run,
            say=self.said.append,
        )

    def staging(self) -> Staging:
        return fused_staging(self.folder, KEY, self.fuse, environment=self.environment, fid=ORGANISATION)

    @property
    def state(self) -> Place:
        """The state folder as it lies there, for looking at it: nothing strikes."""
        return _staging(self.folder, KEY, environment=self.environment, fid=ORGANISATION).state

    def believe(self, rows_per_second: float) -> None:
        """The connection says that the register loads at this rate."""
        self.settings = replace(self.settings, rows_per_second=rows_per_second)
        self._connect()

    # the certificate's life

    def expire_certificate(self, seconds: float) -> None:
        """From so many seconds on the certificate is not valid any more."""
        until = (self.clock.now() + timedelta(seconds=seconds)).replace(microsecond=0)
        leaf = make_certificate(
            rsa_key("leaf"), issuer=_ISSUERS[self.environment], not_before=VALID[0], not_after=until
        )
        self.certificate = replace(
            self.certificate, leaf_der=leaf.public_bytes(Encoding.DER), not_after=until
        )
        self.certificate_expired = True
        self._connect()

    def renew_certificate(self) -> None:
        self.attempt += 1
        self.certificate = _certificate(self.environment)
        self._connect()

    @property
    def certificate_holds(self) -> bool:
        return self.own_clock.now() <= self.certificate.not_after

    def require_certificate(self) -> None:
        """What every task does first, as the hook opens the keystore."""
        if not self.certificate_holds:
            raise CertificateError("the certificate has expired", code="expired")

    def _connect(self) -> None:
        inner = Front(self.simulator) if self.thin else self.simulator.sync_transport()
        transport = FusedTransport(inner, self, self._see)
        tokens = TokenSource(self.settings, self.certificate, self.own_clock, transport=transport)
        self._register = RegisterClient(self.settings, tokens, self.own_clock, transport=transport)

    def _see(self, operation: str, request: httpx.Request, response: httpx.Response | None) -> None:
        if response is not None:
            call = self.calls[-1]
            wait = response.headers.get("Retry-After")
            call.status, call.retry_after = response.status_code, float(wait) if wait else None
            call.fine = not self.simulator.log[-1].fault
            return
        holder = ""
        if operation not in ("token", "look_up") and self.state.exists("lease"):
            lease = self.state.read_json("lease")
            holder = run_key(lease["dag_id"], lease["run_id"]) if lease["held"] else ""
        if operation == "remove_one" and (whom := self._has_no_evidence(request.headers["CustomerID"])):
            self.removed_wrongly.append(whom)
        self.calls.append(
            Call(
                at=self.clock.monotonic(),
                operation=operation,
                run=self.current,
                task=self.task,
                holder=holder,
                customer_id=request.headers.get("CustomerID") or "",
                body=request.read() if operation == "register_file" else b"",
                url=str(request.url),
                attempt=self.attempt,
            )
        )

    def _has_no_evidence(self, customer: str) -> str:
        """What is wrong with a removal that leaves, by what the warehouse has last said of this very customer."""
        warehouse = self.warehouse
        if customer not in warehouse.said:
            return "whom nobody asked about"
        day, rows = warehouse.said[customer]
        if customer in relationships(rows, day):
            return "a customer"
        if customer not in warehouse.queue and not rows:
            return "whom the warehouse does not know"
        if any(a.started and a.ended and a.ended < a.started for a in rows):
            return "with a row that was refused"
        return ""

    # the warehouse's life

    def new_customer(self) -> str:
        return text_of(make_synthetic(self.random))

    def populate(self, customers: int) -> None:
        """Active, ended, folded, future, undated and wrong rows, as in any warehouse."""
        today = oslo_today(self.clock)
        for _ in range(customers):
            customer = self.new_customer()
            start = today - timedelta(days=self.random.randrange(1, 5000))
            kind = self.random.random()
            rows = [Agreement(customer, start)]
            if kind < 0.1:
                rows.append(Agreement(customer, start + timedelta(days=self.random.randrange(100))))
            elif kind < 0.15:
                rows = [Agreement(customer, start - timedelta(days=100), start - timedelta(days=50))]
            elif kind < 0.18:
                rows.insert(0, Agreement(customer, start - timedelta(days=400), start - timedelta(days=50)))
            elif kind < 0.2:
                rows = [Agreement(customer, None)]
            elif kind < 0.22:
                rows = [Agreement(customer, today + timedelta(days=30))]
            self.warehouse.agreements_held += rows
        self.warehouse.agreements_held += [Agreement("12345678901", today), Agreement(" 1234", today)]
        self.random.shuffle(self.warehouse.agreements_held)

    def leave(self, customers: int) -> None:
        today = oslo_today(self.clock)
        active = sorted(self.desired())
        for customer in self.random.sample(active, min(customers, len(active))):
            for a in self.warehouse.agreements_held:
                if a.customer == customer and (a.ended is None or a.ended > today):
                    a.ended = today

    def arrive(self, customers: int) -> None:
        today = oslo_today(self.clock)
        for _ in range(customers):
            start = today - timedelta(days=self.random.choice([0, 0, 3]))
            self.warehouse.agreements_held.append(Agreement(self.new_customer(), start))

    def desired(self, on: date | None = None) -> dict[str, date | None]:
        """Who is a customer on a day (today), and since when."""
        return relationships(self.warehouse.agreements_held, on or oslo_today(self.clock))


def relationships(agreements: list[Agreement], today: date) -> dict[str, date | None]:
    """Who is a customer by these agreements, and since when: the rule told a second time, plainly."""
    mine: dict[str, list[Agreement]] = {}
    for a in agreements:
        refused = a.started and a.ended and a.ended < a.started
        if len(a.customer) == 11 and a.customer != "12345678901" and not refused:
            mine.setdefault(a.customer, []).append(a)
    result: dict[str, date | None] = {}
    for customer, rows in mine.items():
        begun = sorted(
            (a for a in rows if a.started is None or a.started <= today),
            key=lambda a: a.started or date.min,
        )
        start, furthest = None, None
        for a in begun:
            end = a.ended or date.max
            if furthest is None or (a.started or date.min).toordinal() > furthest.toordinal() + (
                furthest != date.max
            ):
                start, furthest = a.started, end
            else:
                start, furthest = start or a.started, max(furthest, end)
        if furthest is not None and furthest > today:
            result[customer] = start
    return result


def _b64(raw: bytes) -> str:
    import base64

    return base64.b64encode(raw).decode()


# Around the virtual clock's time, so that no test depends on the day on which it runs.
VALID = (datetime(2026, 1, 1, tzinfo=UTC), datetime(2029, 12, 31, tzinfo=UTC))
_ISSUERS = {"test": TEST_ISSUER, "production": PRODUCTION_ISSUER}


@cache
def _keystore(environment: Environment) -> str:
    return _b64(make_keystore(issuer=_ISSUERS[environment], not_before=VALID[0], not_after=VALID[1]))


@cache  # 44 ms
def _certificate(environment: Environment) -> EnterpriseCertificate:
    return load_keystore(
        _keystore(environment),
        PASSWORD,
        expected_organisation=ORGANISATION,
        environment=environment,
        at=VALID[0] + timedelta(days=1),
    )


def fast_folder() -> Path:
    """A folder in memory where there is one: every write of state is flushed to disk."""
    shm = Path("/dev/shm")
    return shm if shm.is_dir() and os.access(shm, os.W_OK) else Path("/tmp")
