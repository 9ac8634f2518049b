"""The gate before D-3 in production: open tasks are named; only a person with a reason passes it."""

from dataclasses import replace
from datetime import date

import pytest

from kfr.load import report
from kfr.onboarding.gate import GateClosed, pass_gate
from kfr.onboarding.guide import TASKS, Progress
from kfr.onboarding.institution import read_institution

DONE = Progress(state="done", day=date(2026, 8, 17), by="Kari")
MUSTS = ("A-8", "C-2", "C-3", "D-1", "D-2")


@pytest.fixture
def world(house):
    with house.world() as world:
        yield replace(world, settings=replace(world.settings, environment="production"))


@pytest.fixture
def institution(house):
    return read_institution(house.include / "institution.yaml", house.include)


def done(institution, *tasks, **others):
    return replace(institution, tasks={**dict.fromkeys(tasks, DONE), **others})


def test_it_is_open_when_all_that_must_be_done_is_done(world, institution):
    pass_gate(world, done(institution, *MUSTS), "D-3", reason="", by=None)
    assert not world.place.exists(report.GATE)


@pytest.mark.parametrize("missing", MUSTS)
def test_each_open_task_is_named_with_who_acts(world, institution, missing):
    others = [task for task in MUSTS if task != missing]
    with pytest.raises(GateClosed) as raised:
        pass_gate(world, done(institution, *others), "D-3", reason=" ", by="kari")
    assert f"must be done: {missing} {TASKS[missing].title} ({TASKS[missing].who}). When" in str(raised.value)


def test_what_waits_for_somebody_is_not_done(world, institution):
    waiting = Progress(state="waiting", day=date(2026, 8, 17), by="Kari")
    with pytest.raises(GateClosed, match="D-2"):
        pass_gate(world, done(institution, *MUSTS, **{"D-2": waiting}), "D-3", reason="", by=None)


def test_a_person_with_a_reason_passes_and_both_stand_in_the_report(world, institution):
    pass_gate(world, done(institution, *MUSTS[:-1]), "D-3", reason="Bits agreed by phone", by="kari")
    built = report.build(world)
    assert built["gate"] == {"open": ["D-2"], "reason": "Bits agreed by phone", "by": "kari"}
    assert ("started although open: D-2", "kari: Bits agreed by phone") in report.table(built)


def test_a_reason_without_a_person_does_not_pass(world, institution):
    with pytest.raises(GateClosed, match="a person triggered"):
        pass_gate(world, institution, "D-3", reason="because", by=None)
    assert not world.place.exists(report.GATE)


def test_a_reason_that_is_no_longer_needed_leaves_the_report(world, institution):
    pass_gate(world, institution, "D-3", reason="because", by="kari")
    pass_gate(world, done(institution, *MUSTS), "D-3", reason="because", by="kari")
    assert "gate" not in report.build(world)


@pytest.mark.parametrize("changes", [{"environment": "test"}, {"dry_run": True}])
def test_test_and_dry_runs_pass(world, institution, changes):
    run = replace(world.run, dry_run=changes.get("dry_run", False))
    settings = replace(world.settings, environment=changes.get("environment", "production"))
    pass_gate(replace(world, run=run, settings=settings), institution, "D-3", reason="", by=None)
