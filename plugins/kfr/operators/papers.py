"""Papers to Bits: the registration form, and a person's word before a mail is sent (ONB B-2, C-3)."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowSkipException

from kfr.onboarding.institution import DEFAULT
from kfr.operators.approval import KfrAnswerStandsPolicy, response_timeout
from kfr.operators.step import INCLUDE_FOLDER, retry_delay
from kfr.register.errors import Fatal

if TYPE_CHECKING:
    from kfr.hooks.premises import AirflowPremises
    from kfr.onboarding.registration import Registration

PREVIEW = "preview"  # key in XCom
DELIVERY = "deliveries/b-2"


class KfrApproveMailOperator(ApprovalOperator):
    """
    Ask a person to send a mail to Bits, by the mail itself. A dry run ends here.

    :param written_by: task id that shows the mail in XCom.
    """

    def __init__(self, *, written_by: str, **kwargs: Any) -> None:
        super().__init__(
            fail_on_reject=True,
            response_timeout=response_timeout(),
            retry_policy=KfrAnswerStandsPolicy(retry_delay()),
            **kwargs,
        )
        self.written_by = written_by

    def execute(self, context: Any) -> Any:
        if context["params"]["dry_run"]:
            raise AirflowSkipException(
                "Dry run: nothing is mailed. The mail is in the log of the task before."
            )
        self.body = context["ti"].xcom_pull(task_ids=self.written_by, key=PREVIEW)
        return super().execute(context)


class KfrRegistrationOperator(BaseOperator):
    """
    Fill the registration form in and show form and mail; fail if something is missing (ONB B-2).

    :param institution: key of the institution whose Dag this is.
    :param include: folder of the institutions' files and the papers.
    """

    def __init__(
        self, *, institution: str = DEFAULT, include: str | Path = INCLUDE_FOLDER, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.institution = institution
        self.include = str(include)

    def execute(self, context: Any) -> str:
        from kfr.onboarding.registration import require_complete

        premises, form = self.fill_in(context)
        text = self.shown(premises, form)
        before = [name for name in premises.state.names("deliveries") if name.startswith(f"{DELIVERY}-")]
        if before:
            text = f"**Mailed before: {len(before)} times.**\n\n{text}"
        self.log.info("%s", text)
        context["ti"].xcom_push(PREVIEW, text)
        require_complete(premises.institution)
        return form.title

    def shown(self, premises: "AirflowPremises", form: "Registration") -> str:
        """What a person reads before it is mailed."""
        from kfr.load.papers import preview

        return f"{form.as_text()}\n{preview(form.norwegian, form.english, premises.mail_to)}"

    def fill_in(self, context: Any) -> tuple["AirflowPremises", "Registration"]:
        """The form as the institution's file gives it now."""
        from kfr.hooks.premises import AirflowPremises
        from kfr.onboarding.registration import registration

        premises = AirflowPremises(
            institution=self.institution, include=self.include, params=context["params"], say=self.log.info
        )
        premises.institution.require_own_register(premises.settings)
        return premises, registration(premises.institution)


class KfrSendRegistrationOperator(KfrRegistrationOperator):
    """
    Mail the registration form once, as it was approved, and keep it; XCom gets the Message-ID.

    :param written_by: task id that showed it in XCom.
    """

    def __init__(self, *, written_by: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.written_by = written_by

    def execute(self, context: Any) -> str:
        from kfr.load.deliveries import deliver
        from kfr.load.staging import run_key
        from kfr.onboarding.registration import require_complete

        premises, form = self.fill_in(context)
        require_complete(premises.institution)
        require_as_shown(context, self.written_by, self.shown(premises, form))
        key = run_key(context["dag_run"].dag_id, context["dag_run"].run_id)
        premises.state.write(f"reports/{key}.docx", form.document)
        return deliver(premises, f"{DELIVERY.removeprefix('deliveries/')}-{key}", form.norwegian, ask=True)


def require_as_shown(context: Any, written_by: str, text: str) -> None:
    """
    Raise Fatal unless `text` is what a person has read, and approved, in XCom.

    What it is made of may have been edited since: an answer takes up to twelve hours.
    """
    shown = context["ti"].xcom_pull(task_ids=written_by, key=PREVIEW) or ""
    if not shown.endswith(text):
        raise Fatal(
            "The mail is not the one that was approved: the institution's file has changed since. Nothing left. "
            f"Clear {written_by} with what follows it."
        )
