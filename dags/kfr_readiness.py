"""
### Is everything in place for Kundeforholdsregisteret (KFR)?

Onboarding tasks **A-3** to **A-7** and **B-1**: one task a check, in parallel, each green with what it found or
failed with the remedy. Runs weekly: certificates end, firewalls close, columns are renamed. The report goes to the
technical contact of the institution's file. Nothing is written to the register.
See [the way in](kfr/docs/onboarding.md).
"""

from pathlib import Path

from airflow.sdk import DAG, CronTriggerTimetable, TriggerRule

from kfr.onboarding.checks import CHECKS
from kfr.onboarding.guide import progress_as_json
from kfr.onboarding.institution import Institution, institutions
from kfr.operators.params import LOAD_PARAMS, Tag, params_of
from kfr.operators.readiness import KfrCheckOperator, KfrReadinessReportOperator
from kfr.operators.step import defaults_of

INCLUDE = Path(__file__).resolve().parent.parent / "include"
CONNECTIONS = {name: LOAD_PARAMS[name] for name in ("kfr_conn_id", "warehouse_conn_id")}


def kfr_readiness(institution: Institution) -> None:
    checks = [
        KfrCheckOperator(
            task_id=f"check_{check.name}",
            task_display_name=check.title,
            check=check.name,
        )
        for check in CHECKS
    ]
    checks >> KfrReadinessReportOperator(
        task_id="report_readiness",
        doc_json=progress_as_json(institution.tasks),  # what the page shows of the guide
        trigger_rule=TriggerRule.ALL_DONE,
    )


for institution in institutions(INCLUDE):
    with DAG(
        dag_id=institution.dag_id("kfr_readiness"),
        dag_display_name=institution.display_name("KFR: is everything in place? (A-3 to A-7, B-1)"),
        doc_md=institution.doc_md(__doc__),
        schedule=CronTriggerTimetable("0 6 * * 1", timezone="Europe/Oslo"),
        catchup=False,
        max_active_runs=1,
        params=params_of(institution, CONNECTIONS),
        tags=[Tag.KFR, Tag.PII, Tag.IMPACT_LOW],
        default_args={**defaults_of(institution), "retries": 0},  # a flaw is shown at once, not after an hour
    ):
        kfr_readiness(institution)
