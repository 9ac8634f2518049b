import random

import pytest

from kfr.links.register import LeaseHolderLink
from kfr.operators import load
from kfr.operators.approval import KfrApproveChangesOperator
from kfr.sensors import register
from kfr.sensors.register import KfrAcquireSensor, KfrArrivalsSensor, KfrCompareSensor
from tests.simulator.identifiers import make_synthetic, text_of
from tests.unit.stand import SQL_FOLDER, Stand


def acquire() -> KfrAcquireSensor:
    return KfrAcquireSensor(task_id="acquire", first_load=True, sql_folder=SQL_FOLDER)


def arrivals() -> KfrArrivalsSensor:
    return KfrArrivalsSensor(task_id="arrivals", uploaded_by="upload", sql_folder=SQL_FOLDER)


def compare() -> KfrCompareSensor:
    return KfrCompareSensor(task_id="compare", sql_folder=SQL_FOLDER)


@pytest.fixture
def loading(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> Stand:
    """A load whose plan is approved."""
    from airflow.sdk.bases.operator import ExecutorSafeguard

    monkeypatch.setattr(ExecutorSafeguard, "test_mode", True)
    rng = random.Random(1)
    stand.join(*(text_of(make_synthetic(rng)) for _ in range(3)))
    acquire().poke(stand.context())
    load.KfrExtractOperator(task_id="extract", sql_folder=SQL_FOLDER).execute(stand.context())
    load.KfrPlanOperator(task_id="plan", first_load=True, sql_folder=SQL_FOLDER).execute(stand.context())
    approve = KfrApproveChangesOperator(task_id="approve", planned_by="plan", sql_folder=SQL_FOLDER)
    approve.execute(stand.context())
    return stand


def test_the_register_is_taken_by_one_run_and_the_next_one_is_shown_by_whom(stand: Stand):
    assert acquire().poke(stand.context())
    waiting = acquire()
    stand.ti.active_runs = 1
    assert not waiting.poke(stand.context(run_id="manual__2026-11-24T00:00:00+00:00"))
    assert waiting.holder
    assert waiting.holder.run_id == "manual__1"


def test_a_run_that_is_over_is_taken_over_after_its_heartbeats(stand: Stand, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AIRFLOW__KFR__HEARTBEAT_SECONDS", "100")
    acquire().poke(stand.context())
    assert not acquire().poke(stand.context(run_id="another"))
    stand.clock.advance(100)
    assert acquire().poke(stand.context(run_id="another"))


def test_a_dry_run_takes_nothing(stand: Stand):
    assert acquire().poke(stand.context(dry_run=True))
    assert not stand.staging.state.exists("lease")


def test_the_slot_is_given_back_between_two_looks():
    sensor = acquire()
    assert (sensor.mode, sensor.pool) == ("reschedule", "kfr_register")
    assert arrivals().mode == "reschedule"


@pytest.mark.parametrize(
    ("states", "over"),
    [
        ({"upload_0": "success", "upload_01": "running"}, False),
        ({"upload_0": "success", "upload_01": None}, False),
        ({"upload_0": "success", "upload_01": "failed"}, True),
        ({"upload_0": "upstream_failed"}, True),
        ({"upload": "skipped"}, True),
        ({}, True),
    ],
)
def test_arrivals_are_watched_until_every_file_has_come_to_an_end(loading: Stand, states, over: bool):
    loading.ti.states = states
    assert arrivals().poke(loading.context()) == over


def test_the_link_leads_to_the_run_that_holds_the_register(stand: Stand):
    acquire().poke(stand.context(run_id="manual__2026-11-24T00:00:00+00:00"))
    stand.ti.active_runs = 1
    waiting = acquire()
    waiting.poke(stand.context())
    link = LeaseHolderLink().get_link(waiting, ti_key=None)
    assert link.endswith("/dags/kfr_initial_load/runs/manual__2026-11-24T00%3A00%3A00%2B00%3A00")


def test_there_is_no_link_when_the_register_is_ours(stand: Stand):
    taking = acquire()
    taking.poke(stand.context())
    assert LeaseHolderLink().get_link(taking, ti_key=None) == ""


def looked_up(stand: Stand) -> int:
    return [e.operation for e in stand.simulator.log].count("look_up")


def test_a_comparison_whose_sample_is_right_is_over_at_its_first_look(loading: Stand):
    before = looked_up(loading)
    assert compare().poke(loading.context(full=False))
    assert looked_up(loading) == before  # nobody is proven yet: there is nobody to draw


def test_a_comparison_of_everyone_takes_as_many_looks_as_it_needs(loading: Stand, monkeypatch):
    before = looked_up(loading)
    monkeypatch.setattr(register, "COMPARE_SECONDS", -1.0)
    assert not compare().poke(loading.context(full=True))
    monkeypatch.setattr(register, "COMPARE_SECONDS", 600.0)
    assert compare().poke(loading.context(full=True))
    assert looked_up(loading) == before + 3
    assert compare().poke(loading.context(full=True))
    assert looked_up(loading) == before + 3  # it is over


def test_a_comparison_holds_no_slot_between_two_looks_and_may_take_days():
    sensor = compare()
    assert sensor.mode == "reschedule"
    assert sensor.timeout == 14 * 86_400
    assert sensor.poke_interval == 30
