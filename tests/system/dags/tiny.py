"""Two Dags that use what a load uses: deferral, rescheduling, mapped tasks, approvals, pools, intervals."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
from airflow.sdk import BaseOperator, BaseSensorOperator, CronDataIntervalTimetable, Variable, dag, task

# Airflow fails a task that comes back (from a trigger, a reschedule or a person) before the scheduler has heard that
# its worker ended: it takes the old end for the new one's (apache/airflow#71172). A try costs nothing here.
COMES_BACK = {"retries": 3, "retry_delay": timedelta(seconds=1)}


class Deferred(BaseOperator):
    """Give the worker back for two seconds; return what was handed over and which process resumed."""

    def execute(self, context: Any) -> None:
        self.defer(
            trigger=TimeDeltaTrigger(timedelta(seconds=2)), method_name="resume", kwargs={"handed": "over"}
        )

    def resume(self, context: Any, event: Any = None, handed: str | None = None) -> dict[str, Any]:
        return {"handed": handed, "woken": str(event)}


class Door(BaseSensorOperator):
    """Wait until the file named by `path` is there."""

    template_fields: Sequence[str] = ("path",)

    def __init__(self, *, path: str, **kwargs: Any) -> None:
        super().__init__(mode="reschedule", poke_interval=5, timeout=300, **kwargs)
        self.path = path

    def poke(self, context: Any) -> bool:
        return Path(self.path).exists()


@dag(schedule=None)
def tiny() -> None:
    @task(pool="narrow")
    def open_door() -> None:
        Path(Variable.get("tiny_door")).touch()

    @task(map_index_template="{{ n }}")
    def square(n: int) -> int:
        return n * n

    door = Door(task_id="wait_for_door", pool="narrow", path="{{ var.value.tiny_door }}", **COMES_BACK)
    ask = ApprovalOperator(task_id="ask", subject="Go on?", fail_on_reject=True)
    defer = Deferred(task_id="defer", **COMES_BACK)  # takes longer than the sensor's first look
    defer >> open_door()
    [door, square.expand(n=[1, 2, 3])] >> ask


@dag(
    schedule=CronDataIntervalTimetable("0 3 * * *", timezone="Europe/Oslo"),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
)
def daily() -> None:
    @task
    def note_interval(data_interval_start: Any = None, data_interval_end: Any = None) -> list[str]:
        return [data_interval_start.isoformat(), data_interval_end.isoformat()]

    note_interval()


tiny()
daily()
