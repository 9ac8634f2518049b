"""The page KFR in a real Airflow and a real browser: empty, while a load runs, proven, failed; and who may see it."""

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from playwright.sync_api import Browser, expect

from kfr.register.signature import Signed, verify
from tests.environment import MAIL_TO_ONCALL
from tests.system.airflow_api import wait_until
from tests.system.airflow_processes import SHORTEST_RESCHEDULE_SECONDS
from tests.system.browser import CHROMIUM, chromium, open_page, picture, token_of
from tests.system.installation import Installation, installation

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's package chromium, or another Chromium"),
]

DAG = "kfr_initial_load"
ROUTES = (
    "/kfr/",
    "/kfr/guide",
    "/kfr/run",
    "/kfr/report",
    "/kfr/report.json",
    "/kfr/report.sig",
    "/kfr/report.pem",
)
OPTIONS = {
    "max_batch_bytes": 30_000,
    "arrivals_seconds": SHORTEST_RESCHEDULE_SECONDS,
    "lease_seconds": SHORTEST_RESCHEDULE_SECONDS,
    "retry_seconds": 5,
    "retries": 1,
    "late_minutes": 0,  # a scheduled run is late when it begins
}
AIRFLOW = {"AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin,reader:viewer,nobody:"}
RUN_SECONDS = 420
IDENTIFIER = re.compile(r"(?<![0-9a-f-])(?:\d{11}|\d{9})(?![0-9a-f-])")


@dataclass
class Seen:
    """A running installation, a browser, and how to look."""

    installation: Installation
    browser: Browser
    folder: Path

    @property
    def url(self) -> str:
        return self.installation.airflow.url

    def token(self, user: str = "reader") -> str:
        passwords = json.loads((self.installation.airflow.home / "passwords.json").read_text())
        return token_of(self.url, user, passwords[user])

    def get(self, path: str, user: str | None = "reader", **params: str) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.token(user)}"} if user else {}
        return httpx.get(self.url + path, params=params, headers=headers, trust_env=False, timeout=60)

    def alerts(self) -> list[str]:
        """The subjects of the mails to who is on call."""
        mails = [m for m in self.installation.mails() if m["recipients"] == [MAIL_TO_ONCALL]]
        return [" ".join(m["subject"].split()) for m in mails]

    def shoot(self, name: str, path: str = "/kfr/", *, narrow: bool = False) -> str:
        """Take the page's picture, light and dark; return what a person reads on it."""
        for theme in ("light", "dark"):
            page = open_page(self.browser, self.url, self.token(), theme=theme, narrow=narrow)
            page.goto(self.url + path)
            assert page.evaluate("document.documentElement.dataset.theme") == theme
            background = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert (sum(map(int, re.findall(r"\d+", background)[:3])) > 380) == (theme == "light")
            overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert overflow <= 0, f"{name} is {overflow} px too wide"
            picture(page, f"{name}-{theme}", self.folder)
            text = page.inner_text("main")
            page.context.close()
        return text


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    folder = tmp_path_factory.mktemp("page")
    with (
        installation(
            folder,
            relationships=4_000,
            seed=5,
            rows_per_second=100,
            fields={"sample_size": 300},
            options=OPTIONS,
            airflow=AIRFLOW,
        ) as running,
        chromium() as browser,
    ):
        running.airflow.api.wait_for_dag(DAG)
        running.airflow.api.unpause(DAG)
        yield Seen(running, browser, folder / "pictures")


@pytest.fixture(scope="module")
def empty(seen: Seen) -> str:
    return seen.shoot("empty")


@pytest.fixture(scope="module")
def running(seen: Seen, empty: str) -> dict[str, Any]:
    """A first load, looked at while its second file is loading, and afterwards."""
    api = seen.installation.airflow.api
    run_id = api.trigger(DAG, {"reason": "shown on the page"})
    deadline = time.monotonic() + RUN_SECONDS
    while (text := seen.get("/kfr/").text).count("until ") < 1 or "1 of" not in text:
        assert time.monotonic() < deadline, api.task_states(DAG, run_id)
        assert api.run(DAG, run_id)["state"] in ("queued", "running"), api.task_states(DAG, run_id)
        time.sleep(1)
    page = open_page(seen.browser, seen.url, seen.token())
    page.goto(seen.url + "/kfr/")  # stays open: it must follow the load by itself
    found = {"run_id": run_id, "while": seen.shoot("running"), "open": page}
    found["narrow"] = seen.shoot("running-narrow", narrow=True)
    found["state"] = api.wait_for_run(DAG, run_id, RUN_SECONDS)
    found["after"] = seen.shoot("finished")
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
def failed(seen: Seen, late: list[str]) -> str:
    """The register lets nobody in any more."""
    stand, api = seen.installation.stand, seen.installation.airflow.api
    fault = {"kind": "status", "operation": "look_up", "nth": 1, "times": 9999, "status": 403}
    httpx.post(f"{stand.url}/simulator/faults", json=fault, trust_env=False).raise_for_status()
    run_id = api.trigger("kfr_periodic_load")
    assert api.wait_for_run("kfr_periodic_load", run_id, RUN_SECONDS) == "failed"
    httpx.delete(f"{stand.url}/simulator/faults", trust_env=False).raise_for_status()
    return seen.shoot("failed")


@pytest.mark.parametrize("path", ROUTES)
def test_nobody_sees_anything_without_a_login(seen: Seen, path: str):
    assert seen.get(path, None, dag_id=DAG, run_id="x").status_code == 401


@pytest.mark.parametrize("path", ROUTES)
def test_a_user_without_rights_is_refused(seen: Seen, path: str):
    assert seen.get(path, "nobody", dag_id=DAG, run_id="x").status_code == 403


@pytest.mark.filterwarnings("ignore:Using `httpx` with")  # Airflow's own imports, not ours
def test_every_route_of_the_page_is_among_those_that_are_tried_here():
    from kfr.ui.app import app

    assert {f"/kfr{route.path}" for route in app.routes} == set(ROUTES)


def test_a_page_without_a_load_says_what_to_do_first(empty: str):
    assert "Nothing has been loaded yet" in empty
    assert "kfr_initial_load" in empty


def test_a_load_is_seen_from_sending_to_proof(running: dict[str, Any]):
    assert re.search(r"1 of \d+ proven", running["while"]), running["while"]
    assert "waiting until the register has loaded the files" in running["while"]
    assert "Files loaded at about" in running["while"]
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


def test_a_failed_run_says_what_happened_and_what_to_do(failed: str):
    assert "This load has failed: AccessRefused" in failed
    assert "clear the failed task" in failed
    assert "Relationships proven" in failed


def test_a_scheduled_load_that_is_late_is_told_of_and_that_it_is_proven_too(late: list[str]):
    assert [s.split("] ")[1].split(" (")[0] for s in late] == [
        "The periodic load is not proven in time",
        "kfr_periodic_load is proven",
    ]


def test_a_failed_run_is_told_of_once(seen: Seen, late: list[str], failed: str):
    (alert,) = seen.alerts()[len(late) :]
    assert "kfr_periodic_load has failed, at check_readiness" in alert


def test_airflow_s_own_pages_lead_to_it_and_back(seen: Seen, failed: str, running: dict[str, Any]):
    """In the navigation and on a run, in Airflow's frame; a link to Airflow opens in Airflow."""
    page = open_page(seen.browser, seen.url, seen.token("admin"), theme="dark")
    page.goto(f"{seen.url}/dags/{DAG}/runs/{quote(running['run_id'])}/plugin/kfr-run")
    frame = page.frame_locator("iframe")
    expect(frame.locator("main")).to_contain_text("This load")
    picture(page, "in-airflow-run", seen.folder)
    page.goto(seen.url)
    page.get_by_role("link", name="KFR", exact=True).first.click()
    expect(frame.locator("main")).to_contain_text("Relationships proven")
    picture(page, "in-airflow", seen.folder)
    frame.locator("table a[data-airflow]").first.click()
    page.wait_for_url(re.compile(r"/dags/kfr_periodic_load/runs/"))
    expect(page.locator("iframe")).to_have_count(0)
    page.context.close()


def test_no_customer_is_on_any_page(seen: Seen, failed: str, empty: str, running: dict[str, Any]):
    run = {"dag_id": DAG, "run_id": running["run_id"]}
    shown = [seen.get(path, **run).text for path in ROUTES if not path.endswith((".sig", ".pem"))]
    customers = {*seen.installation.wanted(), *seen.installation.register()}
    assert not customers & set(IDENTIFIER.findall(" ".join([*shown, failed, running["while"]])))
