"""A register that stalls: who is on call is told once, whatever number of files and tries is behind it, and once of the end."""

from kfr.relationships.batch_file import FRAME_BYTES
from tests.environment import MAIL_TO_ONCALL
from tests.simulator.faults import Fault, FaultKind

FILES, TRIES = 12, 3
ROWS_A_FILE = 17  # of two hundred
A_ROW = len("01234567890#2026-11-23,")
DAY = 86_400.0


def alerts(bank):
    return [mail for mail in bank.simulator.mails if mail.recipients == (MAIL_TO_ONCALL,)]


def test_twelve_files_that_fail_three_times_each_are_one_alert_and_one_recovery(bank):
    bank.keep_sound_rows()  # many refused rows would be an alert of their own
    bank.patch.setenv("AIRFLOW__KFR__MAX_BATCH_BYTES", str(FRAME_BYTES + ROWS_A_FILE * A_ROW))
    bank.patch.setenv("AIRFLOW__KFR__LOADING_GRACE", "60")
    bank.allow_retries("upload_batch_file", TRIES - 1)
    bank.simulator.faults.add(
        Fault(kind=FaultKind.LOADING_STALLED, operation="register_file", nth=1, seconds=30 * DAY)
    )
    run = bank.trigger()
    assert run.go() == "failed"
    failed = [
        key for key, state in run.instances.items() if key[0] == "upload_batch_file" and state == "failed"
    ]
    assert len(failed) == FILES
    assert len(bank.sent("file_accepted")) == FILES * TRIES
    (told,) = alerts(bank)
    assert " ".join(told.subject.split()).startswith(
        "[KFR, can wait until morning] kfr_initial_load waits for a file"
    )
    for part in (
        "For the register this means: no load has been proven yet",
        "How urgent: this can wait until the morning.",
        "What to do: nothing at night: the file is tried again by itself",
        "docs/runbook.md#a-send-that-never-loads",
        "/tasks/upload_batch_file/mapped/",
        "/plugin/kfr-run",
    ):
        assert part in told.text

    bank.clock.advance(31 * DAY)
    run.clear("upload_batch_file")
    assert run.go() == "success", run.errors
    assert bank.is_right
    _, over = alerts(bank)
    assert " ".join(over.subject.split()).startswith("[KFR, over] kfr_initial_load is proven")
    assert "waits for a file that is not loading" in over.text
    assert "right as of" in over.text
