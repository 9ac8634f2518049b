"""
### First load of all customer relationships into Kundeforholdsregisteret (KFR)

Onboarding tasks **D-3** and **D-4**: every active customer relationship of the warehouse goes to the register by
file; those who arrive meanwhile go one by one; those who leave meanwhile are removed, but only after every file is
proven to be loaded; a sample proves the result; then Bits is told.

Trigger it with `dry_run` first: it plans, forecasts and sends nothing. See
[the runbook](kfr/docs/runbook.md#the-first-load).
"""

from pathlib import Path

from airflow.sdk import DAG, Asset, TriggerRule

from kfr.onboarding.guide import FIRST_LOAD
from kfr.onboarding.institution import Institution, institutions
from kfr.operators.approval import KfrApproveChangesOperator
from kfr.operators.load import (
    KfrAnnounceOperator,
    KfrConfirmOperator,
    KfrExtractOperator,
    KfrPlanOperator,
    KfrReadinessOperator,
    KfrRecordMirrorOperator,
    KfrReleaseOperator,
    KfrRemoveEndedOperator,
    KfrRemoveStagedFilesOperator,
    KfrVerifyOperator,
)
from kfr.operators.params import FIRST_LOAD_PARAMS, Tag, params_of
from kfr.operators.pool import POOL
from kfr.operators.step import FILES_AT_ONCE, defaults_of
from kfr.operators.upload import KfrBatchFileOperator, KfrCloseAdditionsOperator
from kfr.sensors.register import KfrAcquireSensor, KfrArrivalsSensor

INCLUDE = Path(__file__).resolve().parent.parent / "include"


def kfr_initial_load(institution: Institution) -> None:
    ready = KfrReadinessOperator(task_id="check_readiness", guide_task=FIRST_LOAD, retries=0)
    acquire = KfrAcquireSensor(task_id="acquire_register", first_load=True).as_setup()  # type: ignore[no-untyped-call]
    extract = KfrExtractOperator(task_id="extract_relationships")
    plan = KfrPlanOperator(task_id="plan_changes", first_load=True)
    approve = KfrApproveChangesOperator(task_id="approve_changes", planned_by="plan_changes")
    announce = KfrAnnounceOperator(task_id="announce_volume")
    upload = KfrBatchFileOperator.partial(
        task_id="upload_batch_file",
        map_index_template="{{ file }}",
        max_active_tis_per_dagrun=FILES_AT_ONCE,
    ).expand(file=plan.output)
    arrivals = KfrArrivalsSensor(task_id="register_arrivals", uploaded_by="upload_batch_file")
    close = KfrCloseAdditionsOperator(
        task_id="close_arrivals",
        arrivals=True,
        trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS,
    )
    remove = KfrRemoveEndedOperator(task_id="remove_ended")
    verify = KfrVerifyOperator(task_id="verify_register")
    confirm = KfrConfirmOperator(task_id="send_confirmation")
    record = KfrRecordMirrorOperator(
        task_id="record_mirror",
        verified_by="verify_register",
        outlets=[Asset(name=institution.asset_name, uri=institution.asset_uri)],
        trigger_rule=TriggerRule.ALL_DONE,
    )
    release = KfrReleaseOperator(task_id="release_register", pool=POOL)
    clean = KfrRemoveStagedFilesOperator(task_id="remove_staged_files", last="record_mirror")

    ready >> acquire >> extract >> plan >> approve >> announce >> [upload, arrivals]
    [upload, arrivals] >> close >> remove >> verify >> confirm
    [upload, arrivals, close, remove, verify, confirm] >> record
    record >> release.as_teardown(setups=acquire)
    [record, release] >> clean  # last: the run's lease is one of its staged files
    clean.end(acquire)


for institution in institutions(INCLUDE):
    with DAG(
        dag_id=institution.dag_id("kfr_initial_load"),
        dag_display_name=institution.display_name("KFR: first load (D-3, D-4)"),
        doc_md=institution.doc_md(__doc__),
        schedule=None,
        max_active_runs=1,
        params=params_of(institution, FIRST_LOAD_PARAMS),
        tags=[Tag.KFR, Tag.PII, Tag.IMPACT_HIGH],
        default_args=defaults_of(institution),
    ):
        kfr_initial_load(institution)
