"""The harness runs a real Airflow: what the other system tests lean on is shown here on two tiny Dags."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from tests import postgres
from tests.system.airflow_processes import COMPONENTS, RealAirflow
from tests.system.guard import members

pytestmark = pytest.mark.system

RUN_SECONDS = 90
DAGS = Path(__file__).parent / "dags"


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealAirflow]:
    home = tmp_path_factory.mktemp("airflow")
    env = {"AIRFLOW_VAR_TINY_DOOR": str(home / "door")}
    with (
        postgres.running() as server,
        RealAirflow(
            home=home, dags=DAGS, database=server.create_database("airflow"), env=env, pools={"narrow": 1}
        ) as running,
    ):
        yield running


@pytest.fixture(scope="module")
def finished(airflow: RealAirflow) -> str:
    """One run of `tiny`, seen to wait for a person, and answered with yes."""
    api = airflow.api
    api.wait_for_dag("tiny")
    api.unpause("tiny")
    run_id = api.trigger("tiny", {"colour": "blue"})
    api.wait_for_task("tiny", run_id, "ask", ["awaiting_input"], RUN_SECONDS)
    airflow.wait_for_worker_end("tiny", run_id, "ask")
    api.answer("tiny", run_id, "ask", "Approve")
    state = api.wait_for_run("tiny", run_id, RUN_SECONDS)
    assert state == "success", (api.task_states("tiny", run_id), airflow.log_tails(["scheduler"]))
    return run_id


def test_a_deferred_task_is_resumed_by_the_triggerer_with_what_it_handed_over(airflow, finished):
    result = airflow.api.xcoms("tiny", finished, "defer")["return_value"]
    started = datetime.fromisoformat(airflow.api.run("tiny", finished)["start_date"])
    assert result["handed"] == "over"
    assert datetime.fromisoformat(result["woken"]) > started


def test_a_rescheduled_sensor_gives_its_pool_slot_to_the_task_that_it_waits_for(airflow, finished):
    """Both need the only slot of the pool: had the sensor kept it, the run would still be waiting."""
    tasks = {row["task_id"]: row for row in airflow.api.task_instances("tiny", finished)}
    assert {tasks["open_door"]["pool"], tasks["wait_for_door"]["pool"]} == {"narrow"}
    assert "up_for_reschedule" in airflow.api.log("tiny", finished, "wait_for_door").lower()


def test_the_conf_of_a_triggered_run_is_kept(airflow, finished):
    assert airflow.api.run("tiny", finished)["conf"] == {"colour": "blue"}


def test_every_instance_of_a_mapped_task_is_listed_with_its_result(airflow, finished):
    states = airflow.api.task_states("tiny", finished)
    assert [states["square", index] for index in range(3)] == ["success"] * 3
    squares = [airflow.api.xcoms("tiny", finished, "square", map_index=i)["return_value"] for i in range(3)]
    assert squares == [1, 4, 9]


def test_a_cleared_task_runs_again_and_the_others_do_not(airflow, finished):
    api = airflow.api

    def tries():
        return {(r["task_id"], r["map_index"]): r["try_number"] for r in api.task_instances("tiny", finished)}

    before = tries()
    assert api.clear("tiny", finished, [("square", 1)]) == ["square"]
    assert api.wait_for_run("tiny", finished, RUN_SECONDS) == "success"
    assert tries() == {**before, ("square", 1): before["square", 1] + 1}


def test_a_backfill_runs_every_interval_with_its_oslo_days(airflow):
    api = airflow.api
    api.wait_for_dag("daily")
    api.unpause(
        "daily"
    )  # a paused Dag's backfill waits; unpausing also runs the latest interval, as scheduled
    backfill = api.backfill("daily", datetime(2026, 3, 2, tzinfo=UTC), datetime(2026, 3, 3, 12, tzinfo=UTC))
    api.wait_for_backfill(backfill, RUN_SECONDS)
    runs = [run for run in api.runs("daily") if run["run_type"] == "backfill"]
    assert [run["state"] for run in runs] == ["success", "success"]
    intervals = [api.xcoms("daily", r["dag_run_id"], "note_interval")["return_value"] for r in runs]
    assert sorted(intervals) == [
        ["2026-03-02T02:00:00+00:00", "2026-03-03T02:00:00+00:00"],
        ["2026-03-03T02:00:00+00:00", "2026-03-04T02:00:00+00:00"],
    ]


def test_without_the_password_the_api_answers_nothing(airflow):
    assert httpx.get(f"{airflow.url}/api/v2/dags", trust_env=False).status_code == 401


def test_a_wait_ends_at_once_when_a_process_has_died_and_the_process_can_be_started_again(airflow, finished):
    triggerer = airflow._processes["triggerer"]
    triggerer.kill()
    triggerer.wait()
    with pytest.raises(RuntimeError, match="ended by itself: triggerer"):
        airflow.api.wait_for_task("tiny", finished, "defer", ["never"], RUN_SECONDS)
    airflow.end_component("triggerer", hard=True)
    airflow.start_component("triggerer")
    airflow.check()


def test_nothing_that_was_started_is_left_after_the_end(airflow):
    """The last one in this module: it ends the Airflow of the others."""
    leaders = [airflow._processes[component].pid for component in COMPONENTS]
    assert all(members(leader) for leader in leaders)
    airflow.stop()
    assert [members(leader) for leader in leaders] == [[]] * len(COMPONENTS)
