"""`kfr_readiness` as Airflow runs it: every check a task, a report in every case, and red unless all is in place."""

import pytest

from kfr.onboarding.checks import CHECKS
from tests.conftest import ROOT
from tests.house import open_house


@pytest.fixture
def house(airflow_db, tmp_path, monkeypatch):
    with open_house(tmp_path, monkeypatch) as house:
        yield house


@pytest.fixture
def dag(airflow_db):
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(dag_folder=ROOT / "dags" / "kfr_readiness.py")
    assert not bag.import_errors
    return bag.dags["kfr_readiness"]


def states(run):
    return {ti.task_id: str(ti.state) for ti in run.get_task_instances()}


def test_the_checks_run_apart_from_each_other_and_weekly(dag):
    for check in CHECKS:
        assert dag.task_dict[f"check_{check.name}"].upstream_task_ids == set()
    assert dag.task_dict["report_readiness"].upstream_task_ids == {f"check_{check.name}" for check in CHECKS}
    assert dag.timetable.expression == "0 6 * * 1"


def test_a_house_in_order_is_green_and_its_report_is_mailed_and_kept(dag, house):
    run = dag.test()
    assert str(run.state) == "success", states(run)
    (mail,) = house.simulator.mails
    assert mail.recipients == ("oncall@bank.example",)
    assert "14 of 14 in place" in mail.subject
    assert all(check.title in mail.text for check in CHECKS)
    assert b'filename="readiness.html"' in mail.raw
    reports = house.premises().state.names("reports")
    assert b"14 of 14 checks are in place" in house.premises().state.read(reports[0])


def test_two_flaws_are_both_reported_and_the_run_is_red(dag, house):
    house.connection(password="wrong")
    house.set("kfr_mail_to", None)
    run = dag.test()
    found = states(run)
    failed = {name for name, state in found.items() if state == "failed"}
    without_certificate = {"check_certificate", "check_token", "check_register"}
    assert failed == {*without_certificate, "check_installation", "report_readiness"}
    (mail,) = house.simulator.mails
    assert "10 of 14 in place" in mail.subject
    assert "put the keystore's password into the connection's password" in mail.text
    assert "NOT YET   A-6       Pool, Variables, masking" in mail.text
