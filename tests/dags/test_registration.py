"""`kfr_registration` as Airflow runs it: the form is shown, a person approves, it is mailed once."""

import io
import json
import os
import shutil

import pytest
import yaml
from docx import Document

from tests.conftest import ROOT
from tests.dags.project import bank_of, read_dags
from tests.unit.onboarding.test_institution import FULL


def said_of(bank):
    return bank.folder / "project" / "include" / "institutions" / "bank.yaml"


@pytest.fixture
def bank(airflow_db, tmp_path, monkeypatch):
    project = tmp_path / "project"
    shutil.copytree(ROOT / "dags", project / "dags")
    shutil.copytree(ROOT / "include", project / "include")
    (project / "include" / "institution.yaml").unlink()
    file = project / "include" / "institutions" / "bank.yaml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(yaml.safe_dump({**FULL, "connections": {"register": "kfr_default"}}))
    dag = read_dags(project / "dags", monkeypatch)["kfr_registration__bank"]
    with bank_of(dag, tmp_path, monkeypatch) as bank:
        connection = json.loads(os.environ["AIRFLOW_CONN_KFR_DEFAULT"])
        connection["extra"]["keystore"] = "not/ordered/yet.p12"
        monkeypatch.setenv("AIRFLOW_CONN_KFR_DEFAULT", json.dumps(connection))
        yield bank


def test_the_form_goes_to_bits_once_as_a_person_has_read_it_and_needs_no_certificate(bank):
    run = bank.trigger()
    assert run.go() == "running"
    assert bank.simulator.mails == []
    file = said_of(bank)
    before = file.read_text()
    file.write_text(before.replace("Eksempelbanken AS", "Eksempelbanken ASA"))  # while it is thought over
    run.answer("approve_form", "Approve")
    assert run.go() == "failed"
    assert "not the one that was approved" in run.errors["send_form"]
    assert bank.simulator.mails == []
    file.write_text(before)
    run.clear("send_form")
    assert run.go() == "success", run.states
    run.clear("send_form")
    assert run.go() == "success"
    (mail,) = bank.simulator.mails
    assert mail.subject.startswith("B-2: Registrering i Kundeforholdsregisteret, Eksempelbanken AS")
    (kept,) = bank.state.names("reports")
    assert Document(io.BytesIO(bank.state.read(kept))).tables
    assert f'filename="registreringsskjema-{FULL["organisation_number"]}.docx"'.encode() in mail.raw


def test_a_dry_run_shows_the_form_and_mails_nothing(bank):
    run = bank.trigger(dry_run=True)
    assert run.go() == "success", run.states
    assert run.states["approve_form"] == "skipped"
    assert bank.simulator.mails == []


def test_a_form_that_lacks_something_is_not_offered_for_approval(bank):
    file = said_of(bank)
    file.write_text(file.read_text().replace("concessions:\n- Bank\n", ""))
    run = bank.trigger()
    assert run.go() == "failed"
    assert run.states["write_form"] == "failed"
    assert bank.simulator.mails == []
