"""The first load in a real Airflow: four processes on PostgreSQL, triggered over REST, the world changing meanwhile."""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

from kfr.clock import SystemClock, oslo_today
from tests.system.airflow_processes import SHORTEST_RESCHEDULE_SECONDS
from tests.system.installation import Installation, installation
from tests.warehouse.churn import Churn

pytestmark = pytest.mark.system

DAG = "kfr_initial_load"
RELATIONSHIPS = 4_000
ROWS_PER_SECOND = 120  # slow enough that files are seen in flight: a file of 1,250 rows takes ten seconds
OPTIONS = {
    "max_batch_bytes": 30_000,
    "arrivals_seconds": SHORTEST_RESCHEDULE_SECONDS,
    "lease_seconds": SHORTEST_RESCHEDULE_SECONDS,
    "retry_seconds": 5,
}
RUN_SECONDS = 420
CHANGES = {"leave": 25, "arrive": 6, "arrive_back_dated": 6}


@dataclass
class Loaded:
    """What one run left behind."""

    installation: Installation
    run_id: str
    state: str
    events: list[dict[str, Any]]
    mails: list[dict[str, Any]]
    register: dict[str, str]
    left: set[str] = field(repr=False, default_factory=set)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    folder = tmp_path_factory.mktemp("first-load")
    with installation(
        folder,
        relationships=RELATIONSHIPS,
        seed=5,
        rows_per_second=ROWS_PER_SECOND,
        fields={"sample_size": 300},
        options=OPTIONS,
    ) as running:
        api = running.airflow.api
        api.wait_for_dag(DAG)
        api.unpause(DAG)
        run_id = api.trigger(DAG)
        left = _change_while_files_load(running, run_id)
        state = api.wait_for_run(DAG, run_id, RUN_SECONDS)
        yield Loaded(
            installation=running,
            run_id=run_id,
            state=state,
            events=running.events(),
            mails=running.mails(),
            register=running.register(),
            left=left,
        )


def _change_while_files_load(running: Installation, run_id: str) -> set[str]:
    """Once the first file is on its way; the closing file must still be to come."""
    deadline, api = time.monotonic() + RUN_SECONDS, running.airflow.api
    while not any(e["kind"] == "file_accepted" for e in running.events()):
        assert time.monotonic() < deadline, api.task_states(DAG, run_id)
        assert api.run(DAG, run_id)["state"] in ("queued", "running"), api.task_states(DAG, run_id)
        time.sleep(1)
    churn = Churn(running.generated, 7, oslo_today(SystemClock()))
    changes = [change for kind, count in CHANGES.items() for change in getattr(churn, kind)(count)]
    running.execute([change.statement for change in changes])
    return {change.customer_id for change in changes if change.kind == "leaves"}


def test_the_run_is_green_and_the_register_equals_the_warehouse(loaded):
    assert loaded.state == "success", loaded.installation.airflow.api.task_states(DAG, loaded.run_id)
    wanted = loaded.installation.wanted()
    assert len(wanted) > RELATIONSHIPS - CHANGES["leave"]
    assert loaded.register.keys() == wanted.keys()
    assert not {c for c, start in wanted.items() if start and loaded.register[c] != start}


def test_at_least_three_files_went_and_two_were_in_flight(loaded):
    accepted = [e for e in loaded.events if e["kind"] == "file_accepted"]
    assert len(accepted) >= 4  # the closing file is one of them
    in_flight = most = 0
    for event in loaded.events:
        in_flight += {"file_accepted": 1, "file_loaded": -1}.get(event["kind"], 0)
        most = max(most, in_flight)
    assert most == 2


def test_no_delete_was_sent_before_the_last_file_was_loaded(loaded):
    kinds = [e["kind"] for e in loaded.events]
    removed = {e["customer_id"] for e in loaded.events if e["kind"] == "remove_one"}
    last_loaded = len(kinds) - 1 - kinds[::-1].index("file_loaded")
    assert "remove_one" not in kinds[:last_loaded]
    assert removed == loaded.left


def test_arrivals_went_singly_or_with_the_closing_file(loaded):
    singles = [e for e in loaded.events if e["kind"] == "register_one"]
    assert len(singles) == CHANGES["arrive"]
    closing = [e for e in loaded.events if e["kind"] == "file_accepted"][-1]
    assert closing["rows"] == CHANGES["arrive_back_dated"]


def test_d4_was_mailed_once_after_the_last_removal(loaded):
    d4 = [m for m in loaded.mails if m["subject"].startswith("D-4")]
    assert len(d4) == 1
    kinds = [e["kind"] for e in loaded.events]
    assert kinds.index("mail") > len(kinds) - 1 - kinds[::-1].index("remove_one")


def test_nothing_was_refused(loaded):
    assert [e for e in loaded.events if e["kind"] in ("refused", "fault")] == []


def test_no_identifier_is_in_airflow_s_logs_or_metadata(loaded):
    """Promise 8, over every log file and every row of every table of the metadata database."""
    customers = {*loaded.installation.wanted(), *loaded.left}
    homes = [
        p
        for p in Path(loaded.installation.airflow.home).rglob("*")
        if p.is_file() and p.suffix in (".log", ".json", ".txt")
    ]
    assert homes
    texts = [(str(path), path.read_text(errors="replace")) for path in homes]
    with psycopg.connect(loaded.installation.metadata) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        for (table,) in tables:
            rows = connection.execute(f'SELECT t::text FROM "{table}" t').fetchall()
            texts.append((table, "\n".join(row[0] for row in rows)))
    number = re.compile(r"(?<![0-9a-f-])(?:\d{11}|\d{9})(?![0-9a-f-])")
    leaks = {where for where, text in texts if customers & set(number.findall(text))}
    assert leaks == set()
