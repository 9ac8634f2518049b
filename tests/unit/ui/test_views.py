"""What the page says of runs, from what a real load tells of itself."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kfr.load import extract, upload, watermark
from kfr.load.summary import summarise
from kfr.register.errors import AccessRefused
from kfr.ui.figures import LoadRun, Overview, Task, institution_of
from kfr.ui.page_view import page_values
from kfr.ui.run_view import RunView
from kfr.ui.templating import page
from tests.faults.institution import Agreement
from tests.unit.load.one_load import OneLoad
from tests.unit.ui.test_report_page import text_of


def a_task(task_id: str, state: str | None, label: str = "", map_index: int = -1) -> Task:
    return Task(task_id=task_id, map_index=map_index, label=label, state=state, began=None, ended=None)


def a_run(load: OneLoad, *statuses: Any, state: str = "running", tasks: Any = (), **changes: Any) -> LoadRun:
    began = load.institution.clock.now() - timedelta(minutes=3)
    ended = None if state == "running" else load.institution.clock.now()
    return LoadRun(
        **{
            "dag_id": "kfr_initial_load",
            "run_id": "manual__1+00:00",
            "state": state,
            "kind": "manual",
            "began": began,
            "ended": ended,
            "tasks": list(tasks),
            "statuses": list(statuses),
            **changes,
        }
    )


def shown(load: OneLoad, *runs: LoadRun) -> str:
    found = Overview(name="", runs=list(runs))
    values = page_values(found, load.institution.clock.now())
    return text_of(page("page.html", words={}, others=[("first institution", "?")], **values))


@pytest.fixture
def loading(load: OneLoad) -> OneLoad:
    load.join(1000)
    load.institution.warehouse.agreements_held.append(Agreement("12345678901", None))
    load.plan()
    upload.upload(load.world, "0001")
    return load


def test_the_sentence_says_what_is_waited_for_and_until_when(loading: OneLoad):
    tasks = [a_task("plan_changes", "success"), a_task("upload_batch_file", "deferred", "0001", 0)]
    run = a_run(
        loading, summarise(loading.world), tasks=[*tasks, a_task("register_arrivals", "up_for_reschedule")]
    )
    view = RunView(run, loading.institution.clock.now())
    assert (
        "waiting until the register has loaded the files, and registering who arrives meanwhile"
        in view.sentence
    )
    assert view.ends_at == pytest.approx(loading.world.now + 4, abs=1)
    assert view.files_said.startswith("0 of 1 proven")
    assert "1 of 1" not in shown(loading, run)


def test_a_failure_comes_first_with_its_own_words_and_a_way_to_the_log(loading: OneLoad):
    first = summarise(loading.world, AccessRefused("You may not.", code="KFR-003"))
    then = summarise(loading.world, AccessRefused("The load is not verified."))
    failed = [a_task("upload_batch_file", "failed", "0001", 0), a_task("record_mirror", "failed")]
    view = RunView(a_run(loading, first, then, state="failed", tasks=failed), loading.institution.clock.now())
    (note,) = view.notes
    assert note.kind == "bad"
    assert note.what == "This load has failed: AccessRefused: You may not. (code KFR-003)"
    assert note.links[0] == (
        "log of upload_batch_file 0001",
        "../dags/kfr_initial_load/runs/manual__1%2B00%3A00/tasks/upload_batch_file/mapped/0",
    )


def test_what_was_told_and_is_not_over_is_shown_with_since_when(loading: OneLoad):
    status = summarise(loading.world)
    assert "Alerts that are not over" not in shown(loading, a_run(loading, status))
    since = datetime(2026, 11, 23, 3, 31, tzinfo=UTC).timestamp()
    for topic, what, at in (
        ("late", "Not proven in time.", since),
        ("rejects", "11 were refused.", since - 60),
    ):
        entry = {"cause": topic, "run": "a-run", "since": at, "what": what}
        loading.world.state.write_json(f"alerts/{topic}.json", entry)
    text = shown(loading, a_run(loading, status, summarise(loading.world) | {"at": status["at"] + 1}))
    said = re.search(r"Alerts that are not over\s+(.+?)\s+since (\S+ \S+)\s+(.+?)\s+since", text)
    assert said, text
    assert said.groups() == ("11 were refused.", "2026-11-23 04:30", "Not proven in time.")


def test_a_run_that_failed_before_it_could_say_anything_is_shown(load: OneLoad):
    text = shown(load, a_run(load, state="failed", tasks=[a_task("check_readiness", "failed")]))
    assert "see the log of the first failed task" in text
    assert "not yet" in text


def test_a_dry_run_claims_no_file_and_no_customer(load: OneLoad):
    load.join(20)
    load.plan()
    status = summarise(load.world) | {"dry_run": True}
    run = a_run(load, status, state="success")
    view = RunView(run, load.institution.clock.now())
    assert view.sentence.endswith("A dry run: nothing was sent.")
    assert view.timeline is None
    assert "proven," not in shown(load, run)
    assert RunView(a_run(load, status), load.institution.clock.now()).timeline is not None


def test_a_person_is_asked_with_the_guards_own_words(loading: OneLoad):
    status = summarise(loading.world)
    status["run"]["plan"]["findings"] = [{"code": "shrunk", "message": "a fifth is gone"}]
    run = a_run(loading, status, tasks=[a_task("approve_changes", "awaiting_input")])
    (note,) = RunView(run, loading.institution.clock.now()).notes
    assert (note.what, note.more) == ("A person must approve the plan.", "a fifth is gone")
    assert note.links[0][1].endswith("/tasks/approve_changes/required_actions")


def test_freshness_is_told_in_days_and_goes_red(load: OneLoad):
    load.join(3)
    load.load()
    load.finish()
    watermark.follow(load.world, extract.read(load.world))
    run, now = a_run(load, summarise(load.world), state="success"), load.institution.clock.now()
    said = []
    for days in (0, 1, 2):
        facts = page_values(Overview(name="", runs=[run]), now + timedelta(days=days))["register"]
        said.append((facts[1].below, facts[1].kind))
    assert said == [("today", "good"), ("yesterday", "good"), ("2 days ago", "bad")]


@pytest.mark.parametrize(("days", "kind"), [(61, ""), (60, "wait"), (8, "wait"), (7, "bad")])
def test_a_certificate_that_ends_soon_is_seen(loading: OneLoad, days: int, kind: str):
    status = summarise(loading.world) | {"certificate_days": days}
    found = Overview(name="", runs=[a_run(loading, status)])
    assert page_values(found, datetime.now(UTC))["register"][2].kind == kind


def test_who_holds_the_register_is_the_run_to_look_at(loading: OneLoad):
    holder = a_run(loading, summarise(loading.world), run_id="manual__1")
    waiting = a_run(loading, dag_id="kfr_periodic_load", run_id="scheduled__2")
    over = a_run(loading, state="success", run_id="manual__0")
    assert Overview(name="", runs=[over, waiting, holder]).current is holder
    assert Overview(name="", runs=[over, waiting]).current is waiting
    assert Overview(name="", runs=[over]).current is over
    assert Overview(name="", runs=[]).current is None


def test_the_end_that_removes_the_files_does_not_take_the_figures_away(loading: OneLoad):
    told = summarise(loading.world)
    loading.world.place.remove_all()
    run = a_run(loading, told, summarise(loading.world), state="success")
    assert run.status == told["run"]
    assert "1 001" in shown(loading, run).replace("\u202f", " ")


def test_a_dag_id_says_whose_load_it_is():
    assert institution_of("kfr_periodic_load") == ""
    assert institution_of("kfr_periodic_load__bank_a") == "bank_a"
    assert institution_of("kfr_readiness") is None


def test_many_reasons_share_the_last_colour(loading: OneLoad):
    status = summarise(loading.world)
    status["run"]["extract"]["rejected"] = {f"reason_{n}": n for n in range(1, 9)}
    text = shown(loading, a_run(loading, status))
    assert "other reasons" in text
    assert "reason_8" in text
    assert "reason_1" not in text
