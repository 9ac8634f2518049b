"""Airflow in a real browser as a person meets it before the first load: connection, test, empty page, trigger, rights."""

import json
import os
import re
from base64 import b64encode
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.system.browser import CHROMIUM
from tests.system.seen import ROUTES, Seen, watched

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's package chromium, or another Chromium"),
]

SECRETS = ("password", "element_keystore", "element_staging_key")


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    folder = tmp_path_factory.mktemp("forms")
    with watched(folder, relationships=300, seed=5, rows_per_second=2500, fields={}, options={}) as seen:
        seen.installation.airflow.api.wait_for_dag("kfr_initial_load")
        yield seen


def unfold(form: Locator, section: str) -> None:
    form.get_by_role("button", name=section, exact=True).click()


def begin_connection(page: Page, conn_id: str) -> Locator:
    """The form of a new connection of our type, its own fields unfolded."""
    page.get_by_role("button", name="Add Connection").click()
    form = page.get_by_role("dialog")
    form.locator("[name=connection_id]").fill(conn_id)
    form.get_by_role("combobox").first.click()
    page.get_by_role("option", name="kfr", exact=True).click()
    unfold(form, "Extra Fields")
    form.locator("[name=element_fid]").wait_for()
    return form


@pytest.fixture(scope="module")
def saved(seen: Seen) -> str:
    """A connection that a person has made with the form."""
    stand = seen.installation.stand
    page = seen.page("/connections")
    form = begin_connection(page, "kfr_by_hand")
    seen.picture(page, "connection-empty")
    expect(form.get_by_role("button", name="Save")).to_be_disabled()
    fields = {
        "element_fid": stand.fid,
        "element_keystore": stand.keystore,
        "element_staging_key": b64encode(bytes(32)).decode(),
        "element_maskinporten_issuer": stand.issuer,
    }
    for name, value in fields.items():
        form.locator(f"[name={name}]").fill(value)
    seen.picture(page, "connection-extra")
    unfold(form, "Standard Fields")
    for name, value in {
        "host": stand.base_url,
        "login": stand.client_id,
        "password": stand.keystore_password,
        "port": "443",
    }.items():
        form.locator(f"[name={name}]").fill(value)
    seen.picture(page, "connection")
    form.get_by_role("button", name="Save").click()
    expect(page.locator("tr", has_text="kfr_by_hand")).to_be_visible()
    page.context.close()
    return "kfr_by_hand"


def press_test(page: Page, conn_id: str) -> str:
    """Press a connection's Test button; what Airflow says then."""
    page.locator("tr", has_text=conn_id).get_by_role("button", name="Test Connection").click()
    said = page.get_by_text("Fields:")
    said.wait_for()
    return said.inner_text()


def test_the_form_of_a_connection_names_explains_and_asks_for_its_fields(seen: Seen):
    page = seen.page("/connections", theme="dark")
    form = begin_connection(page, "kfr_looked_at")
    seen.picture(page, "connection-dark")
    text = form.inner_text()
    for label in ("Environment", "Keystore", "Staging key", "Rows a second"):
        assert label in text
    assert "The institution's organisation number, 9 digits" in text
    assert (
        text.count("This field is required") == 3
    )  # fid, keystore, staging key; the environment has a default
    form.get_by_role("combobox").last.click()
    assert page.get_by_role("option").all_inner_texts() == ["test", "production"]
    page.get_by_role("option", name="test", exact=True).click()
    unfold(form, "Standard Fields")
    text = form.inner_text()
    for label in ("Base URL", "Maskinporten client id", "Password of the keystore", "Port, 443"):
        assert label in text
    assert "Schema" not in text
    page.context.close()


def test_a_saved_connection_s_button_says_what_is_right_and_shows_no_secret(seen: Seen, saved: str):
    page = seen.page("/connections")
    said = press_test(page, saved)
    seen.picture(page, "connection-tested")
    assert re.search(
        r"Certificate: organisation \d{9}, \d+ days left, for test; Token: given, scope bits:", said
    )
    assert "lets the institution in" in said
    page.locator("tr", has_text=saved).get_by_role("button", name="Edit Connection").click()
    form = page.get_by_role("dialog")
    unfold(form, "Extra Fields")
    for name in SECRETS:
        field = form.locator(f"[name={name}]")
        assert field.get_attribute("type") == "password", name
        assert field.input_value() == "***", name
    page.context.close()


def test_the_button_says_what_is_wrong_and_what_was_not_tried(seen: Seen, saved: str):
    api = seen.installation.airflow.api
    found = api.call("GET", f"/connections/{saved}")
    extra = json.loads(found["extra"]) | {"keystore": "/nowhere/keystore.p12"}
    wrong = {
        **{name: found[name] for name in ("conn_type", "host", "login", "port")},
        "connection_id": "kfr_wrong",
        "password": "not-this-one",
        "extra": json.dumps(extra | {"staging_key": b64encode(bytes(32)).decode()}),
    }
    api.call("POST", "/connections", json=wrong)
    page = seen.page("/connections", theme="dark")
    said = press_test(page, "kfr_wrong")
    seen.picture(page, "connection-wrong")
    assert "Certificate: NO, keystore: is neither a file on this machine nor base64" in said
    assert said.endswith("Token: not tried; Register: not tried.")
    page.context.close()


@pytest.mark.parametrize("path", ROUTES)
def test_nobody_sees_anything_without_a_login(seen: Seen, path: str):
    assert seen.get(path, None, dag_id="kfr_initial_load", run_id="x").status_code == 401


@pytest.mark.parametrize("path", ROUTES)
def test_a_user_without_rights_is_refused(seen: Seen, path: str):
    assert seen.get(path, "nobody", dag_id="kfr_initial_load", run_id="x").status_code == 403


@pytest.mark.filterwarnings("ignore:Using `httpx` with")  # Airflow's own imports, not ours
def test_every_route_of_the_page_is_among_those_that_are_tried_here():
    from kfr.ui.app import app

    assert {f"/kfr{route.path}" for route in app.routes} == set(ROUTES)


def test_a_page_without_a_load_says_what_to_do_first(seen: Seen):
    empty = seen.shoot("empty")
    assert "Nothing has been loaded yet" in empty
    assert "kfr_initial_load" in empty


@pytest.mark.parametrize("dag", ["kfr_initial_load", "kfr_periodic_load", "kfr_reconcile"])
def test_the_trigger_form_can_be_sent_as_it_is_and_explains_itself(seen: Seen, dag: str):
    """A field that had to be filled in would keep the button grey."""
    seen.installation.airflow.api.wait_for_dag(dag)
    page = seen.page(f"/dags/{dag}")
    page.get_by_role("button", name="Trigger").first.click()
    form = page.get_by_role("dialog")
    expect(form.get_by_text("Plan and forecast; send nothing, change nothing.")).to_be_visible()
    seen.picture(page, f"trigger-{dag}")
    unfold(form, "Approval and report")
    expect(form.get_by_text("nine or more digits are refused")).to_be_visible()
    seen.picture(page, f"trigger-{dag}-approval")
    expect(form.get_by_role("button", name="Trigger", exact=True)).to_be_enabled()
    page.context.close()


@pytest.mark.skipif("KFR_LONG" not in os.environ, reason="half a minute more: make browser runs it")
def test_a_dry_run_is_triggered_by_hand_and_its_forecast_read_on_its_page(seen: Seen):
    api = seen.installation.airflow.api
    page = seen.page("/dags/kfr_initial_load")
    page.get_by_role("button", name="Trigger").first.click()
    form = page.get_by_role("dialog")
    form.locator("label", has=page.locator("[name=element_dry_run]")).click()
    form.get_by_role("button", name="Trigger", exact=True).click()
    form.wait_for(state="hidden")
    (run,) = api.runs("kfr_initial_load")
    assert run["conf"]["dry_run"] is True
    assert api.wait_for_run("kfr_initial_load", run["dag_run_id"], 180) == "success"
    page.goto(f"{seen.installation.airflow.url}/kfr/")
    expect(page.locator("main")).to_contain_text("at the register's rate")
    seen.picture(page, "dry-run")
    page.context.close()


def test_a_reason_with_an_identity_number_is_refused_by_the_form(seen: Seen):
    page = seen.page("/dags/kfr_initial_load")
    page.get_by_role("button", name="Trigger").first.click()
    form = page.get_by_role("dialog")
    unfold(form, "Approval and report")
    form.locator("[name=element_reason]").fill("for 12345678901")
    with page.expect_response(re.compile(r"/dagRuns$")) as answer:
        form.get_by_role("button", name="Trigger", exact=True).click()
    assert answer.value.status == 400
    expect(page.get_by_text("Invalid input for param reason")).to_be_visible()
    seen.picture(page, "trigger-refused")
    page.context.close()


def test_whoever_has_no_rights_sees_nothing_of_the_register(seen: Seen):
    page = seen.page("/kfr/", "nobody")
    assert "Relationships proven" not in page.inner_text("body")
    assert "Forbidden" in page.inner_text("body")
    page.context.close()
