"""A person's decision, asked only when a guard or the run's params want one."""

from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.providers.standard.exceptions import HITLRejectException, HITLTimeoutError
from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import RetryDecision
from airflow.sdk.configuration import conf

from kfr.operators.step import SQL_FOLDER, KfrRetryPolicy, retry_delay

RESPONSE_HOURS = 12.0  # a plan of yesterday evening is not for today


def response_timeout() -> timedelta:
    """How long a person is waited for, as the installation sets it."""
    return timedelta(hours=conf.getfloat("kfr", "approval_hours", fallback=RESPONSE_HOURS))


class KfrAnswerStandsPolicy(KfrRetryPolicy):
    """
    Never ask again after a "no", or when nobody has answered in time; else retry like any other step.

    So a moment without the state folder or Airflow's database ends no load, and costs a person at most a second
    question. What is tried again too is a task that the scheduler gave up without hearing from it. It does so to an
    answer that comes within seconds of the question, before the worker that asked has ended (apache/airflow#71172).
    """

    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: Any = None
    ) -> RetryDecision:
        if isinstance(exception, (HITLRejectException, HITLTimeoutError)):
            return RetryDecision.fail("the answer stands")
        return super().evaluate(exception, try_number, max_tries, context)


class KfrApproveChangesOperator(ApprovalOperator):
    """
    Ask a person to approve the plan, by its figures; return at once when nothing needs a person, or in a dry run.

    The answer is bound to the plan's fingerprint: what was approved is what runs.

    :param planned_by: task id of the plan of the same Dag.
    :param sql_folder: as of the other steps.
    """

    def __init__(self, *, planned_by: str, sql_folder: str | Path = SQL_FOLDER, **kwargs: Any) -> None:
        super().__init__(
            subject="Approve the changes to Kundeforholdsregisteret",
            fail_on_reject=True,
            response_timeout=response_timeout(),
            retry_policy=KfrAnswerStandsPolicy(retry_delay()),
            **kwargs,
        )
        self.planned_by = planned_by
        self.sql_folder = str(sql_folder)

    def execute(self, context: Any) -> Any:
        plan = self._plan(context)
        if context["params"]["dry_run"]:
            return None  # the next task ends it
        if not plan["needs_person"]:
            return self._approved(context, _waived_by(context) if plan.get("waived") else "the guards")
        self.body = _body(plan)
        self._tell(context, plan)
        context["task_state_store"].set("asked", plan["fingerprint"])
        return super().execute(context)

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        from kfr.register.errors import Fatal

        plan = self._plan(context)
        if context["task_state_store"].get("asked") != plan["fingerprint"]:
            raise Fatal(
                "The plan changed while it was being approved, so the answer does not count. Clear this task."
            )
        try:
            answer = super().execute_complete(context, event)
        except Exception:
            with suppress(Exception):  # the answer is what counts, and it must not hide behind an alert
                self._not_approved(context)
            raise
        return self._approved(context, _name_of(answer.get("responded_by_user")))

    def _approved(self, context: Any, by: str) -> dict[str, str]:
        """Keep the approval with the plan: each step that writes looks whether it is of the plan that stands."""
        from kfr.hooks.world import world_of
        from kfr.load import planning
        from kfr.notifications.cases import approved

        with world_of(context, sql_folder=self.sql_folder, say=self.log.info) as world:
            planning.approve(world, by)
            approved(world, by)
            return {"approved": planning.read(world).fingerprint, "by": by}

    def _not_approved(self, context: Any) -> None:
        """A person said no, or nobody answered in time: either way nothing waits for a person any more."""
        from kfr.hooks.world import world_of
        from kfr.notifications.cases import not_approved

        with world_of(context, sql_folder=self.sql_folder, say=self.log.info) as world:
            not_approved(world)

    def _tell(self, context: Any, plan: dict[str, Any]) -> None:
        from kfr.hooks.world import world_of
        from kfr.notifications.cases import ask_for_approval

        with world_of(context, sql_folder=self.sql_folder, say=self.log.info) as world:
            ask_for_approval(world, plan, response_timeout())

    def _plan(self, context: Any) -> dict[str, Any]:
        plan: dict[str, Any] = context["ti"].xcom_pull(task_ids=self.planned_by, key="plan")
        return plan


def _waived_by(context: Any) -> str:
    """Whose word stands for the answer that the guards wanted, and the run was told not to ask for."""
    return f"{context['dag_run'].triggering_user_name or 'the schedule'}, by approval=never"


def _name_of(user: Any) -> str:
    return str((user.get("name") or user.get("id")) if isinstance(user, dict) else user)


def _body(plan: dict[str, Any]) -> str:
    forecast = plan["forecast"]
    findings = (
        "\n".join(f"- **{f['code']}**: {f['message']}" for f in plan["findings"]) or "- asked for by the run"
    )
    return f"""As of {plan["as_of"]}.

| | |
|---|---|
| to add | {plan["added"]:,} |
| start changed | {plan["start_changed"]:,} |
| unchanged | {plan["unchanged"]:,} |
| to remove | {plan["removals"]:,} |
| files | {forecast["files"]:,} |
| loaded by | {forecast["ends_at"]} |
| refused rows | {plan["fates"]["rejected"]:,} |
| customers looked up for the plan | {plan["looked_up"]:,} |

Why a person is asked:

{findings}
"""
