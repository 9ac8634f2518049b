"""Each task of the Dag fails once, at either end: the run is red, nothing is claimed, a clear brings it right."""

import pytest

from tests.dags.conftest import TASKS
from tests.simulator.faults import Fault, FaultKind

MAPPED = "upload_batch_file"
AFTER_D4 = TASKS[TASKS.index("send_confirmation") + 1 :]
CASES = [(task, when) for task in TASKS for when in ("before", "after")]
# A teardown does not run after its setup has failed; the lease of a run that is over is taken over by the next.
KEEPS_THE_LEASE = [("acquire_register", "after"), ("release_register", "before")]
LEAVE = 2


@pytest.mark.parametrize(("task", "when"), CASES)
def test_every_task_fails_once_and_the_load_ends_right_after_a_clear(bank, task, when):
    index = 0 if task == MAPPED else -1
    trouble = bank.fail(task, when, map_index=index)
    changes = [*bank.churn.leave(LEAVE), *bank.churn.arrive(2), *bank.churn.arrive_back_dated(1)]
    run = bank.trigger()

    assert play(bank, run, changes) == "failed"
    assert trouble.struck
    assert run.instances[task, index] == "failed"
    if run.states["verify_register"] != "success":
        assert run.states["record_mirror"] in (
            "failed",
            "upstream_failed",
        )  # it has recorded, and is no green end
    sent = task in AFTER_D4 or (task, when) == ("send_confirmation", "after")
    assert len(bank.d4_mails) == sent
    assert bank.proven == shown_to_be_loaded(bank, run, task, when)
    assert bank.lease_is_free or (task, when) in KEEPS_THE_LEASE

    assert task in run.clear((task, index) if index >= 0 else task)
    assert play(bank, run, changes) == "success", (run.states, run.errors)
    assert bank.is_right
    assert bank.proven == set(bank.register)
    assert len(bank.sent("remove_one")) == LEAVE
    assert bank.removed_too_early == []
    assert len(bank.d4_mails) == 1
    assert bank.lease_is_free
    assert bank.staged_files == []


def play(bank, run, changes):
    """Play the run to its end; once files are on their way the warehouse changes."""
    if run.go(until="register_arrivals") == "running":
        bank.change(changes)
        changes.clear()
    return run.go()


def shown_to_be_loaded(bank, run, task, when):
    """Whom this run has shown to be in the register, by what its tasks have done."""
    done = {key for key, state in run.instances.items() if state == "success"}
    if when == "after" and task not in (MAPPED, "close_arrivals"):  # these two died before they had waited
        done.add((task, -1))
    if ("verify_register", -1) in done:
        return set(bank.register)
    labels = next(iter(run.xcom("plan_changes")), [])
    shown = [label for index, label in enumerate(labels) if (MAPPED, index) in done]
    if ("close_arrivals", -1) in done:
        shown.append("closing-1")
    removed = {event.customer_id for event in bank.sent("remove_one")}
    return {who for label in shown for who in bank.customers_of(run, label)} - removed


@pytest.mark.parametrize(
    ("until", "state"),
    [
        ("check_readiness", "failed"),
        ("acquire_register", "failed"),
        (MAPPED, "failed"),
        (MAPPED, "success"),
        ("verify_register", "success"),
    ],
)
def test_a_run_that_a_person_marks_is_not_green_and_the_next_one_goes_on(bank, until, state):
    """Airflow skips what has not run, and takes a run whose last task is skipped for a success."""
    run = bank.trigger()
    assert run.go(until=until) == "running"
    run.mark(state)
    assert run.go() == "failed", run.states
    assert run.states["remove_staged_files"] == "failed"
    assert bank.lease_is_free
    assert bank.d4_mails == []
    after = bank.trigger()
    assert after.go() == "success", after.errors
    assert bank.is_right


def test_a_verification_that_is_marked_as_success_is_none(bank):
    bank.fail("verify_register", "before")
    run = bank.trigger()
    assert run.go() == "failed"
    run.clear("record_mirror")
    run.mark("success", "verify_register")
    assert run.go() == "failed"
    assert "not verified" in run.errors["record_mirror"]
    run.clear("verify_register")
    assert run.go() == "success", run.errors


@pytest.mark.parametrize("task", ["extract_relationships", "plan_changes"])
def test_a_dry_run_of_which_a_task_fails_is_not_green(bank, task):
    bank.fail(task, "before")
    run = bank.trigger(dry_run=True)
    assert run.go() == "failed"
    assert task in run.errors["remove_staged_files"]
    run.clear(task)
    assert run.go() == "success", run.errors
    assert bank.staged_files == []


def test_the_lease_of_a_run_that_died_is_taken_over_by_the_next(bank):
    bank.fail("acquire_register", "after")
    assert bank.trigger().go() == "failed"
    assert not bank.lease_is_free
    bank.patch.setenv("AIRFLOW__KFR__HEARTBEAT_SECONDS", "0")
    after = bank.trigger()
    assert after.go() == "success", after.errors
    assert bank.is_right
    assert bank.lease_is_free


def test_a_refused_d4_mail_is_sent_once_after_a_clear(bank):
    run = bank.trigger()
    run.go(until="send_confirmation")  # alerts are mails, too
    bank.simulator.faults.add(Fault(kind=FaultKind.STATUS, operation="mail", nth=1, status=550))
    assert run.go() == "failed"
    assert "Nothing was sent" in run.errors["send_confirmation"]
    assert bank.d4_mails == []
    run.clear("send_confirmation")
    assert run.go() == "success", run.errors
    assert len(bank.d4_mails) == 1


def test_a_d4_mail_that_may_have_left_is_a_person_s_decision_and_comes_twice_at_most_as_one(bank):
    run = bank.trigger()
    run.go(until="send_confirmation")  # alerts are mails, too
    bank.simulator.faults.add(Fault(kind=FaultKind.CLOSED_AFTER_WORK, operation="mail", nth=1))
    assert run.go() == "failed"
    assert "may have left" in run.errors["send_confirmation"]
    run.clear("send_confirmation")
    assert run.go() == "failed"
    assert "not known whether the mail d-4 left" in run.errors["send_confirmation"]
    assert len(bank.d4_mails) == 1
    run.clear("send_confirmation")  # a person has looked, and says that it did not leave
    assert run.go() == "success", run.errors
    assert len(bank.d4_mails) == 2
    assert len(set(bank.d4_mails)) == 1
