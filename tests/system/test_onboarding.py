"""The way in as docs/onboarding.md has it: from an empty institution's file to D-4, every mail read, people in a browser.

A made-up institution in the test environment, with a warehouse large enough for the notice of more than 100,000 a day.
KFR_PRINTS names a folder that keeps reports, mails and pictures.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest

from kfr.clock import SystemClock, oslo_today
from kfr.onboarding.checks import CHECKS
from kfr.onboarding.guide import TASKS
from tests.conftest import ROOT
from tests.environment import MAIL_TO_BITS, MAIL_TO_ONCALL, POOLS
from tests.system.airflow_processes import SHORTEST_RESCHEDULE_SECONDS
from tests.system.browser import CHROMIUM, chromium
from tests.system.installation import installation
from tests.system.walker import Run, Walker, furniture, readable, text_of

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif("KFR_LONG" not in os.environ, reason="five minutes: make walk runs it"),
]

RELATIONSHIPS = 110_000
OPTIONS = {
    "max_batch_bytes": 1_000_000,  # three files
    "arrivals_seconds": SHORTEST_RESCHEDULE_SECONDS,
    "lease_seconds": SHORTEST_RESCHEDULE_SECONDS,
    "retry_seconds": 5,
}
AIRFLOW = {  # so that what is written into the file is soon read
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "5",
    "AIRFLOW__CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": "0",
}
CONTACTS = {
    role: {"name": name, "email": f"{role}@bank.example", "phone": "22 00 00 00"}
    for role, name in {
        "main": "Marit Dahl",
        "technical": "Kari Nordmann",
        "security": "Jonas Lie",
        "business": "Aase Berg",
    }.items()
}
NUMBER = re.compile(r"(?<![0-9a-f-])\d{11}(?![0-9a-f-])")  # a person's


@pytest.fixture(scope="module")
def walker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walker]:
    """Airflow without a connection, a Variable or a pool, and the institution's file as it is delivered."""
    folder = tmp_path_factory.mktemp("walk")
    for name in ("dags", "include"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    with (
        installation(
            folder,
            relationships=RELATIONSHIPS,
            seed=5,
            rows_per_second=20_000,
            fields={},
            options=OPTIONS,
            lifetime=1800,
            airflow=AIRFLOW,
            dags=folder / "dags",
            furnished=False,
        ) as running,
        chromium() if CHROMIUM else nullcontext() as browser,
    ):
        yield Walker(installation=running, browser=browser, include=folder / "include", folder=folder)


@pytest.fixture(scope="module")
def begun(walker: Walker) -> dict[str, Any]:
    """The first look at the page, and readiness in a house without anything."""
    page = walker.guide("page-1-empty", until="Know it and prepare")
    return {"page": page, "run": walker.run("kfr_readiness")}


@pytest.fixture(scope="module")
def unready(walker: Walker, begun: dict[str, Any]) -> Run:
    """Connections are made, with a wrong password; a Variable and the pool are forgotten."""
    walker.write_done("A-1", "A-2")
    connections, variables = furniture(walker.installation)
    for name, said in connections.items():
        walker.make_connection(name, said)
    walker.make_connection("kfr_default", connections["kfr_default"], password="not the keystore's")
    for name in ("kfr_staging", "kfr_oncall_mail"):
        walker.set_variable(name, variables[name])
    return walker.run("kfr_readiness")


@pytest.fixture(scope="module")
def ready(walker: Walker, unready: Run) -> Run:
    """What the report asked for is mended, and the file says who the institution is."""
    connections, variables = furniture(walker.installation)
    password = connections["kfr_default"]["password"]
    api = walker.installation.airflow.api
    api.call(
        "PATCH",
        "/connections/kfr_default",
        params={"update_mask": "password"},
        json={"connection_id": "kfr_default", "conn_type": "kfr", "password": password},
    )
    walker.set_variable("kfr_mail_to", variables["kfr_mail_to"])
    for name, slots in POOLS.items():
        api.set_pool(name, slots)
    walker.write_file(
        name="Eksempelbanken AS",
        organisation_number=walker.installation.stand.fid,
        contacts=CONTACTS,
    )
    run = walker.run("kfr_readiness")
    walker.write_done("A-3", "A-4", "A-5", "A-6", "A-7", "B-1")
    return run


@pytest.fixture(scope="module")
def registered(walker: Walker, ready: Run) -> dict[str, Any]:
    """B-2: refused while something is missing, shown, approved, mailed."""
    lacking = walker.run("kfr_registration", dry_run=True)
    today = oslo_today(SystemClock())
    walker.write_file(
        signatory={"name": "Ola Nordmann", "email": "ola@bank.example", "phone": "22 00 00 01"},
        concessions=["Bank"],
        collection_accounts=["1234.56.78903"],
        wanted_integration_start=today,
        wanted_production_loading=today,
    )
    shown = walker.run("kfr_registration", dry_run=True)
    before = walker.mails("B-2")
    run_id = walker.start("kfr_registration")
    asked = walker.approve("kfr_registration", run_id, "approve_form")
    found = {"lacking": lacking, "shown": shown, "before": before, "asked": asked}
    found["run"] = walker.ended("kfr_registration", run_id)
    walker.write_done("B-2", "B-3", "C-1")
    found["page"] = walker.guide("page-2-in-test", until="Join and sign, 3 of 3 done")
    return found


@pytest.fixture(scope="module")
def tested(walker: Walker, registered: dict[str, Any]) -> dict[str, Any]:
    """C-2 and C-3: every case, the report, approved, mailed."""
    run_id = walker.start("kfr_integration_test")
    asked = walker.approve("kfr_integration_test", run_id, "approve_report")
    found = {"asked": asked, "run": walker.ended("kfr_integration_test", run_id)}
    found["left"] = walker.installation.register()
    walker.write_done("C-2", "C-3", "A-8", "D-1", "D-2")
    return found


@pytest.fixture(scope="module")
def loaded(walker: Walker, tested: dict[str, Any]) -> dict[str, Any]:
    """D-3 and D-4."""
    page = walker.guide("page-3-before-the-load", until="Load in production, 2 of 4 done")
    run = walker.run("kfr_initial_load")
    walker.write_done("D-3", "D-4")
    return {
        "page": page,
        "run": run,
        "end": walker.guide("page-4-done", until="Every task of the guide is done"),
    }


def failed(run: Run) -> set[str]:
    return {name.removeprefix("check_") for name, state in run.tasks.items() if state == "failed"}


def report_of(walker: Walker, run: Run) -> str:
    """The readiness report as the log of its task has it."""
    said = [json.loads(line).get("event", "") for line in walker.log(run, "report_readiness").splitlines()]
    return next(event for event in said if event.startswith("Readiness for Kundeforholdsregisteret"))


def test_before_anything_is_done_the_page_says_where_to_begin(begun: dict[str, Any]):
    assert "A-1 Know Kontrollinformasjon: everyone" in begun["page"]
    assert "Join and sign, 0 of 3 done" in begun["page"]
    assert "waits for A-1, A-2" in begun["page"]
    assert "No load is proven yet" in begun["page"]
    assert all(task_id in begun["page"] for task_id in TASKS)


def test_a_house_without_anything_is_told_what_each_check_needs(walker: Walker, begun: dict[str, Any]):
    assert begun["run"].state == "failed"
    report = walker.keep("readiness-1-nothing.txt", report_of(walker, begun["run"]))
    assert failed(begun["run"]) == {check.name for check in CHECKS} - {"versions"} | {"report_readiness"}
    for remedy in ("kfr_default", "kfr_warehouse", "smtp_default", "kfr_oncall_mail", "kfr_register"):
        assert remedy in report


def test_what_is_still_wrong_is_named_with_its_remedy_in_a_mail_to_the_house(walker: Walker, unready: Run):
    assert failed(unready) == {"certificate", "token", "register", "installation", "report_readiness"}
    text = walker.one_mail("readiness-2-mail", "KFR readiness: 10 of 14")
    assert f"To: {MAIL_TO_ONCALL}" in text
    assert "put the keystore's password into the connection's password" in text
    assert "kfr_register" in text


def test_a_house_in_order_is_green_and_its_technical_contact_gets_the_report(walker: Walker, ready: Run):
    assert ready.state == "success", ready.tasks
    text = walker.one_mail("readiness-3-mail", "KFR readiness: 14 of 14")
    assert "To: technical@bank.example" in text
    assert "NOT YET" not in text
    assert "it lacks, for B-2: signatory, concessions" in text
    page = walker.keep_attachments("KFR readiness: 14 of 14")["readiness.html"].decode()
    assert "14 of 14 checks are in place" in text_of(page)


def test_an_incomplete_form_is_shown_and_what_it_lacks_is_named(walker: Walker, registered: dict[str, Any]):
    assert registered["lacking"].state == "failed"
    log = walker.log(registered["lacking"], "write_form")
    assert "The registration form lacks: signatory, concessions, collection_accounts" in log
    assert "Registreringsskjema for Kundeforholdsregisteret" in log


def test_a_dry_run_of_the_registration_shows_form_and_mail_and_mails_nothing(
    walker: Walker, registered: dict[str, Any]
):
    assert registered["shown"].state == "success"
    assert registered["shown"].tasks["approve_form"] == "skipped"
    log = walker.log(registered["shown"], "write_form")
    assert "Vedlagt er utfylt registreringsskjema" in log
    assert "The completed registration form" in log
    assert registered["before"] == []


def test_b_2_goes_with_the_form_once_a_person_has_read_it(walker: Walker, registered: dict[str, Any]):
    assert "Vi ber om tilgang til Kundeforholdsregisteret i testmiljøet" in registered["asked"]
    assert registered["run"].state == "success"
    text = walker.one_mail("mail-b-2", "B-2: Registrering i Kundeforholdsregisteret, Eksempelbanken AS")
    fid = walker.installation.stand.fid
    assert f"To: {MAIL_TO_BITS}" in text
    assert f"registreringsskjema-{fid}.docx" in text
    for said in ("Marit Dahl, main@bank.example, 22 00 00 00", "Bank", "1234.56.78903", "Ola Nordmann", fid):
        assert said in text.partition(".docx")[2]
    walker.keep_attachments("B-2")


def test_the_page_says_that_bits_has_let_the_institution_in_and_what_is_next(registered: dict[str, Any]):
    assert "Next" in registered["page"]
    assert "C-2 Run all integration test cases: IT · kfr_integration_test" in registered["page"]
    assert "waits for A-8, C-2, C-3" in registered["page"]


def test_c_3_goes_with_the_report_of_every_case_and_nobody_is_left_in_the_register(
    walker: Walker, tested: dict[str, Any]
):
    assert "er klare for produksjon" in tested["asked"]
    assert tested["run"].state == "success", tested["run"].tasks
    assert tested["left"] == {}
    text = walker.one_mail("mail-c-3", "C-3: Integrasjonstest")
    assert re.search(r"[1-9]\d bestått, 0 feilet, \d+ ikke kjørt", text)
    kept = walker.keep_attachments("C-3")
    assert sorted(kept) == ["integrasjonstest.html", "integrasjonstest.xlsx"]
    sheet = walker.keep(
        "integration-report.txt", readable("integrasjonstest.xlsx", kept["integrasjonstest.xlsx"])
    )
    assert "REG-01" in sheet
    assert "| feilet |" not in sheet


def test_the_load_is_proven_and_the_register_equals_the_warehouse(walker: Walker, loaded: dict[str, Any]):
    assert loaded["run"].state == "success", loaded["run"].tasks
    register, wanted = walker.installation.register(), walker.installation.wanted()
    assert register.keys() == wanted.keys()
    assert not {who for who, start in wanted.items() if start and register[who] != start}


def test_bits_is_told_of_the_volume_before_the_first_file_leaves(walker: Walker, loaded: dict[str, Any]):
    text = walker.one_mail("mail-notice", "Varsel om innlasting")
    assert f"To: {MAIL_TO_BITS}" in text
    assert "over 100 000 kundeforhold" in text
    kinds = [event["kind"] for event in walker.installation.events()]
    first_load = len(kinds) - 1 - kinds[::-1].index("mail")  # D-4 is the last of all
    files = [place for place, kind in enumerate(kinds) if kind == "file_accepted"]
    large = [place for place in files if walker.installation.events()[place]["rows"] > 1_000]
    notice = [place for place, kind in enumerate(kinds) if kind == "mail" and place < large[0]]
    assert notice[-1] == max(
        place for place, kind in enumerate(kinds) if kind == "mail" and place < first_load
    )


def test_d_4_says_what_is_proven(walker: Walker, loaded: dict[str, Any]):
    text = walker.one_mail("mail-d-4", "D-4: ")
    held = len(walker.installation.register())
    assert f"To: {MAIL_TO_BITS}" in text
    assert f"Kundeforhold lastet inn: {held:,}".replace(",", " ") in text
    assert "Avvik etter retting: 0" in text


def test_the_page_shows_the_end_of_the_way_and_what_there_is_to_sign_for(loaded: dict[str, Any]):
    assert "D-3 Load all relationships: IT · kfr_initial_load" in loaded["page"]
    for phase in (
        "Know it and prepare, 8 of 8",
        "Join and sign, 3 of 3",
        "Test, 3 of 3",
        "production, 4 of 4",
    ):
        assert phase in loaded["end"]
    for evidence in ("Last proof", "Looked up for it", "0 misses", "Right as of"):
        assert evidence in loaded["end"]


def test_no_customer_is_in_any_mail_page_or_report(walker: Walker, loaded: dict[str, Any]):
    printed = [path.read_text() for path in walker.prints.iterdir() if path.suffix in (".txt", ".html")]
    customers = {*walker.installation.wanted(), *walker.installation.register()}
    assert len(printed) > 8
    assert not customers & set(re.findall(r"\d{9,11}", " ".join(printed)))
    assert not any(NUMBER.search(text) for text in printed)
