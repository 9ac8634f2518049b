"""An institution in a box: warehouse in memory, register in process, state on a fast disk, one virtual clock."""

import os
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from email.message import EmailMessage
from pathlib import Path

import pyarrow as pa

from kfr.clock import oslo_today
from kfr.load.staging import Staging
from kfr.load.world import Attachment, MailNotSent, Run, World
from kfr.register.certificate import load_keystore
from kfr.register.client import RegisterClient
from kfr.register.errors import OutcomeUnknown
from kfr.register.maskinporten import TokenSource
from kfr.register.settings import Settings
from tests.faults.fuse import Fuse, FusedTransport, fused_staging
from tests.keystores import ORGANISATION, PASSWORD, make_keystore
from tests.simulator import FaultKind, Simulator, Switches, VirtualClock
from tests.simulator.identifiers import make_synthetic, text_of

SCHEMA = pa.schema([("customer_id", pa.string()), ("started_on", pa.date32()), ("ended_on", pa.date32())])
KEY = bytes(range(32))
RATE = 250.0


@dataclass
class Agreement:
    customer: str
    started: date | None
    ended: date | None = None
    recorded: date | None = None


class MemoryWarehouse:
    """Agreements in a list; what happens at a moment happens when the warehouse is next asked after it."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self.agreements_held: list[Agreement] = []
        self._coming: list[tuple[float, Callable[[], None]]] = []
        self.lies_about_count = 0
        self.queue: dict[str, str | None] = {}  # removals that the institution's own systems ask for

    def later(self, seconds: float, change: Callable[[], None]) -> None:
        self._coming.append((self._clock.now().timestamp() + seconds, change))
        self._coming.sort(key=lambda c: c[0])

    def settle(self) -> None:
        """Let all that is to come happen now: what comes after the list is closed is the next load's."""
        for _, change in self._coming:
            change()
        self._coming.clear()

    def advance(self) -> None:
        while self._coming and self._coming[0][0] <= self._clock.now().timestamp():
            self._coming.pop(0)[1]()

    @contextmanager
    def agreements(self, as_of: date) -> Iterator["MemorySnapshot"]:
        self.advance()
        begun = [a for a in self.agreements_held if a.started is None or a.started <= as_of]
        yield MemorySnapshot(begun, len(begun) + self.lies_about_count)

    @contextmanager
    def changed_agreements(self, from_date: date, to_date: date) -> Iterator["MemorySnapshot"]:
        self.advance()
        changed = {
            a.customer.strip()
            for a in self.agreements_held
            if any(day and from_date <= day <= to_date for day in (a.started, a.ended, a.recorded))
        }
        yield MemorySnapshot([a for a in self.agreements_held if a.customer.strip() in changed], None)

    def queued_removals(self) -> list[str]:
        self.advance()
        return [customer for customer, result in self.queue.items() if result in (None, "waits")]

    def record_removals(self, results: Sequence[tuple[str, str]]) -> None:
        self.queue |= dict(results)

    def agreements_of(self, customer_ids: Sequence[str]) -> pa.Table:
        self.advance()
        wanted = set(customer_ids)
        return pa.Table.from_batches(
            list(MemorySnapshot([a for a in self.agreements_held if a.customer in wanted], None).batches())
        )


@dataclass
class MemorySnapshot:
    _rows: list[Agreement]
    expected_rows: int | None

    def batches(self) -> Iterator[pa.RecordBatch]:
        for at in range(0, max(len(self._rows), 1), 1000):
            part = self._rows[at : at + 1000]
            yield pa.record_batch(
                [[a.customer for a in part], [a.started for a in part], [a.ended for a in part]],
                schema=SCHEMA,
            )


class SimulatedMail:
    """The package's mailer, towards the simulator's mailbox."""

    def __init__(self, simulator: Simulator, fuse: Fuse) -> None:
        self._simulator = simulator
        self._fuse = fuse

    def send(
        self, *, to: str, subject: str, text: str, message_id: str, attachments: Sequence[Attachment] = ()
    ) -> None:
        assert not attachments, "a load's mails have none"
        self._fuse.touch()
        message = EmailMessage()
        message["Subject"], message["To"], message["Message-ID"] = subject, to, message_id
        message.set_content(text)
        fault = self._simulator.take_mail("kfr@bank.example", [to], message.as_bytes())
        self._fuse.touch()
        if fault and fault.kind is FaultKind.STATUS:
            raise MailNotSent("refused")
        if fault:
            raise OutcomeUnknown("no answer")

    def check(self) -> None:
        return


@dataclass
class Institution:
    """Everything of one bank, and the register that it reports to."""

    folder: Path
    seed: int = 0
    switches: Switches = field(default_factory=Switches)
    requests_per_second: float = 200.0
    sample_size: int = 40
    clock: VirtualClock = field(default_factory=VirtualClock)

    def __post_init__(self) -> None:
        self.random = random.Random(f"institution {self.seed}")
        self.fuse = Fuse()
        self.simulator = Simulator(
            clock=self.clock, fid=ORGANISATION, rows_per_second=RATE, switches=self.switches, seed=self.seed
        )
        self.warehouse = MemoryWarehouse(self.clock)
        self.settings = Settings.from_fields(
            host=None,
            login="client",
            password=PASSWORD,
            extra={
                "environment": "test",
                "fid": ORGANISATION,
                "keystore": _KEYSTORE,
                "staging_key": _b64(KEY),
                "requests_per_second": self.requests_per_second,
                "sample_size": self.sample_size,
            },
        )
        self.certificate = load_keystore(
            _KEYSTORE, PASSWORD, expected_organisation=ORGANISATION, environment="test", at=self.clock.now()
        )
        self.said: list[str] = []
        transport = FusedTransport(self.simulator.sync_transport(), self)
        tokens = TokenSource(self.settings, self.certificate, self.clock, transport=transport)
        self._register = RegisterClient(self.settings, tokens, self.clock, transport=transport)

    def world(self, run: Run) -> World:
        """A new worker's world, as after a crash; only the client is shared, since making one takes 40 ms."""
        return World(
            settings=self.settings,
            clock=self.clock,
            register=self._register,
            warehouse=self.warehouse,
            staging=self.staging(),
            mailer=SimulatedMail(self.simulator, self.fuse),
            mail_to="onboarding@bank.example",
            run=run,
            say=self.said.append,
        )

    def staging(self) -> Staging:
        return fused_staging(self.folder, KEY, self.fuse, environment="test", fid=ORGANISATION)

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

    def desired(self) -> dict[str, date | None]:
        """Who is a customer today, and since when: the rule told a second time, plainly."""
        today = oslo_today(self.clock)
        mine: dict[str, list[Agreement]] = {}
        for a in self.warehouse.agreements_held:
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


_KEYSTORE = _b64(make_keystore())


def fast_folder() -> Path:
    """A folder in memory where there is one: every write of state is flushed to disk."""
    shm = Path("/dev/shm")
    return shm if shm.is_dir() and os.access(shm, os.W_OK) else Path("/tmp")
