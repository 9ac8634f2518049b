"""
### Registration in Kundeforholdsregisteret (KFR)

Onboarding task **B-2**: the registration form is filled in from the institution's file, shown to a person with the
mail that takes it to Bits, and sent once when the person approves. Needs no certificate yet.

Trigger it with `dry_run` first: it shows form and mail, names what is missing, and sends nothing.
"""

from pathlib import Path

from airflow.sdk import DAG

from kfr.onboarding.institution import institutions
from kfr.operators.papers import KfrApproveMailOperator, KfrRegistrationOperator, KfrSendRegistrationOperator
from kfr.operators.params import LOAD_PARAMS, Tag, params_of
from kfr.operators.step import defaults_of

INCLUDE = Path(__file__).resolve().parent.parent / "include"
PARAMS = {name: LOAD_PARAMS[name] for name in ("dry_run", "kfr_conn_id")}


def kfr_registration() -> None:
    write = KfrRegistrationOperator(task_id="write_form")
    approve = KfrApproveMailOperator(
        task_id="approve_form", subject="Send the registration form to Bits (B-2)", written_by="write_form"
    )
    send = KfrSendRegistrationOperator(task_id="send_form", written_by="write_form")

    write >> approve >> send


for institution in institutions(INCLUDE):
    with DAG(
        dag_id=institution.dag_id("kfr_registration"),
        dag_display_name=institution.display_name("KFR: registration form (B-2)"),
        doc_md=institution.doc_md(__doc__),
        schedule=None,
        max_active_runs=1,
        params=params_of(institution, PARAMS),
        tags=[Tag.KFR, Tag.IMPACT_LOW],
        default_args=defaults_of(institution),
    ):
        kfr_registration()
