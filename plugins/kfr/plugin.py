"""The plugin that Airflow finds by entry point (never by the plugins folder: see docs/decisions.md)."""

from airflow.sdk.plugins_manager import AirflowPlugin

from kfr.operators.pool import PoolObserver


class KfrPlugin(AirflowPlugin):
    """What this package adds to Airflow itself."""

    name = "kfr"
    listeners = [PoolObserver()]  # noqa: RUF012 - Airflow's own way to name them
