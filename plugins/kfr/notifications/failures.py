"""A failed task in words. Only our own errors are quoted: anything else might quote a row of the warehouse."""

from typing import Any

from kfr.links.page import run_url, task_url
from kfr.load.planning import GuardStopped
from kfr.load.removal import ProofContradicted
from kfr.load.upload import NotLoaded
from kfr.load.verification import NotEqual
from kfr.notifications.alerts import Alert, Severity, Topic
from kfr.register.errors import CertificateError, Fatal, KfrError, MaskinportenRefused

KINDS: tuple[tuple[type[KfrError], str, str], ...] = (  # error, what it is, section of the runbook
    (GuardStopped, "was stopped by a guard", "Guards"),
    (MaskinportenRefused, "gets no token from Maskinporten", "No token"),
    (CertificateError, "cannot use its certificate", "A new certificate"),
    (NotLoaded, "waits for a file that is not loading", "A send that never loads"),
    (NotEqual, "found that mirror and register disagree", "When something fails"),
    (ProofContradicted, "found that mirror and register disagree", "When something fails"),
)


def failure_of(context: Any, standing: str) -> Alert:
    """The alert for a task that failed, or for a file that is tried again."""
    error, ti, dag_run = context.get("exception"), context["ti"], context["dag_run"]
    kind, section = "has failed", "When something fails"
    for known, words, where in KINDS:
        if isinstance(error, known):
            kind, section = words, where
            break
    cause = type(error).__name__ if error is not None else "unknown"
    said = str(error) if isinstance(error, KfrError) else f"The task's log says more ({cause})."
    code = getattr(error, "code", None)
    again = isinstance(error, NotLoaded)
    return Alert(
        topic=Topic.LOAD,
        cause=f"{cause} {code or ''}".strip(),
        # Clearing does not make the register quicker, and Bits, who could, answers from 08:00.
        severity=Severity.MORNING if again else Severity.ACT,
        follows=ti.task_id == "record_mirror" and type(error) is Fatal,
        what=f"{dag_run.dag_id} {kind}, at {ti.task_id}. {said}",
        means=standing,
        do="nothing at night: the file is tried again by itself, and removals wait for it. No other mail comes if it "
        "gives up, so look at the page in the morning. If its task has failed, clear it with its downstream tasks: "
        "nothing is sent twice that is known to be there. If it fails again ask DSOP@bits.no with the CorrelationID, "
        "from 08:00 on."
        if again
        else "remedy the cause as said above, then clear the failed task with its downstream tasks.",
        section=section,
        links=(
            ("log", task_url(dag_run.dag_id, dag_run.run_id, ti.task_id, ti.map_index)),
            ("page", run_url(dag_run.dag_id, dag_run.run_id)),
        ),
    )
