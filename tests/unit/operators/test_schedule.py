from datetime import UTC, datetime

import pytest
from airflow.sdk import Asset
from airflow.timetables.base import TimeRestriction
from airflow.timetables.interval import CronDataIntervalTimetable as Scheduled

from kfr.operators.schedule import periodic_schedule, reconcile_schedule


def next_run(timetable, after: datetime) -> tuple[datetime, datetime, datetime]:
    """When the scheduler starts the next run after a moment, and the interval of it, as it reckons."""
    core = Scheduled(timetable.expression, timezone=str(timetable.timezone))
    run = core.next_dagrun_info(
        last_automated_data_interval=core.infer_manual_data_interval(run_after=after),
        restriction=TimeRestriction(earliest=None, latest=None, catchup=True),
    )
    return run.run_after, run.data_interval.start, run.data_interval.end


@pytest.mark.parametrize(
    ("after", "hour_in_utc"),
    [(datetime(2026, 1, 15, 12, tzinfo=UTC), 3), (datetime(2026, 7, 15, 12, tzinfo=UTC), 2)],
    ids=["winter", "summer"],
)
def test_a_load_runs_at_four_in_norway_about_the_day_before(after: datetime, hour_in_utc: int):
    run_after, start, end = next_run(periodic_schedule(), after)
    assert run_after == end == datetime(2026, after.month, 16, hour_in_utc, tzinfo=UTC)
    assert (end - start).total_seconds() == 86_400


def test_the_register_is_compared_on_saturdays(monkeypatch: pytest.MonkeyPatch):
    run_after, start, end = next_run(reconcile_schedule(), datetime(2026, 1, 14, 12, tzinfo=UTC))
    assert run_after == datetime(2026, 1, 17, 9, tzinfo=UTC)
    assert run_after.isoweekday() == 6
    assert (end - start).days == 7


def test_an_installation_sets_both(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AIRFLOW__KFR__PERIODIC_SCHEDULE", "30 5 * * 1-5")
    monkeypatch.setenv("AIRFLOW__KFR__RECONCILE_SCHEDULE", "0 6 1 * *")
    friday = datetime(2026, 1, 16, 12, tzinfo=UTC)
    assert next_run(periodic_schedule(), friday)[0] == datetime(2026, 1, 19, 4, 30, tzinfo=UTC)
    assert next_run(reconcile_schedule(), friday)[0] == datetime(2026, 2, 1, 5, tzinfo=UTC)


def test_a_load_may_follow_the_job_that_fills_the_warehouse(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AIRFLOW__KFR__UPSTREAM_ASSET", "dbt_agreements")
    assert periodic_schedule() == [Asset("dbt_agreements")]
