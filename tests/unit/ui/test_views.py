"""What the page says of runs, from what a real load tells of itself."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kfr.load import extract, upload, watermark
from kfr.load.summary import summarise
from kfr.load.upload import NotLoaded
from kfr.register.errors import AccessRefused, KfrError
from kfr.ui.figures import LoadRun, Overview, Task, institution_of
from kfr.ui.page_view import page_values
from kfr.ui.run_view import RunView
from kfr.ui.templating import clock, moment, page
from tests.faults.institution import Agreement
from tests.simulator import FaultKind
from tests.unit.load.one_load import OneLoad
from tests.unit.ui.test_report_page import text_of


def a_task(
    task_id: str, state: str | None, label: str = "", map_index: int = -1, *, attempt: int = 1
) -> Task:
    return Task(
        task_id=task_id,
        map_index=map_index,
        label=label,
        state=state,
        began=None,
        ended=None,
        try_number=attempt,
        tries=6,
    )


def a_status(load: OneLoad, error: KfrError | None = None, task_id: str = "", index: int = -1) -> Any:
    """What a task says of its run, as the page finds it."""
    return {**summarise(load.world, error), "task": (task_id, index)}


def late(load: OneLoad, at: str | None = "deferred", attempt: int = 2, **changes: Any) -> LoadRun:
    """A run whose file is past its time, and its task in a state."""
    task = a_task("upload_batch_file", at, "0001", 0, attempt=attempt)
    return a_run(load, a_status(load, None, "upload_batch_file", 0), tasks=[task], **changes)


def lines_of(run: LoadRun, now: datetime) -> list[str]:
    return [f"{line.kind}: {line.said}" for line in RunView(run, now).file_lines]


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
    first = a_status(loading, AccessRefused("You may not.", code="KFR-003"), "upload_batch_file", 0)
    then = a_status(loading, AccessRefused("The load is not verified."), "record_mirror")
    failed = [a_task("upload_batch_file", "failed", "0001", 0, attempt=3), a_task("record_mirror", "failed")]
    view = RunView(a_run(loading, first, then, state="failed", tasks=failed), loading.institution.clock.now())
    (note,) = view.notes
    assert note.kind == "bad"
    assert note.what == "This load has failed: AccessRefused: You may not. (code KFR-003)"
    assert note.links[0] == (
        "log of upload_batch_file 0001",
        "../dags/kfr_initial_load/runs/manual__1%2B00%3A00/tasks/upload_batch_file/mapped/0?try_number=3",
    )
    assert (note.section, view.state) == ("When something fails", "failed")


def test_a_file_that_is_late_says_which_try_it_is_until_when_and_what_comes_then(loading: OneLoad):
    run = late(loading)
    (file,) = run.status["files"]
    due, until = (datetime.fromtimestamp(file[n], UTC) for n in ("loaded_at", "looked_up_until"))
    second = timedelta(seconds=1)
    assert lines_of(late(loading, attempt=1), due) == []
    assert lines_of(run, due) == [f"work: try 2 of 6, should be loaded by {clock(due.timestamp())}"]
    ends = clock(until.timestamp())
    assert lines_of(run, due + second) == [f"wait: try 2 of 6, looked up until {ends}, then sent again"]
    last = late(loading, attempt=6)
    assert lines_of(last, due + second) == [f"wait: try 6 of 6, looked up until {ends}, then red"]
    assert lines_of(last, until) == ["wait: try 6 of 6 is at work"]
    assert lines_of(late(loading, "up_for_retry"), until) == [
        "wait: try 2 of 6 has failed, tried again by itself"
    ]
    assert lines_of(late(loading, "failed", 6), until) == ["bad: not loaded, try 6 of 6 has failed"]
    cleared = late(loading, None, 6)
    assert lines_of(cleared, due) == [f"work: tried again: looked up until {ends}, then sent again"]
    assert lines_of(cleared, until) == ["work: tried again: about to be sent again"]


def test_a_file_that_was_sent_twice_shows_both_with_the_first_superseded(load: OneLoad):
    load.join(10)
    load.plan()
    load.fault(FaultKind.FILE_DROPPED)
    for _ in range(2):
        load.institution.clock.advance(3600)
        upload.upload(load.world, "0001")
    first, second = load.sends
    text = shown(load, late(load))
    said = re.search(r"try 2 of 6, should be loaded by \S+ \S+ \S+ (\S+) superseded \S+ \S+ (\S+) ", text)
    assert said, text
    assert said.groups() == (first.correlation_id, second.correlation_id)


def test_no_forecast_is_shown_that_has_passed(loading: OneLoad):
    run, now = late(loading), loading.institution.clock.now()
    assert "Files loaded at about" in RunView(run, now).sentence
    (file,) = run.status["files"]
    run.status["files"].append(
        {**file, "label": "0002", "loaded_at": file["loaded_at"] + 3600}
    )  # is yet to come
    assert "Files loaded at about" in RunView(run, now).sentence
    loading.institution.clock.advance(10)  # it was to take four
    assert "Files loaded at about" not in RunView(run, loading.institution.clock.now()).sentence


def test_who_waits_until_nothing_can_be_loading_is_told_until_when(loading: OneLoad):
    status = a_status(loading)
    run = a_run(loading, status, tasks=[a_task("close_additions", "deferred")])
    until = datetime.fromtimestamp(status["open"]["until"], UTC)
    said = f"can be loading any more. That is at {moment(until.isoformat())}; no removal before, nor the proof of the load."
    assert said in RunView(run, loading.institution.clock.now()).sentence
    assert "no removal before" not in RunView(run, until).sentence
    elsewhere = a_run(loading, status, tasks=[a_task("upload_batch_file", "deferred", "0001", 0)])
    assert "no removal before" not in RunView(elsewhere, loading.institution.clock.now()).sentence


def test_a_run_whose_file_was_given_up_is_failing_while_others_are_at_work(loading: OneLoad):
    error = NotLoaded("0001", late=1, done=0, files=2)
    tasks = [
        a_task("upload_batch_file", "failed", "0001", 0, attempt=6),
        a_task("register_arrivals", "up_for_reschedule"),
    ]
    view = RunView(
        a_run(loading, a_status(loading, error, "upload_batch_file", 0), tasks=tasks), datetime.now(UTC)
    )
    (note,) = view.notes
    assert view.state == "failing"
    assert note.what.startswith("This load is failing: NotLoaded: Batch file 0001")
    assert "retry" not in note.what
    assert "Other tasks are still at work" in note.more
    assert note.section == "A send that never loads"  # as the alert says


def test_what_is_tried_again_says_so_and_names_the_same_section_as_the_alert(loading: OneLoad):
    error = NotLoaded("0001", late=1, done=0, files=2)
    status = a_status(loading, error, "upload_batch_file", 0)
    run = a_run(loading, status, tasks=[a_task("upload_batch_file", "up_for_retry", "0001", 0)])
    (note,) = RunView(run, datetime.now(UTC)).notes
    assert (note.kind, note.section) == ("wait", "A send that never loads")
    assert note.what.startswith("Tried again by itself: NotLoaded")


def test_after_a_clear_nothing_of_the_failure_is_left_but_that_it_was_cleared(loading: OneLoad):
    """What the last task said stays in Airflow until it runs again."""
    told = a_status(loading, AccessRefused("The load is not verified."), "record_mirror")
    tasks = [a_task("upload_batch_file", "deferred", "0001", 0, attempt=7), a_task("record_mirror", None)]
    at = datetime(2026, 11, 23, 3, 31, tzinfo=UTC)
    run = a_run(loading, told, tasks=tasks, cleared=at)
    view = RunView(run, datetime.now(UTC))
    assert [(n.kind, n.what) for n in view.notes] == [("work", "Cleared at 2026-11-23 04:31, running again.")]
    assert view.state == "running"
    assert "not verified" not in shown(loading, run)


def test_a_file_of_a_run_that_is_over_is_not_waited_for(loading: OneLoad):
    view = RunView(late(loading, "failed", 6, state="failed"), datetime.now(UTC))
    assert [f["status"] for f in view.files] == ["not proven"]
    assert "until" not in str(view.timeline)


def test_the_zone_of_the_times_is_said_once(loading: OneLoad):
    run = late(loading)
    assert shown(loading, run).count("Norwegian") == 1
    alone = page("run.html", words={}, refresh=10, run=RunView(run, datetime.now(UTC)))
    assert text_of(alone).count("Norwegian") == 1


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
