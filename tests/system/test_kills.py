"""Real kills: in each cell something dies while a load runs, and the load ends right all the same.

Whoever supervises the processes of an installation starts them again when they end (`restart: unless-stopped` in
docker-compose.yaml); here that is the test. A run that fails for a kill is cleared, as the runbook says. `make kills`
plays all cells, `make test` a few.
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import httpx
import psutil
import pytest

from kfr.clock import SystemClock, oslo_today
from kfr.load.upload import SEND_TIMEOUT_SECONDS
from tests import postgres
from tests.system.airflow_api import END_STATES, wait_until
from tests.system.airflow_processes import COMPONENTS, SHORTEST_RESCHEDULE_SECONDS
from tests.system.installation import Installation, installation
from tests.warehouse.churn import Churn

pytestmark = pytest.mark.system

FIRST, DAG = "kfr_initial_load", "kfr_periodic_load"
RELATIONSHIPS = 150
ROWS_PER_SECOND = 6  # a file of a cell takes about four seconds
CHANGES = {"leave": 3, "arrive": 2, "arrive_back_dated": 45}
LARGEST_FILE = 26  # rows
OPTIONS = {
    "max_batch_bytes": 600,
    "arrivals_seconds": SHORTEST_RESCHEDULE_SECONDS,
    "lease_seconds": SHORTEST_RESCHEDULE_SECONDS,
    "heartbeat_seconds": 15,
    "retries": 5,
    "retry_seconds": 2,
    "removals": 1_000,
    "removal_percent": 50,
    "reject_percent": 50,
}
AIRFLOW = {
    # How soon the scheduler sees that a task has died with its worker; five minutes by default.
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "10",
    "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "2",
}
# A worker that dies within a POST leaves a send that may arrive until its longest time-out: removals wait for it.
RUN_SECONDS = 420 + SEND_TIMEOUT_SECONDS
UNPLUGGED_SECONDS = 20
MOST_CLEARS = 3  # by a person, of what failed
LIFETIME_SECONDS = 5400

WRITERS = ("upload_batch_file", "register_today", "close_additions", "remove_ended")
EVERY_TASK = (
    "check_readiness",
    "acquire_register",
    "extract_relationships",
    "plan_changes",
    "approve_changes",
    "announce_volume",
    *WRITERS,
    "verify_register",
    "record_mirror",
    "release_register",
    "remove_staged_files",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What dies, and when: as soon as `task` is in `state`, or once the register has then answered `after`."""

    victim: str
    task: str
    state: str = "running"
    after: str = ""

    def __str__(self) -> str:
        moment = f"after-{self.after}" if self.after else self.state
        return f"{self.victim}-{self.task}-{moment}"


CELLS = (
    *(Cell(victim="task", task=task) for task in EVERY_TASK),
    *(Cell(victim="worker", task=task) for task in (*WRITERS, "verify_register", "record_mirror")),
    Cell(victim="task", task="upload_batch_file", after="file_accepted"),
    Cell(victim="task", task="register_today", after="register_one"),
    Cell(victim="task", task="remove_ended", after="remove_one"),
    Cell(victim="task", task="verify_register", after="look_up"),
    Cell(victim="triggerer", task="upload_batch_file", state="deferred"),
    Cell(victim="triggerer", task="close_additions", state="deferred"),
    *(Cell(victim="scheduler", task=t) for t in ("extract_relationships", "remove_ended", "record_mirror")),
    Cell(victim="scheduler", task="upload_batch_file", state="deferred"),
    *(
        Cell(victim="postgres", task=task)
        for task in ("extract_relationships", "remove_ended", "verify_register")
    ),
    Cell(victim="postgres", task="upload_batch_file", state="deferred"),
    *(Cell(victim="register", task=t) for t in ("upload_batch_file", "register_today", "remove_ended")),
    Cell(victim="register", task="upload_batch_file", state="deferred"),
    Cell(victim="api-server", task="remove_ended"),
    Cell(victim="api-server", task="upload_batch_file", state="deferred"),
    Cell(victim="dag-processor", task="plan_changes"),
)
# None of these has to wait for a send that may arrive late.
SHORT = ("task-remove_ended-after-remove_one", "triggerer-upload_batch_file-deferred")
PLAYED = CELLS if "KFR_LONG" in os.environ else [cell for cell in CELLS if str(cell) in SHORT]


@dataclass
class Bank:
    """An installation with a loaded register, and the source of its changes."""

    running: Installation
    churn: Churn
    servers: list[postgres.Server]  # the last one runs


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bank]:
    with installation(
        tmp_path_factory.mktemp("kills"),
        relationships=RELATIONSHIPS,
        seed=11,
        rows_per_second=ROWS_PER_SECOND,
        fields={"sample_size": 60, "requests_per_second": 20},
        options=OPTIONS,
        lifetime=LIFETIME_SECONDS,
        airflow=AIRFLOW,
    ) as running:
        api = running.airflow.api
        api.wait_for_dag(DAG)
        api.unpause(FIRST)
        assert api.wait_for_run(FIRST, api.trigger(FIRST, {"approval": "never"}), RUN_SECONDS) == "success"
        api.unpause(DAG)
        time.sleep(2)
        for run in api.runs(DAG):  # the one that unpausing makes of the schedule
            api.wait_for_run(DAG, run["dag_run_id"], RUN_SECONDS)
        bank = Bank(
            running=running,
            churn=Churn(running.generated, 5, oslo_today(SystemClock())),
            servers=[running.server],
        )
        yield bank
        for server in bank.servers[1:]:
            postgres.shut_down(server)


@pytest.mark.parametrize("cell", PLAYED, ids=str)
def test_a_load_ends_right_whatever_dies(bank, cell):
    running = bank.running
    before = len(running.events())
    changes = [change for kind, count in CHANGES.items() for change in getattr(bank.churn, kind)(count)]
    running.execute([change.statement for change in changes])
    run = running.airflow.api.trigger(DAG, {"approval": "never"})
    strike(bank, run, cell, before)
    clears = end(running, run)
    wanted, register = running.wanted(), running.register()
    assert register.keys() == wanted.keys()
    assert not {c for c, start in wanted.items() if start and register[c] != start}
    events = running.events()[before:]
    sent = sum(e["rows"] for e in events if e["kind"] == "file_accepted")
    new = CHANGES["arrive"] + CHANGES["arrive_back_dated"]
    assert sent <= new + LARGEST_FILE, "more than one file was sent twice"
    removed = [e["customer_id"] for e in events if e["kind"] == "remove_one"]
    assert set(removed) == {change.customer_id for change in changes if change.kind == "leaves"}
    print(f"{cell}: green, {clears} clears, {sent} rows sent for {new}, {len(removed)} removals")


def strike(bank: Bank, run: str, cell: Cell, before: int) -> None:
    """Wait for the moment, and kill."""
    running, api = bank.running, bank.running.airflow.api

    def at_work() -> list[dict[str, Any]] | None:
        tasks = [t for t in api.task_instances(DAG, run) if t["task_id"] == cell.task]
        here = [t for t in tasks if t["state"] == cell.state]
        over = tasks and all(t["state"] in ("success", "skipped") for t in tasks)
        if over and not cell.after:
            return tasks  # too quick to be met: what it has left is there, and the next one is struck instead
        return here or None

    found = wait_until(str(cell), at_work, RUN_SECONDS)
    if cell.after:
        wait_until(
            str(cell), lambda: any(e["kind"] == cell.after for e in running.events()[before:]) or None, 60
        )
    if cell.victim in COMPONENTS:
        running.airflow.end_component(cell.victim, hard=True)
        running.airflow.start_component(cell.victim)
    elif cell.victim == "postgres":
        bank.servers.append(postgres.restart(bank.servers[-1]))
    elif cell.victim == "register":
        os.kill(running.stand.pid, signal.SIGSTOP)
        time.sleep(UNPLUGGED_SECONDS)
        os.kill(running.stand.pid, signal.SIGCONT)
    else:
        for task in found:
            _kill(task["pid"], worker=cell.victim == "worker")


def end(running: Installation, run: str) -> int:
    """Supervise until the run is green, and clear what failed; return how often that was needed."""
    for clears in range(MOST_CLEARS + 1):
        if wait_until(f"the end of {run}", lambda: _state(running, run), RUN_SECONDS) == "success":
            return clears
        running.airflow.api.clear(DAG, run, only_failed=True)
    raise AssertionError(f"not green after {MOST_CLEARS} clears: {running.airflow.api.task_states(DAG, run)}")


def _state(running: Installation, run: str) -> str | None:
    running.airflow.revive()
    with suppress(httpx.HTTPError):  # Airflow or its database is away
        state = running.airflow.api.run(DAG, run)["state"]
        return state if state in END_STATES else None
    return None


def _kill(pid: int | None, *, worker: bool) -> None:
    with suppress(psutil.NoSuchProcess):  # it has just ended by itself
        process = psutil.Process(pid)
        victims = [process.parent(), process] if worker else [process]
        for victim in filter(None, victims):
            victim.kill()
