"""The Dags that keep the register right, played after a first load: each in the same Airflow, on the same state."""

from dataclasses import replace
from typing import Any

import pytest

from tests.dags.project import scheduled

EVERYONE = {"scope": None, "compare_with": None}
SAMPLE = {"full": False}


@pytest.fixture
def loaded(bank: Any) -> Any:
    """The bank after its first load, a day later."""
    run = bank.trigger()
    assert run.go() == "success", run.states
    bank.clock.advance(24 * 3600)
    return bank


@pytest.fixture
def runs_of(loaded: Any, dags: dict[str, Any]) -> Any:
    """The same bank, whose runs are another Dag's."""

    def bank_with(dag_id: str) -> Any:
        return replace(loaded, dag=dags[dag_id], scheduler_dag=scheduled(dags[dag_id]))

    return bank_with


def test_a_periodic_load_brings_the_day_s_changes_and_moves_the_watermark(runs_of):
    bank = runs_of("kfr_periodic_load")
    left = bank.change(bank.churn.leave(2))
    bank.change([*bank.churn.arrive(2), *bank.churn.arrive_back_dated(2)])
    run = bank.trigger(**EVERYONE)
    assert run.go() == "success", run.states
    assert bank.is_right
    assert not set(left) & bank.register.keys()
    assert bank.proven == bank.register.keys()
    assert bank.state.read_json("watermark")["as_of"] == str(bank.today)
    assert len(bank.d4_mails) == 1  # the first load's


def test_a_periodic_load_without_changes_ends_green_and_sends_nothing(runs_of):
    bank = runs_of("kfr_periodic_load")
    assert bank.trigger(**EVERYONE).go() == "success"  # agreements that begin or end with the new day
    before = len(bank.sent())
    run = bank.trigger(**EVERYONE)
    assert run.go() == "success", run.states
    assert run.states["upload_batch_file"] == "skipped"
    assert len(bank.sent()) == before
    assert bank.staged_files == []


def test_a_dry_periodic_load_sends_nothing_and_is_green(runs_of):
    bank = runs_of("kfr_periodic_load")
    bank.change(bank.churn.leave(1))
    before = len(bank.sent())
    run = bank.trigger(**EVERYONE, dry_run=True)
    assert run.go() == "success", run.states
    assert run.states["remove_ended"] == "skipped"
    assert len(bank.sent()) == before


@pytest.mark.parametrize("task_id", ["register_today", "close_additions", "remove_ended", "verify_register"])
def test_a_periodic_load_that_fails_is_red_and_comes_right_when_it_is_cleared(runs_of, task_id):
    bank = runs_of("kfr_periodic_load")
    bank.change([*bank.churn.leave(1), *bank.churn.arrive(1), *bank.churn.arrive_back_dated(1)])
    bank.fail(task_id, "after")
    run = bank.trigger(**EVERYONE)
    assert run.go() == "failed"
    assert run.states[task_id] == "failed"
    assert run.states["record_mirror"] == "failed"
    assert "acquire_register" in run.clear(task_id)
    assert run.go() == "success", run.states
    assert bank.is_right
    assert bank.proven == bank.register.keys()


def test_an_interval_triggered_by_hand_begins_at_the_watermark(runs_of):
    bank = runs_of("kfr_periodic_load")
    bank.change([*bank.churn.leave(1), *bank.churn.arrive(1)])
    run = bank.trigger(scope="interval", compare_with="register")
    assert run.go() == "success", run.states
    assert bank.is_right


def test_a_reconciliation_finds_by_a_sample_what_the_register_lost_and_repairs_it(runs_of):
    bank = runs_of("kfr_reconcile")
    for _ in range(40):  # of 200: a sample of 20 meets one
        bank.simulator.plant_defect("missing")
    assert not bank.is_right
    run = bank.trigger(**SAMPLE)
    assert run.go() == "success", run.states
    assert bank.is_right
    assert bank.proven == bank.register.keys()


def test_a_lost_mirror_stops_a_load_and_a_reconciliation_makes_it_anew(runs_of):
    periodic, reconcile = runs_of("kfr_periodic_load"), runs_of("kfr_reconcile")
    periodic.state.delete("mirror")
    assert periodic.trigger(**EVERYONE).go() == "failed"
    run = reconcile.trigger(**SAMPLE)
    assert run.go() == "success", run.states
    assert reconcile.proven == reconcile.register.keys()
    assert periodic.trigger(**EVERYONE).go() == "success"


def test_a_periodic_load_before_the_first_one_is_told_so(bank, dags):
    periodic = replace(
        bank, dag=dags["kfr_periodic_load"], scheduler_dag=scheduled(dags["kfr_periodic_load"])
    )
    run = periodic.trigger(**EVERYONE)
    assert run.go() == "failed"
    assert run.states["acquire_register"] == "failed"
    assert periodic.sent() == []
