"""One measured job in a process of its own: `python -m bench.jobs NAME DSN`; prints rows, seconds, MB."""

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

POPULATION = 5_000_000
SQL = Path(__file__).resolve().parent.parent / "include" / "sql"


def copy_to_file(dsn: str) -> int:
    """The floor: PostgreSQL's own COPY, written to a file."""
    import psycopg

    with (
        psycopg.connect(dsn) as connection,
        Path(os.devnull).open("wb") as file,
        connection.cursor().copy("COPY (SELECT customer_id, started_on FROM agreements) TO STDOUT") as copy,
    ):
        rows = 0
        for chunk in copy:
            rows += bytes(chunk).count(b"\n")
            file.write(chunk)
    return rows


def load_by_adbc(_: str) -> int:
    return _extract_and_render("bench_adbc")


def load_by_duckdb(_: str) -> int:
    return _extract_and_render("bench_duckdb")


def load_by_postgres_hook(_: str) -> int:
    return _extract_and_render("bench_postgres")


def _extract_and_render(conn_id: str) -> int:
    """The package's own way: read, check, fold, plan against nothing, cut and render the files."""
    from kfr.clock import SystemClock, oslo_today
    from kfr.hooks.warehouse import SqlWarehouse
    from kfr.relationships.agreements import concatenate, fold, read_agreements
    from kfr.relationships.batch_file import cut, render
    from kfr.relationships.packing import day_number

    today = oslo_today(SystemClock())
    with SqlWarehouse(conn_id, SQL).agreements(today) as snapshot:
        folded = fold(concatenate([read_agreements(b) for b in snapshot.batches()]), day_number(today))
    for rows in cut(folded.active):
        render(rows)
    return folded.rows


def difference_of_populations(_: str) -> int:
    """Two populations of five million, 0.5 % removed and as many with another start."""
    from kfr.relationships.plan import difference

    difference(*_populations())
    return POPULATION


@cache
def _populations() -> tuple[Any, Any]:
    """Made before the clock runs."""
    import numpy as np

    mirror = (np.arange(POPULATION, dtype=np.int64) * 17_977 + 10**10) << 17 | 90_000
    desired = mirror[np.arange(POPULATION) % 199 != 0]
    desired[::200] += 1
    return desired, mirror


JOBS: dict[str, Callable[[str], int]] = {
    job.__name__: job
    for job in (copy_to_file, load_by_adbc, load_by_duckdb, load_by_postgres_hook, difference_of_populations)
}


def _prepare(job: Callable[[str], int]) -> None:
    """What Airflow and the drivers cost to import is not what is measured."""
    import psycopg  # noqa: F401
    from airflow.sdk import BaseHook

    import kfr.hooks.reader
    import kfr.load.planning  # noqa: F401

    if job is difference_of_populations:
        _populations()
    for name in ("bench_adbc", "bench_duckdb", "bench_postgres"):
        with contextlib.closing(BaseHook.get_connection(name).get_hook().get_conn()):
            pass


def _measured(name: str, dsn: str) -> Iterator[tuple[str, float]]:
    _prepare(JOBS[name])
    began = time.perf_counter()
    yield "rows", JOBS[name](dsn)
    yield "seconds", time.perf_counter() - began
    status = Path("/proc/self/status").read_text(encoding="ascii")
    yield "peak_mb", int(status.split("VmHWM:")[1].split()[0]) / 1024


if __name__ == "__main__":
    print(json.dumps(dict(_measured(*sys.argv[1:3]))))
