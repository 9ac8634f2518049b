"""A register that stalls: who is on call is told once of each state, whatever number of files and tries is behind it."""

from kfr.relationships.batch_file import FRAME_BYTES
from tests.environment import MAIL_TO_ONCALL
from tests.simulator.faults import Fault, FaultKind

FILES, RETRIES = 12, 3
ROWS_A_FILE = 17  # of two hundred
A_ROW = len("01234567890#2026-11-23,")
DAY = 86_400.0


def alerts(bank):
    return [mail for mail in bank.simulator.mails if mail.recipients == (MAIL_TO_ONCALL,)]


def subjects(bank):
    return [" ".join(mail.subject.split()).split(" (3")[0] for mail in alerts(bank)]


def stalling(bank, *, retries=RETRIES, **fault):
    """A run of twelve files, each of which is tried again so many times."""
    bank.keep_sound_rows()  # many refused rows would be an alert of their own
    bank.patch.setenv("AIRFLOW__KFR__MAX_BATCH_BYTES", str(FRAME_BYTES + ROWS_A_FILE * A_ROW))
    bank.patch.setenv("AIRFLOW__KFR__LOADING_GRACE", "60")
    bank.allow_retries("upload_batch_file", retries)
    bank.simulator.faults.add(Fault(operation="register_file", nth=1, **fault))
    return bank.trigger()


def test_twelve_files_that_fail_and_three_retries_are_one_alert_and_one_recovery(bank):
    """Each file is acknowledged and lost three times, and loaded by its third retry."""
    run = stalling(bank, kind=FaultKind.FILE_DROPPED, times=FILES * RETRIES)
    assert run.go() == "success", run.errors
    assert len(bank.sent("file_accepted")) == FILES * (RETRIES + 1)
    assert bank.is_right
    late, over = alerts(bank)
    assert subjects(bank)[0].startswith(
        "[KFR, can wait until morning] kfr_initial_load waits for files that do not load: "
    )
    for part in (
        "For the register this means: no load has been proven yet",
        "How urgent: this can wait until the morning.",
        "What to do: nothing at night: each file is tried again by itself (this was try 1 of 4)",
        "docs/runbook.md#a-send-that-never-loads",
        "/tasks/upload_batch_file/mapped/",
        "?try_number=1",
        "/plugin/kfr-run",
        f"CorrelationID {bank.sent('file_accepted')[0].correlation_id}",
    ):
        assert part in late.text
    assert subjects(bank)[1] == "[KFR, over] kfr_initial_load is proven"
    assert "waits for files that do not load" in over.text
    assert "right as of" in over.text


def test_when_they_are_given_up_one_more_alert_says_so_and_a_clear_leads_to_the_end(bank):
    run = stalling(bank, kind=FaultKind.LOADING_STALLED, seconds=30 * DAY)
    assert run.go() == "failed"
    failed = [
        key for key, state in run.instances.items() if key[0] == "upload_batch_file" and state == "failed"
    ]
    assert len(failed) == FILES
    assert len(bank.sent("file_accepted")) == FILES * (RETRIES + 1)
    late, red = alerts(bank)
    assert "waits for files that do not load" in late.subject
    assert "kfr_initial_load has failed: " in red.subject
    assert f"of {FILES} files are not loaded in time" in " ".join(red.subject.split())
    assert "try 4 of 4 has failed" in red.text
    assert "?try_number=4" in red.text

    bank.clock.advance(31 * DAY)
    run.clear("upload_batch_file")
    assert run.go() == "success", run.errors
    assert bank.is_right
    assert subjects(bank)[2:] == ["[KFR, over] kfr_initial_load is proven"]
    over = alerts(bank)[-1]
    assert "has failed: " in over.text
    assert "right as of" in over.text
