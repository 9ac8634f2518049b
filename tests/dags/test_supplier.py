"""A supplier with a certificate of its own and several institutions in one deployment: each loads for itself alone."""

import json
import os
import shutil
from dataclasses import replace

import duckdb
import pytest

from tests import keystores
from tests.conftest import ROOT
from tests.dags.bank import CLIENT_ID, RATE, SEED
from tests.dags.project import bank_of, read_dags, scheduled
from tests.simulator import Simulator
from tests.simulator.http_front import HttpFront
from tests.warehouse.generator import generate
from tests.warehouse.loading import into_duckdb
from tests.warehouse.truth import truth_of

SUPPLIER, SECOND = "298765438", "312345684"
FILES = {
    "bank_a": f"organisation_number: {keystores.ORGANISATION}\n",
    "bank_b": f"organisation_number: {SECOND}\n",
    "broken": "organisation_number: 123\nnmae: x\n",
}


@pytest.fixture
def dags(airflow_db, tmp_path, monkeypatch):
    project = tmp_path / "project"
    shutil.copytree(ROOT / "dags", project / "dags")
    for part in ("sql", "papers"):
        shutil.copytree(ROOT / "include" / part, project / "include" / part)
    (project / "include" / "institutions").mkdir()
    for name, said in FILES.items():
        (project / "include" / "institutions" / f"{name}.yaml").write_text(said)
    return read_dags(project / "dags", monkeypatch)


@pytest.fixture
def banks(dags, tmp_path, monkeypatch):
    """Both banks with connections of their own, and a third whose file is broken with the first one's."""
    with bank_of(dags["kfr_initial_load__bank_a"], tmp_path, monkeypatch) as first:
        simulator = Simulator(
            clock=first.clock,
            fid=SECOND,
            rows_per_second=RATE,
            client_id=CLIENT_ID,
            suppliers=frozenset({SUPPLIER}),
        )
        first.simulator._maskinporten.suppliers = frozenset({SUPPLIER})
        first.keystore.write_bytes(keystores.make_keystore(organisation=SUPPLIER))
        database = tmp_path / "second.duckdb"
        into_duckdb(generate(300, SEED + 1, first.today).agreements, database)
        dag = dags["kfr_initial_load__bank_b"]
        with HttpFront(simulator):
            second = replace(
                first, dag=dag, scheduler_dag=scheduled(dag), simulator=simulator, database=database
            )
            connect(monkeypatch, "BANK_A", database=first.database, consumer_org=keystores.ORGANISATION)
            connect(monkeypatch, "BROKEN", database=first.database, consumer_org=keystores.ORGANISATION)
            connect(
                monkeypatch,
                "BANK_B",
                database=database,
                host=simulator.base_url,
                consumer_org=SECOND,
                fid=SECOND,
                maskinporten_issuer=simulator.issuer,
            )
            yield first, second


def connect(patch, name, *, database, host=None, **extra):
    """Connections of an institution, made from those of `open_bank`."""
    said = json.loads(os.environ["AIRFLOW_CONN_KFR_DEFAULT"])
    said["extra"] |= extra
    said["host"] = host or said["host"]
    patch.setenv(f"AIRFLOW_CONN_KFR_{name}", json.dumps(said))
    warehouse = {"conn_type": "duckdb", "host": str(database)}
    patch.setenv(f"AIRFLOW_CONN_KFR_WAREHOUSE_{name}", json.dumps(warehouse))


def wanted(bank):
    with duckdb.connect(str(bank.database)) as database:
        rows = truth_of(database.sql("FROM agreements").to_arrow_table(), bank.today).register.to_pylist()
    return {int(row["customer_id"]) for row in rows}


def folders(bank):
    return {path.name for path in (bank.folder / "staging" / "test").iterdir()}


def test_each_institution_loads_by_a_token_for_itself_and_a_broken_file_touches_neither(banks, dags):
    first, second = banks
    broken = dags["kfr_initial_load__broken"]
    stopped = replace(first, dag=broken, scheduler_dag=scheduled(broken)).trigger()
    assert stopped.go() == "failed"
    assert stopped.states["check_readiness"] == "failed"
    assert first.sent() == []
    assert second.sent() == []

    run = first.trigger()
    assert run.go() == "success", (run.states, run.errors)
    assert first.register.keys() == wanted(first)
    assert second.simulator.log == []
    assert folders(first) == {keystores.ORGANISATION}

    before = [(path, path.read_bytes()) for path in first.state_files]
    other = second.trigger()
    assert other.go() == "success", (other.states, other.errors)
    assert second.register.keys() == wanted(second)
    assert second.register.keys() != first.register.keys()
    assert [(path, path.read_bytes()) for path in first.state_files] == before
    assert folders(first) == {keystores.ORGANISATION, SECOND}


def test_a_token_for_the_other_institution_is_refused_before_anything_is_sent(banks, monkeypatch):
    first, second = banks
    said = json.loads(os.environ["AIRFLOW_CONN_KFR_BANK_B"])
    for name in ("host", "extra"):
        theirs = json.loads(os.environ["AIRFLOW_CONN_KFR_BANK_A"])[name]
        said[name] = theirs if name == "host" else {**theirs, "fid": SECOND, "consumer_org": SECOND}
    monkeypatch.setenv("AIRFLOW_CONN_KFR_BANK_B", json.dumps(said))
    run = second.trigger()
    assert run.go() == "failed"
    assert "MP-251" in run.errors["check_readiness"]
    assert first.sent() == []
    assert second.sent() == []
