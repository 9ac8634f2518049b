"""Promise 8 on a whole machine: after loads with faults, no identifier is in anything that was kept."""

import json
import os
import re
import smtplib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files as resources
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from kfr.clock import SystemClock, oslo_today
from tests.environment import MAIL_FROM, MAIL_TO_BITS
from tests.leaks import Finder, Place, files, pages, search, tables, texts
from tests.system.airflow_processes import SHORTEST_RESCHEDULE_SECONDS
from tests.system.installation import Installation, installation
from tests.warehouse.churn import Churn

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif("KFR_LONG" not in os.environ, reason="five minutes and more: make leaks runs it"),
]

FIRST, PERIODIC = "kfr_initial_load", "kfr_periodic_load"
RUN_SECONDS = 420
OPTIONS = {
    "max_batch_bytes": 12_000,
    "arrivals_seconds": SHORTEST_RESCHEDULE_SECONDS,
    "lease_seconds": SHORTEST_RESCHEDULE_SECONDS,
    "heartbeat_seconds": 20,
    "retries": 3,
    "retry_seconds": 2,
}
FAULTS: tuple[dict[str, Any], ...] = (
    {"kind": "status", "operation": "register_file", "nth": 1, "status": 503, "body": "html"},
    {"kind": "reset_after_work", "operation": "register_file", "nth": 2},
    {"kind": "body", "operation": "look_up", "nth": 40, "times": 3, "body": "cut"},
    {"kind": "status", "operation": "look_up", "nth": 80, "times": 8, "status": 500},
    {"kind": "status", "operation": "register_one", "nth": 1, "status": 400},
    {"kind": "reset_after_work", "operation": "remove_one", "nth": 1},
    {"kind": "status", "operation": "token", "nth": 2, "status": 503},
)
# The driver's words hold the identifier that it complains about.
SPOIL = """
    ALTER TABLE agreements RENAME TO held;
    CREATE VIEW agreements AS SELECT customer_id::int::text AS customer_id, started_on, ended_on FROM held
"""
MEND = "DROP VIEW agreements; ALTER TABLE held RENAME TO agreements"

SOMEBODY, REFUSED = "01234567891", "0123456789x"  # in no data: what is planted


@dataclass
class Machine:
    """An installation after its loads, and who must not be found on it."""

    running: Installation
    folder: Path  # of Airflow's home, staging and temporary files
    finder: Finder
    runs: list[tuple[str, str, str]]  # Dag, run, state


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    folder = tmp_path_factory.mktemp("leaks")
    (folder / "tmp").mkdir()
    with installation(
        folder,
        relationships=1_500,
        seed=8,
        rows_per_second=200,
        fields={"sample_size": 100},
        options=OPTIONS,
        airflow={"TMPDIR": str(folder / "tmp")},
    ) as running:
        api, known = running.airflow.api, identifiers(running)
        for dag in (FIRST, PERIODIC):
            api.wait_for_dag(dag)
        api.unpause(FIRST)
        runs = [run(running, FIRST, dry_run=True)]
        for fault in FAULTS:
            httpx.post(
                f"{running.stand.url}/simulator/faults", json=fault, trust_env=False
            ).raise_for_status()
        first = api.trigger(FIRST, {"approval": "never"})
        change_while_files_load(running, first)
        runs.append((FIRST, first, api.wait_for_run(FIRST, first, RUN_SECONDS)))
        known |= identifiers(running)
        running.execute([SPOIL])
        api.unpause(PERIODIC)  # which starts the last day's run
        runs.append(run(running, PERIODIC))
        running.execute([MEND])
        runs.append(run(running, PERIODIC))
        yield Machine(running, folder, Finder(known), runs)


def identifiers(running: Installation) -> set[str]:
    """Everything that stands in the column of identifiers, the refused values too."""
    with psycopg.connect(running.warehouse) as connection:
        rows = connection.execute("SELECT DISTINCT customer_id FROM agreements WHERE customer_id IS NOT NULL")
        return {row[0] for row in rows.fetchall()}


def run(running: Installation, dag: str, **conf: Any) -> tuple[str, str, str]:
    api = running.airflow.api
    run_id = api.trigger(dag, {"approval": "never", **conf})
    return dag, run_id, api.wait_for_run(dag, run_id, RUN_SECONDS)


def change_while_files_load(running: Installation, run_id: str) -> None:
    deadline, api = time.monotonic() + RUN_SECONDS, running.airflow.api
    while not any(e["kind"] == "file_accepted" for e in running.events()):
        assert time.monotonic() < deadline, api.task_states(FIRST, run_id)
        assert api.run(FIRST, run_id)["state"] in ("queued", "running"), api.task_states(FIRST, run_id)
        time.sleep(1)
    churn = Churn(running.generated, 7, oslo_today(SystemClock()))
    changes = [*churn.leave(5), *churn.arrive(3), *churn.arrive_back_dated(3)]
    running.execute([change.statement for change in changes])


def everything(machine: Machine) -> Iterator[Place]:
    """What the machine keeps; but for the warehouse and the simulator's own pages, which stand for other machines."""
    running = machine.running
    yield from tables(running.metadata)
    yield from files(running.airflow.home, machine.folder / "staging", machine.folder / "tmp")
    yield from texts("mails", [json.dumps(mail) for mail in running.mails()])
    yield from answers(machine)


def answers(machine: Machine) -> Iterator[Place]:
    """What Airflow's API and UI tell of each run and task, by every path that their descriptions name."""
    api = machine.running.airflow.api
    known: dict[str, list[str]] = {
        "connection_id": ["kfr_default", "kfr_warehouse", "smtp_default"],
        "variable_key": ["planted"],
        "pool_name": ["kfr_register"],
        "asset_id": ["1", "2"],
        "map_index": ["-1", "0"],
        "try_number": ["1", "2"],
        "task_try_number": ["1", "2"],
        "xcom_key": ["return_value", "plan", "planted"],
        "key": ["asked", "pool_slots"],
    }
    for dag, run_id, _ in machine.runs:
        tasks = sorted({task for task, _ in api.task_states(dag, run_id)})
        run_of = {"dag_id": [dag], "dag_run_id": [run_id], "run_id": [run_id], "task_id": tasks}
        yield from pages(described_paths(), known | run_of, api.page)


def described_paths() -> list[str]:
    """The paths that can be read, by Airflow's own descriptions of its API and its UI."""
    paths = []
    for name in ("v2-rest-api-generated.yaml", "_private_ui.yaml"):
        text = resources("airflow.api_fastapi.core_api.openapi").joinpath(name).read_text()
        for path, methods in re.findall(r"^  (/\S+):\n((?:    .*\n)+)", text, re.MULTILINE):
            reads = re.search(r"^    get:", methods, re.MULTILINE)
            if reads and not path.endswith(("/wait", "/logout")):  # one never ends, the other ends all
                paths.append(path)
    return paths


def test_the_faults_struck_and_the_loads_ended_as_they_should(machine):
    left = httpx.get(f"{machine.running.stand.url}/simulator/faults", trust_env=False).json()
    assert [fault["operation"] for fault in left if fault["operation"] != "token"] == []
    assert [state for _, _, state in machine.runs] == ["success", "success", "failed", "success"]
    assert len(machine.finder.texts) > 1_000
    assert machine.finder.raw


def test_no_identifier_is_in_anything_that_the_machine_keeps(machine, capsys):
    places = dict(everything(machine))
    names = " ".join(places)
    for kind in (
        "table task_instance",
        "scheduler.log",
        "triggerer.log",
        "/state/mirror",
        "mails",
        "/logs/1",
    ):
        assert kind in names
    assert b"does not run agreements.sql" in b"".join(places.values())  # the driver's words were left out
    assert len([name for name in places if name.startswith(("/api/", "/ui/"))]) > 200
    assert search(machine.finder, places.items()) == {}
    size, looked_for = sum(map(len, places.values())), len(machine.finder.texts)
    with capsys.disabled():
        print(
            f" {len(places):,} places ({size / 1e6:,.0f} MB) hold none of {looked_for:,} identifiers", end=" "
        )


def test_one_planted_in_each_kind_of_place_is_found_there(machine, capsys):
    running, (dag, run_id, _) = machine.running, machine.runs[1]
    api, run_path = running.airflow.api, f"/dags/{dag}/dagRuns/{run_id}"
    api.call("PATCH", run_path, json={"note": f"kunde {SOMEBODY}"})
    api.call("POST", "/variables", json={"key": "planted", "value": SOMEBODY})
    xcom = {"key": "planted", "value": {"customer": int(SOMEBODY)}}
    api.call("POST", f"{run_path}/taskInstances/plan_changes/xcomEntries", json=xcom)
    written = {
        running.airflow.home / "logs" / "planted.log": f"ValueError: {REFUSED!r}",
        machine.folder / "staging" / "test" / "planted": f"{SOMEBODY[:6]} {SOMEBODY[6:]}",
        machine.folder / "tmp" / f"planted-{SOMEBODY}": "",
    }
    for path, text in written.items():
        path.write_text(text)
    with smtplib.SMTP(running.stand.smtp_host, running.stand.smtp_port) as server:
        server.sendmail(MAIL_FROM, [MAIL_TO_BITS], f"Subject: planted\n\nkunde {SOMEBODY}".encode())

    found = search(Finder([SOMEBODY, REFUSED]), everything(machine))

    expected = {"table dag_run_note", "table xcom", "mails", *map(str, written)}
    assert expected <= found.keys()
    assert f"/api/v2{run_path}" in found
    assert any("xcomEntries/planted" in name for name in found)
    assert "/api/v2/variables/planted" in found
    with capsys.disabled():
        print(f" what was planted is found in {len(found):,} places", end=" ")
