"""From a task to the page KFR, and to its run's signed report."""

from typing import Any
from urllib.parse import quote, urlencode

from airflow.sdk import BaseOperatorLink
from airflow.sdk.configuration import conf


class PageLink(BaseOperatorLink):
    """To the page of this run, beside Airflow's own view of it."""

    name = "KFR"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Called in the worker when the task has run or is deferred."""
        del operator
        return run_url(ti_key.dag_id, ti_key.run_id)


class ReportLink(BaseOperatorLink):
    """To the report of this run."""

    name = "Report"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Called in the worker, by then the report is made."""
        del operator
        return f"{base_url()}/kfr/report?{urlencode({'dag_id': ti_key.dag_id, 'run_id': ti_key.run_id})}"


def base_url() -> str:
    """Where people reach Airflow, without a slash at the end."""
    return str(conf.get("api", "base_url", fallback="/")).rstrip("/")


def anchor(heading: str) -> str:
    """How a heading is linked to in rendered Markdown."""
    kept = "".join(c for c in heading.lower() if c.isalnum() or c in " -_")
    return kept.replace(" ", "-")


def runbook_url(section: str) -> str:
    """A section of the runbook as the page KFR serves it; its file, where Airflow was not told its own address."""
    place = f"{base_url()}/kfr/docs/runbook.md" if base_url() else "docs/runbook.md"
    return f"{place}#{anchor(section)}"


def run_url(dag_id: str, run_id: str) -> str:
    return f"{base_url()}/dags/{quote(dag_id)}/runs/{quote(run_id, safe='')}/plugin/kfr-run"


def task_url(
    dag_id: str, run_id: str, task_id: str, map_index: int = -1, *, try_number: int | None = None
) -> str:
    """A task's page, on which its log stands: of the given try, else of the newest."""
    mapped = f"/mapped/{map_index}" if map_index >= 0 else ""
    run = f"{base_url()}/dags/{quote(dag_id)}/runs/{quote(run_id, safe='')}"
    return f"{run}/tasks/{quote(task_id)}{mapped}{of_try(try_number)}"


def of_try(number: int | None) -> str:
    """What an address of a task needs for the log of that try (from 1): a retry that has begun has an empty one."""
    return f"?try_number={number}" if number else ""
