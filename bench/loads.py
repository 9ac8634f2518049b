"""From the warehouse to batch files: the package by each of its ways, and what else could do it."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from bench import tables
from bench.measure import JobError, Took, job, middle, program, ratio, together
from bench.report import Line
from tests import environment
from tests.postgres import Server, _reachable_binaries

COLUMNS = "SELECT customer_id, started_on, ended_on FROM agreements"
SMALLEST_JUDGED = 1_000_000  # agreements; below, a process costs more to start than the work in it takes
LARGEST_REPEATED = 1_000_000  # agreements; beyond, what takes minutes is measured in the first round only
LARGEST_WITH_PEERS = 5_000_000  # agreements; beyond that only whether it stays linear is of interest
DRT_ROWS = 3_000
Way = Callable[[], Took]


def measure(
    rows: int, rounds: int, server: Server, *, folder: Path, peers: Path | None, drain: int
) -> list[Line]:
    """All ways in turn, several rounds; a line each, as a ratio to psql's COPY of the same rows."""
    dsn = server.create_database(f"agreements_{rows}")
    code = f"from bench import tables; tables.into_postgres({rows}, {dsn!r}); tables.duckdb_file({rows})"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tables.CACHE.parent)
    env = environment_of(folder, dsn, tables.duckdb_file(rows))
    psql = _reachable_binaries(server.folder) / "psql"

    def ours(way: str) -> Took:
        staging = folder / "staging"
        job("ours.begin", {"staging": staging}, env=env)
        arguments = {"conn_id": f"bench_{way}", "staging": staging}
        took = together([job(f"ours.{step}", arguments, env=env) for step in ("extract", "plan")])
        shutil.rmtree(staging)
        return took

    def team() -> Took:
        took = job("chunked.load", {"conn_id": "bench_postgres", "folder": folder / "team"}, env=env)
        shutil.rmtree(folder / "team")
        return took

    copy = [psql, "-X", "-q", dsn, "-c", f"COPY ({COLUMNS}) TO STDOUT"]
    ways: dict[str, Way] = {
        "psql COPY to a file (the floor)": lambda: program(copy, output=folder / "floor.txt"),
        "ours, ADBC": lambda: ours("adbc"),
        "ours, DuckDB": lambda: ours("duckdb"),
    }
    if rows <= LARGEST_WITH_PEERS:
        ways["ours, any other hook (psycopg, chunks)"] = lambda: ours("postgres")
        ways["what a team would write (get_df_by_chunks, stdnum, pandas)"] = team
        if peers:
            clean = {"PATH": os.environ["PATH"], "HOME": str(folder)}
            for peer in ("polars", "dlt"):
                arguments = {"dsn": dsn, "folder": folder}
                ways[f"{peer} {PEERS[peer]}"] = lambda p=peer, a=arguments: job(  # type: ignore[misc]
                    f"peers.{p}", a, env=clean, python=str(peers / "bin" / "python")
                )
            ways[f"drt-core {PEERS['drt']}"] = lambda: drt(peers, folder, tables.duckdb_file(rows), drain)
    took: dict[str, list[Took]] = {name: [] for name in ways}
    failures: dict[str, str] = {}
    for number in range(rounds):
        for name, way in ways.items():
            slow = rows > LARGEST_REPEATED and not name.startswith(("psql", "ours"))
            if name not in failures and not (slow and number):
                try:
                    took[name].append(way())
                except JobError as error:
                    failures[name] = str(error).strip().splitlines()[-1][:160]
    bare = job("ours.bare", {}, env=env).peak_mb
    return _lines(rows, took, failures, bare)


PEERS = {
    "polars": "over ADBC (checks, folds, renders; seals nothing)",
    "dlt": "with a custom destination (carries rows into a file; checks and folds nothing)",
    "drt": f"(DuckDB to REST, a call a row; {DRT_ROWS:,} rows)",
}


def environment_of(folder: Path, dsn: str, database: Path) -> dict[str, str]:
    """Of a process in which Airflow finds the three connections; its code is compiled, as an installed one's is."""
    connections = {
        "adbc": environment.adbc_warehouse(dsn),
        "duckdb": environment.duckdb_warehouse(database),
        "postgres": environment.postgres_warehouse(dsn),
    }
    made = {f"AIRFLOW_CONN_BENCH_{name.upper()}": json.dumps(c) for name, c in connections.items()}
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {
        **kept,
        **made,
        "AIRFLOW_HOME": str(folder / "airflow"),
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
    }


def drt(peers: Path, folder: Path, database: Path, port: int) -> Took:
    """drt-core posts each row to a server that takes everything."""
    project = folder / "drt"
    (project / "syncs").mkdir(parents=True, exist_ok=True)
    (project / ".drt").mkdir(exist_ok=True)
    (project / "drt_project.yml").write_text('name: bench\nversion: "0.1"\nprofile: dev\n')
    profile = f"profiles:\n  dev:\n    type: duckdb\n    database: {database}\n"
    (project / ".drt" / "profiles.yml").write_text(profile)
    sync = f"""name: bench
model: SELECT customer_id FROM agreements LIMIT {DRT_ROWS}
destination:
  type: rest_api
  url: http://127.0.0.1:{port}/
  method: POST
sync:
  mode: full
  batch_size: 1000
  rate_limit: {{requests_per_second: 1000000}}
"""
    (project / "syncs" / "bench.yml").write_text(sync)
    env = {"PATH": os.environ["PATH"], "HOME": str(project), "DRT_TELEMETRY": "0", "DO_NOT_TRACK": "1"}
    return program([peers / "bin" / "drt", "run"], env=env, folder=project)


def _lines(rows: int, took: Mapping[str, list[Took]], failures: Mapping[str, str], bare: float) -> list[Line]:
    part = f"{rows:,} agreements to encrypted, planned, rendered batch files"
    names = list(took)
    floors, judged, lines = took[names[0]], rows >= SMALLEST_JUDGED, []
    team = next((took[name] for name in names if name.startswith("what a team") and took[name]), None)
    for name, rounds in took.items():
        if name in failures or not rounds:
            lines.append(Line(part=part, what=name, note=f"did not run: {failures.get(name, '')}"))
            continue
        found = middle(rounds)
        is_adbc, is_other = name == "ours, ADBC", name.startswith("ours, any other")
        counted = ", ".join(
            f"{key} {found.facts[key]:,}" for key in ("rows", "active", "files") if key in found.facts
        )
        lines.append(
            Line(
                part=part,
                what=name,
                seconds=found.seconds,
                cpu_seconds=found.cpu_seconds,
                peak_mb=found.peak_mb,
                ratio=None if name.startswith("drt") else ratio(rounds, floors),
                unit="x the floor",
                goal=("<=", 2.0) if is_adbc and judged else None,
                note=counted
                or (f"{DRT_ROWS / found.seconds:,.0f} rows a second" if name.startswith("drt") else ""),
            )
        )
        if is_adbc or is_other:
            goal = 250.0 if is_adbc else None
            beyond = found.peak_mb - bare
            lines.append(
                Line(
                    part=part,
                    what=f"{name}: memory beyond the bare task ({bare:.0f} MB)",
                    ratio=beyond,
                    unit="MB",
                    goal=("<=", goal) if goal else None,
                )
            )
        if team and (is_adbc or is_other):
            lines.append(
                Line(
                    part=part,
                    what=f"{name}: against what a team would write",
                    ratio=ratio(team, rounds),
                    unit="x faster",
                    goal=(">=", 30.0 if is_adbc else 8.0) if judged else None,
                )
            )
    same = {
        r.facts["fingerprint"] for name, rounds in took.items() for r in rounds if "fingerprint" in r.facts
    }
    lines.append(
        Line(
            part=part,
            what="plans of all ways that differ (by their fingerprint)",
            ratio=len(same) - 1,
            unit="plans",
            goal=("<=", 0),
        )
    )
    return lines
