"""`make bench`: each heavy step in a process of its own, several rounds in turn, as a ratio to the floor.

Machines are noisy, so only the ratios of one run mean anything: the jobs take turns, and the median of the
ratios of each round is shown. Process start and imports are not counted; peak memory is of the whole process.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.jobs import JOBS
from kfr.clock import SystemClock, oslo_today
from tests import environment, postgres
from tests.warehouse.generator import generate
from tests.warehouse.loading import into_duckdb, into_postgres

FLOOR = "copy_to_file"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--relationships", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kfr-bench-") as folder, postgres.running() as server:
        database, dsn = Path(folder) / "warehouse.duckdb", server.create_database("warehouse")
        agreements = generate(options.relationships, 1, oslo_today(SystemClock())).agreements
        into_duckdb(agreements, database)
        into_postgres(agreements, dsn)
        env = _environment(Path(folder), dsn, database)
        print(f"{len(agreements):,} rows, {options.relationships:,} relationships, {options.rounds} rounds\n")
        rounds = [{name: _run(name, dsn, env) for name in JOBS} for _ in range(options.rounds)]
    print(f"{'job':<28}{'median s':>10}{'rows/s':>12}{'peak MB':>9}{'against the floor':>19}")
    for name in JOBS:
        measured = [r[name] for r in rounds]
        seconds = statistics.median(m["seconds"] for m in measured)
        ratio = statistics.median(r[name]["seconds"] / r[FLOOR]["seconds"] for r in rounds)
        rate, peak = measured[0]["rows"] / seconds, max(m["peak_mb"] for m in measured)
        print(f"{name:<28}{seconds:>10.2f}{rate:>12,.0f}{peak:>9.0f}{ratio:>19.2f}")


def _run(name: str, dsn: str, env: dict[str, str]) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.jobs", name, dsn]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-2000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _environment(folder: Path, dsn: str, database: Path) -> dict[str, str]:
    connections = {
        "adbc": environment.adbc_warehouse(dsn),
        "duckdb": environment.duckdb_warehouse(database),
        "postgres": environment.postgres_warehouse(dsn),
    }
    made = {f"AIRFLOW_CONN_BENCH_{name.upper()}": json.dumps(c) for name, c in connections.items()}
    return {
        **os.environ,
        **made,
        "AIRFLOW_HOME": str(folder / "airflow"),
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
    }


if __name__ == "__main__":
    main()
