"""An institution on the way in: simulator over HTTP and SMTP in real time, DuckDB warehouse, its connections."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kfr.clock import SystemClock, oslo_today
from kfr.hooks.premises import AirflowPremises
from kfr.hooks.world import world_of
from kfr.load import lease
from kfr.load.world import World
from tests import environment, keystores
from tests.dags.bank import turn
from tests.simulator import Simulator, VirtualClock
from tests.simulator.http_front import HttpFront
from tests.warehouse.generator import generate
from tests.warehouse.loading import into_duckdb

CLIENT_ID = "3f0b2f6a-5a57-4b0e-9d0a-1c6f3f0a7d11"
FILE = f"""
organisation_number: {keystores.ORGANISATION}
contacts:
  technical: {{name: Kari Nordmann, email: kari@bank.example}}
"""


@dataclass
class House:
    """The institution's side, to be broken: change a connection or a Variable, then ask for the premises."""

    simulator: Simulator
    folder: Path
    variables: dict[str, str]
    patch: pytest.MonkeyPatch = field(repr=False)

    def connection(self, name: str = "kfr_default", **fields: Any) -> None:
        """Change fields of a connection; those that it does not have go into the extra ones."""
        variable = f"AIRFLOW_CONN_{name.upper()}"
        said = json.loads(self.variables[variable])
        for key, value in fields.items():
            (said if key in said else said["extra"])[key] = value
        self.patch.setenv(variable, json.dumps(said))

    def keystore(self, **options: Any) -> None:
        (self.folder / "keystore.p12").write_bytes(keystores.make_keystore(**options))

    def set(self, variable: str, value: str | None) -> None:
        name = f"AIRFLOW_VAR_{variable.upper()}"
        self.patch.delenv(name, raising=False) if value is None else self.patch.setenv(name, value)

    @property
    def include(self) -> Path:
        return self.folder / "include"

    def premises(self) -> AirflowPremises:
        params = {"kfr_conn_id": "kfr_default", "warehouse_conn_id": "kfr_warehouse"}
        return AirflowPremises(
            institution="default",
            include=str(self.include),
            params=params,
            say=print,
            installed=lambda: "pool",
        )

    @contextmanager
    def world(self, dag_id: str = "kfr_integration_test", **params: Any) -> Iterator[World]:
        """The world of a task of a run that holds the register."""
        context = {
            "params": {"kfr_conn_id": "kfr_default", "warehouse_conn_id": "kfr_warehouse", **params},
            "dag_run": SimpleNamespace(dag_id=dag_id, run_id="manual__1", run_type="manual"),
        }
        said: list[str] = []
        with world_of(context, sql_folder=self.include / "sql", say=said.append) as world:
            assert lease.acquire(world, finished=lambda _: True, heartbeat_seconds=0, first_load=True)
            yield world


@contextmanager
def open_house(folder: Path, patch: pytest.MonkeyPatch, clock: VirtualClock | None = None) -> Iterator[House]:
    """Open one in an empty folder; its environment variables are this process's until `patch` is undone."""
    if clock is not None:
        turn(clock, patch)
    made = generate(200, 3, oslo_today(SystemClock()))
    into_duckdb(made.agreements, folder / "warehouse.duckdb")
    keystore = folder / "keystore.p12"
    keystore.write_bytes(keystores.make_keystore())
    (folder / "include").mkdir()
    (folder / "include" / "institution.yaml").write_text(FILE)
    for name in ("sql", "papers", "integration_cases.yaml"):
        (folder / "include" / name).symlink_to(environment.ROOT / "include" / name)
    simulator = Simulator(clock=clock or SystemClock(), fid=keystores.ORGANISATION, client_id=CLIENT_ID)
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
            rows_per_second=250,
        )
        variables = environment.environment(
            stand=stand,
            warehouse=environment.duckdb_warehouse(folder / "warehouse.duckdb"),
            staging=folder / "staging",
            fields={"requests_per_second": 1000},
        )
        for name, value in variables.items():
            patch.setenv(name, value)
        yield House(simulator=simulator, folder=folder, variables=variables, patch=patch)
