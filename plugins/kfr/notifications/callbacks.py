"""What Airflow calls when a task fails, and when the periodic load is late. Light to import: Dag files name it."""

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kfr.notifications.alerts import Alert
    from kfr.notifications.ledger import Ledger

log = logging.getLogger(__name__)


def alert_failure(context: Any) -> None:
    """A task has failed for good: tell, unless its run was told of before."""
    _tell(context, again=False)


def _tell(context: Any, *, again: bool) -> None:
    try:
        _tell_of_failure(context, again=again)
    except Exception as error:  # noqa: BLE001 - an alert must not fail what it tells of
        log.warning("An alert could not be sent (%s): see Alerts in the runbook.", type(error).__name__)


def alert_retry(context: Any) -> None:
    """A file that is not loading is told of at once: it is tried again for hours by itself."""
    from kfr.load.upload import NotLoaded

    if isinstance(context.get("exception"), NotLoaded):
        _tell(context, again=True)


async def alert_late(context: Any = None, kfr_conn_id: str = "kfr_default") -> None:
    """The deadline of a scheduled run has passed; called in the triggerer, with the run as the REST API has it."""
    from asgiref.sync import sync_to_async

    run = (context or {}).get("dag_run") or {}
    if run.get("run_type") == "scheduled":
        await sync_to_async(_tell_of_lateness)(run, kfr_conn_id)


def _tell_of_failure(context: Any, *, again: bool) -> None:
    from kfr.load.world import is_load
    from kfr.notifications.channel import send
    from kfr.notifications.failures import failure_of

    dag_run = context["dag_run"]
    if (context.get("params") or {}).get("dry_run") or not is_load(dag_run.dag_id):
        return  # the other Dags say themselves, by mail, what they have found
    ledger = _ledger(context["params"].get("kfr_conn_id", "kfr_default"), dag_run.dag_id, dag_run.run_id)
    if ledger is not None:
        ledger.open(failure_of(context, ledger.standing, again=again))
    elif _is_first(context):  # without the connection there is no state to keep it in
        alert = failure_of(context, "nothing can be said: its connection cannot be read.", again=again)
        send(alert.subject("the connection cannot be read"), alert.text(), alert.severity)


def _tell_of_lateness(run: dict[str, Any], kfr_conn_id: str) -> None:
    try:
        ledger = _ledger(kfr_conn_id, run["dag_id"], run["dag_run_id"])
        if ledger is not None and not _told_already(ledger):
            ledger.open(_lateness(run, ledger.standing))
    except Exception as error:  # noqa: BLE001 - see alert_failure
        log.warning("An alert could not be sent (%s): see Alerts in the runbook.", type(error).__name__)


def _told_already(ledger: "Ledger") -> bool:
    """Whether this very run has failed and was told of: that it is late goes without saying."""
    from kfr.notifications.alerts import Topic

    return ledger.is_open(Topic.LOAD, ledger.run)


def _lateness(run: dict[str, Any], standing: str) -> "Alert":
    from kfr.links.page import run_url
    from kfr.notifications.alerts import Alert, Severity, Topic

    return Alert(
        topic=Topic.LATE,
        cause="late",
        severity=Severity.ACT,
        what="The periodic load is not proven in time.",
        means=standing,
        do="open the page: it says what the run waits for. A run that waits for another load or for a file goes "
        "on by itself; one that waits for a person does not.",
        section="The load is late",
        links=(("page", run_url(run["dag_id"], run["dag_run_id"])),),
    )


def _ledger(kfr_conn_id: str, dag_id: str, run_id: str) -> "Ledger | None":
    """The open alerts of the institution; None if its connection cannot be read."""
    from kfr.clock import SystemClock
    from kfr.hooks.kfr import KfrHook, NoConnection, staging_root, staging_url
    from kfr.load.staging import Staging, run_key
    from kfr.notifications.ledger import Ledger
    from kfr.register.errors import ConfigurationError

    try:
        settings = KfrHook(kfr_conn_id).settings
    except (NoConnection, ConfigurationError):
        return None
    root = staging_root(staging_url())
    staging = Staging(root, settings.staging_key, environment=settings.environment, fid=settings.fid)
    who = f"{settings.fid}, {settings.environment}"
    run = run_key(dag_id, run_id)
    return Ledger(state=staging.state, clock=SystemClock(), institution=who, run=run, say=log.info)


def _is_first(context: Any) -> bool:
    """Whether no other task of the run has failed before this one."""
    ti, dag_run = context["ti"], context["dag_run"]
    states = ti.get_task_states(dag_id=dag_run.dag_id, run_ids=[dag_run.run_id]).get(dag_run.run_id, {})
    mine = ti.task_id if ti.map_index < 0 else f"{ti.task_id}_{ti.map_index}"
    return not [task for task, state in states.items() if state == "failed" and task != mine]
