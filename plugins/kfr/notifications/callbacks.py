"""What Airflow calls when a task fails, and when the periodic load is late. Light to import: Dag files name it."""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kfr.load.lease import Lease
    from kfr.notifications.alerts import Alert
    from kfr.notifications.ledger import Ledger

log = logging.getLogger(__name__)

WITH_DEADLINE = ("scheduled", "asset_triggered")  # types of run that someone counts on


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
    """The deadline of a run has passed; called in the triggerer, with the run as the REST API has it."""
    from asgiref.sync import sync_to_async

    run = (context or {}).get("dag_run") or {}
    if run.get("run_type") in WITH_DEADLINE:
        await sync_to_async(_tell_of_lateness)(run, kfr_conn_id)


def _tell_of_failure(context: Any, *, again: bool) -> None:
    from kfr.links.page import run_url
    from kfr.load.world import is_load
    from kfr.notifications.alerts import Topic
    from kfr.notifications.failures import ENDS, failure_of
    from kfr.notifications.ledger import OWN

    dag_run = context["dag_run"]
    if (context.get("params") or {}).get("dry_run") or not is_load(dag_run.dag_id):
        return  # the other Dags say themselves, by mail, what they have found
    ledger = _ledger(context["params"].get("kfr_conn_id", "kfr_default"), dag_run.dag_id, dag_run.run_id)
    _tell_once(
        ledger,
        lambda standing: failure_of(context, standing, again=again),
        lambda: not again and _is_first(context),
    )
    if ledger and context["ti"].task_id == ENDS[-1]:
        # A person may have marked the run, or the question was lost: no answer came that would have closed it.
        links = (("page", run_url(dag_run.dag_id, dag_run.run_id)),)
        ledger.over([Topic.APPROVAL], "The run has ended, and its plan waits for nobody.", links, until=OWN)


def _tell_of_lateness(run: dict[str, Any], kfr_conn_id: str) -> None:
    from kfr.notifications.alerts import Topic

    def is_new() -> bool:
        """False if this very run has failed or asks a person, and was told of: its lateness goes without saying."""
        return not (ledger and any(ledger.is_open(t, ledger.run) for t in (Topic.LOAD, Topic.APPROVAL)))

    try:
        ledger = _ledger(kfr_conn_id, run["dag_id"], run["dag_run_id"])
        holder = _other_holder(ledger) if ledger else None
        _tell_once(ledger, lambda standing: _lateness(run, standing, holder), is_new=is_new)
    except Exception as error:  # noqa: BLE001 - see alert_failure
        log.warning("An alert could not be sent (%s): see Alerts in the runbook.", type(error).__name__)


def _tell_once(
    ledger: "Ledger | None",
    alert_of: "Callable[[str], Alert]",
    is_first: Callable[[], bool] = lambda: True,
    is_new: Callable[[], bool] = lambda: True,
) -> None:
    """Keep that it is told of, and tell.

    A connection or a staging place that cannot be used may be the very cause: then nothing can be kept, and whoever
    is the first of the run tells.
    """
    from kfr.notifications.channel import send

    if ledger is not None:
        try:
            # First: with another key this cannot be read, and nothing must be written with it either.
            alert = alert_of(ledger.standing)
            told = is_new() and ledger.enter(alert)
        except Exception as error:  # noqa: BLE001 - a full disk, another key, an object store that is down
            log.warning("What was told of cannot be kept (%s).", type(error).__name__)
        else:
            if told:
                ledger.send(alert)
            return
    if is_first():
        alert = alert_of(_standing(ledger))
        who = ledger.institution if ledger else "the connection cannot be read"
        send(alert.subject(who), alert.text(), alert.severity)


def _standing(ledger: "Ledger | None") -> str:
    try:
        return ledger.standing if ledger else "nothing can be said: its connection cannot be read."
    except Exception:  # noqa: BLE001 - see above
        return "nothing can be said: its state cannot be read."


def _lateness(run: dict[str, Any], standing: str, holder: "Lease | None") -> "Alert":
    from kfr.links.page import run_url
    from kfr.notifications.alerts import Alert, Severity, Topic

    what = "The periodic load is not proven in time."
    do = "open the page: it says what the run waits for. A run that waits for another load or for a file goes on by "
    do += "itself; one that waits for a person does not."
    links = [("page", run_url(run["dag_id"], run["dag_run_id"]))]
    if holder:
        what += f" Its turn has not come: the register is held by run {holder.run_id} of {holder.dag_id}."
        do = "nothing at night: it goes on by itself when that run is over. In the morning see how far that one is."
        links.append(("page of the run that holds the register", run_url(holder.dag_id, holder.run_id)))
    return Alert(
        topic=Topic.LATE,
        cause="late",
        severity=Severity.MORNING if holder else Severity.ACT,
        what=what,
        means=standing,
        do=do,
        section="The load is late",
        links=tuple(links),
    )


def _other_holder(ledger: "Ledger") -> "Lease | None":
    """The lease, if another run that is under way holds it; None, too, if that cannot be told: somebody must wake."""
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    from kfr.load.lease import Lease
    from kfr.load.staging import run_key

    try:
        holder = Lease(**ledger.state.read_json("lease"))
        if not holder.held or run_key(holder.dag_id, holder.run_id) == ledger.run:
            return None
        active = RuntimeTaskInstance.get_dr_count(
            dag_id=holder.dag_id, run_ids=[holder.run_id], states=["queued", "running"]
        )
    except Exception as error:  # noqa: BLE001 - no lease yet, another key, an Airflow that does not answer
        log.warning("Who holds the register cannot be told (%s).", type(error).__name__)
        return None
    return holder if active else None


def _ledger(kfr_conn_id: str, dag_id: str, run_id: str) -> "Ledger | None":
    """The open alerts of the institution; None if its connection, or where its state is, cannot be read."""
    from kfr.clock import SystemClock
    from kfr.hooks.kfr import KfrHook, staging_root, staging_url
    from kfr.load.staging import Staging, run_key
    from kfr.notifications.ledger import Ledger

    try:
        settings = KfrHook(kfr_conn_id).settings
        root = staging_root(staging_url())
    except Exception as error:  # noqa: BLE001 - whatever is wrong with them, someone must be told
        log.warning("What was told of cannot be kept (%s).", type(error).__name__)
        return None
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
