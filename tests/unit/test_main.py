"""What a person does by hand, as the runbook says: `python -m kfr`."""

import json
import shutil
import sys
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kfr import __main__ as command
from kfr.load.journal import Journal, Outcome, Send, Witness
from kfr.load.removal_queue import Entry, Removal, RemovalQueue
from kfr.relationships.packing import day_number, pack, text_of
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
    assert {s.closed_because for s in journal.sends()} == {"Bits", "Bits, case 1234: never loaded"}
    call(monkeypatch, "sends")
    assert capsys.readouterr().out == f"Closed {name}.\n"


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


def test_a_steward_reads_what_was_refused_and_has_it_sent_again(stand: Stand, monkeypatch, capsys: Any):
    state = stand.staging.state
    state.write("rejects", b'{"customer_id":" 1234","reason":"length"}')
    row = pack(np.array([CUSTOMER]), np.array([day_number(date(2026, 3, 1))]))
    state.write_array("refused", np.column_stack([row, [day_number(date(2026, 11, 20))]]))
    call(monkeypatch, "rejects")
    ours, theirs = map(json.loads, capsys.readouterr().out.splitlines())
    assert ours["reason"] == "length"
    assert theirs == {
        "customer_id": text_of(CUSTOMER),
        "started_on": "2026-03-01",
        "reason": "refused_by_register",
        "refused_on": "2026-11-20",
    }
    call(monkeypatch, "rejects", "--retry")
    assert capsys.readouterr().out == "The next load sends 1 customers again.\n"
    call(monkeypatch, "rejects")
    assert len(capsys.readouterr().out.splitlines()) == 1


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
    assert capsys.readouterr().out.split() == [report_of_a_run]
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


def test_a_report_that_is_not_there_is_not_written(stand: Stand, monkeypatch):
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
