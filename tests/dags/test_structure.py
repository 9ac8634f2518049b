"""The Dag itself: what it says of itself, which tasks it has and how they hang together, and what reading it costs."""

import itertools
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from kfr.operators.params import FIRST_LOAD_PARAMS, PERIODIC_PARAMS, RECONCILE_PARAMS, Tag
from tests.conftest import ROOT
from tests.dags.conftest import TASKS

WRITERS = TASKS[TASKS.index("upload_batch_file") : TASKS.index("release_register")]
HEAVY = {"duckdb", "numpy", "pandas", "polars", "psycopg", "pyarrow"}
READ_THE_DAG = """
import importlib.util, json, sys
import airflow.sdk  # its own modules are not this package's doing
from airflow.sdk.definitions._internal.contextmanager import DagContext
calls = []
sys.addaudithook(lambda event, _: calls.append(event) if event.startswith("socket.") else None)
known = set(sys.modules)
spec = importlib.util.spec_from_file_location("kfr_initial_load", sys.argv[1])
module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
DagContext.current_autoregister_module_name = spec.name  # as Airflow finds the Dags of a file
spec.loader.exec_module(module)
[dag] = [dag for dag, _ in DagContext.autoregistered_dags]
retries = {task.task_id: task.retries for task in dag.tasks}
print(json.dumps({"modules": sorted(set(sys.modules) - known), "calls": calls, "retries": retries}))
"""


@pytest.fixture(scope="module")
def read():
    """What reading the Dag's file loads, whom it calls, and how often its tasks are tried again by default."""
    done = subprocess.run(
        [sys.executable, "-c", READ_THE_DAG, str(ROOT / "dags" / "kfr_initial_load.py")],
        env={name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW__KFR__")},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_the_dag_says_what_it_is_and_whose(dag):
    assert dag.tags <= {str(tag) for tag in Tag}
    assert {"kfr", "pii", "impact:high"} == dag.tags
    assert {task.owner for task in dag.tasks} == {"kfr"}
    assert "D-3" in dag.doc_md
    assert "runbook" in dag.doc_md
    assert dag.max_active_runs == 1
    assert dag.schedule is None


@pytest.mark.parametrize("params", [FIRST_LOAD_PARAMS, PERIODIC_PARAMS, RECONCILE_PARAMS])
def test_no_form_asks_for_a_text_that_may_stay_empty(params):
    """Airflow's form takes an empty text for a missing one, and its button stays grey, unless null is allowed."""
    empty = {name: param.schema["type"] for name, param in params.items() if param.value in ("", None)}
    assert {"as_of", "reason"} <= empty.keys()
    assert {name for name, kind in empty.items() if "null" not in kind} == set()


def test_the_form_offers_the_params_of_every_load_and_explains_each(dag):
    assert set(dag.params) == set(FIRST_LOAD_PARAMS)
    forms = {name: dag.params.get_param(name).schema for name in dag.params}
    assert [name for name, form in forms.items() if "title" not in form] == []


def test_every_task_is_there_and_every_one_is_failed_in_the_tests(dag):
    assert sorted(dag.task_ids) == sorted(TASKS)


def test_the_tasks_follow_each_other_as_in_the_guide(dag):
    before = {task: dag.get_task(task).get_flat_relative_ids(upstream=True) for task in TASKS}
    side_by_side = {("upload_batch_file", "register_arrivals")}
    for first, then in itertools.pairwise(TASKS):
        assert (first in before[then]) != ((first, then) in side_by_side), (first, then)


def test_clearing_any_task_alone_clears_the_last_word_too(scheduler_dag):
    for task in TASKS[2 : TASKS.index("release_register")]:
        cleared = scheduler_dag.partial_subset(
            [task], include_downstream=False, include_upstream=False
        ).task_dict
        assert "remove_staged_files" in cleared, task


def test_clearing_any_writer_clears_the_lease_too(dag, scheduler_dag):
    assert dag.get_task("acquire_register").is_setup
    assert dag.get_task("release_register").is_teardown
    for writer in WRITERS:
        cleared = scheduler_dag.partial_subset(
            [writer], include_downstream=True, include_upstream=False
        ).task_dict
        assert {"acquire_register", "release_register", "record_mirror"} <= set(cleared), writer
        assert "extract_relationships" not in cleared


def test_the_register_is_given_back_before_another_run_asks_for_it_again(scheduler_dag):
    """They share a pool of one slot, and those who ask come back every minute."""
    rule = scheduler_dag.get_task("release_register").weight_rule

    def weight(task_id):
        ti = SimpleNamespace(task=scheduler_dag.get_task(task_id))
        return rule.get_weight(ti)

    assert weight("release_register") > weight("remove_ended") > weight("acquire_register")


def test_a_plan_with_no_file_comes_to_removal_and_a_failure_comes_to_the_mirror(dag):
    from airflow.sdk import TriggerRule

    rules = {task: dag.get_task(task).trigger_rule for task in TASKS}
    unusual = {task: rule for task, rule in rules.items() if rule != TriggerRule.ALL_SUCCESS}
    assert unusual == {
        "close_arrivals": TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS,
        "record_mirror": TriggerRule.ALL_DONE,
        "release_register": TriggerRule.ALL_DONE_SETUP_SUCCESS,
        "remove_staged_files": TriggerRule.ALL_DONE,
    }
    assert dag.get_task("record_mirror").upstream_task_ids >= set(WRITERS) - {"record_mirror"}


def test_the_last_task_says_whether_the_run_is_green_and_cannot_be_skipped(dag, scheduler_dag):
    """Airflow takes a last task that is skipped for success, and skips all but teardowns when a run is marked."""
    last = dag.get_task("remove_staged_files")
    assert last.is_teardown
    assert last.on_failure_fail_dagrun
    assert last.downstream_task_ids == set()
    assert last.get_flat_relative_ids(upstream=True) == set(TASKS) - {"remove_staged_files"}
    assert not any(dag.get_task(t).on_failure_fail_dagrun for t in TASKS if t != "remove_staged_files")


def test_every_task_is_tried_again_but_those_for_which_that_is_wrong(read):
    assert set(read["retries"].values()) == {0, 5}
    once = {task for task, retries in read["retries"].items() if retries == 0}
    assert once == {"check_readiness"}


def test_reading_the_dag_loads_nothing_heavy_and_asks_nobody(read):
    modules = set(read["modules"])
    assert {"kfr.operators.load", "kfr.sensors.register"} <= modules
    assert HEAVY & {name.partition(".")[0] for name in modules} == set()
    assert [name for name in modules if name.startswith(("kfr.load", "kfr.hooks", "kfr.relationships"))] == []
    assert read["calls"] == []
