"""Waiting for the register, and for a load's end, without holding a slot."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperatorLink, BaseSensorOperator
from airflow.sdk.configuration import conf

from kfr.links.page import PageLink
from kfr.links.register import LeaseHolderLink
from kfr.operators.pool import POOL
from kfr.operators.step import INCLUDE_FOLDER, SHARE_WHILE_LOADING, SQL_FOLDER, world_of_task

if TYPE_CHECKING:
    from kfr.load.lease import Lease
    from kfr.load.world import World

ACTIVE = ["queued", "running"]  # states of a run
COMPARE_SECONDS = 600.0  # of one stretch of look-ups
ENDED = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})


class KfrSensor(BaseSensorOperator):
    """
    Look again and again, in the world of its run and without a slot in between.

    :param sql_folder: as of `KfrStepOperator`.
    :param include: likewise.
    :param thresholds: likewise.
    """

    share = 1.0  # of the connection's request rate
    operator_extra_links: tuple[BaseOperatorLink, ...] = (PageLink(),)

    def __init__(
        self,
        *,
        sql_folder: str | Path = SQL_FOLDER,
        include: str | Path = INCLUDE_FOLDER,
        thresholds: Mapping[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(mode="reschedule", **kwargs)
        self.sql_folder = str(sql_folder)
        self.include = str(include)
        self.thresholds = dict(thresholds or {})

    def world(self, context: Any) -> AbstractContextManager["World"]:
        """The world of this task, for the length of a poke."""
        return world_of_task(self, context)


class KfrAcquireSensor(KfrSensor):
    """
    Take the lease: one writer at a time for an institution.

    :param first_load: whether the institution's state may be begun here.
    """

    operator_extra_links = (LeaseHolderLink(), PageLink())
    holder: "Lease | None" = None  # who keeps this run waiting, for the link

    def __init__(self, *, first_load: bool = False, **kwargs: Any) -> None:
        super().__init__(
            poke_interval=conf.getint("kfr", "lease_seconds", fallback=60),
            timeout=timedelta(days=7).total_seconds(),
            pool=POOL,
            **kwargs,
        )
        self.first_load = first_load

    def poke(self, context: Any) -> bool:
        from kfr.load import lease

        def finished(holder: "Lease") -> bool:
            """Whether the holder's run is over or gone; trouble in asking is an error, never a yes."""
            active: int = context["ti"].get_dr_count(
                dag_id=holder.dag_id, run_ids=[holder.run_id], states=ACTIVE
            )
            return active == 0

        with self.world(context) as world:
            if world.run.dry_run:
                self.log.info("Dry run: nothing is written, so the register is not taken.")
                return True
            heartbeat = conf.getint("kfr", "heartbeat_seconds", fallback=300)
            taken = lease.acquire(
                world, finished=finished, heartbeat_seconds=heartbeat, first_load=self.first_load
            )
            self.holder = None if taken else lease.current(world)
            return taken is not None


class KfrCompareSensor(KfrSensor):
    """
    Compare the register with the mirror by look-ups: a sample, and everyone if it says no or a person asks.

    Each poke is a stretch of minutes, from a checkpoint: a comparison of a million customers takes half a day.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            poke_interval=conf.getint("kfr", "compare_pause_seconds", fallback=30),
            timeout=timedelta(days=14).total_seconds(),
            **kwargs,
        )

    def poke(self, context: Any) -> bool:
        from kfr.load.reconciliation import compare, read
        from kfr.notifications.cases import disagrees

        with self.world(context) as world:
            over = compare(world, full=context["params"]["full"], seconds=COMPARE_SECONDS)
            sampled = read(world)
            if misses := sum(s.misses for s in sampled):
                disagrees(world, misses, sum(s.sampled for s in sampled))
            return over


class KfrArrivalsSensor(KfrSensor):
    """
    Register those who arrive during the load, one pass a poke, until every file has come to an end.

    :param uploaded_by: task id of the mapped upload of the same Dag.
    """

    share = SHARE_WHILE_LOADING

    def __init__(self, *, uploaded_by: str, **kwargs: Any) -> None:
        super().__init__(
            poke_interval=conf.getint("kfr", "arrivals_seconds", fallback=300),
            timeout=timedelta(days=14).total_seconds(),
            **kwargs,
        )
        self.uploaded_by = uploaded_by

    def poke(self, context: Any) -> bool:
        from kfr.load.arrivals import register_arrivals

        dag_run = context["dag_run"]
        states = (
            context["ti"]
            .get_task_states(dag_id=dag_run.dag_id, task_ids=[self.uploaded_by], run_ids=[dag_run.run_id])
            .get(dag_run.run_id, {})
        )
        over = all(state in ENDED for state in states.values())
        with self.world(context) as world:
            register_arrivals(world)
        return over
