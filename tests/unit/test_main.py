"""What a person does by hand, as the runbook says: `python -m kfr`."""

import base64
import io
import json
import os
import pwd
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kfr import __main__ as command
from kfr.load.journal import Journal, Outcome, Send, Witness
from kfr.load.removal_queue import Entry, Removal, RemovalQueue
from kfr.load.staging import Staging
from kfr.relationships.packing import day_number, pack, text_of
from tests.conftest import ROOT
from tests.unit.stand import SQL_FOLDER, Stand

CUSTOMER = 1_898_228_475


@pytest.fixture
def journal(stand: Stand) -> Journal:
    """One send that never loads, one that is closed."""
    journal = Journal(stand.staging.state)
    for number, changes in enumerate([{}, {"closed_because": "Bits"}]):
        send = Send(
            file=f"{number:040d}".ljust(64, "0"),
            attempt=1,
            run="a-run",
            label="0001",
            rows=250,
            size=6000,
            counts_from=stand.clock.now().timestamp() - 86400,
            outcome=Outcome.ACCEPTED,
            correlation_id="c0ffee00-0000-4000-8000-000000000000",
            witnesses=(Witness(customer_id=CUSTOMER),),
            **changes,
        )
        journal.intend(send, pack(np.array([CUSTOMER]), np.array([1])))
    return journal


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["kfr", *arguments])
    command.main()


def test_open_sends_are_listed_with_what_bits_needs_to_know(journal: Journal, monkeypatch, capsys: Any):
    call(monkeypatch, "sends")
    (line,) = capsys.readouterr().out.splitlines()
    open_send = next(s for s in journal.sends() if s.closed_because is None)
    assert line.startswith(open_send.name)
    assert "250 rows, not proven" in line
    assert "CorrelationID c0ffee00-0000-4000-8000-000000000000" in line
    assert str(CUSTOMER) not in line


def test_a_send_is_closed_by_a_person_with_a_reason_that_is_kept(journal: Journal, monkeypatch, capsys: Any):
    name = next(s.name for s in journal.sends() if s.closed_because is None)
    call(monkeypatch, "close-send", "--send", name, "--reason", "Bits, case 1234: never loaded")
    (kept,) = {s.closed_because for s in journal.sends()} - {"Bits"}
    assert re.fullmatch(r"Bits, case 1234: never loaded \(\w+, \d{4}-\d\d-\d\dT.+\)", kept)
    call(monkeypatch, "sends")
    assert capsys.readouterr().out == f"Closed {name}.\nNo file may still be loading.\n"
    with pytest.raises(SystemExit, match="is closed: Bits, case 1234"):
        call(monkeypatch, "close-send", "--send", name, "--reason", "again")


def test_a_send_that_is_proven_needs_nobody_to_close_it_and_no_reason_has_an_identity_number(
    journal, monkeypatch
):
    send = next(s for s in journal.sends() if s.closed_because is None)
    for number in (CUSTOMER, "018190 12345", "987 654 321"):
        with pytest.raises(SystemExit, match="no identity numbers in it"):
            call(monkeypatch, "close-send", "--send", send.name, "--reason", f"never loaded: {number}")
    journal.put(proven := replace(send, proven_at=1.0))
    with pytest.raises(SystemExit, match="is proven, so it closes by itself"):
        call(monkeypatch, "close-send", "--send", send.name, "--reason", "x")
    assert proven in journal.sends()


def test_a_send_that_is_not_there_is_not_closed(journal: Journal, monkeypatch):
    before = journal.sends()
    with pytest.raises(SystemExit, match="There is no send sends/nothing"):
        call(monkeypatch, "close-send", "--send", "sends/nothing", "--reason", "x")
    assert journal.sends() == before


@pytest.mark.parametrize("arguments", [[], ["close-send", "--send", "x"], ["open-send"]])
def test_a_send_is_not_closed_without_a_reason(monkeypatch, arguments: list[str]):
    with pytest.raises(SystemExit):
        call(monkeypatch, *arguments)


def test_removals_are_counted_by_what_they_wait_for(stand: Stand, monkeypatch, capsys: Any):
    queue = RemovalQueue.read(stand.staging.state)
    states = [Removal.DUE, Removal.DUE, Removal.HELD]
    queue.entries |= {CUSTOMER + at: Entry(state=state, run="a-run") for at, state in enumerate(states)}
    queue.write()
    call(monkeypatch, "removals")
    printed = capsys.readouterr().out
    assert [line.split()[:2] for line in printed.splitlines()[:3]] == [
        ["2", "due"],
        ["0", "intended"],
        ["1", "held"],
    ]
    assert str(CUSTOMER) not in printed


def test_whom_the_register_refused_is_sent_again_by_the_next_load_when_a_person_says_so(
    stand: Stand, monkeypatch, capsys: Any
):
    state = stand.staging.state
    row = pack(np.array([CUSTOMER]), np.array([day_number(date(2026, 3, 1))]))
    state.write_array("refused", np.column_stack([row, [day_number(date(2026, 11, 20))]]))
    call(monkeypatch, "rejects", "--retry")
    assert capsys.readouterr().out == "The next load sends 1 customers again.\n"
    assert state.read_array("refused").tolist() == [[int(row[0]), 1]]  # known, and due since long ago


def test_an_auditor_reads_the_mirror_as_csv(stand: Stand, monkeypatch, capfdbinary: Any):
    state = stand.staging.state
    rows = pack(np.array([CUSTOMER, CUSTOMER + 1]), np.array([day_number(date(2020, 5, 17)), 0]))
    state.write_array("mirrors/00000003.proven", rows[:1])
    state.write_array("mirrors/00000003.possible", rows[1:])
    state.write_json("mirror", {"version": 3})
    call(monkeypatch, "mirror")
    lines = capfdbinary.readouterr().out.decode().splitlines()
    first, second = text_of(CUSTOMER), text_of(CUSTOMER + 1)
    assert lines == [
        '"customer_id","started_on","proven"',
        f'"{first}",2020-05-17,true',
        f'"{second}",,false',
    ]


@pytest.fixture
def refused(stand: Stand) -> str:
    """A run that refused two rows; its key."""
    rows = [
        {"customer_id": "12345678901", "started_on": "2020-01-01", "ended_on": None, "reason": "check_digit"},
        {"customer_id": ' "x', "started_on": None, "ended_on": None, "reason": "not_digits"},
    ]
    for run, kept in {"one-run": rows, "another-run": rows[:1]}.items():
        stand.staging.rejects(run).write_json(
            "extract", {"written_at": f"2026-11-2{len(kept)}", "rows": kept}
        )
    return "one-run"


def test_refused_rows_are_counted_without_naming_anyone(refused: str, monkeypatch, capsys: Any):
    call(monkeypatch, "rejects")
    assert capsys.readouterr().out.splitlines() == [
        "2026-11-22  one-run  1 check_digit, 1 not_digits",
        "2026-11-21  another-run  1 check_digit",
    ]


def test_a_data_steward_who_asks_for_them_gets_the_rows_as_they_were_read(refused: str, monkeypatch, capsys):
    call(monkeypatch, "rejects", "--run", refused, "--identifiers")
    assert capsys.readouterr().out.splitlines() == [
        "run,customer_id,started_on,ended_on,reason",
        "one-run,12345678901,2020-01-01,,check_digit",
        'one-run," ""x",,,not_digits',
    ]


@pytest.fixture
def new_key(stand: Stand, monkeypatch) -> Staging:
    """The connection has a new key; the staging that it opens."""
    connection = json.loads(os.environ["AIRFLOW_CONN_KFR_DEFAULT"])
    connection["extra"]["staging_key"] = base64.b64encode(bytes(32)).decode()
    monkeypatch.setenv("AIRFLOW_CONN_KFR_DEFAULT", json.dumps(connection))
    return Staging(stand.database.parent / "staging", bytes(32), environment="test", fid=stand.simulator.fid)


def old_key() -> str:
    key: str = json.loads(os.environ["AIRFLOW_CONN_KFR_DEFAULT"])["extra"]["staging_key"]
    return key


def test_a_key_is_changed_by_giving_the_old_one_on_standard_input(
    stand: Stand, monkeypatch, capsys, request: pytest.FixtureRequest
):
    stand.staging.state.write("mirror", b"x")
    stand.staging.run("failed").write("plan", b"x")
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{old_key()}\n"))
    new = request.getfixturevalue("new_key")
    call(monkeypatch, "rotate-key")
    assert new.state.read("mirror") == b"x"
    assert capsys.readouterr().out == (
        "1 files are sealed under the connection's key; 1 staged files of runs that did not end are removed.\n"
    )


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("same", "The connection still has this key"),
        ("", "Standard input should hold the old key"),
        ("c2hvcnQ=", "Standard input should hold the old key: staging_key: is 5 bytes long"),
        ("d3Jvbmd3cm9uZ3dyb25nd3Jvbmd3cm9uZ3dyb25ncm8=", "open under neither key"),
    ],
)
def test_a_key_that_is_not_the_old_one_changes_nothing_and_is_not_shown(
    stand: Stand, new_key: Staging, monkeypatch, given: str, told: str
):
    stand.staging.state.write("mirror", b"x")
    given = old_key() if given == "same" else given
    monkeypatch.setattr(sys, "stdin", io.StringIO(given))
    with pytest.raises(SystemExit, match=told) as refusal:
        call(monkeypatch, "rotate-key")
    assert not given or given not in str(refusal.value)
    assert stand.staging.state.read("mirror") == b"x"


@pytest.fixture
def report_of_a_run(stand: Stand) -> str:
    """A kept report, as a load leaves it; its run's key."""
    from kfr.hooks.world import world_of
    from kfr.load import lease, report

    with world_of(stand.context(), sql_folder=SQL_FOLDER, say=lambda _: None) as world:
        lease.acquire(world, finished=lambda _: False, heartbeat_seconds=1, first_load=True)
        report.keep(world, report.build(world, "not proven"))
        return world.run.key


def test_a_report_is_written_with_its_signature_and_checked_by_anyone(
    stand: Stand, report_of_a_run: str, monkeypatch, capsys: Any, tmp_path: Path
):
    call(monkeypatch, "report")
    listed = capsys.readouterr()
    assert listed.out.split() == [report_of_a_run]
    assert f"python -m kfr report --run {report_of_a_run} --to FOLDER" in listed.err
    call(monkeypatch, "report", "--run", report_of_a_run, "--to", str(tmp_path / "out"))
    written = tmp_path / "out" / f"{report_of_a_run}.json"
    assert "not proven" in written.with_suffix(".html").read_text()
    monkeypatch.delenv("AIRFLOW_CONN_KFR_DEFAULT")  # an auditor has no connection
    call(monkeypatch, "verify-report", str(written))
    assert f"Right: signed by organisation {stand.simulator.fid}" in capsys.readouterr().out
    written.write_text(written.read_text().replace("not proven", "proven"))
    with pytest.raises(SystemExit, match="the file was changed"):
        call(monkeypatch, "verify-report", str(written))
    written.with_suffix(".sig").unlink()
    with pytest.raises(SystemExit, match=r"\.sig is missing"):
        call(monkeypatch, "verify-report", str(written))


def test_a_report_that_is_not_there_is_not_written(stand: Stand, monkeypatch, capsys: Any):
    call(monkeypatch, "report")
    assert capsys.readouterr().err == "No report is kept yet.\n"
    with pytest.raises(SystemExit, match="There is no report nothing"):
        call(monkeypatch, "report", "--run", "nothing")


def test_the_sql_files_are_checked_and_a_wrong_one_ends_with_an_error(
    stand: Stand, monkeypatch, capsys: Any, tmp_path: Path
):
    shutil.copytree(SQL_FOLDER, tmp_path / "sql")
    call(monkeypatch, "check-sql", "--sql", str(tmp_path / "sql"))
    assert "agreements.sql: right" in capsys.readouterr().out
    (tmp_path / "sql" / "agreements.sql").write_text("SELECT nothing_like_it FROM agreements")
    with pytest.raises(SystemExit, match="1 files are not right"):
        call(monkeypatch, "check-sql", "--sql", str(tmp_path / "sql"))
    assert "nothing_like_it" in capsys.readouterr().out


COMMANDS = [
    "sends",
    "close-send --send x --reason x",
    "removals",
    "mirror",
    "report",
    "rejects",
    "rejects --retry",
]


@pytest.mark.parametrize("arguments", [*COMMANDS, "ask", "ask --reason x", "rotate-key"])
def test_an_error_of_ours_is_a_line_and_no_traceback(stand: Stand, monkeypatch, arguments: str):
    monkeypatch.setenv("AIRFLOW_CONN_KFR_DEFAULT", json.dumps({"conn_type": "kfr", "extra": {}}))
    with pytest.raises(SystemExit, match="environment") as told:
        call(monkeypatch, *arguments.split())
    assert isinstance(told.value.code, str)
    assert told.value.__suppress_context__


def test_a_state_that_is_not_there_is_said_in_a_line_too(stand: Stand, monkeypatch):
    with pytest.raises(SystemExit, match="is missing"):
        call(monkeypatch, "mirror", "--version", "3")


def test_what_sudo_lets_others_run_takes_nothing_from_the_folder_they_call_it_in(tmp_path: Path):
    """By the rule as docs/privacy.md has it: else who may run it as the workers' account may run anything as it."""
    evil = "import pathlib; pathlib.Path('evil').touch()\n"
    (tmp_path / "kfr").mkdir()
    for file in ("kfr/__init__.py", "kfr/__main__.py", "argparse.py"):
        (tmp_path / file).write_text(evil)
    page = (ROOT / "docs" / "privacy.md").read_text()
    rules = re.findall(r"^  .*?/bin/python (.*-m kfr) \w+", page, flags=re.MULTILINE)
    assert len(rules) == 2
    for options in rules:
        ran = subprocess.run(
            [sys.executable, *options.split(), "--help"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        assert "rotate-key" in ran.stdout
        assert not (tmp_path / "evil").exists()


def asking(monkeypatch: pytest.MonkeyPatch, given: str, *arguments: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(given))
    call(monkeypatch, "ask", *arguments)


def test_customers_are_asked_about_by_standard_input_and_answered_by_the_number_of_the_line(
    journal: Journal, monkeypatch, capsys: Any
):
    asking(monkeypatch, f"17912345678\n{text_of(CUSTOMER)}\n", "--reason", "a question of the customer's")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "1  nothing is on record"
    assert lines[1].startswith("2  ")
    assert "CorrelationID c0ffee00-0000-4000-8000-000000000000" in lines[1]
    assert text_of(CUSTOMER) not in "".join(lines)
    asking(monkeypatch, "")
    (reading,) = capsys.readouterr().out.splitlines()
    me = pwd.getpwuid(os.getuid()).pw_name
    assert reading.endswith(f"  {me}  2 customers  a question of the customer's")


@pytest.mark.parametrize(("account", "name"), [({"SUDO_USER": "kari"}, "kari"), ({}, "uid 54321")])
def test_who_asks_is_who_called_sudo_and_nobody_names_himself(
    stand: Stand, monkeypatch, capsys: Any, account: dict[str, str], name: str
):
    """The second as in a container under a number that has no name."""
    monkeypatch.setenv("LOGNAME", "somebody-else")
    monkeypatch.delenv("SUDO_USER", raising=False)
    for variable, value in account.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    asking(monkeypatch, "", "--reason", "why")
    asking(monkeypatch, "")
    assert f"  {name}  0 customers  why" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("Kari\n", "why"),
        ("0189822847\n", "why"),
        ("", "of 01898228475"),
        ("", "of 018982-28475"),
        ("", "of 987.654.321"),
    ],
)
def test_what_is_no_identity_number_is_not_looked_for_and_none_is_kept_as_a_reason(
    stand: Stand, monkeypatch, given: str, reason: str
):
    with pytest.raises(SystemExit) as refused:
        asking(monkeypatch, given, "--reason", reason)
    assert not re.search(r"\d{9}", str(refused.value))
    assert stand.staging.state.names("asked") == []
