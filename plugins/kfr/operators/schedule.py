"""When the recurring Dags run: settings of the section `[kfr]`, read while the Dag file is parsed."""

from datetime import timedelta

from airflow.sdk import Asset, CronDataIntervalTimetable
from airflow.sdk.configuration import conf
from airflow.sdk.definitions.callback import AsyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference

TIMEZONE = "Europe/Oslo"
LATE = "kfr.notifications.callbacks.alert_late"


def periodic_schedule() -> CronDataIntervalTimetable | list[Asset]:
    """`periodic_schedule` as cron in Norwegian time, or the asset `upstream_asset`, say that of a dbt job."""
    if upstream := conf.get("kfr", "upstream_asset", fallback=""):
        return [Asset(upstream)]
    return CronDataIntervalTimetable(
        conf.get("kfr", "periodic_schedule", fallback="0 4 * * *"), timezone=TIMEZONE
    )


def periodic_deadline(kfr_conn_id: str = "kfr_default") -> DeadlineAlert:
    """Someone is told when a scheduled run is not over `late_minutes` after it was queued: by 06:00 of 04:00."""
    late = timedelta(minutes=conf.getint("kfr", "late_minutes", fallback=120))
    return DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        # As seconds, which Airflow takes too: where it keeps a timedelta, 3.3.2 cannot clear a task of the run.
        interval=late.total_seconds(),  # type: ignore[arg-type]
        callback=AsyncCallback(LATE, kwargs={"kfr_conn_id": kfr_conn_id}),
    )


def reconcile_schedule() -> CronDataIntervalTimetable:
    """`reconcile_schedule` as cron in Norwegian time."""
    return CronDataIntervalTimetable(
        conf.get("kfr", "reconcile_schedule", fallback="0 10 * * 6"), timezone=TIMEZONE
    )
