"""Promise 8 in a whole Airflow: whatever happens to a run, no identifier is left where Airflow keeps things."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from tests.dags import bad_input as bad
from tests.leaks import Finder, Place, files, search, tables, texts

HOME = Path(os.environ["AIRFLOW_HOME"])
DATABASE = os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]
FILLED = {
    "dag_run",
    "hitl_detail",
    "log",
    "rendered_task_instance_fields",
    "task_instance",
    "task_state_store",
    "xcom",
}


def finder_of(bank) -> Finder:
    """Knows every identifier in the warehouse, and the raw values that are refused."""
    with duckdb.connect(str(bank.database)) as database:
        rows = database.sql("SELECT DISTINCT customer_id FROM agreements WHERE customer_id IS NOT NULL")
        return Finder(row[0] for row in rows.fetchall())


def everywhere(bank, capfd) -> Iterator[Place]:
    """All that is kept, and what was printed; but for the warehouse itself."""
    yield from tables(DATABASE)
    yield from files(HOME, bank.folder / "staging")
    printed = capfd.readouterr()
    yield from texts("log", [printed.out, printed.err])
    yield from texts("mails", [f"{mail.subject}\n{mail.text}" for mail in bank.simulator.mails])


def test_no_identifier_is_left_anywhere_by_runs_that_fail_ask_wait_and_end_well(bank, capfd):
    assert bank.trigger(dry_run=True, reason="rehearsal").go() == "success"
    run = bank.trigger(approval="always", reason="first load")
    run.go()
    run.answer("approve_changes", "Approve")
    bank.fail("upload_batch_file", "after", map_index=0)
    run.go(until="register_arrivals")
    bank.change([*bank.churn.leave(2), *bank.churn.arrive(2), *bank.churn.arrive_back_dated(1)])
    before = finder_of(bank)
    assert run.go() == "failed"
    run.clear("upload_batch_file")
    assert run.go() == "success", run.errors
    assert len(bank.sent("remove_one")) == len(bank.sent("register_one")) == 2
    finder = finder_of(bank)
    assert before.texts <= finder.texts
    assert len(finder.texts) > len(bank.register)
    assert finder.raw

    places = dict(everywhere(bank, capfd))
    filled = {name for name in FILLED if run.run_id.encode() in places[f"table {name}"]}
    assert FILLED - filled <= {"hitl_detail"}
    assert b"Planned: " in places["log"]
    assert b"the worker died" in places["log"]
    assert b"D-4" in places["mails"]
    assert search(finder, places.items()) == {}


def test_a_database_error_that_quotes_an_identifier_is_not_passed_on(bank, capfd):
    bad.sql(
        "agreements.sql",
        "SELECT trim(customer_id)::tinyint AS customer_id, started_on, ended_on FROM agreements",
    )(bank)
    run = bank.trigger()
    assert run.go() == "failed"
    assert "does not run agreements.sql" in run.errors["check_readiness"]
    places = dict(everywhere(bank, capfd))
    assert b"does not run agreements.sql" in places["log"]
    assert search(finder_of(bank), places.items()) == {}


def test_an_identifier_would_be_found_in_each_place_and_in_a_refused_row(bank, capfd):
    """What the tests above rest on: one is planted in the database, a log, a mail, a file, what was printed."""
    somebody, refused = "01234567891", "0123456789x"  # in no warehouse: what is planted stays for other tests
    finder = Finder([somebody, refused])
    bank.trigger(note=somebody)
    with planted(HOME / "logs" / "task.log", f"ValueError: {refused!r} is wrong"):
        bank.simulator.take_mail("x@bank.example", [], f"Subject: x\n\nkunde {int(somebody)}".encode())
        with planted(bank.folder / "staging" / "plain", somebody):
            print(f"customer {somebody[:6]} {somebody[6:]}")
            found = search(finder, everywhere(bank, capfd))
    assert {Path(name).name.removesuffix("-wal") for name in found} == {
        "table dag_run",
        "airflow.db",
        "task.log",
        "plain",
        "log",
        "mails",
    }


@contextmanager
def planted(path: Path, text: str) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    try:
        yield
    finally:
        path.unlink()
