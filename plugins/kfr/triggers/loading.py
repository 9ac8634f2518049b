"""Wait until files are loaded, without a worker. Look-ups only: a trigger may start over at any time."""

from collections.abc import AsyncIterator
from typing import Any

from airflow.sdk import BaseHook
from airflow.triggers.base import BaseTrigger, TriggerEvent


class KfrLoadingTrigger(BaseTrigger):
    """
    Look the witnesses of some files up until they are found, or their deadline has passed.

    :param kfr_conn_id: connection to the register.
    :param staging_url: where the journal of sends lies.
    :param files: fingerprints of the files, keyed: nothing can be guessed from them.
    :param grace: seconds after a file should have settled in which it is still awaited.
    :param share: part of the connection's request rate.
    :param until_settled: whether to wait, too, until no send of any run can still be loading.
    """

    def __init__(
        self,
        *,
        kfr_conn_id: str,
        staging_url: str,
        files: list[str],
        grace: float,
        share: float,
        until_settled: bool,
    ) -> None:
        super().__init__()
        self.kfr_conn_id = kfr_conn_id
        self.staging_url = staging_url
        self.files = files
        self.grace = grace
        self.share = share
        self.until_settled = until_settled

    def serialize(self) -> tuple[str, dict[str, Any]]:
        names = ("kfr_conn_id", "staging_url", "files", "grace", "share", "until_settled")
        return "kfr.triggers.loading.KfrLoadingTrigger", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        from kfr.clock import SystemClock
        from kfr.hooks.kfr import async_client_of, settings_of, staging_root
        from kfr.load.ingestion import await_loading, await_settling
        from kfr.load.journal import Journal
        from kfr.load.patience import apersist
        from kfr.load.staging import Staging
        from kfr.register.errors import KfrError

        clock = SystemClock()
        try:
            settings = settings_of(await BaseHook.aget_connection(self.kfr_conn_id))
            root = staging_root(self.staging_url)
            staging = Staging(root, settings.staging_key, environment=settings.environment, fid=settings.fid)
            client = async_client_of(settings, self.share)
            try:
                loading = await await_loading(
                    Journal(staging.state),
                    self.files,
                    clock=clock,
                    look_up=lambda *asked: apersist(clock, lambda: client.look_up(*asked)),
                    rows_per_second=settings.rows_per_second,
                    grace=self.grace,
                    say=self.log.info,
                )
            finally:
                await client.aclose()
            if self.until_settled and not loading.late:
                await await_settling(
                    Journal(staging.state),
                    loading.proven,
                    clock=clock,
                    rows_per_second=settings.rows_per_second,
                    say=self.log.info,
                )
        except KfrError as error:
            yield TriggerEvent({"error": f"{type(error).__name__}: {error}"})
        else:
            yield TriggerEvent({"proven": loading.proven, "late": list(loading.late)})
