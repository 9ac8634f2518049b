"""The plugin that Airflow finds by entry point (never by the plugins folder: see docs/decisions.md)."""

from typing import Any

from airflow.sdk.plugins_manager import AirflowPlugin

from kfr.operators.pool import PoolObserver


async def page(scope: Any, receive: Any, send: Any) -> None:
    """The page as an ASGI application, loaded at the first request: workers and the scheduler load plugins, too."""
    from kfr.ui.app import app

    await app(scope, receive, send)


class KfrPlugin(AirflowPlugin):
    """What this package adds to Airflow itself."""

    name = "kfr"
    listeners = [PoolObserver()]  # noqa: RUF012 - Airflow's own way to name them
    fastapi_apps = [{"app": page, "url_prefix": "/kfr", "name": "KFR"}]  # noqa: RUF012
    external_views = [  # noqa: RUF012
        {"name": "KFR", "href": "/kfr/", "destination": "nav", "url_route": "kfr", "nav_top_level": True},
        {
            "name": "KFR",
            "href": "/kfr/run?dag_id={DAG_ID}&run_id={RUN_ID}",
            "destination": "dag_run",
            "url_route": "kfr-run",
        },
    ]
