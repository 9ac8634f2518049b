"""When the recurring Dags run: settings of the section `[kfr]`, read while the Dag file is parsed."""

from airflow.sdk import Asset, CronDataIntervalTimetable
from airflow.sdk.configuration import conf

TIMEZONE = "Europe/Oslo"


def periodic_schedule() -> CronDataIntervalTimetable | list[Asset]:
    """`periodic_schedule` as cron in Norwegian time, or the asset `upstream_asset`, say that of a dbt job."""
    if upstream := conf.get("kfr", "upstream_asset", fallback=""):
        return [Asset(upstream)]
    return CronDataIntervalTimetable(
        conf.get("kfr", "periodic_schedule", fallback="0 4 * * *"), timezone=TIMEZONE
    )


def reconcile_schedule() -> CronDataIntervalTimetable:
    """`reconcile_schedule` as cron in Norwegian time."""
    return CronDataIntervalTimetable(
        conf.get("kfr", "reconcile_schedule", fallback="0 10 * * 6"), timezone=TIMEZONE
    )
