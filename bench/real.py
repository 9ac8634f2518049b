"""A first load with Airflow's own processes, at the register's real rate: who waits for whom?

Six files of a minute each: a hiccup of a second counts thirty times as much as with real files of half an hour.
What comes after the last file (removals wait as long again) is not waited for.
"""

import tempfile
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

from bench.report import Line
from bench.virtual import idle_of
from kfr.clock import SystemClock, oslo_today
from tests.demo.__main__ import FILE_BYTES_A_RELATIONSHIP, REAL_ROWS_PER_SECOND, SEED, Phases, installation
from tests.demo.warehouse import Warehouse
from tests.demo.watch import DAG
from tests.system.airflow_api import wait_until
from tests.warehouse.generator import generate

RELATIONSHIPS = 90_000  # under the 100,000 a day of which Bits wants to be told first
FILES = 6  # as FILE_BYTES_A_RELATIONSHIP cuts them
LONGEST_SECONDS = 1_200


def measure() -> list[Line]:
    part = f"{RELATIONSHIPS:,} relationships at {REAL_ROWS_PER_SECOND} a second, with real Airflow processes"
    size = RELATIONSHIPS * FILE_BYTES_A_RELATIONSHIP
    with tempfile.TemporaryDirectory(prefix="kfr-bench-") as name:
        folder = Path(name)
        generated = generate(RELATIONSHIPS, SEED, oslo_today(SystemClock()))
        warehouse = Warehouse(folder / "warehouse.duckdb", generated)
        with installation(folder, warehouse, size, Phases(), REAL_ROWS_PER_SECOND) as running:
            register, api = running.register, running.airflow.api
            run_id = api.trigger(DAG)

            def loaded() -> bool | None:
                register.read_on()
                if api.run(DAG, run_id)["state"] == "failed":
                    raise RuntimeError(f"the load failed; tasks: {api.task_states(DAG, run_id)}")
                return register.count("file_loaded") == FILES or None

            wait_until("the last file's end", loaded, LONGEST_SECONDS)
            events = register.events
    log = [SimpleNamespace(kind=event["kind"], at=datetime.fromisoformat(event["at"])) for event in events]
    idle, whole, files = idle_of(log)
    return [
        Line(
            part=part,
            what="the register idles between the first file and the last row",
            seconds=whole,
            ratio=idle / whole * 100,
            unit="% of the time",
            goal=("<=", 2.0),
            note=f"{files} files, {idle:.1f} s idle",
        )
    ]
