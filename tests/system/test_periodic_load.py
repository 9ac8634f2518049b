"""Backfills in a real Airflow: ten days at once, five allowed to run, and a person who presses the button meanwhile."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from kfr.clock import SystemClock, oslo_today
from tests.system.airflow_processes import SHORTEST_RESCHEDULE_SECONDS
from tests.system.installation import Installation, installation
from tests.warehouse.churn import Churn

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(
        "KFR_LONG" not in os.environ, reason="ten minutes and more: KFR_LONG=1 make test runs it"
    ),
]

FIRST, DAG = "kfr_initial_load", "kfr_periodic_load"
RELATIONSHIPS = 600
DAYS = 10
CHANGES_A_DAY = {"leave": 3, "arrive": 2}
WRITERS = ("upload_batch_file", "register_today", "close_additions", "remove_ended")
WRITES = ("file_accepted", "register_one", "remove_one")
OPTIONS = {
    "arrivals_seconds": SHORTEST_RESCHEDULE_SECONDS,
    "lease_seconds": SHORTEST_RESCHEDULE_SECONDS,
    "retry_seconds": 5,
    "heartbeat_seconds": 20,
    "approval_hours": 0.004,  # 14 seconds: nobody answers here
    "removals": 1_000,
    "removal_percent": 50,
    "reject_percent": 50,
}
RUN_SECONDS = 300
BACKFILL_SECONDS = 1500
LIFETIME_SECONDS = 2700


@dataclass
class Filled:
    """What the runs left behind."""

    installation: Installation
    runs: list[dict[str, Any]]
    tasks: dict[str, list[dict[str, Any]]]  # by run
    events: list[dict[str, Any]]
    unanswered: dict[Any, str | None]  # states of the tasks of a run that asked a person, and nobody answered


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    with installation(
        tmp_path_factory.mktemp("periodic"),
        relationships=RELATIONSHIPS,
        seed=9,
        rows_per_second=2_000,
        fields={"sample_size": 50, "requests_per_second": 500},
        options=OPTIONS,
        lifetime=LIFETIME_SECONDS,
    ) as running:
        api = running.airflow.api
        api.wait_for_dag(DAG)
        api.unpause(FIRST)
        assert api.wait_for_run(FIRST, api.trigger(FIRST, {"approval": "never"}), RUN_SECONDS) == "success"
        loaded_until = len(running.events())
        today = oslo_today(SystemClock())
        running.execute(_changes_of_ten_days(running, today))
        api.unpause(DAG)
        # Up to the day before the one that unpausing has run: Airflow's scheduler ends if both make the same run.
        scheduled = datetime.now(UTC) - timedelta(hours=4)  # 04:00 in Oslo is 02:00 or 03:00
        last = scheduled.replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=2)
        first = last - timedelta(days=DAYS - 1, hours=12)
        backfill = api.backfill(DAG, first, last, max_active_runs=5, run_backwards=True)
        time.sleep(10)
        manual = api.trigger(DAG, {"reason": "two people press the button"})
        api.wait_for_backfill(backfill, BACKFILL_SECONDS)
        api.wait_for_run(DAG, manual, RUN_SECONDS)
        runs = _wait_for_all(api)
        events = running.events()[loaded_until:]
        asking = api.trigger(DAG, {"approval": "always"})
        api.wait_for_run(DAG, asking, RUN_SECONDS)
        yield Filled(
            installation=running,
            runs=runs,
            tasks={run["dag_run_id"]: api.task_instances(DAG, run["dag_run_id"]) for run in runs},
            events=events,
            unanswered=api.task_states(DAG, asking),
        )


def _changes_of_ten_days(running: Installation, today: date) -> list[str]:
    churn = Churn(running.generated, 3, today)
    statements = []
    for ago in range(1, DAYS + 1):
        day = today - timedelta(days=ago)
        changes = [change for kind, count in CHANGES_A_DAY.items() for change in getattr(churn, kind)(count)]
        statements += [change.statement.replace(f"'{today}'", f"'{day}'") for change in changes]
    return statements


def _wait_for_all(api: Any) -> list[dict[str, Any]]:
    """The run that unpausing made of the schedule, too."""
    runs = api.runs(DAG)
    for run in runs:
        api.wait_for_run(DAG, run["dag_run_id"], RUN_SECONDS)
    return api.runs(DAG)


def test_every_run_is_green(filled):
    assert {run["dag_run_id"]: run["state"] for run in filled.runs if run["state"] != "success"} == {}
    kinds = [run["run_type"] for run in filled.runs]
    assert (kinds.count("backfill"), kinds.count("manual")) == (DAYS, 1)


def test_the_register_equals_the_warehouse(filled):
    wanted = filled.installation.wanted()
    register = filled.installation.register()
    assert register.keys() == wanted.keys()
    assert not {c for c, start in wanted.items() if start and register[c] != start}


def test_what_was_sent_is_what_had_changed(filled):
    removed = [e for e in filled.events if e["kind"] == "remove_one"]
    added = sum(e["rows"] or 1 for e in filled.events if e["kind"] in ("file_accepted", "register_one"))
    assert (len(removed), added) == (DAYS * CHANGES_A_DAY["leave"], DAYS * CHANGES_A_DAY["arrive"])
    assert [e for e in filled.events if e["kind"] == "refused"] == []


def test_several_runs_were_under_way_at_once(filled):
    spans = [_span(run["start_date"], run["end_date"]) for run in filled.runs]
    assert any(one[0] < other[0] < one[1] for one in spans for other in spans)


def test_one_run_at_a_time_wrote(filled):
    """By the register's own log: each write lies between a run's first and last writer, and these do not overlap."""
    spans = sorted(_writing(tasks) for tasks in filled.tasks.values())
    assert all(before[1] <= after[0] for before, after in pairwise(spans))
    for event in filled.events:
        if event["kind"] in WRITES:
            at = datetime.fromisoformat(event["at"])
            assert sum(first <= at <= last for first, last in spans) == 1


def test_an_approval_that_nobody_gives_in_time_fails_the_run_and_sends_nothing(filled):
    assert filled.unanswered["approve_changes", -1] == "failed"
    assert {filled.unanswered[writer, -1] for writer in WRITERS} == {"upstream_failed"}
    assert filled.unanswered["release_register", -1] == "success"


def _writing(tasks: list[dict[str, Any]]) -> tuple[datetime, datetime]:
    """From the start of the run's first writer to the end of its last."""
    spans = [
        _span(t["start_date"], t["end_date"]) for t in tasks if t["task_id"] in WRITERS and t["start_date"]
    ]
    return min(first for first, _ in spans), max(last for _, last in spans)


def _span(first: str, last: str) -> tuple[datetime, datetime]:
    return datetime.fromisoformat(first), datetime.fromisoformat(last)
