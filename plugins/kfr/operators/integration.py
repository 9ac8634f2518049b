"""The integration test as tasks: run, clean up, report, send on approval (ONB C-2, C-3)."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from kfr.operators.papers import PREVIEW, require_as_shown
from kfr.operators.step import KfrStepOperator
from kfr.register.errors import Fatal

if TYPE_CHECKING:
    from kfr.load.world import World
    from kfr.onboarding.completed_test import CompletedTest


class KfrTestEnvironmentOperator(KfrStepOperator):
    """Refuse production, and read the cases: before anything is sent."""

    def step(self, world: "World") -> dict[str, int]:
        from kfr.onboarding.cases import read_cases
        from kfr.onboarding.integration import require_test

        require_test(world)
        self.read_file(world)
        cases = read_cases(Path(self.include))
        for case in cases:
            world.say(f"{case.id} {case.operation}: {case.title_en}; expected {case.expect}")
        return {"cases": len(cases), "not_run": sum(bool(case.not_run) for case in cases)}


class KfrRunCasesOperator(KfrStepOperator):
    """Run every case; XCom gets the counts. A case that fails is told by the report, not by this task."""

    def step(self, world: "World") -> dict[str, int]:
        from kfr.hooks.kfr import tokens_of
        from kfr.onboarding.cases import read_cases
        from kfr.onboarding.integration import run_cases
        from kfr.onboarding.integration_report import counts

        if world.run.dry_run:
            raise AirflowSkipException(
                "Dry run: nothing is sent. The log of check_environment has the cases."
            )
        return counts(
            run_cases(world, tokens_of(world.settings, world.clock), read_cases(Path(self.include)))
        )


class KfrCleanUpCasesOperator(KfrStepOperator):
    """Remove everyone whom the cases registered, also when they broke off."""

    def step(self, world: "World") -> int:
        from kfr.onboarding.integration import clean_up

        if world.run.dry_run:
            raise AirflowSkipException("Dry run: nobody was registered.")
        return clean_up(world)


class KfrIntegrationReportOperator(KfrStepOperator):
    """
    Write the report, keep it in the state folder, and show the mail C-3 as it would be sent.

    Fails when a case failed: such a test is not completed, and not mailed.
    """

    def execute(self, context: Any) -> str:
        from kfr.onboarding.completed_test import completed_test, keep

        with self.world(context) as world:
            test = completed_test(world, self.read_file(world))
            keep(world, test)
            context["ti"].xcom_push(PREVIEW, _shown(world, test))
        if test.failed:
            raise Fatal(
                f"Cases that failed: {', '.join(test.failed)}. The report has answers and CorrelationIDs. Nothing is "
                "mailed; when it is mended, trigger a new run."
            )
        return test.page


class KfrSendReportOperator(KfrStepOperator):
    """
    Mail the completed test once, as it was approved; XCom gets the Message-ID.

    :param written_by: task id that showed it in XCom.
    """

    def __init__(self, *, written_by: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.written_by = written_by

    def execute(self, context: Any) -> str:
        from kfr.load.deliveries import deliver
        from kfr.onboarding.completed_test import completed_test

        with self.world(context) as world:
            test = completed_test(world, self.read_file(world))
            require_as_shown(context, self.written_by, _shown(world, test))
            return deliver(world, f"c-3-{world.run.key}", test.norwegian, ask=True)


def _shown(world: "World", test: "CompletedTest") -> str:
    """What a person reads before it is mailed."""
    from kfr.load.papers import preview

    return preview(test.norwegian, test.english, world.mail_to)
