"""Where a load stops, waits, or has nothing to send: dry runs, empty plans, people and guards."""

import pytest

REAL_PERSON = "55068575027"  # the example of the 2021 series, right and not synthetic
FROM_THE_NOTICE_ON = {
    "announce_volume",
    "upload_batch_file",
    "register_arrivals",
    "close_arrivals",
    "remove_ended",
    "verify_register",
    "send_confirmation",
    "record_mirror",
}


def test_a_dry_run_plans_and_forecasts_and_sends_nothing(bank):
    run = bank.trigger(dry_run=True)
    assert run.go() == "success", run.errors
    assert {task for task, state in run.states.items() if state == "skipped"} == FROM_THE_NOTICE_ON
    [plan] = run.xcom("plan_changes", "plan")
    assert plan["added"] == len(bank.wanted) == plan["forecast"]["rows"]
    assert plan["forecast"]["files"] == 2
    assert sum(plan["fates"].values()) == run.xcom("extract_relationships")[0]["rows"]["rows"]
    assert_nothing_left(bank)
    assert bank.state_files == []
    assert bank.staged_files == []


def test_a_dry_run_beside_a_state_leaves_it_as_it_was(bank):
    assert bank.trigger().go() == "success"
    before = {path: path.read_bytes() for path in bank.state_files}
    sent = len(bank.sent())
    bank.change([*bank.churn.leave(1), *bank.churn.arrive(1)])
    dry = bank.trigger(dry_run=True)
    assert dry.go() == "success", dry.errors
    [plan] = dry.xcom("plan_changes", "plan")
    assert (plan["added"], plan["removals"]) == (1, 1)
    assert {path: path.read_bytes() for path in bank.state_files} == before
    assert len(bank.sent()) == sent


def test_a_plan_with_no_file_still_comes_to_removal_and_proof(bank):
    assert bank.trigger().go() == "success"
    files = bank.sent("file_accepted")
    gone = bank.change(bank.churn.leave(1))
    again = bank.trigger()
    assert again.go() == "success", (again.states, again.errors)
    assert again.states["upload_batch_file"] == "skipped"
    assert bank.sent("file_accepted") == files
    assert [event.customer_id for event in bank.sent("remove_one")] == gone
    assert bank.is_right
    assert bank.proven == set(bank.register)
    assert len(bank.d4_mails) == 1  # one first load, however often it is run


def test_a_plan_waits_for_a_person_if_asked_to_and_goes_on_after_a_yes(bank):
    run = bank.trigger(approval="always")
    assert_waits_for_a_person(bank, run)
    run.answer("approve_changes", "Approve")
    assert run.go() == "success", run.errors
    assert bank.is_right
    [answer], [plan] = run.xcom("approve_changes"), run.xcom("plan_changes", "plan")
    assert answer["approved"] == plan["fingerprint"]
    assert "kari" in answer["by"]


def test_a_no_fails_the_run_with_nothing_sent_and_can_be_thought_over(bank):
    bank.allow_retries("approve_changes")  # a "no" is not asked again for all that
    run = bank.trigger(approval="always")
    assert_waits_for_a_person(bank, run)
    run.answer("approve_changes", "Reject")
    assert run.go() == "failed"
    assert run.states["approve_changes"] == "failed"
    assert run.states["announce_volume"] == "upstream_failed"  # Bits does not hear of what is not to be
    assert_nothing_left(bank)
    assert bank.lease_is_free
    assert [m.subject.split("]")[0].strip() for m in bank.simulator.mails][-3:] == [
        "[KFR, act now",
        "[KFR, over",
        "[KFR, act now",
    ]
    assert not bank.state.exists("alerts/approval.json")

    run.clear("approve_changes")
    assert_waits_for_a_person(bank, run)
    run.answer("approve_changes", "Approve")
    assert run.go() == "success", run.errors
    assert bank.is_right
    assert len(bank.d4_mails) == 1


def test_a_question_that_airflow_lost_is_asked_again(bank):
    bank.allow_retries("approve_changes")
    run = bank.trigger(approval="always")
    assert_waits_for_a_person(bank, run)
    run.lose("approve_changes")
    assert run.states["approve_changes"] == "up_for_retry"
    assert_waits_for_a_person(bank, run)
    run.answer("approve_changes", "Approve")
    assert run.go() == "success", run.errors
    assert bank.is_right


def test_a_yes_to_a_plan_that_has_changed_since_does_not_count(bank):
    run = bank.trigger(approval="always")
    assert_waits_for_a_person(bank, run)
    bank.change(bank.churn.arrive(1))
    run.clear("extract_relationships", "plan_changes", downstream=False)
    run.go()
    run.answer("approve_changes", "Approve")
    assert run.go() == "failed"
    assert "plan changed" in run.errors["approve_changes"]
    assert_nothing_left(bank)


def test_guards_with_nothing_to_say_let_a_load_go_without_a_person(bank):
    bank.keep_sound_rows()
    run = bank.trigger(approval="auto")
    assert run.go() == "success", run.errors
    assert run.xcom("approve_changes")[0]["by"] == "the guards"
    assert bank.is_right


def test_a_register_that_is_not_empty_before_a_first_load_asks_a_person(bank):
    bank.keep_sound_rows()
    for customer in bank.wanted:
        bank.simulator.plant_defect("leftover", customer)
    run = bank.trigger(approval="auto")
    assert_waits_for_a_person(bank, run)
    assert findings(run) == {"register_not_empty": "ASKS"}


def test_too_many_rejected_rows_ask_a_person(bank):
    run = bank.trigger(approval="auto")
    assert_waits_for_a_person(bank, run)
    assert findings(run) == {"many_rejects": "ASKS"}


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("DELETE FROM agreements", "empty_extract"),
        ("UPDATE agreements SET customer_id = 'A' || substr(trim(customer_id), 2)", "all_rejected"),
        (f"INSERT INTO agreements VALUES ('{REAL_PERSON}', DATE '2020-01-31', NULL)", "mixed_worlds"),
    ],
)
@pytest.mark.parametrize("approval", ["auto", "never"])
def test_what_no_person_may_approve_stops_the_run_in_the_plan(bank, statement, code, approval):
    bank.execute(statement)
    run = bank.trigger(approval=approval)
    assert run.go() == "failed"
    assert run.states["plan_changes"] == "failed"
    assert code in run.errors["plan_changes"]
    assert "Nothing was sent" in run.errors["plan_changes"]
    assert_nothing_left(bank)


def assert_waits_for_a_person(bank, run):
    assert run.go() == "running", run.errors
    assert run.states["approve_changes"] == "awaiting_input"
    assert_nothing_left(bank)


def assert_nothing_left(bank):
    """Nothing has left the house: no file, no call that changes anything, no mail."""
    assert bank.sent() == []
    assert bank.mails_to_bits == []


def findings(run):
    [plan] = run.xcom("plan_changes", "plan")
    return {finding["code"]: finding["severity"] for finding in plan["findings"]}
