"""Each case that is no failed task: told once, and once when it is over, over SMTP."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from kfr.clock import OSLO
from kfr.hooks.world import world_of
from kfr.links.page import anchor
from kfr.load.removal_queue import Entry, Removal, RemovalQueue
from kfr.load.world import World
from kfr.notifications import cases
from kfr.relationships.guards import DEFAULT_LIMITS, _judge_rejects
from tests.conftest import ROOT
from tests.unit.notifications.failed import ASKED, recover
from tests.unit.stand import SQL_FOLDER, Stand
from tests.unit.test_errors_page import errors

CUSTOMER = 1_898_228_475
HALF_A_DAY = timedelta(hours=12)


@pytest.fixture
def world(stand: Stand) -> Iterator[World]:
    with world_of(stand.context(), sql_folder=SQL_FOLDER, say=print) as world:
        yield world


def plan(rejected: int, rows: int = 1000) -> Any:
    """What the guards make of so many refused rows."""
    found = _judge_rejects(rows, rejected, DEFAULT_LIMITS)
    return SimpleNamespace(findings=[{"code": f.code, "message": f.message} for f in found])


def subjects(stand: Stand) -> list[str]:
    return [mail.subject.strip().split(" (")[0] for mail in stand.simulator.mails]


def test_rejects_are_told_of_when_they_pass_the_limit_and_when_they_are_below_it_again(
    stand: Stand, world: World
):
    for rejected in (10, 11, 500, 10, 9):  # the limit is 1 %, and what equals it passes
        cases.check_rejects(world, plan(rejected))
    assert subjects(stand) == [
        "[KFR, can wait until morning] 11 of 1000 rows were refused, over 1 %",
        "[KFR, over] Refused rows are below the limit again",
    ]


def certificate(world: World, days: int) -> World:
    until = world.clock.now() + timedelta(days=days)
    return replace(world, certificate=replace(world.certificate, not_after=until))


def test_a_certificate_is_told_of_at_sixty_thirty_and_seven_days_and_when_it_is_new(
    stand: Stand, world: World
):
    for run, days in enumerate((61, 60, 59, 31, 30, 8, 7, 1, 700)):  # a run each
        its = replace(certificate(world, days), run=replace(world.run, run_id=f"manual__{run}"))
        cases.check_certificate(its)
    assert [s.split(" ends in")[-1][:8] for s in subjects(stand)[:3]] == [" 60 days", " 30 days", " 7 days,"]
    assert [s.split("]")[0] for s in subjects(stand)] == [
        "[KFR, can wait until morning",
        "[KFR, can wait until morning",
        "[KFR, can wait until morning",
        "[KFR, over",
    ]


def test_removals_are_told_of_when_one_has_waited_for_longer_than_a_day(stand: Stand, world: World):
    queue = RemovalQueue.read(world.state)
    queue.entries = {
        CUSTOMER: Entry(state=Removal.DUE, run="a-run", since=world.now - 86_300),
        CUSTOMER + 1: Entry(state=Removal.REMOVED, run="a-run", since=world.now - 900_000),
        CUSTOMER + 2: Entry(state=Removal.DUE, run="a-run"),  # of before this was kept
    }
    queue.write()
    cases.check_removals(world)
    assert stand.simulator.mails == []
    queue.entries[CUSTOMER].since -= 200
    queue.write()
    cases.check_removals(world)
    cases.check_removals(world)
    queue.entries[CUSTOMER].state = Removal.GONE
    queue.write()
    cases.check_removals(world)
    assert [s.split("] ")[1] for s in subjects(stand)] == [
        "1 removals have waited for longer than a day",
        "No removal waits for longer than a day any more",
    ]
    assert str(CUSTOMER) not in stand.simulator.mails[0].raw.decode()


def test_a_plan_that_waits_for_a_person_is_told_of_with_the_reason_and_a_link(stand: Stand, world: World):
    cases.ask_for_approval(world, ASKED, HALF_A_DAY)
    cases.ask_for_approval(world, ASKED, HALF_A_DAY)
    cases.approved(world, "kari")
    first, over = stand.simulator.mails
    assert "700 to remove" in first.subject
    assert "many removals" in first.text
    assert "/tasks/approve_changes/required_actions" in first.text
    assert "approved by kari" in over.subject


@pytest.mark.parametrize(("run_id", "fingerprint"), [("manual__1", "e" * 64), ("manual__2", "f" * 64)])
def test_a_plan_of_another_run_or_one_that_was_made_anew_is_another_question(
    stand: Stand, world: World, run_id: str, fingerprint: str
):
    cases.ask_for_approval(world, ASKED, HALF_A_DAY)
    other = replace(world, run=replace(world.run, run_id=run_id))
    anew = ASKED | {"fingerprint": fingerprint, "added": 8}
    cases.ask_for_approval(other, anew, HALF_A_DAY)
    cases.ask_for_approval(other, anew, HALF_A_DAY)
    assert [s.split("approval: ")[1] for s in subjects(stand)] == [
        "5 to add, 700 to remove",
        "8 to add, 700 to remove",
    ]
    assert "8 to add" in world.state.read_json("alerts/approval.json")["what"]


def test_a_run_that_needs_nobody_does_not_say_that_another_run_s_plan_was_approved(
    stand: Stand, world: World
):
    """Of a run that was deleted while it asked; the next load that is proven for everyone ends it."""
    cases.ask_for_approval(world, ASKED, HALF_A_DAY)
    other = replace(world, run=replace(world.run, run_id="manual__2"))
    cases.approved(other, "the guards")
    cases.not_approved(other)
    assert len(stand.simulator.mails) == 1
    recover(stand, "manual__2")
    assert subjects(stand)[1:] == ["[KFR, over] kfr_initial_load is proven"]
    assert world.state.names("alerts") == []


@pytest.mark.parametrize(
    ("oslo_hour", "hours", "severity", "until"),
    [
        (4, 12, "can wait until morning", "Tuesday 16:00"),
        (22, 12, "act now", "Wednesday 10:00"),
        (23, 12, "can wait until morning", "Wednesday 11:00"),
        (4, 2, "act now", "Tuesday 06:00"),
        (13, 12, "act now", "Wednesday 01:00"),
    ],
)
def test_a_plan_wakes_a_person_only_if_it_cannot_be_decided_in_the_morning(
    stand: Stand, *, world: World, oslo_hour: int, hours: int, severity: str, until: str
):
    at = datetime(2026, 11, 24, oslo_hour, tzinfo=OSLO)
    clock = SimpleNamespace(now=lambda: at.astimezone(UTC))
    cases.ask_for_approval(replace(world, clock=clock), ASKED, timedelta(hours=hours))
    (mail,) = stand.simulator.mails
    assert mail.subject.startswith(f"[KFR, {severity}] ")
    said = " ".join(mail.text.split())
    assert f"approve or reject before {until}; after that the run fails" in said
    assert said.count("Norwegian time") == 1  # of all its times


def test_a_register_that_is_not_as_the_mirror_says_is_told_of_until_a_reconciliation_is_proven(
    stand: Stand, world: World
):
    def run(dag_id: str, run_id: str) -> World:
        return replace(world, run=replace(world.run, dag_id=dag_id, run_id=run_id))

    world.state.write_json("watermark", {"as_of": stand.today.isoformat(), "run": "a-run"})
    cases.disagrees(run("kfr_reconcile__bank_a", "1"), 2, 2995)
    cases.disagrees(run("kfr_reconcile__bank_a", "1"), 2, 2995)
    cases.recovered(run("kfr_periodic_load__bank_a", "2"), since=world.now)  # goes by the mirror
    cases.recovered(run("kfr_reconcile__bank_a", "3"), since=world.now)
    assert [s.split("] ")[1] for s in subjects(stand)] == [
        "Mirror and register disagree: 2 of 2,995 sampled customers are not right",
        "kfr_reconcile__bank_a is proven",
    ]


def test_that_bits_was_told_is_told(stand: Stand, world: World):
    cases.notice_sent(world, ["2026-11-23"])
    assert "go on 2026-11-23 was sent to dsop@bits.example" in stand.simulator.mails[0].subject.replace(
        "\n", ""
    )


def test_no_case_ever_raises_and_a_dry_run_tells_nobody(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: Any
):
    dry = replace(world, run=replace(world.run, dry_run=True))
    cases.notice_sent(dry, ["2026-11-23"])
    assert capsys.readouterr().out == ""
    monkeypatch.delenv("AIRFLOW_VAR_KFR_ONCALL_MAIL")
    cases.notice_sent(world, ["2026-11-23"])
    assert "An alert could not be sent (ConfigurationError)" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the provider's own
def test_apprise_takes_the_alert_when_its_connection_exists(
    stand: Stand, world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
):
    """Over a real Apprise, to a server of our own."""
    import json
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from threading import Thread

    got: list[dict[str, Any]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            return

    with HTTPServer(("127.0.0.1", 0), Receiver) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        config = {"path": f"json://127.0.0.1:{server.server_port}", "tag": "oncall"}
        monkeypatch.setenv(
            "AIRFLOW_CONN_KFR_ALERTS", json.dumps({"conn_type": "apprise", "extra": {"config": config}})
        )
        cases.ask_for_approval(world, ASKED, timedelta(minutes=1))
        cases.disagrees(world, 2, 2995)
        cases.recovered(world, since=world.now)  # the plan, for one
        server.shutdown()
    assert [(m["type"], m["title"].split("]")[0]) for m in got] == [
        ("failure", "[KFR, act now"),
        ("warning", "[KFR, can wait until morning"),
        ("success", "[KFR, over"),
    ]
    assert "What to do: " in got[0]["message"]
    assert stand.simulator.mails == []


def test_every_section_of_the_runbook_that_an_alert_or_a_page_names_is_there():
    import re

    kfr = ROOT / "plugins" / "kfr"
    source = "".join(
        p.read_text() for p in [*(kfr / "notifications").glob("*.py"), *(kfr / "ui").glob("*.py")]
    )
    named = {anchor(s) for s in (*re.findall(r'section="([^"]+)"', source), *(e.runbook for e in errors()))}
    linked = [*(ROOT / "dags").glob("*.py"), *(kfr / "ui" / "templates").glob("*.html")]
    named |= {found for p in linked for found in re.findall(r"docs/runbook\.md#([\w-]+)", p.read_text())}
    runbook = (ROOT / "docs" / "runbook.md").read_text()
    headings = {anchor(h) for h in re.findall(r"^#+ (.+)$", runbook, flags=re.MULTILINE)}
    assert len(named) > 10
    assert not named - headings
