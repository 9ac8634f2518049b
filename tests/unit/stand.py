"""What a hook, an operator or a trigger stands on: the simulator over HTTP and SMTP, connections in the environment."""

import base64
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import pytest

from kfr.clock import oslo_today
from kfr.load.staging import Staging
from tests import environment, keystores
from tests.conftest import ROOT
from tests.dags.bank import turn
from tests.simulator import Simulator, VirtualClock
from tests.simulator.http_front import HttpFront

CLIENT_ID = "3f0b2f6a-5a57-4b0e-9d0a-1c6f3f0a7d11"
SQL_FOLDER = ROOT / "include" / "sql"
PARAMS = {
    "as_of": None,
    "dry_run": False,
    "approval": "never",
    "reason": "",
    "kfr_conn_id": "kfr_default",
    "warehouse_conn_id": "kfr_warehouse",
}


class Store(dict[str, Any]):
    """A task's own store."""

    def set(self, key: str, value: Any) -> None:
        self[key] = value


@dataclass
class TaskInstance:
    """What the operators ask of Airflow: other tasks' XComs and states, and whether runs are active."""

    states: dict[str, str] = field(default_factory=dict)
    xcoms: dict[str, Any] = field(default_factory=dict)
    active_runs: int = 0

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = value

    def xcom_pull(self, *, task_ids: str, key: str) -> Any:
        return self.xcoms.get(key)

    def get_task_states(
        self, *, dag_id: str, run_ids: list[str], task_ids: list[str] | None = None
    ) -> dict[str, Any]:
        found = {t: s for t, s in self.states.items() if task_ids is None or t.split("_0")[0] in task_ids}
        return {run_ids[0]: found} if found else {}

    def get_dr_count(self, *, dag_id: str, run_ids: list[str], states: list[str]) -> int:
        return self.active_runs


@dataclass
class Stand:
    """One bank's connections, its simulator, and its warehouse in DuckDB."""

    simulator: Simulator
    clock: VirtualClock
    staging: Staging
    database: Path
    ti: TaskInstance = field(default_factory=TaskInstance)
    store: Store = field(default_factory=Store)

    @property
    def today(self) -> date:
        return oslo_today(self.clock)

    def context(self, run_id: str = "manual__1", **params: Any) -> dict[str, Any]:
        run = SimpleNamespace(
            dag_id="kfr_initial_load",
            run_id=run_id,
            run_type="manual",
            start_date=self.clock.now(),
            data_interval_start=None,
            data_interval_end=None,
            triggering_user_name="kari",
            clear_number=0,
        )
        return {"params": PARAMS | params, "dag_run": run, "ti": self.ti, "task_state_store": self.store}

    def join(self, *customers: str) -> None:
        with duckdb.connect(str(self.database)) as database:
            for customer in customers:
                database.execute("INSERT INTO agreements VALUES (?, DATE '2020-01-01', NULL)", [customer])


@contextmanager
def open_stand(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[Stand]:
    """Open a stand in an empty folder; its environment variables are this process's until `patch` is undone."""
    clock = VirtualClock(datetime.now(UTC).replace(hour=9, minute=0))
    turn(clock, patch)
    keystore, database = folder / "keystore.p12", folder / "warehouse.duckdb"
    keystore.write_bytes(keystores.make_keystore())
    with duckdb.connect(str(database)) as connection:
        connection.execute("CREATE TABLE agreements (customer_id text, started_on date, ended_on date)")
    simulator = Simulator(clock=clock, fid=keystores.ORGANISATION, client_id=CLIENT_ID)
    with HttpFront(simulator) as front:
        variables = environment.environment(
            stand=environment.Stand(
                pid=os.getpid(),
                url=front.url,
                base_url=simulator.base_url,
                issuer=simulator.issuer,
                fid=simulator.fid,
                client_id=CLIENT_ID,
                keystore=str(keystore),
                keystore_password=keystores.PASSWORD,
                smtp_port=front.smtp_port,
                rows_per_second=250,
            ),
            warehouse=environment.duckdb_warehouse(database),
            staging=folder / "staging",
        )
        for name, value in variables.items():
            patch.setenv(name, value)
        key = base64.b64decode(json.loads(variables["AIRFLOW_CONN_KFR_DEFAULT"])["extra"]["staging_key"])
        staging = Staging(folder / "staging", key, environment="test", fid=keystores.ORGANISATION)
        yield Stand(simulator, clock, staging, database)
