"""Alerts where something of what they need is broken: the connection, the state, the mail server."""

import base64
import errno
import json
import logging
import os
from datetime import timedelta
from typing import Any

import pytest

from kfr.hooks.world import world_of
from kfr.load.sealing import StateDamaged
from kfr.load.staging import StagingFull
from kfr.load.summary import summarise
from kfr.notifications import cases
from kfr.notifications.callbacks import alert_failure, alert_retry
from kfr.register.errors import AccessRefused, Fatal
from tests.simulator import Fault, FaultKind
from tests.unit.notifications.failed import ASKED, failed, flat, late, not_loaded, recover
from tests.unit.stand import SQL_FOLDER, Stand


def test_a_mail_server_that_refuses_fails_nothing_and_the_next_failure_tells(stand: Stand, caplog: Any):
    stand.simulator.faults.add(Fault(kind=FaultKind.STATUS, operation="mail", nth=1, status=503))
    with caplog.at_level(logging.WARNING):
        alert_failure(failed(stand, Fatal("no")))
    assert "An alert could not be sent (MailNotSent)" in caplog.text
    assert stand.simulator.mails == []
    alert_failure(failed(stand, Fatal("The load is not verified."), "record_mirror"))
    assert len(stand.simulator.mails) == 1


def test_nobody_to_tell_is_said_in_the_log(stand: Stand, monkeypatch: pytest.MonkeyPatch, caplog: Any):
    monkeypatch.delenv("AIRFLOW_VAR_KFR_ONCALL_MAIL")
    with caplog.at_level(logging.WARNING):
        alert_failure(failed(stand, Fatal("no")))
    assert "An alert could not be sent (ConfigurationError)" in caplog.text


def test_without_the_connection_the_first_failed_task_tells_and_no_other(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("AIRFLOW_CONN_KFR_DEFAULT", json.dumps({"conn_type": "kfr", "extra": {}}))
    alert_failure(failed(stand, Fatal("environment: is missing"), "check_readiness"))
    monkeypatch.setattr(stand.ti, "get_task_states", lambda **_: {"manual__1": {"check_readiness": "failed"}})
    alert_failure(failed(stand, Fatal("environment: is missing"), "record_mirror"))
    (mail,) = stand.simulator.mails
    assert "connection cannot be read" in mail.subject


def damage(stand: Stand, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """Let the staging place be what is wrong."""
    if how == "another key":
        extra = json.loads(os.environ["AIRFLOW_CONN_KFR_DEFAULT"])
        extra["extra"]["staging_key"] = base64.b64encode(bytes(32)).decode()
        monkeypatch.setenv("AIRFLOW_CONN_KFR_DEFAULT", json.dumps(extra))
    elif how == "full disk":
        monkeypatch.setattr("kfr.load.staging._replace", no_space)
    else:
        monkeypatch.setenv("AIRFLOW_VAR_KFR_STAGING", "nosuch://staging")


def no_space(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("how", ["another key", "full disk", "no such place"])
def test_a_staging_place_that_cannot_be_used_keeps_nobody_from_being_told(
    stand: Stand, monkeypatch: pytest.MonkeyPatch, how: str
):
    stand.staging.state.write_json("watermark", {"as_of": stand.today.isoformat(), "run": "a-run"})
    stand.staging.state.write_json("mirror", {"version": 2, "proven": 7})
    damage(stand, monkeypatch, how)
    error = StagingFull("No space left.") if how == "full disk" else StateDamaged("It does not open.")
    alert_retry(failed(stand, not_loaded()))  # can wait: it is told if it fails for good
    assert stand.simulator.mails == []
    alert_failure(failed(stand, error, "extract_relationships"))
    states = {"manual__1": {"extract_relationships": "failed"}}
    monkeypatch.setattr(stand.ti, "get_task_states", lambda **_: states)
    alert_failure(failed(stand, Fatal("The load is not verified."), "record_mirror"))
    late(stand)
    mail, too_late = stand.simulator.mails
    assert str(error) in mail.text
    assert ("nothing can be said: its" in flat(mail.text)) == (how != "full disk")
    assert "not proven in time" in too_late.subject
    assert stand.staging.state.names("alerts") == []


def test_an_alert_that_was_kept_with_a_wrong_key_is_told_of_and_ended_like_any_other(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patch:
        damage(stand, patch, "another key")
        alert_failure(failed(stand, Fatal("no"), "acquire_register"))
    assert stand.staging.state.names("alerts") == ["alerts/load.json"]
    with world_of(stand.context(), sql_folder=SQL_FOLDER, say=lambda _: None) as world:
        assert summarise(world)["alerts"] == []
    alert_failure(failed(stand, AccessRefused("no"), run_id="manual__2"))
    assert len(stand.simulator.mails) == 2
    recover(stand)
    assert stand.staging.state.names("alerts") == []


def test_a_question_is_told_of_although_what_was_kept_of_another_does_not_open(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patch:
        damage(stand, patch, "another key")
        ask(stand)
    ask(stand)
    ask(stand)
    assert len(stand.simulator.mails) == 2


def ask(stand: Stand) -> None:
    with world_of(stand.context(), sql_folder=SQL_FOLDER, say=lambda _: None) as world:
        cases.ask_for_approval(world, ASKED, timedelta(hours=12))


def test_lateness_fails_nothing_either(stand: Stand, monkeypatch: pytest.MonkeyPatch, caplog: Any):
    monkeypatch.delenv("AIRFLOW_VAR_KFR_ONCALL_MAIL")
    with caplog.at_level(logging.WARNING):
        late(stand)
    assert "An alert could not be sent" in caplog.text
