"""
### Is Kundeforholdsregisteret (KFR) what the warehouse says?

Once a week customers are looked up **in the register itself**: a sample of those who should be there, as the mirror
has them, and of those who should not. The log says what the sample means. If one is not as it should be, or the run
is triggered with **Look everyone up**, every customer whom the warehouse or the mirror knows is looked up, from a
checkpoint, with progress and a forecast (a million take 14 hours at 20 a second). What differs is repaired by the
same steps as in the periodic load.

**A mirror that is lost or damaged** is made anew here. With `dry_run` the plan is made and nothing is sent.
See [the runbook](kfr/docs/runbook.md#every-week-kfr_reconcile).

It cannot find whom neither the warehouse nor the mirror knows: the register lists nobody.
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
from kfr.operators.params import RECONCILE_PARAMS, Tag, params_of
from kfr.operators.pool import POOL
from kfr.operators.schedule import reconcile_schedule
from kfr.operators.step import FILES_AT_ONCE, defaults_of
from kfr.operators.upload import KfrBatchFileOperator, KfrCloseAdditionsOperator
from kfr.sensors.register import KfrAcquireSensor, KfrCompareSensor

INCLUDE = Path(__file__).resolve().parent.parent / "include"


def kfr_reconcile(institution: Institution) -> None:
    ready = KfrReadinessOperator(task_id="check_readiness")
    acquire = KfrAcquireSensor(task_id="acquire_register").as_setup()  # type: ignore[no-untyped-call]
    extract = KfrExtractOperator(task_id="extract_relationships")
    compare = KfrCompareSensor(task_id="compare_register")
    plan = KfrPlanOperator(task_id="plan_changes", compared=True)
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

    ready >> acquire >> extract >> compare >> plan >> approve >> announce >> [upload, today]
    [upload, today] >> close >> remove >> verify
    [upload, today, close, remove, verify] >> record
    record >> release.as_teardown(setups=acquire)
    [record, release] >> clean  # last: the run's lease is one of its staged files
    clean.end(acquire)


for institution in institutions(INCLUDE):
    with DAG(
        dag_id=institution.dag_id("kfr_reconcile"),
        dag_display_name=institution.display_name("KFR: reconcile with the register"),
        doc_md=institution.doc_md(__doc__),
        schedule=reconcile_schedule(),
        start_date=datetime(2026, 1, 1, tzinfo=OSLO),
        catchup=False,
        max_active_runs=1,
        params=params_of(institution, RECONCILE_PARAMS),
        tags=[Tag.KFR, Tag.PII, Tag.IMPACT_HIGH],
        default_args=defaults_of(institution),
    ):
        kfr_reconcile(institution)
