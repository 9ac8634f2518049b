"""A failed task in words. Only our own errors are quoted: anything else might quote a row of the warehouse."""

from typing import Any

from kfr.links.page import run_url, task_url
from kfr.load.planning import GuardStopped
from kfr.load.removal import ProofContradicted
from kfr.load.upload import NotLoaded
from kfr.load.verification import NotEqual
from kfr.notifications.alerts import Alert, Severity, Topic
from kfr.register.errors import CertificateError, Fatal, KfrError, MaskinportenRefused

ENDS = ("record_mirror", "remove_staged_files")  # they fail, too, when another has

KINDS: tuple[tuple[type[KfrError], str], ...] = (
    (GuardStopped, "was stopped by a guard"),
    (MaskinportenRefused, "gets no token from Maskinporten"),
    (CertificateError, "cannot use its certificate"),
    (NotEqual, "found that mirror and register disagree"),
    (ProofContradicted, "found that mirror and register disagree"),
)


def failure_of(context: Any, standing: str, *, again: bool) -> Alert:
    """The alert for a task that failed, for good or to be tried `again`."""
    error, ti, dag_run = context.get("exception"), context["ti"], context["dag_run"]
    cause = type(error).__name__ if error is not None else "unknown"
    if type(error) is Fatal:  # it has no name of its own: each task's is another
        cause += f" {ti.task_id}"
    code = getattr(error, "code", None)
    what, do, severity = (
        _of_files(error, context, again=again) if isinstance(error, NotLoaded) else _of_task(error, context)
    )
    return Alert(
        topic=Topic.LOAD,
        cause=f"{cause} {code or ''}".strip(),
        # The last task's failure stands alone if a person stopped the run.
        severity=Severity.MORNING if ti.task_id == ENDS[-1] else severity,
        follows=ti.task_id in ENDS and type(error) is Fatal,
        ended=not again,
        clears=dag_run.clear_number or 0,
        what=what,
        means=standing,
        do=do,
        section=error.runbook if isinstance(error, KfrError) else KfrError.runbook,
        links=(
            (
                "log",
                task_url(dag_run.dag_id, dag_run.run_id, ti.task_id, ti.map_index, try_number=ti.try_number),
            ),
            ("page", run_url(dag_run.dag_id, dag_run.run_id)),
        ),
    )


def _of_task(error: BaseException | None, context: Any) -> tuple[str, str, Severity]:
    kind = next((words for known, words in KINDS if isinstance(error, known)), "has failed")
    cause = type(error).__name__ if error is not None else "unknown"
    said = str(error) if isinstance(error, KfrError) else f"The task's log says more ({cause})."
    what = f"{context['dag_run'].dag_id} {kind}, at {context['ti'].task_id}. {said}"
    do = "remedy the cause as said above, then clear the failed task with its downstream tasks."
    return what, do, Severity.ACT


def _of_files(error: NotLoaded, context: Any, *, again: bool) -> tuple[str, str, Severity]:
    """A register that is slow or has lost files.

    It can wait, also if the load is red: clearing does not make the register quicker, and Bits, who could, answers
    from 08:00.
    """
    ti, dag_id = context["ti"], context["dag_run"].dag_id
    some = f"{error.late:,} of {error.files:,} files"
    this = f"Loaded: {error.done:,}. Seen at batch file {error.label}"
    this += (
        f", whose last send has the CorrelationID {error.correlation_id}." if error.correlation_id else "."
    )
    tries = f"try {ti.try_number} of {ti.max_tries + 1}"
    if again:
        what = f"{dag_id} waits for files that do not load: {some} so far. {this}"
        do = (
            f"nothing at night: each file is tried again by itself (this was {tries}), and removals wait. If the "
            "last try of one fails too, the load is red and another mail says so; if all load, a mail says that it "
            "is over."
        )
    else:
        what = f"{dag_id} has failed: {some} are not loaded in time. {this} Others may still be at work."
        do = (
            f"nothing at night ({tries} has failed, and another would not make the register quicker). In the "
            "morning, once no file is at work, clear the failed files with their downstream tasks: nothing is sent "
            "twice that is known to be there. If they fail again ask DSOP@bits.no, with the CorrelationID."
        )
    return what, do, Severity.MORNING
