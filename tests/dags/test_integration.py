"""`kfr_integration_test` as Airflow runs it: cases, clean-up, report, a person's word, one mail."""

import pytest

from tests.conftest import ROOT
from tests.dags.project import bank_of, read_dags
from tests.simulator.faults import Fault, FaultKind


@pytest.fixture
def bank(airflow_db, tmp_path, monkeypatch):
    dag = read_dags(ROOT / "dags", monkeypatch)["kfr_integration_test"]
    with bank_of(dag, tmp_path, monkeypatch) as bank:
        yield bank


def shown(run):
    """What the person who decides is shown."""
    from airflow.models.hitl import HITLDetail
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session

    with create_session() as session:
        ti = session.query(TaskInstance.id).filter_by(run_id=run.run_id, task_id="approve_report").one()
        return session.query(HITLDetail.body).filter_by(ti_id=ti.id).one().body


def test_the_completed_test_is_mailed_once_a_person_has_read_the_mail(bank):
    run = bank.trigger()
    assert run.go() == "running"
    assert run.states["approve_report"] == "awaiting_input"
    assert bank.register == {}
    assert bank.simulator.mails == []
    preview = shown(run)
    assert "C-3: Integrasjonstesten er gjennomført" in preview
    assert "ready for production" in preview
    run.answer("approve_report", "Approve")
    assert run.go(until="remove_staged_files") == "running", run.states
    run.clear("send_report", downstream=False)
    assert run.go() == "success", run.states
    (mail,) = bank.simulator.mails
    assert mail.recipients == ("dsop@bits.example",)
    assert mail.subject.startswith("C-3: ")
    assert mail.raw.count(b"filename=") == 2


def test_a_rejected_mail_is_not_sent_and_the_register_is_free(bank):
    run = bank.trigger()
    run.go()
    run.answer("approve_report", "Reject")
    assert run.go() == "failed"
    assert bank.simulator.mails == []
    assert bank.state.read_json("lease")["held"] is False


def test_a_failed_case_makes_the_run_red_and_is_not_mailed(bank):
    bank.simulator.faults.add(Fault(kind=FaultKind.STATUS, operation="register_one", nth=1, status=503))
    run = bank.trigger()
    assert run.go() == "failed"
    assert run.states["clean_up_cases"] == "success"
    assert run.states["write_report"] == "failed"
    assert bank.register == {}
    assert bank.simulator.mails == []
    assert len(bank.state.names("reports")) == 2


def test_a_dry_run_sends_nothing_to_anyone(bank):
    run = bank.trigger(dry_run=True)
    assert run.go() == "success", run.states
    assert bank.sent() == []
    assert bank.simulator.mails == []
    assert run.states["run_cases"] == "skipped"


def test_a_connection_to_production_fails_before_anything_is_sent(bank):
    import json
    import os

    from tests import keystores

    said = json.loads(os.environ["AIRFLOW_CONN_KFR_DEFAULT"])
    said["extra"]["environment"] = "production"
    bank.patch.setenv("AIRFLOW_CONN_KFR_DEFAULT", json.dumps(said))
    (bank.folder / "keystore.p12").write_bytes(keystores.make_keystore(issuer=keystores.PRODUCTION_ISSUER))
    run = bank.trigger()
    assert run.go() == "failed"
    assert run.states["check_environment"] == "failed"
    assert run.states["acquire_register"] == "upstream_failed"
    assert bank.simulator.log == []
