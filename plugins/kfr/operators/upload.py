"""Sending files: the POST in a worker, the wait in a trigger that writes nothing."""

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import get_current_context

from kfr.operators.step import SHARE_WHILE_LOADING, KfrStepOperator

if TYPE_CHECKING:
    from kfr.load.ingestion import Seen
    from kfr.load.world import World

DEFERRAL_MARGIN = timedelta(minutes=15)  # beyond the trigger's own deadline, should the trigger die


class KfrBatchFileOperator(KfrStepOperator):
    """
    Send one batch file to the register and wait until it is really loaded.

    :param file: label of one of the planned files; a mapped task a file.
    """

    share = SHARE_WHILE_LOADING

    def __init__(self, *, file: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.file = file

    def labels(self, world: "World") -> list[str]:
        """The staged files that this task sends."""
        del world
        return [self.file]

    def execute(self, context: Any) -> list[dict[str, Any]]:
        from kfr.load.upload import upload

        with self.world(context) as world:
            context["file"] = self.file
            files = [f for label in self.labels(world) for f in upload(world, label)]
            if self.must_wait(world, files):
                self.wait(world, files)
            return self.finish(world, {}, [])

    def must_wait(self, world: "World", files: list[str]) -> bool:
        """Whether there is anything to wait for."""
        del world
        return bool(files)

    def wait(self, world: "World", files: list[str]) -> None:
        """Hand the wait to a trigger: it gets fingerprints, and looks the rest up in the state folder."""
        from kfr.hooks.kfr import staging_url
        from kfr.load.ingestion import longest_wait
        from kfr.triggers.loading import KfrLoadingTrigger

        seconds = longest_wait(
            world.journal, world.settings.rows_per_second, world.run.loading_grace, world.now
        )
        self.defer(
            trigger=KfrLoadingTrigger(
                kfr_conn_id=get_current_context()["params"]["kfr_conn_id"],
                staging_url=staging_url(),
                files=files,
                grace=world.run.loading_grace,
                share=self.share,
                until_settled=self.until_settled,
            ),
            method_name="resume",
            timeout=timedelta(seconds=seconds) + DEFERRAL_MARGIN,
        )

    until_settled = False

    def resume(self, context: Any, event: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """Record what the trigger saw; fail if it saw too little."""
        from kfr.register.errors import Retriable

        event = event or {}
        if "error" in event:
            raise Retriable(
                f"Waiting for the register broke off: {event['error']} The retry goes on where it was."
            )
        with self.world(context) as world:
            context["file"] = self.file
            return self.finish(world, event.get("proven", {}), event.get("late", []))

    def finish(self, world: "World", proven: dict[str, "Seen"], late: list[str]) -> list[dict[str, Any]]:
        """Write the proof down and say how each file ended; counts for XCom."""
        from dataclasses import asdict

        from kfr.load.upload import finish

        return [asdict(finish(world, label, proven, late)) for label in self.labels(world)]


class KfrCloseAdditionsOperator(KfrBatchFileOperator):
    """
    Send those who were to go singly and could not; then wait until nothing can be loading.

    :param arrivals: whether those who arrived during the load go, too.
    """

    share = 1.0
    until_settled = True

    def __init__(self, *, arrivals: bool, **kwargs: Any) -> None:
        super().__init__(file="closing", **kwargs)
        self.arrivals = arrivals

    def labels(self, world: "World") -> list[str]:
        from kfr.load.arrivals import close_arrivals

        return close_arrivals(world, arrivals=self.arrivals)

    def must_wait(self, world: "World", files: list[str]) -> bool:
        return bool(files or world.journal.open_sends(world.settings.rows_per_second, world.now))
