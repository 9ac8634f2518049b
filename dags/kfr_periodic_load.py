"""
### Keep Kundeforholdsregisteret (KFR) equal to the warehouse

Onboarding task **A-8**. Each day at 04:00 the whole warehouse is compared with what the register is proven to hold:
who is new is added, who has ended is removed once everything is proven to be loaded, a start that changed is filed
again. A day without changes takes seconds.

**Backfill** any days, in any order, as often as you like: each run looks up in the register itself whoever changed in
its days, folds all their agreements to their state *now*, and repairs what differs. See [the
runbook](kfr/docs/runbook.md#every-day-kfr_periodic_load).

What can go wrong: a guard asks a person (many removals, a shrunken extract, many refused rows); another load holds
the register, and this one waits; a file does not load in time, and its retry goes on where it was.
"""

from datetime import datetime
from pathlib import Path

from airflow.sdk import DAG, Asset, TriggerRule

from kfr.clock import OSLO
from kfr.onboarding.institution import Institution, institutions
from kfr.operators.approval import KfrApproveChangesOperator
from kfr.operators.load import (
    KfrAnnounceOperator,
    KfrExtractOperator,
    KfrPlanOperator,
    KfrReadinessOperator,
    KfrRecordMirrorOperator,
    KfrRegisterTodayOperator,
    KfrReleaseOperator,
    KfrRemoveEndedOperator,
    KfrRemoveStagedFilesOperator,
    KfrVerifyOperator,
)
from kfr.operators.params import PERIODIC_PARAMS, Tag, params_of
from kfr.operators.pool import POOL
from kfr.operators.schedule import periodic_deadline, periodic_schedule
from kfr.operators.step import FILES_AT_ONCE, defaults_of
from kfr.operators.upload import KfrBatchFileOperator, KfrCloseAdditionsOperator
from kfr.sensors.register import KfrAcquireSensor

INCLUDE = Path(__file__).resolve().parent.parent / "include"


def kfr_periodic_load(institution: Institution) -> None:
    ready = KfrReadinessOperator(task_id="check_readiness")
    acquire = KfrAcquireSensor(task_id="acquire_register").as_setup()  # type: ignore[no-untyped-call]
    extract = KfrExtractOperator(task_id="extract_relationships")
    plan = KfrPlanOperator(task_id="plan_changes")
    approve = KfrApproveChangesOperator(task_id="approve_changes", planned_by="plan_changes")
    announce = KfrAnnounceOperator(task_id="announce_volume")
    upload = KfrBatchFileOperator.partial(
        task_id="upload_batch_file",
        map_index_template="{{ file }}",
        max_active_tis_per_dagrun=FILES_AT_ONCE,
    ).expand(file=plan.output)
    today = KfrRegisterTodayOperator(task_id="register_today")
    close = KfrCloseAdditionsOperator(
        task_id="close_additions",
        arrivals=False,
        trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS,
    )
    remove = KfrRemoveEndedOperator(task_id="remove_ended")
    verify = KfrVerifyOperator(task_id="verify_register")
    record = KfrRecordMirrorOperator(
        task_id="record_mirror",
        verified_by="verify_register",
        outlets=[Asset(name=institution.asset_name, uri=institution.asset_uri)],
        trigger_rule=TriggerRule.ALL_DONE,
    )
    release = KfrReleaseOperator(task_id="release_register", pool=POOL)
    clean = KfrRemoveStagedFilesOperator(task_id="remove_staged_files", last="record_mirror")

    ready >> acquire >> extract >> plan >> approve >> announce >> [upload, today]
    [upload, today] >> close >> remove >> verify
    [upload, today, close, remove, verify] >> record
    record >> release.as_teardown(setups=acquire)
    [record, release] >> clean  # last: the run's lease is one of its staged files
    clean.end(acquire)


for institution in institutions(INCLUDE):
    with DAG(
        dag_id=institution.dag_id("kfr_periodic_load"),
        dag_display_name=institution.display_name("KFR: periodic load (A-8)"),
        doc_md=institution.doc_md(__doc__),
        schedule=periodic_schedule(),
        start_date=datetime(2026, 1, 1, tzinfo=OSLO),
        catchup=False,
        deadline=periodic_deadline(institution.kfr_conn_id),
        max_active_runs=1,
        params=params_of(institution, PERIODIC_PARAMS),
        tags=[Tag.KFR, Tag.PII, Tag.IMPACT_HIGH],
        default_args=defaults_of(institution),
    ):
        kfr_periodic_load(institution)
