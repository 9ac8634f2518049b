"""The checks of `kfr_readiness` as tasks, and their report."""

from dataclasses import asdict
from email.utils import make_msgid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, Variable

from kfr.onboarding.checks import BY_NAME, CHECKS, Finding, as_html, as_text, complete
from kfr.onboarding.institution import DEFAULT
from kfr.operators.load import require_masking
from kfr.operators.pool import POOL, require_pool
from kfr.operators.step import INCLUDE_FOLDER
from kfr.register.errors import Fatal, KfrError

if TYPE_CHECKING:
    from kfr.hooks.premises import AirflowPremises

FINDING = "finding"  # key in XCom


class KfrCheckOperator(BaseOperator):
    """
    Run one check: green with what was found in place, or failed with the remedy.

    :param check: name of one of `kfr.onboarding.checks.CHECKS`.
    :param institution: key of the institution whose Dag this is.
    :param include: folder of the institutions' files.
    """

    def __init__(
        self, *, check: str, institution: str = DEFAULT, include: str | Path = INCLUDE_FOLDER, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.check = check
        self.institution = institution
        self.include = str(include)

    def execute(self, context: Any) -> str:
        from kfr.onboarding.readiness import RUN

        premises = _premises(self, context)
        began = premises.clock.monotonic()
        failure: Exception | None = None
        try:
            text = RUN[self.check](premises)
        except KfrError as error:
            failure, text = error, str(error)
        except Exception as error:  # noqa: BLE001 - its text may quote what it was about
            text = f"it broke off ({type(error).__name__}); see docs/runbook.md, and report it if it lasts"
            failure = Fatal(text)
        seconds = premises.clock.monotonic() - began
        finding = Finding(check=self.check, passed=failure is None, text=text, seconds=seconds)
        context["ti"].xcom_push(FINDING, asdict(finding))
        if failure is not None:
            raise failure from None
        self.log.info("%s: %s", BY_NAME[self.check].title, text)
        return text


class KfrReadinessReportOperator(BaseOperator):
    """
    Gather the findings into a page, keep it, mail it to the institution's own people; fail if one is missing.

    The callbacks of a failed task leave this one out. So where its mail cannot go, it takes the alerts' way itself.

    :param institution: key of the institution whose Dag this is.
    :param include: folder of the institutions' files.
    """

    def __init__(
        self, *, institution: str = DEFAULT, include: str | Path = INCLUDE_FOLDER, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.institution = institution
        self.include = str(include)

    def execute(self, context: Any) -> str:
        from kfr.load.staging import run_key
        from kfr.load.world import Attachment

        pulled = [context["ti"].xcom_pull(task_ids=f"check_{check.name}", key=FINDING) for check in CHECKS]
        findings = complete([Finding(**one) for one in pulled if one])
        premises = _premises(self, context)
        heading = f"Readiness for Kundeforholdsregisteret, {premises.clock.now():%Y-%m-%d %H:%M} UTC"
        text, page = as_text(findings), as_html(findings, heading)
        self.log.info("%s\n%s", heading, text)
        failed = [finding.check for finding in findings if not finding.passed]
        subject = f"KFR readiness: {len(findings) - len(failed)} of {len(findings)} in place"
        to = _recipient(premises) if "mail" not in failed else None
        try:
            if "staging" not in failed:
                key = run_key(context["dag_run"].dag_id, context["dag_run"].run_id)
                premises.state.write(f"reports/{key}.html", page.encode())
            if to:
                premises.mailer.send(
                    to=to,
                    subject=subject,
                    text=text,
                    message_id=make_msgid(domain="kfr.invalid"),
                    attachments=[
                        Attachment(name="readiness.html", media_type="text/html", content=page.encode())
                    ],
                )
        except Exception as error:
            self._alert(subject, f"The report was not kept or not mailed ({type(error).__name__}).\n\n{text}")
            raise
        if failed:
            if not to:
                self._alert(subject, text)
            raise Fatal(f"Not in place: {', '.join(failed)}. The failed tasks say what to do.")
        return page

    def _alert(self, subject: str, text: str) -> None:
        from kfr.notifications.alerts import Severity
        from kfr.notifications.channel import send

        try:
            send(f"[KFR, {Severity.MORNING}] {subject}", text, Severity.MORNING)
        except Exception as error:  # noqa: BLE001 - the task must fail for what it found, not for this
            self.log.warning("Nobody is told (%s): see Alerts in the runbook.", type(error).__name__)


def _premises(task: KfrCheckOperator | KfrReadinessReportOperator, context: Any) -> "AirflowPremises":
    from kfr.hooks.premises import AirflowPremises

    def installed() -> str:
        require_pool(context)
        require_masking()
        return f"pool {POOL}, masking"

    return AirflowPremises(
        institution=task.institution,
        include=task.include,
        params=context["params"],
        say=task.log.info,
        installed=installed,
    )


def _recipient(premises: "AirflowPremises") -> str | None:
    """The technical contact; without a usable file those on call. Never Bits: this is the house's own affair."""
    from kfr.hooks.premises import ONCALL_VARIABLE

    try:
        contact = premises.institution.contacts.get("technical")
    except KfrError:
        contact = None
    address: str | None = contact.email if contact else Variable.get(ONCALL_VARIABLE, default=None)
    return address
