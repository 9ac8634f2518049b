"""Every alert is provoked and its mail read, over SMTP."""

from dataclasses import asdict, replace
from datetime import timedelta
from typing import Any

import pytest

from kfr.hooks.world import world_of
from kfr.load import lease
from kfr.load.planning import GuardStopped
from kfr.load.verification import NotEqual
from kfr.notifications import cases
from kfr.notifications.callbacks import alert_failure, alert_retry
from kfr.register.errors import AccessRefused, Fatal, MaskinportenRefused
from tests.environment import MAIL_TO_ONCALL
from tests.unit.load.one_load import a_send
from tests.unit.notifications.failed import (
    ASKED,
    CORRELATION_ID,
    SECRET,
    TRIES,
    failed,
    flat,
    late,
    not_loaded,
    recover,
)
from tests.unit.stand import SQL_FOLDER, Stand

AIRFLOW = "airflow.sdk.execution_time.task_runner.RuntimeTaskInstance"


def retry_all(stand: Stand, times: int) -> None:
    """Twelve files fail, and each is tried again, so many times."""
    for attempt in range(1, times + 1):
        for index in range(12):
            alert_retry(failed(stand, not_loaded(f"{index + 1:04d}"), index=index, attempt=attempt))


def test_twelve_files_that_fail_and_three_retries_are_one_alert_and_one_recovery(stand: Stand):
    retry_all(stand, 3)
    (mail,) = stand.simulator.mails
    assert mail.recipients == (MAIL_TO_ONCALL,)
    assert flat(mail.subject).startswith(
        "[KFR, can wait until morning] kfr_initial_load waits for files that do not load: 2 of 12 files so far (3"
    )
    recover(stand)
    recover(stand)
    _, over = stand.simulator.mails
    assert over.subject.startswith("[KFR, over] kfr_initial_load is proven")
    assert "waits for files that do not load" in over.text


def test_files_that_are_given_up_are_a_change_of_state_and_told_of_once_more(stand: Stand):
    retry_all(stand, 5)
    for index in range(12):
        alert_failure(failed(stand, not_loaded(late=12, done=0), index=index, attempt=TRIES))
    alert_failure(failed(stand, Fatal("The load is not verified."), "record_mirror"))
    retry_all(stand, 1)  # after a clear
    recover(stand)
    assert [flat(m.subject).split(" (3")[0] for m in stand.simulator.mails] == [
        "[KFR, can wait until morning] kfr_initial_load waits for files that do not load: 2 of 12 files so far",
        "[KFR, can wait until morning] kfr_initial_load has failed: 12 of 12 files are not loaded in time",
        "[KFR, over] kfr_initial_load is proven",
    ]
    assert "has failed: 12 of 12 files are not loaded in time" in stand.simulator.mails[-1].text


def test_a_run_that_fails_again_after_a_clear_tells_once_more_and_its_retries_do_not(stand: Stand):
    def failure(error: Exception, clears: int, callback: Any = alert_failure) -> int:
        context = failed(stand, error, attempt=TRIES)
        context["dag_run"].clear_number = clears
        callback(context)
        return len(stand.simulator.mails)

    end = Fatal("The load is not verified.")
    assert [failure(not_loaded(), 0), failure(not_loaded(), 0)] == [1, 1]
    assert [failure(not_loaded(), 1, alert_retry), failure(not_loaded(), 1), failure(not_loaded(), 1)] == [
        1,
        2,
        2,
    ]
    context = failed(stand, end, "record_mirror")
    context["dag_run"].clear_number = 2
    alert_failure(context)  # only follows
    assert len(stand.simulator.mails) == 2


def test_a_file_that_does_not_load_says_which_try_it_was_and_what_will_follow(stand: Stand):
    alert_retry(failed(stand, not_loaded(), index=1))
    alert_failure(failed(stand, not_loaded(late=12, done=0), index=1, attempt=TRIES))
    late, red = (flat(mail.text) for mail in stand.simulator.mails)
    assert (
        "2 of 12 files so far. Loaded: 1. Seen at batch file 0002, whose last send has the CorrelationID"
        in late
    )
    assert "each file is tried again by itself (this was try 1 of 6)" in late
    assert "the load is red and another mail says so" in late
    assert "nothing at night (try 6 of 6 has failed" in red
    assert "tried again" not in red
    for mail, attempt in ((late, 1), (red, TRIES)):
        assert (
            f"/tasks/upload_batch_file/mapped/1?try_number={attempt} " in mail
        )  # a newer one has no log yet
        assert mail.count(CORRELATION_ID) == mail.count("DSOP@bits.no") + (attempt == 1) == 1
        assert 'Runbook, section "A send that never loads"' in mail
        assert "How urgent: this can wait until the morning." in mail
        assert "no load has been proven yet. No file is proven to be loaded either." in mail


def test_what_is_proven_of_a_load_that_is_not_is_told(stand: Stand):
    for attempt in (1, 2):  # the same bytes, sent twice
        send = a_send(rows=2500, proven_at=1.0, attempt=attempt)
        stand.staging.state.write_json(send.name, asdict(send))
    alert_failure(failed(stand, Fatal("no"), "remove_ended"))
    stand.staging.state.write_json("mirror", {"version": 1, "proven": 1234})
    alert_failure(failed(stand, AccessRefused("no"), "remove_ended", run_id="manual__2"))
    before, after = (flat(mail.text) for mail in stand.simulator.mails)
    assert "Proven to be loaded so far: 2,500 relationships, in files." in before
    assert "no load has been proven yet. 1,234 relationships are proven to be registered." in after


@pytest.mark.parametrize(
    ("error", "said", "section"),
    [
        (GuardStopped("mixed_worlds: synthetic numbers."), "was stopped by a guard", "guards"),
        (
            MaskinportenRefused("no token: the key expired", code="MP-121"),
            "gets no token from Maskinporten",
            "no-token",
        ),
        (NotEqual("The register does not equal."), "mirror and register disagree", "when-something-fails"),
        (AccessRefused("You may not.", code="KFR-003"), "has failed", "when-something-fails"),
    ],
)
def test_a_failure_says_what_happened_what_it_means_what_to_do_and_where(
    stand: Stand, error: Exception, said: str, section: str, monkeypatch: pytest.MonkeyPatch
):
    url = "https://airflow.bank.example"
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", f"{url}/")
    alert_failure(failed(stand, error, "verify_register"))
    (mail,) = stand.simulator.mails
    assert said in mail.text
    assert str(error) in mail.text
    assert "For the register this means: no load has been proven yet" in mail.text
    assert "What to do: " in mail.text
    assert f"{url}/kfr/docs/runbook.md#{section}" in mail.text
    assert mail.subject.startswith("[KFR, act now] ")
    assert "How urgent: act now, at night too." in " ".join(mail.text.split())
    assert "/dags/kfr_initial_load/runs/manual__1/tasks/verify_register" in mail.text
    assert "/dags/kfr_initial_load/runs/manual__1/plugin/kfr-run" in mail.text
    assert "312345676, test" in mail.subject


def test_the_register_s_standing_is_told_with_day_and_number(stand: Stand):
    day = stand.today - timedelta(days=3)
    stand.staging.state.write_json("watermark", {"as_of": day.isoformat(), "run": "a-run"})
    stand.staging.state.write_json("mirror", {"version": 2, "proven": 1234567})
    alert_failure(failed(stand, Fatal("no")))
    assert f"right as of {day} (that is 3 days ago), with 1,234,567 relationships" in " ".join(
        stand.simulator.mails[0].text.split()
    )


def test_another_run_tells_again_only_of_another_cause(stand: Stand):
    alert_failure(failed(stand, AccessRefused("no", code="KFR-003")))
    alert_failure(failed(stand, AccessRefused("no", code="KFR-003"), run_id="manual__2"))
    assert len(stand.simulator.mails) == 1
    alert_failure(failed(stand, MaskinportenRefused("no", code="MP-121"), run_id="manual__2"))
    assert len(stand.simulator.mails) == 2


def test_a_run_that_a_person_stopped_can_wait_and_silences_no_other_failure(stand: Stand):
    """What stands for all of a stopped run is the last task's word; the errors of our own have no name there."""
    alert_failure(failed(stand, Fatal("upload did not end well."), "remove_staged_files"))
    alert_failure(failed(stand, Fatal("The fates do not add up."), "plan_changes", run_id="manual__2"))
    assert [m.subject.split("]")[0].strip() for m in stand.simulator.mails] == [
        "[KFR, can wait until morning",
        "[KFR, act now",
    ]


def test_an_airflow_that_was_not_told_its_address_names_the_runbook_s_file_and_section(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("AIRFLOW__API__BASE_URL", raising=False)
    alert_failure(failed(stand, GuardStopped("mixed_worlds: synthetic numbers.")))
    assert 'Runbook, section "Guards": docs/runbook.md#guards' in stand.simulator.mails[0].text.splitlines()


def test_what_must_not_wait_is_told_although_the_same_run_has_told_what_may(stand: Stand):
    """And what only follows from a file that was not loaded wakes nobody, nor tells it twice."""
    alert_retry(failed(stand, not_loaded()))
    alert_failure(failed(stand, Fatal("The load is not verified."), "record_mirror"))
    assert len(stand.simulator.mails) == 1
    for _ in range(2):
        alert_failure(failed(stand, NotEqual("The register does not equal."), "verify_register"))
        alert_retry(failed(stand, not_loaded("0001")))
    assert [m.subject.split("]")[0] for m in stand.simulator.mails] == [
        "[KFR, can wait until morning",
        "[KFR, act now",
    ]


def test_an_error_that_is_not_ours_is_not_quoted(stand: Stand):
    alert_failure(failed(stand, ValueError(f"invalid input: {SECRET}")))
    (mail,) = stand.simulator.mails
    assert SECRET not in mail.raw.decode()
    assert "ValueError" in mail.text


def test_a_dag_that_is_no_load_tells_by_its_own_report(stand: Stand):
    context = failed(stand, Fatal("no"))
    context["dag_run"].dag_id = "kfr_readiness"
    alert_failure(context)
    assert stand.simulator.mails == []
    context["dag_run"].dag_id = "kfr_periodic_load__bank_a"
    alert_failure(context)
    assert len(stand.simulator.mails) == 1


def test_a_dry_run_and_a_retry_of_anything_else_tell_nobody(stand: Stand):
    alert_failure(failed(stand, Fatal("no"), dry_run=True))
    alert_retry(failed(stand, AccessRefused("no")))
    assert stand.simulator.mails == []


def test_a_load_that_was_proven_before_ends_no_alert_of_a_later_run(stand: Stand):
    """As when the last task of an old run is cleared once more."""
    stand.staging.state.write_json("watermark", {"as_of": stand.today.isoformat(), "run": "manual__1"})
    with world_of(stand.context(), sql_folder=SQL_FOLDER, say=lambda _: None) as world:
        proven_at = world.now
        stand.clock.sleep(60)
        alert_failure(failed(stand, AccessRefused("no"), run_id="manual__2"))
        cases.recovered(world, since=proven_at)
        assert stand.staging.state.names("alerts") == ["alerts/load.json"]
        cases.recovered(world, since=world.now)
    assert stand.staging.state.names("alerts") == []


@pytest.mark.parametrize("what", ["as of a past day", "of some past days", "begun on the day before"])
def test_a_load_ends_no_alert_of_another_run_that_it_does_not_make_good(stand: Stand, what: str):
    today, yesterday = stand.today, stand.today - timedelta(days=1)
    proven = yesterday if what == "begun on the day before" else today
    stand.staging.state.write_json("watermark", {"as_of": proven.isoformat(), "run": "a-run"})
    alert_failure(failed(stand, AccessRefused("no"), run_id="manual__2"))
    late(stand)
    with world_of(stand.context(), sql_folder=SQL_FOLDER, say=lambda _: None) as world:
        asked = {
            "as of a past day": {"as_of": yesterday},
            "of some past days": {"scope": "interval", "interval": (yesterday, yesterday)},
            "begun on the day before": {},
        }
        run = replace(world.run, **asked[what])
        cases.recovered(replace(world, run=run), since=world.now)
        assert len(stand.simulator.mails) == 2
        assert stand.staging.state.names("alerts") == ["alerts/late.json", "alerts/load.json"]
        cases.recovered(replace(world, run=replace(run, run_id="manual__2")), since=world.now)  # its own
    assert stand.staging.state.names("alerts") == ["alerts/late.json"]
    over = stand.simulator.mails[-1].text
    assert "Not over: - The periodic load is not proven in time." in flat(over)


def test_what_only_follows_from_a_known_failure_of_the_next_night_wakes_nobody(stand: Stand):
    for run in ("scheduled__1", "scheduled__2", "scheduled__3"):
        alert_failure(failed(stand, not_loaded(), run_id=run, attempt=TRIES))
        alert_failure(failed(stand, Fatal("The load is not verified."), "record_mirror", run_id=run))
    assert [m.subject.split("]")[0].strip() for m in stand.simulator.mails] == [
        "[KFR, can wait until morning"
    ]


def test_a_scheduled_load_that_is_not_proven_in_time_is_told_of_once_and_its_end_too(stand: Stand):
    late(stand)
    late(stand)
    (mail,) = stand.simulator.mails
    assert "The periodic load is not proven in time" in mail.subject
    assert "/dags/kfr_periodic_load/runs/scheduled__1/plugin/kfr-run" in mail.text
    recover(stand)
    assert "not proven in time" in stand.simulator.mails[1].text


def test_a_run_that_an_asset_has_started_can_be_late_too(stand: Stand):
    late(stand, "asset_triggered")
    assert len(stand.simulator.mails) == 1


@pytest.mark.parametrize("run_type", ["manual", "backfill"])
def test_only_a_scheduled_run_can_be_late(stand: Stand, run_type: str):
    late(stand, run_type)
    assert stand.simulator.mails == []


def test_a_run_that_has_failed_and_was_told_of_is_not_late_as_well(stand: Stand):
    context = failed(stand, Fatal("no"), run_id="scheduled__1")
    context["dag_run"].dag_id = "kfr_periodic_load"
    alert_failure(context)
    late(stand)
    assert len(stand.simulator.mails) == 1


def test_a_run_that_asks_a_person_and_told_so_is_not_late_as_well(stand: Stand):
    with world_of(stand.context("scheduled__1"), sql_folder=SQL_FOLDER, say=lambda _: None) as world:
        run = replace(world.run, dag_id="kfr_periodic_load")
        cases.ask_for_approval(replace(world, run=run), ASKED, timedelta(hours=12))
        late(stand)
        assert len(stand.simulator.mails) == 1
        cases.approved(replace(world, run=run), "kari")
    late(stand)
    assert "not proven in time" in stand.simulator.mails[-1].subject


@pytest.mark.parametrize(
    ("holder", "active", "severity"),
    [
        ("kfr_reconcile", 1, "can wait until morning"),
        ("kfr_reconcile", 0, "act now"),
        ("kfr_periodic_load", 1, "act now"),  # the late run itself
    ],
)
def test_a_load_that_is_late_since_another_is_under_way_can_wait(
    stand: Stand, *, monkeypatch: pytest.MonkeyPatch, holder: str, active: int, severity: str
):
    """As behind a comparison of everyone on a Sunday; a lease that its run has left behind is none."""
    with world_of(stand.context("scheduled__1"), sql_folder=SQL_FOLDER, say=lambda _: None) as world:
        its = replace(world, run=replace(world.run, dag_id=holder))
        lease.acquire(its, finished=lambda _: False, heartbeat_seconds=1, first_load=True)
    monkeypatch.setattr(f"{AIRFLOW}.get_dr_count", lambda **asked: active * len(asked["run_ids"]))
    late(stand)
    (mail,) = stand.simulator.mails
    assert flat(mail.subject).startswith(f"[KFR, {severity}] The periodic load is not proven in time (3")
    assert ("held by run scheduled__1 of kfr_reconcile." in flat(mail.text)) == (severity != "act now")
    monkeypatch.setattr(f"{AIRFLOW}.get_dr_count", lambda **_: 0)
    late(stand)  # it is over, and this run has not gone on
    assert "[KFR, act now]" in stand.simulator.mails[-1].subject


def test_the_end_of_a_run_ends_its_question_whatever_ended_it_and_no_other_run_s(stand: Stand):
    def question(run_id: str, *, fingerprint: str = "f") -> int:
        with world_of(stand.context(run_id), sql_folder=SQL_FOLDER, say=lambda _: None) as world:
            cases.ask_for_approval(world, ASKED | {"fingerprint": fingerprint}, timedelta(hours=12))
        return len(stand.simulator.mails)

    assert [question("manual__1"), question("manual__1")] == [1, 1]
    alert_failure(failed(stand, Fatal("approve_changes did not end well."), "remove_staged_files"))
    *_, over = stand.simulator.mails
    assert over.subject.startswith("[KFR, over] The run has ended, and its plan waits for nobody")
    assert not stand.staging.state.exists("alerts/approval.json")
    assert question("manual__2") == 4
    alert_failure(failed(stand, Fatal("upload did not end well."), "remove_staged_files", run_id="manual__3"))
    assert stand.staging.state.exists("alerts/approval.json")


def test_two_workers_that_see_the_same_failure_tell_once(stand: Stand):
    """The file is made by whoever is first; the other finds it there."""
    with world_of(stand.context(), sql_folder=SQL_FOLDER, say=lambda _: None) as world:
        lease.acquire(world, finished=lambda _: False, heartbeat_seconds=1, first_load=True)
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: alert_failure(failed(stand, Fatal("no"), index=i)), range(8)))
    assert len(stand.simulator.mails) == 1
