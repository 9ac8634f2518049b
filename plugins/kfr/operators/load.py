"""The steps of a load that run and end, one operator each. The work is in `kfr.load`."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from airflow.sdk import TriggerRule
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowSkipException

from kfr.links.page import PageLink, ReportLink
from kfr.operators.pool import require_pool
from kfr.operators.step import SHARE_WHILE_LOADING, KfrStepOperator
from kfr.register.errors import ConfigurationError, Fatal

if TYPE_CHECKING:
    from kfr.load.world import World


PROOF = "proof.json"  # of `kfr.load.verification`
RECORDED = "recorded.json"  # in the run's folder: this very plan is recorded as proven

SECRET_FIELDS = frozenset(
    {"keystore", "staging_key"}
)  # of the connection; Airflow does not know that they are secret


class KfrReadinessOperator(KfrStepOperator):
    """
    Fail in seconds, with the remedy, when anything that the load needs is not in place.

    :param guide_task: the guide's task that this Dag carries out; what must be done before it is asked for.
    """

    def __init__(self, *, guide_task: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.guide_task = guide_task

    def execute(self, context: Any) -> list[str]:
        from kfr.load.readiness import check
        from kfr.notifications.cases import check_certificate
        from kfr.onboarding.gate import MUST_BE_SAID, pass_gate

        require_pool(context)
        require_masking()
        with self.world(context) as world:
            institution = self.read_file(world)
            if self.guide_task:
                dag_run = context["dag_run"]
                by = dag_run.triggering_user_name if dag_run.run_type == "manual" else None
                reason = context["params"].get(MUST_BE_SAID) or ""
                pass_gate(world, institution, self.guide_task, reason=reason, by=by)
            check_certificate(world)
            return check(world)


class KfrExtractOperator(KfrStepOperator):
    """Read every agreement from the warehouse and fold it into relationships."""

    def step(self, world: "World") -> dict[str, Any]:
        from kfr.load.extract import extract_relationships

        found = extract_relationships(world)
        return {"as_of": found.as_of.isoformat(), "rows": found.counts, "rejected": found.rejected}


class KfrPlanOperator(KfrStepOperator):
    """
    Plan what has to be sent, and stage the batch files; XCom gets the figures and the files' labels.

    :param first_load: whether the register is expected to be empty.
    :param compared: whether the register is compared with the mirror before.
    """

    def __init__(self, *, first_load: bool = False, compared: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.first_load, self.compared = first_load, compared

    def execute(self, context: Any) -> list[str]:
        from kfr.load.planning import needs_person, plan
        from kfr.load.reconciliation import require_over
        from kfr.notifications.cases import check_rejects

        with self.world(context) as world:
            if self.compared:
                require_over(world)
            result = plan(world, first_load=self.first_load)
            check_rejects(world, result)
            asked = needs_person(world, result)
            waived = result.asks and not asked
            context["ti"].xcom_push("plan", {**asdict(result), "needs_person": asked, "waived": waived})
            return result.labels


class KfrRegisterTodayOperator(KfrStepOperator):
    """Register those of the plan who start today, one by one; the file would do, but later."""

    share = SHARE_WHILE_LOADING

    def step(self, world: "World") -> dict[str, int]:
        from kfr.load.arrivals import register_today

        return asdict(register_today(world))


class KfrAnnounceOperator(KfrStepOperator):
    """Tell Bits first when over 100,000 relationships go in a day. A dry run ends here."""

    def step(self, world: "World") -> list[str]:
        from kfr.load.volume import announce_volume, preview_volume
        from kfr.notifications.cases import notice_sent

        if world.run.dry_run:
            for mail in preview_volume(world):
                world.say(mail)
            raise AirflowSkipException("Dry run: nothing is sent. The plan is in the log and in XCom.")
        days = announce_volume(world)
        if days:
            notice_sent(world, days)
        return days


class KfrRemoveEndedOperator(KfrStepOperator):
    """Remove the customers who ended, once every file is proven to be loaded."""

    def step(self, world: "World") -> dict[str, int]:
        from kfr.load.removal import remove_ended

        return asdict(remove_ended(world))


class KfrVerifyOperator(KfrStepOperator):
    """Prove the load by looking a sample of each stratum up."""

    def step(self, world: "World") -> dict[str, Any]:
        from kfr.load.verification import verify

        return asdict(verify(world))


class KfrConfirmOperator(KfrStepOperator):
    """Mail D-4 to Bits, for a load that is proven; XCom gets the Message-ID."""

    def step(self, world: "World") -> str:
        from kfr.load.confirmation import send_confirmation

        return send_confirmation(world)


class KfrRecordMirrorOperator(KfrStepOperator):
    """
    Record what is proven, also when the run fails, and sweep what is past its time; then fail unless verified.

    :param verified_by: task id of the verification of the same Dag.
    """

    operator_extra_links = (PageLink(), ReportLink())

    def __init__(self, *, verified_by: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.verified_by = verified_by

    def execute(self, context: Any) -> dict[str, Any]:
        from kfr.hooks.telemetry import count_load
        from kfr.load import lease, planning, report

        dag_run = context["dag_run"]
        states = states_of(context)
        counts: dict[str, Any] = {}
        with self.world(context) as world:
            verified = states.get(self.verified_by) == "success" and self._is_proven(context, world)
            if world.run.dry_run:
                kept = report.keep(world, report.build(world, "dry run"))
                context["ti"].xcom_push(report.XCOM_KEY, kept.as_text())
                raise AirflowSkipException("Dry run: nothing was sent, so there is nothing to record.")
            if _is_over(world):
                raise Fatal(
                    "This run was proven and is over: what it had staged is removed, so nothing can be recorded "
                    "anew, and its report stays. If nothing else of it has failed, mark this task as success; else "
                    "trigger a new run."
                )
            if verified:
                lease.check(world)  # what cannot be recorded is not green
                planning.require_current(world)  # nor what was proven before another run wrote
            if lease.is_held(world):
                counts = _record(world, verified=verified)
                took = world.clock.now() - dag_run.start_date
                count_load(world.settings, proven=verified, seconds=took.total_seconds())
                kept = report.keep(world, report.build(world, "proven" if verified else "not proven"))
                context["ti"].xcom_push(report.XCOM_KEY, kept.as_text())
            if verified:
                world.place.write_json(RECORDED, {**counts, "at": world.now})
            else:
                world.place.delete(RECORDED)
        if not verified:
            raise Fatal(
                "The load is not verified, so this run is not green. What is proven is in the mirror. See the "
                "failed tasks, then clear them."
            )
        for asset in self.outlets:
            context["outlet_events"][asset].extra = counts
        return counts

    def _is_proven(self, context: Any, world: "World") -> bool:
        """Whether the verification itself came to an end, and about this plan: a person may have marked it."""
        shown = context["ti"].xcom_pull(task_ids=self.verified_by, key="return_value")
        return bool(shown) and world.place.exists(PROOF) and shown == world.place.read_json(PROOF)


def _record(world: "World", *, verified: bool) -> dict[str, Any]:
    """Move the mirror to what is proven, and the watermark if all of it is."""
    from kfr.load import extract, mirror, retention, watermark
    from kfr.notifications.cases import check_removals

    held = mirror.record(world)
    if verified:
        watermark.follow(world, extract.read(world))
    check_removals(world)
    retention.sweep(world)
    world.say(f"Mirror {held.version}: {len(held.proven):,} proven, {len(held.possible):,} possible.")
    return {"version": held.version, "proven": len(held.proven), "possible": len(held.possible)}


class KfrReleaseOperator(KfrStepOperator):
    """Give the register back to the next writer."""

    def step(self, world: "World") -> bool:
        from kfr.load.lease import release

        return release(world)


class KfrRemoveStagedFilesOperator(KfrStepOperator):
    """
    Delete the run's staged files, sealed as they are, when all has ended well; else keep them, and fail.

    It is the Dag's last word. Airflow leaves teardowns alone when a person marks a run, and takes a last task that
    is skipped for success: so this one is a teardown (`end`), and looks at all the others. The states of a load's
    tasks can be marked, too, so it asks for what the load has left: its record, or a dry run's report.

    :param last: task id of the last of them that matters, which ends as *success*, or *skipped* in a dry run.
    """

    def __init__(self, *, last: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.last = last

    def execute(self, context: Any) -> int:
        from kfr.load import report
        from kfr.load.world import is_load
        from kfr.notifications.cases import recovered

        states, dry_run = states_of(context), context["params"]["dry_run"]
        failed, load = failed_of(states), is_load(context["dag_run"].dag_id)
        if load and dry_run and not context["ti"].xcom_pull(task_ids=self.last, key=report.XCOM_KEY):
            failed.append(self.last)
        if failed or states.get(self.last) != ("skipped" if dry_run else "success"):
            raise _not_ended_well(failed or [self.last])
        with self.world(context) as world:
            if load and not dry_run:
                if world.place.exists(RECORDED):
                    recovered(world, since=world.place.read_json(RECORDED)["at"])
                elif not _is_over(world):
                    raise _not_ended_well([self.last])
                world.place.delete("plan.json")  # first: should this break off, the run is over all the same
            return world.place.remove_all()

    def end(self, acquire: Any) -> None:
        """Be the Dag's last word; to clear any task of it clears this one, as well as `acquire`."""
        self.as_teardown(setups=acquire, on_failure_fail_dagrun=True)
        self.trigger_rule = TriggerRule.ALL_DONE  # else it is skipped with `acquire`


def _not_ended_well(tasks: list[str]) -> Fatal:
    return Fatal(
        f"{', '.join(tasks)} did not end well, so this run is not green. Its staged files stay for the next try. "
        "Clear what failed with its downstream tasks, or let the next run go on from here."
    )


def _is_over(world: "World") -> bool:
    """Whether this run was recorded as proven, and its staged files are removed since."""
    from kfr.load import report

    if world.place.exists("plan.json") or world.run.key not in report.names(world.state):
        return False
    kept = json.loads(report.read(world.state, world.run.key).content)
    return bool(kept["outcome"] == "proven")


def states_of(context: Any) -> dict[str, str | None]:
    """The state of each task of the run; a mapped one's by its id and index."""
    dag_run = context["dag_run"]
    found: dict[str, dict[str, str | None]] = context["ti"].get_task_states(
        dag_id=dag_run.dag_id, run_ids=[dag_run.run_id]
    )
    return found.get(dag_run.run_id, {})


def failed_of(states: dict[str, str | None]) -> list[str]:
    return sorted(task for task, state in states.items() if state in ("failed", "upstream_failed"))


def require_masking() -> None:
    """ConfigurationError unless Airflow masks the connection's secret fields."""
    names = conf.get("core", "sensitive_var_conn_names", fallback="")
    if missing := SECRET_FIELDS - {name.strip() for name in names.split(",")}:
        raise ConfigurationError(
            f"Airflow does not mask the connection's {' and '.join(sorted(missing))} in its logs and pages. Set "
            f"[core] sensitive_var_conn_names to {','.join(sorted(SECRET_FIELDS))}, on every component."
        )
