"""The integration test: every case passes at a right register, fails at a wrong one, and nobody is left behind."""

import io
import random
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from openpyxl import load_workbook
from stdnum.no import orgnr

from kfr.hooks.kfr import tokens_of
from kfr.onboarding import synthetic
from kfr.onboarding.cases import read_cases
from kfr.onboarding.completed_test import completed_test, keep
from kfr.onboarding.institution import InstitutionFileError, read_institution
from kfr.onboarding.integration import FAILED, PASSED, ProductionRefused, clean_up, run_cases
from kfr.register.errors import Retriable
from kfr.relationships.identifiers import Kind, Reason, check
from tests.conftest import ROOT
from tests.house import open_house
from tests.simulator import VirtualClock
from tests.simulator.faults import Fault, FaultKind
from tests.simulator.switches import Switches

CASES = read_cases(ROOT / "include")
RUN = [case for case in CASES if not case.not_run]


@pytest.fixture
def house(airflow_db, tmp_path, monkeypatch):
    clock = VirtualClock(datetime.now(UTC).replace(hour=9, minute=0))
    with open_house(tmp_path, monkeypatch, clock) as house:
        yield house


@pytest.fixture
def world(house):
    with house.world() as world:
        yield world


def play(world, cases):
    return {result.id: result for result in run_cases(world, tokens_of(world.settings, world.clock), cases)}


def active(house):
    return {who for who, (_, end) in house.simulator.relationships().items() if end is None}


SWITCHES = {
    "as delivered": Switches(),
    "otherwise": Switches(
        no_relationship="not_found_kfr", other_bank=True, removal="erases", file_order="newest_first"
    ),
    "err": Switches(no_relationship="not_found_err", removal="ends_today_inclusive"),
}


@pytest.mark.parametrize("switches", SWITCHES.values(), ids=SWITCHES)
def test_every_case_passes_at_a_right_register_and_nobody_is_left_behind(house, world, switches):
    house.simulator.switches = switches
    results = play(world, CASES)
    wrong = {id_: result.actual for id_, result in results.items() if result.outcome == FAILED}
    assert not wrong
    assert [id_ for id_, result in results.items() if result.outcome == PASSED] == [case.id for case in RUN]
    registered = active(house)
    assert registered
    assert clean_up(world) == len(registered)
    assert active(house) == set()
    assert clean_up(world) == 0


def position(house, world, case):
    """At which call of its operation, counted from the run's start, the case's own request comes."""
    before = len(house.simulator.log)
    result = play(world, [case])[case.id]
    assert result.outcome == PASSED, result.actual
    events = [event for event in house.simulator.log[before:] if event.operation == case.operation]
    own = [place for place, event in enumerate(events, 1) if event.correlation_id == result.correlation_id]
    return own[-1]


@pytest.mark.parametrize("case", RUN, ids=[case.id for case in RUN])
def test_a_case_that_is_answered_otherwise_is_reported_as_failed(house, world, case):
    if (
        "method" in case.send
    ):  # refused before any operation is found: no fault of the simulator strikes there
        fault = Fault(kind=FaultKind.MASKINPORTEN_ERROR, operation="token", nth=1, times=20, code="MP-250")
    else:
        nth = position(house, world, case)
        fault = Fault(kind=FaultKind.STATUS, operation=case.operation, nth=nth, status=503)
    house.simulator.faults.add(fault)
    result = play(world, [case])[case.id]
    assert result.outcome == FAILED
    assert result.actual.startswith(("503", "ikke klargjort"))


@pytest.mark.parametrize(
    ("case_id", "expected"),
    [("REG-13", {"codes": ("KFR-002",)}), ("LOO-01", {"found": False}), ("LOO-04", {"found": True})],
)
def test_the_right_status_alone_is_not_enough(house, world, case_id, expected):
    case = next(case for case in CASES if case.id == case_id)
    otherwise = replace(case, expect=replace(case.expect, **expected))
    assert play(world, [otherwise])[case_id].outcome == FAILED
    assert play(world, [case])[case_id].outcome == PASSED


@pytest.mark.parametrize("kind", [FaultKind.FILE_DROPPED, FaultKind.FILE_PARTLY_LOADED])
def test_a_file_that_is_acknowledged_and_not_loaded_is_no_success(house, world, kind):
    house.simulator.faults.add(Fault(kind=kind, operation="register_file", nth=1))
    result = play(world, [case for case in CASES if case.id == "FIL-01"])["FIL-01"]
    assert (result.outcome, result.actual) == (FAILED, "201, ikke innlastet")


def test_the_customers_of_a_file_that_is_not_loaded_yet_are_not_forgotten(house, world):
    house.simulator.faults.add(
        Fault(kind=FaultKind.LOADING_STALLED, operation="register_file", nth=1, seconds=2_000)
    )
    play(world, [case for case in CASES if case.id == "FIL-02"])
    with pytest.raises(Retriable, match="is not loaded yet"):
        clean_up(world)
    world.clock.sleep(2_000)
    assert clean_up(world) == 2
    assert active(house) == set()


def test_a_test_that_broke_off_is_cleaned_up_all_the_same(house, world):
    case = next(case for case in CASES if case.id == "FIL-01")
    house.simulator.faults.add(Fault(kind=FaultKind.RESET_AFTER_WORK, operation="register_file", nth=1))
    assert play(world, [case])["FIL-01"].outcome == FAILED
    assert clean_up(world) == 3
    assert active(house) == set()


def test_a_refused_file_is_not_waited_for(house, world):
    play(world, [case for case in CASES if case.id == "FIL-18"])
    before = world.now
    assert clean_up(world) == 0
    assert world.now - before < 10


def test_production_is_refused_by_every_step_before_anything_is_sent(house, world):
    production = replace(world, settings=replace(world.settings, environment="production"))
    tokens = tokens_of(world.settings, world.clock)
    for step in (lambda: run_cases(production, tokens, CASES), lambda: clean_up(production)):
        with pytest.raises(ProductionRefused):
            step()
    assert house.simulator.log == []


def test_the_report_has_every_case_in_both_forms_and_the_mail_names_no_customer(house, world):
    play(world, CASES)
    institution = read_institution(house.include / "institution.yaml", house.include)
    test = completed_test(world, institution)
    sheet = load_workbook(io.BytesIO(test.sheet)).active
    listed = [[cell.value for cell in row] for row in sheet.iter_rows(min_row=3)]
    assert [row[0] for row in listed] == [case.id for case in CASES]
    assert {row[7] for row in listed} == {"bestått", "ikke kjørt"}
    first = listed[0]
    assert first[5:8] == ["201", "201", "bestått"]
    assert len(first[8]) == 36
    assert all(f"<td>{case.id}</td>" in test.page for case in CASES)
    assert f"{len(RUN)} bestått, 0 feilet, {len(CASES) - len(RUN)} ikke kjørt" in test.norwegian.text
    assert "Kari Nordmann" in test.norwegian.text
    assert "ready for production" in test.english.text
    customers = [f"{who:011d}" for who in house.simulator.relationships() if who > 10**9]
    assert customers
    written = [test.page, test.norwegian.text, str(listed)]
    assert not [who for who in customers if any(who in text for text in written)]
    keep(world, test)
    assert len(world.state.names("reports")) == 2


FLAWS = [
    ("- {id: A, title: t, operation: fly, customers: [none], expect: {status: [200]}}", "case A.operation: is unknown"),
    ("- {id: A, title: t, operation: look_up, customers: [kari], expect: {status: [200]}}", "an unknown customer"),
    ("- {id: A, title: t, operation: look_up, customers: [], expect: {status: [200]}}", "is not one customer"),
    ("- {id: A, title: t, operation: look_up, customers: [none], expect: {status: ok}}", "is not a list of statuses"),
    ("- {id: A, title: t, operation: look_up, customers: [none], send: {token: old}, expect: {status: [1]}}", "send.token"),
    ("- {id: A, title: t, operation: look_up, customers: [none], wait: 1, expect: {status: [1]}}", "wait: is not a field"),
    ("- {title: t, operation: look_up, customers: [none], expect: {status: [1]}}", "has no id or no title"),
    ("", "is not a list of cases"),
]  # fmt: skip


@pytest.mark.parametrize(("cases", "flaw"), FLAWS, ids=[flaw for _, flaw in FLAWS])
def test_a_case_that_is_not_right_is_named(tmp_path, cases, flaw):
    (tmp_path / "integration_cases.yaml").write_text(f"cases:\n{cases}\n")
    with pytest.raises(InstitutionFileError, match=flaw):
        read_cases(tmp_path)


def test_two_cases_of_one_id_are_refused(tmp_path):
    one = "- {id: A, title: t, operation: look_up, customers: [none], expect: {status: [200]}}\n"
    (tmp_path / "integration_cases.yaml").write_text(f"cases:\n{one}{one}")
    with pytest.raises(InstitutionFileError, match="case A: stands twice"):
        read_cases(tmp_path)


def test_drawn_customers_are_right_synthetic_and_spoilt_ones_are_wrong():
    import pyarrow as pa

    rng = random.Random(7)
    persons = [synthetic.draw_person(rng) for _ in range(500)]
    checked = check(pa.array(persons))
    assert set(checked.kinds.tolist()) == {Kind.SYNTHETIC_SKATTEETATEN}
    assert not checked.is_2032.any()
    spoilt = check(pa.array([synthetic.spoil(person) for person in persons]))
    assert set(spoilt.reasons.tolist()) == {Reason.CHECK_DIGIT}
    organisations = [synthetic.draw_organisation(rng) for _ in range(500)]
    assert all(orgnr.is_valid(number) and number[0] == "3" for number in organisations)


def test_a_token_that_is_refused_fails_the_cases_and_not_the_run(house, world):
    house.simulator.faults.add(
        Fault(kind=FaultKind.MASKINPORTEN_ERROR, operation="token", nth=1, times=500, code="MP-250")
    )
    results = play(world, CASES)
    assert all(results[case.id].actual == "ikke klargjort: MaskinportenRefused" for case in RUN)
