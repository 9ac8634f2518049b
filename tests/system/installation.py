"""A whole installation for a test: Airflow's processes, a PostgreSQL warehouse, the simulator, and what they hold."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pyarrow as pa

from kfr.clock import SystemClock, oslo_today
from tests import environment, postgres
from tests.environment import Stand
from tests.postgres import Server
from tests.system.airflow_processes import RealAirflow
from tests.warehouse.generator import Generated, generate
from tests.warehouse.loading import into_postgres
from tests.warehouse.truth import truth_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """What runs, and how to look at it from outside."""

    airflow: RealAirflow
    stand: Stand
    server: Server
    generated: Generated
    warehouse: str  # DSN
    metadata: str  # DSN

    def execute(self, statements: list[str]) -> None:
        """Change the warehouse, all at once."""
        with psycopg.connect(self.warehouse) as connection:
            for statement in statements:
                connection.execute(statement)

    def events(self) -> list[dict[str, Any]]:
        """What the register was asked and answered, in order."""
        return [json.loads(line) for line in self._get("log").text.splitlines()]

    def mails(self) -> list[dict[str, Any]]:
        return self._get("mails").json()

    def register(self) -> dict[str, str]:
        """Who is registered now, and since when."""
        rows = (line.split(",") for line in self._get("state").text.splitlines()[1:])
        return {customer: start for customer, start, end in rows if not end}

    def wanted(self) -> dict[str, str | None]:
        """Who should be, by the generator's own rules, from the warehouse as it is now."""
        with psycopg.connect(self.warehouse) as connection:
            rows = connection.execute("SELECT customer_id, started_on, ended_on FROM agreements").fetchall()
        names = {"customer_id": pa.string(), "started_on": pa.date32(), "ended_on": pa.date32()}
        columns = zip(names, zip(*rows, strict=True), strict=True)
        table = pa.table({name: pa.array(column, names[name]) for name, column in columns})
        held = truth_of(table, oslo_today(SystemClock())).register
        return {r["customer_id"]: r["started_on"] and str(r["started_on"]) for r in held.to_pylist()}

    def _get(self, page: str) -> httpx.Response:
        url = f"{self.stand.url}/simulator/{page}"
        return httpx.get(url, trust_env=False, timeout=30).raise_for_status()


@contextmanager
def installation(
    folder: Path,
    *,
    relationships: int,
    seed: int,
    rows_per_second: float,
    fields: Mapping[str, Any],
    options: Mapping[str, Any],
    lifetime: float = 1200,
    airflow: Mapping[str, str] | None = None,
) -> Iterator[Installation]:
    """Start everything in `folder`, and end it all; `airflow` adds settings of Airflow's own."""
    made = generate(relationships, seed, oslo_today(SystemClock()))
    with (
        postgres.running() as server,
        environment.simulator(
            folder / "stand", rows_per_second=rows_per_second, max_seconds=lifetime
        ) as stand,
    ):
        warehouse, metadata = server.create_database("warehouse"), server.create_database("airflow")
        into_postgres(made.agreements, warehouse)
        env = environment.environment(
            stand=stand,
            warehouse=environment.postgres_warehouse(warehouse),
            staging=folder / "staging",
            fields=fields,
            options=options,
        )
        with RealAirflow(
            home=folder / "airflow",
            dags=environment.ROOT / "dags",
            plugins=environment.ROOT / "plugins",
            database=metadata,
            env={**env, **(airflow or {})},
            pools=environment.POOLS,
            lifetime=lifetime,
        ) as running:
            yield Installation(
                airflow=running,
                stand=stand,
                server=server,
                generated=made,
                warehouse=warehouse,
                metadata=metadata,
            )
