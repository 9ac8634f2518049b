"""
### First load of all customer relationships into Kundeforholdsregisteret (KFR)

Onboarding tasks **D-3** and **D-4**: every active customer relationship of the warehouse goes to the register by
file; those who arrive meanwhile go one by one; those who leave meanwhile are removed, but only after every file is
proven to be loaded; a sample proves the result; then Bits is told.

Trigger it with `dry_run` first: it plans, forecasts and sends nothing. See `docs/runbook.md`.
"""

from pathlib import Path

from airflow.sdk import Asset, TriggerRule, dag

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
from kfr.operators.params import FIRST_LOAD_PARAMS, Tag
from kfr.operators.pool import POOL
from kfr.operators.step import FILES_AT_ONCE, retrying
from kfr.operators.upload import KfrBatchFileOperator, KfrCloseAdditionsOperator
from kfr.sensors.register import KfrAcquireSensor, KfrArrivalsSensor

SQL = Path(__file__).resolve().parent.parent / "include" / "sql"
REGISTER = Asset(name="kfr_register", uri="kfr://register/default")


@dag(
    dag_id="kfr_initial_load",
    dag_display_name="KFR: first load (D-3, D-4)",
    doc_md=__doc__,
    schedule=None,
    max_active_runs=1,
    params=FIRST_LOAD_PARAMS,
    tags=[Tag.KFR, Tag.PII, Tag.IMPACT_HIGH],
    default_args={"owner": "kfr", **retrying()},
)
def kfr_initial_load() -> None:
    ready = KfrReadinessOperator(task_id="check_readiness", sql_folder=SQL, retries=0)
    acquire = KfrAcquireSensor(task_id="acquire_register", first_load=True, sql_folder=SQL).as_setup()  # type: ignore[no-untyped-call]
    extract = KfrExtractOperator(task_id="extract_relationships", sql_folder=SQL)
    plan = KfrPlanOperator(task_id="plan_changes", first_load=True, sql_folder=SQL)
    announce = KfrAnnounceOperator(task_id="announce_volume", sql_folder=SQL)
    approve = KfrApproveChangesOperator(task_id="approve_changes", planned_by="plan_changes", sql_folder=SQL)
    upload = KfrBatchFileOperator.partial(
        task_id="upload_batch_file",
        sql_folder=SQL,
        map_index_template="{{ file }}",
        max_active_tis_per_dagrun=FILES_AT_ONCE,
    ).expand(file=plan.output)
    arrivals = KfrArrivalsSensor(task_id="register_arrivals", uploaded_by="upload_batch_file", sql_folder=SQL)
    close = KfrCloseAdditionsOperator(
        task_id="close_arrivals",
        arrivals=True,
        sql_folder=SQL,
        trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS,
    )
    remove = KfrRemoveEndedOperator(task_id="remove_ended", sql_folder=SQL)
    verify = KfrVerifyOperator(task_id="verify_register", sql_folder=SQL)
    confirm = KfrConfirmOperator(task_id="send_confirmation", sql_folder=SQL)
    record = KfrRecordMirrorOperator(
        task_id="record_mirror",
        verified_by="verify_register",
        sql_folder=SQL,
        outlets=[REGISTER],
        retries=0,
        trigger_rule=TriggerRule.ALL_DONE,
    )
    release = KfrReleaseOperator(task_id="release_register", pool=POOL, sql_folder=SQL)
    clean = KfrRemoveStagedFilesOperator(
        task_id="remove_staged_files", sql_folder=SQL, trigger_rule=TriggerRule.NONE_FAILED
    )

    ready >> acquire >> extract >> plan >> announce >> approve >> [upload, arrivals]
    [upload, arrivals] >> close >> remove >> verify >> confirm
    [upload, arrivals, close, remove, verify, confirm] >> record
    record >> release.as_teardown(setups=acquire)
    [confirm, record, release] >> clean  # last: the run's lease is one of its staged files


kfr_initial_load()
