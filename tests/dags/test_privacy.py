"""Promise 8 in a whole Airflow: whatever happens to a run, no identifier is left where Airflow keeps things."""

import os
from pathlib import Path

from tests.dags import bad_input as bad

HOME = Path(os.environ["AIRFLOW_HOME"])
FILLED = {
    "dag_run",
    "hitl_detail",
    "log",
    "rendered_task_instance_fields",
    "task_instance",
    "task_state_store",
    "xcom",
}


def test_no_identifier_is_left_anywhere_by_runs_that_fail_ask_wait_and_end_well(bank, capfd):
    from tests.dags.leaks import files_below, identifiers_of, leaks, metadata_tables

    identifiers = identifiers_of(bank.database)
    assert bank.trigger(dry_run=True, reason="rehearsal").go() == "success"
    run = bank.trigger(approval="always", reason="first load")
    run.go()
    run.answer("approve_changes", "Approve")
    bank.fail("upload_batch_file", "after", map_index=0)
    run.go(until="register_arrivals")
    bank.change([*bank.churn.leave(2), *bank.churn.arrive(2), *bank.churn.arrive_back_dated(1)])
    assert run.go() == "failed"
    run.clear("upload_batch_file")
    assert run.go() == "success", run.errors
    assert len(bank.sent("remove_one")) == len(bank.sent("register_one")) == 2
    identifiers |= identifiers_of(bank.database)
    assert len(identifiers) > len(bank.register)

    tables = dict(metadata_tables())
    assert {name for name in FILLED if run.run_id not in tables[name]} <= {"hitl_detail"}
    printed = capfd.readouterr()
    log = printed.out + printed.err
    assert "Planned: " in log
    assert "the worker died" in log
    mails = "\n".join(f"{mail.subject}\n{mail.text}" for mail in bank.simulator.mails)
    assert "D-4" in mails
    places = [("log", log), ("mails", mails), *files_below(HOME), *files_below(bank.folder / "staging")]
    assert leaks(identifiers, [*tables.items(), *places]) == {}


def test_a_database_error_that_quotes_an_identifier_is_not_passed_on(bank, capfd):
    from tests.dags.leaks import identifiers_of, leaks, metadata_tables

    bad.sql(
        "agreements.sql",
        "SELECT trim(customer_id)::tinyint AS customer_id, started_on, ended_on FROM agreements",
    )(bank)
    run = bank.trigger()
    assert run.go() == "failed"
    assert "does not run agreements.sql" in run.errors["check_readiness"]
    printed = capfd.readouterr()
    texts = [("log", printed.out + printed.err), *metadata_tables()]
    assert "does not run agreements.sql" in texts[0][1]
    assert leaks(identifiers_of(bank.database), texts) == {}


def test_an_identifier_would_be_found_in_the_database_and_in_a_file(bank, tmp_path):
    """What the tests above rest on."""
    from tests.dags.leaks import files_below, leaks, metadata_tables

    nobody = "00000000001"
    bank.trigger(note=nobody)
    (tmp_path / "log.txt").write_text(f"customer {nobody} was added")
    assert leaks([nobody], metadata_tables()) == {"dag_run": 1}
    assert leaks([nobody], files_below(tmp_path)) == {str(tmp_path / "log.txt"): 1}
