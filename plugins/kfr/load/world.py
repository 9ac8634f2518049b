"""The world as a step sees it: everything that it may touch is handed in here."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Literal, Protocol

from kfr.clock import Clock, oslo_date, oslo_today
from kfr.load.journal import Journal
from kfr.load.patience import persist
from kfr.load.retention import Retention
from kfr.load.staging import Place, Staging, run_key
from kfr.load.warehouse import Warehouse
from kfr.register.certificate import EnterpriseCertificate
from kfr.register.client import RegisterClient
from kfr.register.errors import InvalidIdentifier, Retriable
from kfr.register.settings import Settings
from kfr.relationships.batch_file import MAX_BODY_BYTES
from kfr.relationships.guards import Limits
from kfr.relationships.packing import day_number

Approval = Literal["auto", "always", "never"]
Scope = Literal["everyone", "interval"]
CompareWith = Literal["mirror", "register"]

LOADS = (
    "kfr_initial_load",
    "kfr_periodic_load",
    "kfr_reconcile",
)  # before the institution's name in a Dag id
LOOK_UPS_LAG_SECONDS = 600  # how far an answer may be behind what the register has (not documented)
LOADING_GRACE_SECONDS = 3600  # how long after a file should have settled its witnesses are still awaited


def is_load(dag_id: str) -> bool:
    """Whether a Dag writes to the register, for whichever institution."""
    return dag_id.partition("__")[0] in LOADS


class MailNotSent(Retriable):
    """The mail server did not take the mail, and it is certain that it did not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A file that goes with a mail; ``media_type`` like ``text/html``."""

    name: str
    media_type: str
    content: bytes = field(repr=False)


class Mailer(Protocol):
    """Sends one mail. MailNotSent when it surely did not leave, OutcomeUnknown when it may have."""

    def send(
        self, *, to: str, subject: str, text: str, message_id: str, attachments: Sequence[Attachment] = ()
    ) -> None: ...

    def check(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of a load, with what was asked of it."""

    dag_id: str
    run_id: str
    as_of: date | None = None
    dry_run: bool = False
    approval: Approval = "auto"
    scope: Scope = "everyone"
    compare_with: CompareWith = "mirror"
    interval: tuple[date, date] | None = None  # Oslo days, both included; None: since the watermark
    reason: str = ""
    max_batch_bytes: int = MAX_BODY_BYTES
    loading_grace: float = LOADING_GRACE_SECONDS
    limits: Limits = field(default_factory=Limits)
    retention: Retention = field(default_factory=Retention)

    @property
    def key(self) -> str:
        return run_key(self.dag_id, self.run_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Clock, register, warehouse, places and mail of one institution, for one run."""

    settings: Settings
    clock: Clock
    certificate: EnterpriseCertificate  # gets tokens, and signs reports
    register: RegisterClient
    warehouse: Warehouse
    staging: Staging
    mailer: Mailer
    mail_to: str  # DSOP@bits.no in production
    run: Run
    say: Callable[[str], None]  # progress for a person; never an identifier
    papers: Path = Path("include") / "papers"  # templates of the mails

    @property
    def state(self) -> Place:
        return self.staging.state

    @property
    def place(self) -> Place:
        """The folder of this run's own staged files."""
        return self.staging.run(self.run.key)

    @property
    def rejects(self) -> Place:
        """The folder of the rows that this run refused."""
        return self.staging.rejects(self.run.key)

    @property
    def journal(self) -> Journal:
        return Journal(self.state)

    @property
    def day(self) -> int:
        """The number of the Oslo day, as packed relationships have it."""
        return day_number(oslo_today(self.clock))

    @property
    def told(self) -> int:
        """The number of the earliest Oslo day of which a look-up may speak: an answer may be minutes old."""
        return day_number(oslo_date(self.clock.now() - timedelta(seconds=LOOK_UPS_LAG_SECONDS)))

    @property
    def now(self) -> float:
        """Unix seconds."""
        return self.clock.now().timestamp()

    def look_up(self, customer_id: int, first: date, last: date) -> bool:
        """Look a customer up, with patience: one fault does not end a pass of thousands."""
        return persist(self.clock, lambda: self.register.look_up(customer_id, first, last))

    def finds(self, customer_id: int, first: date, last: date) -> bool:
        """The same, where a number that the register refuses to look up counts as not there."""
        try:
            return self.look_up(customer_id, first, last)
        except InvalidIdentifier:
            return False
