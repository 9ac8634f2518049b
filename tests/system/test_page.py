"""The page KFR in a real Airflow and a real browser: while a load runs, proven, late, failed, waiting for a person."""

import json
import os
import re
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from playwright.sync_api import expect

from kfr.register.signature import Signed, verify
from tests.system.airflow_api import wait_until
from tests.system.airflow_processes import SHORTEST_RESCHEDULE_SECONDS
from tests.system.browser import CHROMIUM
from tests.system.seen import ROUTES, Seen, watched

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's package chromium, or another Chromium"),
    pytest.mark.skipif("KFR_LONG" not in os.environ, reason="four minutes: make browser runs it"),
]

DAG = "kfr_initial_load"
OPTIONS = {
    "max_batch_bytes": 30_000,
    "arrivals_seconds": SHORTEST_RESCHEDULE_SECONDS,
    "lease_seconds": SHORTEST_RESCHEDULE_SECONDS,
    "retry_seconds": 5,
    "retries": 1,
    "late_minutes": 0,  # a scheduled run is late when it begins
}
RUN_SECONDS = 420
IDENTIFIER = re.compile(r"(?<![0-9a-f-])(?:\d{11}|\d{9})(?![0-9a-f-])")


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    with watched(
        tmp_path_factory.mktemp("page"),
        relationships=4_000,
        seed=5,
        rows_per_second=100,
        fields={"sample_size": 300},
        options=OPTIONS,
    ) as seen:
        seen.installation.airflow.api.wait_for_dag(DAG)
        seen.installation.airflow.api.unpause(DAG)
        yield seen


@pytest.fixture(scope="module")
def running(seen: Seen) -> dict[str, Any]:
    """A first load, looked at while its second file is loading, and afterwards."""
    api = seen.installation.airflow.api
    run_id = api.trigger(DAG, {"reason": "shown on the page"})
    deadline = time.monotonic() + RUN_SECONDS
    while "Files loaded at about" not in (text := seen.get("/kfr/").text) or "1 of" not in text:
        assert time.monotonic() < deadline, api.task_states(DAG, run_id)
        assert api.run(DAG, run_id)["state"] in ("queued", "running"), api.task_states(DAG, run_id)
        time.sleep(1)
    page = seen.page("/kfr/", "reader")  # stays open: it must follow the load by itself
    found = {"run_id": run_id, "while": seen.shoot("running"), "open": page}
    found["narrow"] = seen.shoot("running-narrow", narrow=True)
    found["state"] = api.wait_for_run(DAG, run_id, RUN_SECONDS)
    found["after"] = seen.shoot("finished")
    found["run"] = seen.shoot("finished-run", f"/kfr/run?dag_id={DAG}&run_id={quote(run_id)}")
    found["report"] = seen.shoot("report", f"/kfr/report?dag_id={DAG}&run_id={quote(run_id)}")
    return found


@pytest.fixture(scope="module")
def late(seen: Seen, running: dict[str, Any]) -> list[str]:
    """The subjects of the alerts of a scheduled load that is late, and then proven."""
    api, dag = seen.installation.airflow.api, "kfr_periodic_load"
    api.wait_for_dag(dag)
    api.unpause(dag)
    (run,) = wait_until("the scheduled run", lambda: api.runs(dag) or None, 60)
    assert api.wait_for_run(dag, run["dag_run_id"], RUN_SECONDS) == "success"
    return seen.alerts()


@pytest.fixture(scope="module")
def failed(seen: Seen, late: list[str]) -> dict[str, Any]:
    """The register lets nobody in any more."""
    stand, api = seen.installation.stand, seen.installation.airflow.api
    fault = {"kind": "status", "operation": "look_up", "nth": 1, "times": 9999, "status": 403}
    httpx.post(f"{stand.url}/simulator/faults", json=fault, trust_env=False).raise_for_status()
    run_id = api.trigger("kfr_periodic_load")
    assert api.wait_for_run("kfr_periodic_load", run_id, RUN_SECONDS) == "failed"
    httpx.delete(f"{stand.url}/simulator/faults", trust_env=False).raise_for_status()
    page = seen.page("/plugin/kfr", theme="dark")  # in Airflow's frame, as whoever is on call comes to it
    expect(page.frame_locator("iframe").locator("main")).to_contain_text("This load has failed")
    seen.picture(page, "failed-in-airflow")
    page.context.close()
    return {"page": seen.shoot("failed"), "alerts": seen.alerts()[len(late) :]}


@pytest.fixture(scope="module")
def approved(seen: Seen, failed: dict[str, Any]) -> dict[str, Any]:
    """A plan that a person must approve, found on the page and answered in Airflow's own form."""
    api, dag = seen.installation.airflow.api, "kfr_periodic_load"
    run_id = api.trigger(dag, {"approval": "always", "reason": "asked in the browser"})
    api.wait_for_task(dag, run_id, "approve_changes", ["awaiting_input"], RUN_SECONDS)
    seen.installation.airflow.wait_for_worker_end(dag, run_id, "approve_changes")
    found = {"run_id": run_id, "page": seen.shoot("waiting"), "alerts": seen.alerts()}
    page = seen.page("/plugin/kfr")
    page.frame_locator("iframe").get_by_role("link", name="decide").click()
    page.wait_for_url(re.compile(r"/tasks/approve_changes/.*required_actions"))
    page.get_by_role("button", name="Approve").wait_for()
    seen.picture(page, "approval")
    found["asked"] = page.inner_text("body")
    page.get_by_role("button", name="Approve").click()
    found["state"] = api.wait_for_run(dag, run_id, RUN_SECONDS)
    page.context.close()
    found["after"] = seen.shoot("approved")
    return found


def test_a_load_is_seen_from_sending_to_proof(running: dict[str, Any]):
    assert re.search(r"1 of \d+ proven", running["while"]), running["while"]
    assert "waiting until the register has loaded the files" in running["while"]
    assert "All times on this page are Norwegian time" in running["run"]
    assert running["state"] == "success"
    assert "0 misses" in running["after"]
    assert "nobody" in running["after"]


def test_an_open_page_follows_the_load_without_being_touched(running: dict[str, Any]):
    expect(running["open"].locator("main")).to_contain_text("The last load", timeout=90_000)


def test_the_report_on_the_page_is_the_signed_one(seen: Seen, running: dict[str, Any]):
    run = {"dag_id": DAG, "run_id": running["run_id"]}
    content, signature, certificate = (
        seen.get(f"/kfr/report.{e}", **run).content for e in ("json", "sig", "pem")
    )
    signer = verify(content, Signed(signature=signature, certificate=certificate))
    assert signer.organisation_number == seen.installation.stand.fid
    assert json.loads(content)["outcome"] == "proven"
    assert "shown on the page" in running["report"]


def test_a_failed_run_says_what_happened_and_what_to_do(failed: dict[str, Any]):
    text = failed["page"]
    assert "This load has failed: AccessRefused" in text
    assert "clear what has failed" in text
    assert "Relationships proven" in text


def test_a_scheduled_load_that_is_late_is_told_of_and_that_it_is_proven_too(late: list[str]):
    assert [s.split("] ")[1].split(" (")[0] for s in late] == [
        "The periodic load is not proven in time",
        "kfr_periodic_load is proven",
    ]


def test_a_failed_run_is_told_of_once(failed: dict[str, Any]):
    (alert,) = failed["alerts"]
    assert "kfr_periodic_load has failed, at check_readiness" in alert


def test_an_approval_is_found_on_the_page_answered_in_airflow_and_the_load_goes_on(approved: dict[str, Any]):
    assert "A person must approve the plan." in approved["page"]
    assert "the run asked for it" in approved["page"]
    alerts = (
        r"Alerts that are not over\s+kfr_periodic_load has failed, at check_readiness[\s\S]+A plan waits for"
    )
    assert re.search(alerts, approved["page"])
    assert "A plan waits for a person's approval" in approved["alerts"][-1]
    for figure in ("to add", "to remove"):
        assert figure in approved["asked"]
    assert approved["state"] == "success"
    assert "Approved by" in approved["after"]
    assert "Alerts that are not over" not in approved["after"]


def test_a_viewer_sees_the_question_and_may_not_answer_it(seen: Seen, approved: dict[str, Any]):
    path = f"/api/v2/dags/kfr_periodic_load/dagRuns/{quote(approved['run_id'], safe='')}/taskInstances/approve_changes/-1"
    answer = httpx.patch(
        f"{seen.url}{path}/hitlDetails",
        json={"chosen_options": ["Approve"], "params_input": {}},
        headers={"Authorization": f"Bearer {seen.token()}"},
        trust_env=False,
    )
    assert answer.status_code == 403


def test_airflow_s_own_pages_lead_to_it_and_back(seen: Seen, failed: dict[str, Any], running: dict[str, Any]):
    """In the navigation and on a run, in Airflow's frame; a link to Airflow opens in Airflow."""
    page = seen.page(f"/dags/{DAG}/runs/{quote(running['run_id'])}/plugin/kfr-run", theme="dark")
    frame = page.frame_locator("iframe")
    expect(frame.locator("main")).to_contain_text("This load")
    seen.picture(page, "in-airflow-run")
    page.goto(seen.url)
    page.get_by_role("link", name="KFR", exact=True).first.click()
    expect(frame.locator("main")).to_contain_text("Relationships proven")
    seen.picture(page, "in-airflow")
    frame.locator("table a[data-airflow]").first.click()
    page.wait_for_url(re.compile(r"/dags/kfr_periodic_load/runs/"))
    expect(page.locator("iframe")).to_have_count(0)
    page.context.close()


def test_no_customer_is_on_any_page(seen: Seen, failed: dict[str, Any], running: dict[str, Any]):
    run = {"dag_id": DAG, "run_id": running["run_id"]}
    shown = [seen.get(path, **run).text for path in ROUTES if not path.endswith((".sig", ".pem"))]
    customers = {*seen.installation.wanted(), *seen.installation.register()}
    assert not customers & set(IDENTIFIER.findall(" ".join([*shown, failed["page"], running["while"]])))
