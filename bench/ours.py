"""The package's own steps, in a process that has what an Airflow task has before `execute` is called."""

import importlib.util
import sys
from collections.abc import Generator
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from bench.measure import ROOT

FID = "312345676"  # an organisation of the series for tests
RUN = "bench"


class NobodyThere:
    """A register that holds nobody: planning asks it for a sample; what that costs is measured elsewhere."""

    def look_up(self, customer_id: int, first: date, last: date) -> bool:
        del customer_id, first, last
        return False


def bare() -> Generator[dict[str, Any]]:
    """An Airflow task that does nothing."""
    airflow_task()
    yield {}
    yield {}


def begin(staging: str) -> Generator[dict[str, Any]]:
    """What taking the register does before; not a part of what is measured."""
    yield {}
    from kfr.load import lease

    lease.acquire(_world("none", staging), finished=lambda _: False, heartbeat_seconds=0.0, first_load=True)
    yield {}


def extract(conn_id: str, staging: str) -> Generator[dict[str, Any]]:
    airflow_task()
    yield {}
    from kfr.load.extract import extract_relationships

    found = extract_relationships(_world(conn_id, staging))
    yield {"rows": found.rows, "active": len(found.active)}


def plan(conn_id: str, staging: str) -> Generator[dict[str, Any]]:
    airflow_task()
    yield {}
    from kfr.load.planning import plan as plan_changes

    planned = plan_changes(_world(conn_id, staging), first_load=True)
    yield {
        "files": planned.forecast.files,
        "bytes": planned.forecast.size,
        "fingerprint": planned.fingerprint,
    }


def airflow_task() -> None:
    """What the task runner has loaded by the time that it calls `execute`: itself, and the parsed Dag file."""
    import airflow.sdk.execution_time.task_runner  # noqa: F401

    for path in sorted((ROOT / "dags").glob("*.py")):
        spec = importlib.util.spec_from_file_location(path.stem, path)
        if spec is None or spec.loader is None:
            raise ImportError(path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module
        spec.loader.exec_module(module)


def _world(conn_id: str, staging: str) -> Any:
    from kfr.clock import SystemClock
    from kfr.hooks.warehouse import SqlWarehouse
    from kfr.load.staging import Staging
    from kfr.load.world import Run, World

    key = bytes(range(32))
    return World(
        settings=SimpleNamespace(environment="test", fid=FID, rows_per_second=250.0, sample_size=2995),  # type: ignore[arg-type]
        clock=SystemClock(),
        certificate=None,  # type: ignore[arg-type]
        register=NobodyThere(),  # type: ignore[arg-type]
        warehouse=SqlWarehouse(conn_id, ROOT / "include" / "sql"),
        staging=Staging(Path(staging), key, environment="test", fid=FID),
        mailer=None,  # type: ignore[arg-type]
        mail_to="nobody@bank.example",
        run=Run(dag_id="bench", run_id=RUN),
        say=lambda _: None,
    )
