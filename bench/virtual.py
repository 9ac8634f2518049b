"""A whole load in virtual time, at the register's 250 rows a second: who waits for whom?"""

import shutil
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

A_TURN = 1.0  # seconds; the pace of requests makes a worker sleep less, waiting for a file more


def load(rows: int) -> Generator[dict[str, Any]]:
    """The steps of the Dag with all files; nobody arrives, for a pass over those is a full read each time."""
    import pyarrow as pa

    from bench import tables
    from kfr.load import extract, planning, volume
    from kfr.load.world import Run
    from tests.faults.institution import Institution, fast_folder
    from tests.faults.people import GENEROUS
    from tests.faults.play import Play
    from tests.faults.turns import TurnClock

    class CountingClock(TurnClock):
        """Notes how long workers sleep; a trigger waits by `asleep` and takes no worker."""

        slept = waiting = 0.0

        def sleep(self, seconds: float) -> None:
            self.slept += max(0.0, seconds)
            if seconds > A_TURN:
                self.waiting += seconds
            super().sleep(seconds)

    @dataclass
    class Snapshot:
        expected_rows: int | None
        table: Any

        def batches(self) -> Iterator[Any]:
            yield from self.table.to_batches()

    class TableWarehouse:
        def __init__(self, table: Any) -> None:
            self._table = table

        @contextmanager
        def agreements(self, as_of: date) -> Iterator[Snapshot]:
            del as_of
            yield Snapshot(len(self._table), self._table)

        def agreements_of(self, customer_ids: list[str]) -> Any:
            del customer_ids
            return self._table.slice(0, 0)

        def settle(self) -> None:
            return

    path = tables.arrow_file(rows)
    folder = Path(tempfile.mkdtemp(prefix="kfr-bench-", dir=fast_folder()))
    clock = CountingClock()
    institution = Institution(folder=folder, clock=clock)
    institution.warehouse = TableWarehouse(pa.ipc.open_file(pa.memory_map(str(path))).read_all())  # type: ignore[assignment]
    play = Play(institution, Run(dag_id="bench", run_id="virtual", limits=GENEROUS))
    yield {}
    try:
        play._simple("acquire_register", [], play._acquire)
        play._simple("extract_relationships", ["acquire_register"], extract.extract_relationships)
        play._simple("plan_changes", ["extract_relationships"], lambda w: planning.plan(w, first_load=True))
        play._simple("approve_changes", ["plan_changes"], play._approve)
        play._simple("announce_volume", ["approve_changes"], volume.announce_volume)
        play.states["register_arrivals"] = "success"
        before, waited = clock.slept, clock.waiting
        play._load()
        if play.errors:
            raise RuntimeError(play.errors[0])
        yield _figures(institution.simulator.log, clock.slept - before, clock.waiting - waited)
    finally:
        shutil.rmtree(folder)


def _figures(log: Any, slept: float, waiting: float) -> dict[str, Any]:
    idle, whole, files = idle_of(log)
    return {
        "files": files,
        "hours": whole / 3600,
        "idle_share": idle / whole,
        "worker_seconds": slept,  # all of it at the pace of look-ups, if nothing is left below
        "worker_seconds_waiting": waiting,
        "look_ups": sum(event.kind == "look_up" for event in log),
    }


def idle_of(log: Any) -> tuple[float, float, int]:
    """Seconds in which nothing loads, of how many from the first acceptance to the last row; and files."""
    accepted = [event.at for event in log if event.kind == "file_accepted"]
    started = sorted(event.at for event in log if event.kind == "file_load_started")
    loaded = sorted(event.at for event in log if event.kind == "file_loaded")
    free = [min(accepted), *loaded]  # from when on the register could begin a file
    idle = sum(max(0.0, (began - since).total_seconds()) for began, since in zip(started, free, strict=False))
    return idle, (loaded[-1] - min(accepted)).total_seconds(), len(loaded)
