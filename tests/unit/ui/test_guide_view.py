"""The guide on the page: what is done, who is next, what waits for what, and what can be shown to sign for."""

from datetime import date
from typing import Any

import pytest

from kfr.load.summary import summarise
from kfr.onboarding.guide import BEFORE_B, TASKS, Progress, progress_as_json, progress_from_json
from kfr.ui.figures import Overview
from kfr.ui.guide_view import guide_values, proof_report
from kfr.ui.templating import page
from tests.unit.load.one_load import OneLoad
from tests.unit.ui.test_report_page import text_of
from tests.unit.ui.test_views import a_run

TODAY = date(2026, 11, 23)
DONE = Progress(state="done", day=date(2026, 11, 2), by="Kari Nordmann")
NOBODY = Overview(name="", runs=[])


def states(progress: dict[str, Progress], found: Overview = NOBODY) -> dict[str, tuple[str, str]]:
    phases = guide_values(progress, found, TODAY)["phases"]
    return {line.task.id: (line.state, line.said) for phase in phases for line in phase.lines}


def test_every_task_of_the_guide_stands_in_its_phase_in_order():
    phases = guide_values({}, NOBODY, TODAY)["phases"]
    assert [phase.id for phase in phases] == ["A", "B", "C", "D"]
    assert [line.task.id for phase in phases for line in phase.lines] == list(TASKS)


def test_what_is_open_is_next_or_names_what_it_waits_for():
    found = states(dict.fromkeys(BEFORE_B, DONE))
    assert found["A-1"] == ("done", "2026-11-02, Kari Nordmann")
    assert found["A-8"][0] == found["B-2"][0] == "next"
    assert found["C-2"] == ("later", "waits for B-1, B-2, B-3, A-4, A-5, A-6, A-7")
    assert found["D-4"][0] == "later"
    assert states({})["B-1"] == ("later", "waits for A-1, A-2")


def test_what_waits_for_somebody_is_among_what_is_next_and_says_since_when():
    waiting = Progress(state="waiting", day=date(2026, 11, 9), by="Ola Vik")
    values = guide_values({**dict.fromkeys(BEFORE_B, DONE), "B-1": waiting}, NOBODY, TODAY)
    said = {line.task.id: line.said for line in values["next"]}
    assert said["B-1"] == "since 2026-11-09, Ola Vik"
    assert "A-1" not in said
    assert "C-1" not in said


def test_another_institution_s_tasks_lead_to_its_own_dags():
    phases = guide_values({}, Overview(name="bank_a", runs=[]), TODAY)["phases"]
    led = {line.task.id: line.dag_id for phase in phases for line in phase.lines}
    assert led["A-7"] == "kfr_readiness__bank_a"
    assert led["D-3"] == "kfr_initial_load__bank_a"
    assert led["A-1"] == ""


def test_states_come_through_airflow_as_they_are():
    progress = {**dict.fromkeys(TASKS, Progress()), "A-1": DONE}
    assert progress_from_json(progress_as_json(progress)) == progress
    assert progress_from_json(progress_as_json({})) == dict.fromkeys(TASKS, Progress())


def shown(found: Overview, progress: Any, **more: Any) -> str:
    values = guide_values(progress, found, TODAY) | {"proof_report": proof_report(found), **more}
    return text_of(page("guide.html", words={}, others=[], file="institution.yaml", **values))


def test_the_page_says_who_acts_and_what_there_is_to_sign_for_so_far():
    text = shown(NOBODY, dict.fromkeys(BEFORE_B, DONE))
    assert "Next B-2" not in text  # A-3 comes first
    assert "A-3 Order enterprise certificates, test and production: business, IT" in text
    assert "No load is proven yet" in text
    assert "Airflow has not read the Dags yet" in shown(NOBODY, None)
    assert "Every task of the guide is done" in shown(NOBODY, dict.fromkeys(TASKS, DONE))


@pytest.mark.parametrize(("outcome", "stands"), [("proven", True), ("not proven", False)])
def test_the_evidence_is_the_last_proof_its_sample_and_the_register_s_age(load: OneLoad, outcome, stands):
    load.join(3)
    load.plan()
    told = {**summarise(load.world), "register": {"as_of": "2026-11-21"}}
    report = {"outcome": outcome, "proof": {"look_ups": 2995, "misses": 0}}
    runs = [a_run(load, told, state="success", report=report)]
    runs.append(a_run(load, state="success", dag_id="kfr_reconcile", report=report))
    values = guide_values({}, Overview(name="", runs=runs), TODAY)
    facts = {fact.name: (fact.value, fact.below, fact.kind) for fact in values["evidence"]}
    assert ("Last proof" in facts) == stands
    assert (proof_report(Overview(name="", runs=runs)) is not None) == stands
    if stands:
        assert facts["Looked up for it"][:2] == ("2\u202f995", "0 misses")
    assert facts["Right as of"] == ("2026-11-21", "2 days ago", "bad")
    assert ("Compared with the register" in facts) == stands  # a run can be green and have shown nothing
