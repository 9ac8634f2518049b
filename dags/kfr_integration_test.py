"""
### The integration test of Kundeforholdsregisteret (KFR)

Onboarding tasks **C-2** and **C-3**: every case of `include/integration_cases.yaml` is run against the register in
test, whoever was registered is removed again, and the report goes to Bits once a person has approved the mail.
Refuses production.

Trigger it with `dry_run` first: it lists the cases and sends nothing. See
[the way in](kfr/docs/onboarding.md).
"""

from pathlib import Path

from airflow.sdk import DAG, TriggerRule

from kfr.onboarding.institution import institutions
from kfr.operators.integration import (
    KfrCleanUpCasesOperator,
    KfrIntegrationReportOperator,
    KfrRunCasesOperator,
    KfrSendReportOperator,
    KfrTestEnvironmentOperator,
)
from kfr.operators.load import KfrReleaseOperator, KfrRemoveStagedFilesOperator
from kfr.operators.papers import KfrApproveMailOperator
from kfr.operators.params import LOAD_PARAMS, Tag, params_of
from kfr.operators.pool import POOL
from kfr.operators.step import defaults_of
from kfr.sensors.register import KfrAcquireSensor

INCLUDE = Path(__file__).resolve().parent.parent / "include"
PARAMS = {name: LOAD_PARAMS[name] for name in ("dry_run", "reason", "kfr_conn_id", "warehouse_conn_id")}


def kfr_integration_test() -> None:
    check = KfrTestEnvironmentOperator(task_id="check_environment", retries=0)
    acquire = KfrAcquireSensor(task_id="acquire_register", first_load=True).as_setup()  # type: ignore[no-untyped-call]
    run = KfrRunCasesOperator(task_id="run_cases", retries=0)
    clean_up = KfrCleanUpCasesOperator(task_id="clean_up_cases", trigger_rule=TriggerRule.ALL_DONE)
    report = KfrIntegrationReportOperator(task_id="write_report", retries=0)
    approve = KfrApproveMailOperator(
        task_id="approve_report",
        subject="Send the completed integration test to Bits (C-3)",
        written_by="write_report",
    )
    send = KfrSendReportOperator(task_id="send_report", written_by="write_report")
    release = KfrReleaseOperator(task_id="release_register", pool=POOL)
    clean = KfrRemoveStagedFilesOperator(task_id="remove_staged_files", last="send_report")

    check >> acquire >> run >> clean_up >> report >> approve >> send
    run >> report
    clean_up >> release.as_teardown(setups=acquire)
    [send, release] >> clean  # last: the run's results are among its staged files
    clean.end(acquire)


for institution in institutions(INCLUDE):
    with DAG(
        dag_id=institution.dag_id("kfr_integration_test"),
        dag_display_name=institution.display_name("KFR: integration test (C-2, C-3)"),
        doc_md=institution.doc_md(__doc__),
        schedule=None,
        max_active_runs=1,
        params=params_of(institution, PARAMS),
        tags=[Tag.KFR, Tag.IMPACT_LOW],
        default_args=defaults_of(institution),
    ):
        kfr_integration_test()
