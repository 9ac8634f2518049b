"""Several institutions in one deployment: each has Dags of its own, and what is wrong with one is its own affair."""

import os
import shutil
from dataclasses import replace

import pytest

from tests import keystores
from tests.conftest import ROOT
from tests.dags.project import bank_of, read_dags, scheduled
from tests.dags.test_decisions import REAL_PERSON


@pytest.fixture
def dags(airflow_db, tmp_path, monkeypatch):
    """The Dags of a project with two institutions, one of them with a broken file, as Airflow reads them."""
    project = tmp_path / "project"
    shutil.copytree(ROOT / "dags", project / "dags")
    for part in ("sql", "papers"):
        shutil.copytree(ROOT / "include" / part, project / "include" / part)
    files = project / "include" / "institutions"
    files.mkdir()
    (files / "good.yaml").write_text(
        f"organisation_number: {keystores.ORGANISATION}\nthresholds: {{removals: 3}}\nagreed_test_users: 1\n"
    )
    (files / "broken.yaml").write_text("organisation_number: 123\n")
    return read_dags(project / "dags", monkeypatch)


def test_a_broken_file_stops_its_own_dag_with_the_reason_and_the_other_institution_loads(
    dags, tmp_path, monkeypatch
):
    good, broken = dags["kfr_initial_load__good"], dags["kfr_initial_load__broken"]
    assert "organisation_number: is not an organisation number" in broken.doc_md
    with bank_of(good, tmp_path, monkeypatch) as bank:
        for kind in ("", "WAREHOUSE_"):
            for name in ("GOOD", "BROKEN"):
                source = os.environ["AIRFLOW_CONN_KFR_" + (kind.rstrip("_") or "DEFAULT")]
                monkeypatch.setenv(f"AIRFLOW_CONN_KFR_{kind}{name}", source)
        stopped = replace(bank, dag=broken, scheduler_dag=scheduled(broken)).trigger()
        assert stopped.go() == "failed"
        assert stopped.states["check_readiness"] == "failed"
        assert bank.sent() == []
        agreed = f"INSERT INTO agreements VALUES ('{REAL_PERSON}', DATE '2020-01-01', NULL)"
        bank.execute(agreed)  # with Bits, for the test environment
        run = bank.trigger()
        assert run.go() == "success", run.errors
        assert bank.is_right


def test_each_institution_asks_for_its_own_connections_and_fills_its_own_asset(dags):
    good, broken = dags["kfr_initial_load__good"], dags["kfr_initial_load__broken"]
    for key, dag in (("good", good), ("broken", broken)):
        params = dag.params.dump()
        assert (params["kfr_conn_id"], params["warehouse_conn_id"]) == (f"kfr_{key}", f"kfr_warehouse_{key}")
        (asset,) = dag.task_dict["record_mirror"].outlets
        assert (asset.name, asset.uri) == (f"kfr_register__{key}", f"kfr://register/{key}")
    assert good.params.get_param("dry_run") is not broken.params.get_param(
        "dry_run"
    )  # it keeps a run's value
    for task in ("acquire_register", "plan_changes", "register_arrivals", "remove_ended"):
        assert good.task_dict[task].thresholds == {"removals": 3, "agreed_test_users": 1}
        assert broken.task_dict[task].thresholds == {"agreed_test_users": 0}
        assert good.task_dict[task].include.endswith("/project/include")
    assert all(getattr(task, "sql_folder", "/sql").endswith("/sql") for task in good.tasks)


def test_a_connection_of_another_institution_is_refused_before_anything_is_sent(dags, tmp_path, monkeypatch):
    folder = tmp_path / "project" / "include" / "institutions"
    (folder / "good.yaml").write_text("organisation_number: 312345684\n")
    with bank_of(dags["kfr_initial_load__good"], tmp_path, monkeypatch) as bank:
        for kind, name in (("", "DEFAULT"), ("WAREHOUSE_", "WAREHOUSE")):
            monkeypatch.setenv(f"AIRFLOW_CONN_KFR_{kind}GOOD", os.environ[f"AIRFLOW_CONN_KFR_{name}"])
        run = bank.trigger()
        assert run.go() == "failed"
        assert run.states["check_readiness"] == "failed"
        assert bank.sent() == []
