"""The report of `kfr_readiness` where its own mail cannot go: a check that fails must not fail in silence."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from kfr.onboarding.checks import CHECKS, Finding
from kfr.operators.readiness import FINDING, KfrReadinessReportOperator
from kfr.register.errors import Fatal, KfrError
from tests.simulator import Fault, FaultKind
from tests.unit.stand import Stand


@pytest.fixture
def alerts(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What goes to the alert channel, which has tests of its own with mail and Apprise."""
    sent: list[tuple[Any, ...]] = []
    monkeypatch.setattr("kfr.notifications.channel.send", lambda *alert: sent.append(alert))
    return sent


def report(stand: Stand, folder: Path, *failed: str) -> None:
    """Run the report over findings of which these failed; the institution's file names no contact."""
    found = {
        f"check_{check.name}": asdict(
            Finding(check=check.name, passed=check.name not in failed, text="why", seconds=0.0)
        )
        for check in CHECKS
    }
    context = stand.context()
    context["ti"].xcom_pull = lambda *, task_ids, key: found[task_ids] if key == FINDING else None
    KfrReadinessReportOperator(task_id="report_readiness", include=folder).execute(context)


def test_a_flaw_is_mailed_once_and_alerts_nobody_besides(stand, tmp_path, alerts):
    with pytest.raises(Fatal, match="Not in place: token"):
        report(stand, tmp_path, "token")
    assert len(stand.simulator.mails) == 1
    assert alerts == []


def test_a_broken_mail_server_is_told_of_by_the_alert_channel(stand, tmp_path, alerts):
    with pytest.raises(Fatal, match="Not in place: token, mail"):
        report(stand, tmp_path, "token", "mail")
    ((subject, text, _),) = alerts
    assert subject == "[KFR, can wait until morning] KFR readiness: 12 of 14 in place"
    assert "NOT YET   A-6       Mail server: why" in text


def test_with_nobody_to_mail_to_the_alert_channel_is_taken(stand, tmp_path, monkeypatch, alerts):
    """As where alerts go by Apprise alone."""
    monkeypatch.delenv("AIRFLOW_VAR_KFR_ONCALL_MAIL")
    report(stand, tmp_path)
    assert alerts == []  # all is in place
    with pytest.raises(Fatal, match="Not in place: token"):
        report(stand, tmp_path, "token")
    assert len(alerts) == 1


def test_a_mail_that_is_refused_after_all_is_told_of_too(stand, tmp_path, alerts):
    stand.simulator.faults.add(Fault(kind=FaultKind.STATUS, operation="mail", nth=1, status=503))
    with pytest.raises(KfrError, match="The mail server refused the mail"):
        report(stand, tmp_path, "token")
    ((_, text, _),) = alerts
    assert text.startswith("The report was not kept or not mailed (MailNotSent).")


def test_where_nobody_can_be_told_the_task_fails_for_what_it_found(stand, tmp_path, monkeypatch):
    monkeypatch.delenv("AIRFLOW_VAR_KFR_ONCALL_MAIL")
    with pytest.raises(Fatal, match="Not in place: alerts"):
        report(stand, tmp_path, "alerts")
