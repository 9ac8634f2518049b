"""A bank with an Airflow in this process: the simulator over HTTP and SMTP, a DuckDB warehouse, virtual time.

Nothing but time is replaced: `SystemClock` is turned, so that an hour of loading takes no time. A run is played
as `dag.test()` plays it, but it can stop before a task and go on, and its tasks can be cleared, by Airflow's own code.
"""

import base64
import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.sdk import DAG
from airflow.serialization.definitions.dag import SerializedDAG
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState
from airflow.utils.types import DagRunTriggeredByType, DagRunType

from kfr.clock import SystemClock, oslo_today
from kfr.load.staging import Place, Staging, run_key
from kfr.relationships.packing import ids_of
from tests import environment, keystores
from tests.dags.run import Run
from tests.dags.trouble import Trouble, When
from tests.simulator import Simulator, VirtualClock
from tests.simulator.http_front import HttpFront
from tests.simulator.identifiers import text_of
from tests.warehouse.churn import Change, Churn
from tests.warehouse.generator import generate
from tests.warehouse.loading import into_duckdb
from tests.warehouse.truth import truth_of

RELATIONSHIPS = 200
SEED = 3
SAMPLE_SIZE = 20
MAX_BATCH_BYTES = 3_000  # two files
RATE = 250.0
CLIENT_ID = "3f0b2f6a-5a57-4b0e-9d0a-1c6f3f0a7d11"
OPTIONS = {"max_batch_bytes": MAX_BATCH_BYTES, "retries": 0, "arrivals_seconds": 0, "lease_seconds": 0}
# Every param is given, as the trigger form does: in one process Airflow keeps a run's as the next one's default.
# Nobody is asked unless a test says so: of 200 relationships any few rejects or removals are a large share.
TRIGGERED = {"as_of": None, "dry_run": False, "approval": "never", "reason": ""}


@dataclass
class Bank:
    """One institution, its register and its warehouse, from before the first load."""

    dag: DAG
    scheduler_dag: SerializedDAG
    simulator: Simulator
    clock: VirtualClock
    database: Path
    churn: Churn
    staging: Staging
    folder: Path
    patch: pytest.MonkeyPatch = field(repr=False)
    trouble: Callable[[TaskInstance], AbstractContextManager[Any]] = nullcontext  # around each task

    def trigger(self, **params: Any) -> Run:
        """Start a run as over REST, without a logical date; nothing of it has run yet."""
        with create_session() as session:
            run_id = f"manual__{len(session.query(DagRun).all())}"
            created = self.scheduler_dag.create_dagrun(
                run_id=run_id,
                run_after=datetime.now(UTC),
                conf={**TRIGGERED, **params},
                run_type=DagRunType.MANUAL,
                triggered_by=DagRunTriggeredByType.TEST,
                triggering_user_name="kari",
                state=DagRunState.QUEUED,
                session=session,
            )
            created.dag = self.scheduler_dag
            created.set_state(DagRunState.RUNNING)  # the scheduler's part, and that the listeners hear of it
            created.notify_dagrun_state_changed(msg="started")
        return Run(self, run_id)

    def fail(self, task_id: str, when: When, *, map_index: int = -1) -> Trouble:
        """Let a task fail the next time that it runs, and only then."""
        self.trouble = Trouble(self.dag, self.keystore, (task_id, map_index), when)
        return self.trouble

    def allow_retries(self, task_id: str, retries: int = 1) -> None:
        """Let a task be tried again, in runs that are triggered from now on."""
        for dag in (self.dag, self.scheduler_dag):
            task = dag.get_task(task_id)
            if task.is_mapped:
                self.patch.setitem(task.partial_kwargs, "retries", retries)
            else:
                self.patch.setattr(task, "retries", retries)

    def change(self, changes: list[Change]) -> list[int]:
        """Let customers come and go in the warehouse; return who."""
        for change in changes:
            self.execute(change.statement)
        return [int(change.customer_id) for change in changes]

    def keep_sound_rows(self) -> None:
        """Rid the warehouse of whatever a guard could ask about."""
        sound = ", ".join(f"'{text_of(who)}'" for who in self.wanted)
        self.execute(f"DELETE FROM agreements WHERE trim(customer_id) NOT IN ({sound})")

    def execute(self, statement: str) -> None:
        with duckdb.connect(str(self.database)) as database:
            database.execute(statement)

    @property
    def keystore(self) -> Path:
        return self.folder / "keystore.p12"

    @property
    def today(self) -> date:
        return oslo_today(self.clock)

    @property
    def register(self) -> dict[int, date]:
        """Who is registered now, and since when."""
        return {who: start for who, (start, end) in self.simulator.relationships().items() if end is None}

    @property
    def wanted(self) -> dict[int, date | None]:
        """Who should be, and since when, by SQL that shares nothing with the package."""
        with duckdb.connect(str(self.database)) as database:
            agreements = database.sql("FROM agreements").to_arrow_table()
        rows = truth_of(agreements, self.today).register.to_pylist()
        return {int(row["customer_id"]): row["started_on"] for row in rows}

    @property
    def is_right(self) -> bool:
        """Whether the register equals the warehouse: the same customers, and the starts where they are known."""
        wanted, register = self.wanted, self.register
        return wanted.keys() == register.keys() and all(
            start in (None, register[who]) for who, start in wanted.items()
        )

    @property
    def proven(self) -> set[int]:
        """Whom the mirror holds as proven; nobody before there is a mirror."""
        if not self.state.exists("mirror"):
            return set()
        version = self.state.read_json("mirror")["version"]
        return set(ids_of(self.state.read_array(f"mirrors/{version:08d}.proven")).tolist())

    @property
    def state(self) -> Place:
        return self.staging.state

    @property
    def staged_files(self) -> list[Path]:
        return self._files("runs")

    @property
    def state_files(self) -> list[Path]:
        return self._files("state")

    def _files(self, folder: str) -> list[Path]:
        place = self.folder / "staging" / "test" / keystores.ORGANISATION / folder
        return [path for path in place.rglob("*") if path.is_file()]

    @property
    def lease_is_free(self) -> bool:
        return not self.state.exists("lease") or not self.state.read_json("lease")["held"]

    @property
    def d4_mails(self) -> list[str]:
        """The Message-IDs of the confirmations that arrived."""
        return [mail.message_id for mail in self.simulator.mails if mail.subject.startswith("D-4")]

    @property
    def mails_to_bits(self) -> list[Any]:
        """All but the alerts to who is on call."""
        return [mail for mail in self.simulator.mails if environment.MAIL_TO_BITS in mail.recipients]

    def sent(self, *kinds: str) -> list[Any]:
        """What the register was asked to change."""
        kinds = kinds or ("file_accepted", "register_one", "remove_one")
        return [event for event in self.simulator.log if event.kind in kinds]

    @property
    def removed_too_early(self) -> list[Any]:
        """Removals that were sent while a row of some file was still to be loaded."""
        loading: set[int | None] = set()
        early = []
        for event in self.simulator.log:
            if event.kind == "file_accepted":
                loading.add(event.file)
            elif event.kind == "file_loaded":
                loading.discard(event.file)
            elif event.kind == "remove_one" and loading:
                early.append(event)
        return early

    def customers_of(self, run: Run, label: str) -> set[int]:
        """Whom a staged batch file of a run holds."""
        place = self.staging.run(run_key(self.dag.dag_id, run.run_id))
        return set(ids_of(place.read_array(f"files/{label}")).tolist())


@contextmanager
def open_bank(
    dag: DAG, scheduler_dag: SerializedDAG, folder: Path, patch: pytest.MonkeyPatch, seed: int = SEED
) -> Iterator[Bank]:
    """Open a bank in an empty folder; its environment variables are this process's until `patch` is undone."""
    clock = VirtualClock(datetime.now(UTC).replace(hour=9, minute=0))  # well away from midnight in Oslo
    turn(clock, patch)
    made = generate(RELATIONSHIPS, seed, oslo_today(clock))
    database = folder / "warehouse.duckdb"
    into_duckdb(made.agreements, database)
    keystore = folder / "keystore.p12"
    keystore.write_bytes(keystores.make_keystore())
    simulator = Simulator(clock=clock, fid=keystores.ORGANISATION, rows_per_second=RATE, client_id=CLIENT_ID)
    with HttpFront(simulator) as front:
        stand = environment.Stand(
            pid=os.getpid(),
            url=front.url,
            base_url=simulator.base_url,
            issuer=simulator.issuer,
            fid=simulator.fid,
            client_id=CLIENT_ID,
            keystore=str(keystore),
            keystore_password=keystores.PASSWORD,
            smtp_port=front.smtp_port,
            rows_per_second=RATE,
        )
        variables = environment.environment(
            stand=stand,
            warehouse=environment.duckdb_warehouse(database),
            staging=folder / "staging",
            fields={"sample_size": SAMPLE_SIZE},
            options=OPTIONS,
        )
        for name, value in variables.items():
            patch.setenv(name, value)
        key = json.loads(variables["AIRFLOW_CONN_KFR_DEFAULT"])["extra"]["staging_key"]
        yield Bank(
            dag=dag,
            scheduler_dag=scheduler_dag,
            simulator=simulator,
            clock=clock,
            database=database,
            churn=Churn(made, seed, oslo_today(clock)),
            staging=Staging(
                folder / "staging", base64.b64decode(key), environment="test", fid=keystores.ORGANISATION
            ),
            folder=folder,
            patch=patch,
        )


def turn(clock: VirtualClock, patch: pytest.MonkeyPatch) -> None:
    """Let the package live in virtual time: whoever waits turns the clock."""
    methods: dict[str, Callable[..., Any]] = {
        "now": lambda _: clock.now(),
        "monotonic": lambda _: clock.monotonic(),
        "sleep": lambda _, seconds: clock.sleep(seconds),
        "asleep": lambda _, seconds: clock.asleep(seconds),
    }
    for name, method in methods.items():
        patch.setattr(SystemClock, name, method)
