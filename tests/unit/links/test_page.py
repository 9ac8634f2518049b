from types import SimpleNamespace

import pytest

from kfr.links.page import PageLink, ReportLink
from kfr.operators.load import KfrPlanOperator, KfrRecordMirrorOperator
from kfr.operators.upload import KfrBatchFileOperator
from kfr.sensors.register import KfrAcquireSensor, KfrArrivalsSensor, KfrCompareSensor

TASK = SimpleNamespace(dag_id="kfr_initial_load", run_id="manual__2026-11-25T20:18:16+00:00")


@pytest.fixture(autouse=True)
def address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.bank.example/team/")


def test_a_task_leads_to_the_page_of_its_run():
    expected = "https://airflow.bank.example/team/dags/kfr_initial_load/runs/manual__2026-11-25T20%3A18%3A16%2B00%3A00"
    assert PageLink().get_link(None, ti_key=TASK) == f"{expected}/plugin/kfr-run"


def test_the_last_task_leads_to_the_report():
    found = ReportLink().get_link(None, ti_key=TASK)
    run = "manual__2026-11-25T20%3A18%3A16%2B00%3A00"
    assert found == f"https://airflow.bank.example/team/kfr/report?dag_id=kfr_initial_load&run_id={run}"
    assert ReportLink in map(type, KfrRecordMirrorOperator.operator_extra_links)


@pytest.mark.parametrize(
    "kind", [KfrPlanOperator, KfrBatchFileOperator, KfrAcquireSensor, KfrArrivalsSensor, KfrCompareSensor]
)
def test_every_kind_of_task_has_the_link(kind):
    assert PageLink in map(type, kind.operator_extra_links)
