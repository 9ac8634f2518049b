"""A first load in production, as Airflow starts it: it stops at the guide's gate unless a person says why not."""

import json
import os

import pytest

from tests import keystores
from tests.conftest import ROOT
from tests.dags.project import bank_of, read_dags
from tests.simulator.certificates import Authority


@pytest.fixture
def bank(airflow_db, tmp_path, monkeypatch):
    dag = read_dags(ROOT / "dags", monkeypatch)["kfr_initial_load"]
    with bank_of(dag, tmp_path, monkeypatch) as bank:
        said = json.loads(os.environ["AIRFLOW_CONN_KFR_DEFAULT"])
        said["extra"]["environment"] = "production"
        monkeypatch.setenv("AIRFLOW_CONN_KFR_DEFAULT", json.dumps(said))
        keystore = keystores.make_keystore(issuer=keystores.PRODUCTION_ISSUER)
        (bank.folder / "keystore.p12").write_bytes(keystore)
        bank.simulator._maskinporten.authority = Authority("production", ())
        yield bank


def test_it_does_not_start_while_tasks_are_open(bank):
    run = bank.trigger()
    assert run.go() == "failed"
    assert run.states["check_readiness"] == "failed"
    assert run.states["acquire_register"] == "upstream_failed"
    assert [event for event in bank.simulator.log if event.kind != "mail"] == []  # an alert may leave


@pytest.mark.parametrize("params", [{"dry_run": True}, {"start_despite": "Bits agreed by phone"}])
def test_a_dry_run_and_a_person_with_a_reason_pass(bank, params):
    run = bank.trigger(**params)
    run.go(until="extract_relationships")
    assert run.states["check_readiness"] == "success"
    assert bank.sent() == []
