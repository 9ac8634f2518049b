import contextlib
import json
import random
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException

from kfr.hooks.world import world_of
from kfr.load import lease, mirror, planning
from kfr.load.lease import LeaseLost
from kfr.load.report import XCOM_KEY as REPORT
from kfr.load.report import Kept
from kfr.load.staging import Place, run_key
from kfr.load.summary import XCOM_KEY as STATUS
from kfr.operators import load
from kfr.operators.approval import KfrApproveChangesOperator, _body
from kfr.operators.pool import SEEN
from kfr.operators.step import retrying
from kfr.operators.upload import KfrBatchFileOperator
from kfr.register.errors import ConfigurationError, Fatal, Retriable
from tests.simulator.identifiers import make_synthetic, text_of
from tests.unit.stand import SQL_FOLDER, Stand


def customers(number: int) -> list[str]:
    rng = random.Random(number)
    return [text_of(make_synthetic(rng)) for _ in range(number)]


def operator(kind: Any, **kwargs: Any) -> Any:
    return kind(task_id="a_task", sql_folder=SQL_FOLDER, **kwargs)


def take_lease(stand: Stand) -> None:
    with world_of(stand.context(), sql_folder=SQL_FOLDER, say=lambda _: None) as world:
        lease.acquire(world, finished=lambda _: False, heartbeat_seconds=1, first_load=True)


def planned(stand: Stand, number: int = 5) -> list[str]:
    """A plan for new customers; their identifiers."""
    new = customers(number)
    stand.join(*new)
    take_lease(stand)
    operator(load.KfrExtractOperator).execute(stand.context())
    operator(load.KfrPlanOperator, first_load=True).execute(stand.context())
    return new


def verified(stand: Stand, *, mark: bool = False) -> None:
    """Let the verification have ended well; or let a person only have marked it so."""
    proof = {"strata": [], "look_ups": 5, "misses": 0, "holds": 5}
    stand.staging.run(run_key("kfr_initial_load", "manual__1")).write_json("proof.json", proof)
    stand.ti.states = {"verify": "success"}
    if not mark:
        stand.ti.xcoms["return_value"] = proof


def test_what_steps_hand_to_airflow_holds_figures_and_labels_and_no_customer(stand: Stand):
    new = customers(5)
    stand.join(*new)
    take_lease(stand)
    extracted = operator(load.KfrExtractOperator).execute(stand.context())
    labels = operator(load.KfrPlanOperator, first_load=True).execute(stand.context())
    assert extracted["rows"]["active"] == 5
    assert labels == ["0001"]
    plan = stand.ti.xcoms["plan"]
    assert (plan["added"], plan["needs_person"]) == (5, False)
    assert not [c for c in new if c in f"{extracted} {labels} {plan}"]


def test_readiness_refuses_an_airflow_that_would_show_the_keys(stand: Stand, monkeypatch: pytest.MonkeyPatch):
    stand.store[SEEN] = 1
    found = operator(load.KfrReadinessOperator).execute(stand.context())
    assert any("mail server" in line for line in found)
    monkeypatch.setenv("AIRFLOW__CORE__SENSITIVE_VAR_CONN_NAMES", "keystore")
    with pytest.raises(ConfigurationError, match=r"does not mask the connection's staging_key"):
        operator(load.KfrReadinessOperator).execute(stand.context())


def test_a_dry_run_ends_before_anyone_is_told(stand: Stand):
    planned(stand)
    with pytest.raises(AirflowSkipException, match="nothing is sent"):
        operator(load.KfrAnnounceOperator).execute(stand.context(dry_run=True))
    with pytest.raises(AirflowSkipException):
        operator(load.KfrRecordMirrorOperator, verified_by="verify").execute(stand.context(dry_run=True))
    assert stand.simulator.mails == []


@pytest.mark.parametrize("state", ["failed", "upstream_failed", None])
def test_the_mirror_is_recorded_and_the_run_is_not_green_unless_it_was_verified(
    stand: Stand, state: str | None
):
    planned(stand)
    stand.ti.states = {"verify": state} if state else {}
    with pytest.raises(Fatal, match="not verified, so this run is not green"):
        operator(load.KfrRecordMirrorOperator, verified_by="verify").execute(stand.context())
    assert stand.staging.state.exists("mirror")
    assert stand.staging.state.names("reports")


def test_a_run_that_lost_the_register_records_nothing(stand: Stand):
    planned(stand)
    before = stand.staging.state.read_json("mirror")
    operator(load.KfrReleaseOperator).execute(stand.context())
    with pytest.raises(Fatal):
        operator(load.KfrRecordMirrorOperator, verified_by="verify").execute(stand.context())
    assert stand.staging.state.read_json("mirror") == before
    assert stand.staging.state.names("reports") == []


def test_a_verified_run_that_lost_the_register_before_it_recorded_is_not_green(stand: Stand):
    """Nothing of it would be in the mirror, and nobody would know."""
    planned(stand)
    verified(stand)
    operator(load.KfrReleaseOperator).execute(stand.context())
    with pytest.raises(LeaseLost):
        operator(load.KfrRecordMirrorOperator, verified_by="verify").execute(stand.context())
    assert stand.staging.state.names("reports") == []


def test_a_plan_that_needs_nobody_is_approved_at_once_by_the_guards(stand: Stand):
    planned(stand)
    answer = operator(KfrApproveChangesOperator, planned_by="plan").execute(stand.context())
    assert answer == {"approved": stand.ti.xcoms["plan"]["fingerprint"], "by": "the guards"}
    with world_of(stand.context(), sql_folder=SQL_FOLDER, say=lambda _: None) as world:
        planning.require_approved(world)


def test_an_answer_to_a_plan_that_changed_since_does_not_count(stand: Stand):
    planned(stand)
    stand.store["asked"] = "another plan's fingerprint"
    with pytest.raises(Fatal, match=r"plan changed while it was being approved.*Clear this task"):
        operator(KfrApproveChangesOperator, planned_by="plan").execute_complete(stand.context(), {})
    with (
        world_of(stand.context(), sql_folder=SQL_FOLDER, say=lambda _: None) as world,
        pytest.raises(planning.NotApproved, match="Clear approve_changes"),
    ):
        planning.require_approved(world)


def test_what_a_person_is_shown_has_the_figures_and_why(stand: Stand):
    new = planned(stand)
    plan = stand.ti.xcoms["plan"] | {
        "findings": [{"code": "shrunk", "severity": "ASKS", "message": "5 now, 50 before"}]
    }
    body = _body(plan)
    assert "| to add | 5 |" in body
    assert "- **shrunk**: 5 now, 50 before" in body
    assert not [c for c in new if c in body]


def test_nothing_is_sent_without_an_approval(stand: Stand):
    planned(stand)
    with pytest.raises(planning.NotApproved):
        operator(KfrBatchFileOperator, file="0001").execute(stand.context())
    assert "file_accepted" not in [e.kind for e in stand.simulator.log]


def test_a_wait_that_broke_off_is_tried_again(stand: Stand):
    with pytest.raises(Retriable, match=r"broke off: AccessRefused: no.*goes on where it was"):
        operator(KfrBatchFileOperator, file="0001").resume(stand.context(), {"error": "AccessRefused: no"})


def test_a_run_s_staged_files_are_removed_and_the_state_stays(stand: Stand):
    planned(stand)
    stand.ti.states = {"record": "success", "plan": "success"}
    stand.staging.run(run_key("kfr_initial_load", "manual__1")).write_json("recorded.json", {"at": 1.0})
    assert operator(load.KfrRemoveStagedFilesOperator, last="record").execute(stand.context()) > 5
    assert stand.staging.state.exists("mirror")
    with world_of(stand.context(), sql_folder=SQL_FOLDER, say=lambda _: None) as world:
        assert mirror.read(world).proven.size == 0
        assert not world.place.exists("plan.json")


@pytest.mark.parametrize(
    ("states", "dry_run", "named"),
    [
        ({"record": "success", "upload_0": "failed"}, False, "upload_0"),
        ({"record": "success", "confirm": "upstream_failed"}, False, "confirm"),
        ({"record": "skipped"}, False, "record"),  # as when the run was marked as failed, or as success
        ({"record": "failed"}, False, "record"),
        ({}, False, "record"),
        ({"record": "skipped", "plan": "failed"}, True, "plan, record"),
    ],
)
def test_a_run_that_did_not_end_well_keeps_its_files_and_is_red(
    stand: Stand, states: dict[str, str], dry_run: bool, named: str
):
    planned(stand)
    stand.ti.states = states
    clean = operator(load.KfrRemoveStagedFilesOperator, last="record")
    with pytest.raises(Fatal, match=f"^{named} did not end well, so this run is not green"):
        clean.execute(stand.context(dry_run=dry_run))
    assert stand.staging.run(run_key("kfr_initial_load", "manual__1")).exists("plan.json")


def test_a_dry_run_that_ended_well_keeps_no_files(stand: Stand):
    planned(stand)
    stand.ti.states = {"record": "skipped", "plan": "success"}
    clean = operator(load.KfrRemoveStagedFilesOperator, last="record")
    with pytest.raises(Fatal, match="record did not end well"):
        clean.execute(stand.context(dry_run=True))  # no report: a person marked the run
    with pytest.raises(AirflowSkipException):
        operator(load.KfrRecordMirrorOperator, verified_by="verify").execute(stand.context(dry_run=True))
    assert clean.execute(stand.context(dry_run=True)) > 0


def test_a_removal_of_the_staged_files_that_breaks_off_is_tried_again(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
):
    planned(stand)
    verified(stand)
    operator(load.KfrRecordMirrorOperator, verified_by="verify").execute(stand.context())
    stand.ti.states = {"record": "success"}
    clean = operator(load.KfrRemoveStagedFilesOperator, last="record")

    def break_off(place: Place) -> int:
        place.delete("recorded.json")
        raise OSError

    with monkeypatch.context() as patch:
        patch.setattr(Place, "remove_all", break_off)
        with pytest.raises(OSError):
            clean.execute(stand.context())
    assert clean.execute(stand.context()) > 0


def test_a_record_that_is_made_anew_and_not_proven_forgets_the_proven_one(stand: Stand):
    planned(stand)
    verified(stand)
    record = operator(load.KfrRecordMirrorOperator, verified_by="verify")
    record.execute(stand.context())
    stand.ti.states = {"verify": "failed"}
    with pytest.raises(Fatal):
        record.execute(stand.context())
    stand.ti.states = {"verify": "success", "record": "success"}  # both marked
    with pytest.raises(Fatal, match="did not end well"):
        operator(load.KfrRemoveStagedFilesOperator, last="record").execute(stand.context())


def test_a_run_whose_record_a_person_marked_is_red(stand: Stand):
    planned(stand)
    stand.ti.states = {"record": "success", "verify": "success"}
    clean = operator(load.KfrRemoveStagedFilesOperator, last="record")
    with pytest.raises(Fatal, match="record did not end well"):
        clean.execute(stand.context())


def test_a_green_run_of_which_the_record_is_cleared_keeps_its_report(stand: Stand):
    planned(stand)
    verified(stand)
    record = operator(load.KfrRecordMirrorOperator, verified_by="verify")
    record.execute(stand.context())
    stand.ti.states = {"record": "success"}
    clean = operator(load.KfrRemoveStagedFilesOperator, last="record")
    clean.execute(stand.context())
    before = stand.staging.state.read(f"reports/{run_key('kfr_initial_load', 'manual__1')}.json")
    stand.ti.states = {"verify": "success"}
    with pytest.raises(Fatal, match="This run was proven and is over"):
        record.execute(stand.context())
    assert stand.staging.state.read(f"reports/{run_key('kfr_initial_load', 'manual__1')}.json") == before
    stand.ti.states = {"record": "success"}  # marked by hand
    assert clean.execute(stand.context()) == 0


def test_a_verification_that_a_person_marked_as_success_proves_nothing(stand: Stand):
    planned(stand)
    verified(stand, mark=True)
    record = operator(load.KfrRecordMirrorOperator, verified_by="verify")
    with pytest.raises(Fatal, match="not verified, so this run is not green"):
        record.execute(stand.context())
    stand.ti.xcoms["return_value"] = {"look_ups": 4}  # of an earlier plan
    with pytest.raises(Fatal, match="not verified, so this run is not green"):
        record.execute(stand.context())
    assert not stand.staging.state.exists("watermark")
    report = Kept.from_text(stand.ti.xcoms[REPORT])
    assert json.loads(report.content)["outcome"] == "not proven"


def test_recording_the_mirror_sweeps_what_is_past_its_time_also_when_the_run_fails(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("AIRFLOW__KFR__KEEP_STAGED_DAYS", "3")
    planned(stand)
    stand.staging.run("killed").write("files/0001", b"x")
    record = operator(load.KfrRecordMirrorOperator, verified_by="verify")
    with pytest.raises(Fatal):
        record.execute(stand.context())
    stand.clock.advance(3.1 * 86_400)
    with pytest.raises(Fatal):
        record.execute(stand.context())
    assert not stand.staging.run("killed").exists("files/0001")
    assert stand.staging.run(run_key("kfr_initial_load", "manual__1")).exists("files/0001")


def test_a_run_that_lost_the_register_sweeps_nothing(stand: Stand, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AIRFLOW__KFR__KEEP_STAGED_DAYS", "0")
    planned(stand)
    stand.staging.run("killed").write("files/0001", b"x")
    operator(load.KfrReleaseOperator).execute(stand.context())
    for _ in range(2):
        with pytest.raises(Fatal):
            operator(load.KfrRecordMirrorOperator, verified_by="verify").execute(stand.context())
        stand.clock.advance(60)
    assert stand.staging.run("killed").exists("files/0001")


def test_refused_rows_over_the_limit_are_told_of_by_the_plan(stand: Stand):
    stand.join("12345678901", *customers(5))
    take_lease(stand)
    operator(load.KfrExtractOperator).execute(stand.context())
    operator(load.KfrPlanOperator, first_load=True).execute(stand.context())
    assert [m.subject.split("] ")[1][:11] for m in stand.simulator.mails] == ["1 of 6 rows"]


def test_who_is_to_approve_is_told_and_that_it_was_done(stand: Stand):
    from airflow.sdk.exceptions import TaskDeferred

    planned(stand)
    stand.ti.xcoms["plan"]["needs_person"] = True
    asking = operator(KfrApproveChangesOperator, planned_by="plan")
    with contextlib.suppress(TaskDeferred, Exception):  # Airflow is not there to ask anyone
        asking.execute(stand.context())
    (mail,) = stand.simulator.mails
    assert "waits for a person's approval: 5 to add" in mail.subject.replace("\n", "")
    stand.ti.xcoms["plan"]["needs_person"] = False
    asking.execute(stand.context())
    assert "The plan was approved by the guards" in stand.simulator.mails[1].subject


def test_a_proven_load_ends_the_alert_of_the_failed_one(stand: Stand):
    planned(stand)
    context = stand.context()
    context |= {"exception": Fatal("no"), "ti": SimpleNamespace(task_id="a_task", map_index=-1, try_number=1)}
    retrying()["on_failure_callback"](context)
    verified(stand)
    operator(load.KfrRecordMirrorOperator, verified_by="verify").execute(stand.context())
    clean = operator(load.KfrRemoveStagedFilesOperator, last="record")
    stand.ti.states = {"confirm": "failed", "record": "success"}  # D-4 has not left: that is not over
    with pytest.raises(Fatal):
        clean.execute(stand.context())
    assert len(stand.simulator.mails) == 1
    stand.ti.states["confirm"] = "success"
    clean.execute(stand.context())
    assert [m.subject.split("]")[0].strip() for m in stand.simulator.mails] == ["[KFR, act now", "[KFR, over"]


def test_every_task_leaves_how_things_stand_for_the_page_and_the_last_one_the_report(stand: Stand):
    new = planned(stand)
    verified(stand)
    operator(load.KfrRecordMirrorOperator, verified_by="verify").execute(stand.context())
    status, report = stand.ti.xcoms[STATUS], Kept.from_text(stand.ti.xcoms[REPORT])
    assert status["run"]["plan"]["added"] == 5
    assert json.loads(report.content)["outcome"] == "proven"
    assert not [c for c in new if c in f"{status} {report.content!r}"]


def test_a_task_that_fails_leaves_its_own_words(stand: Stand):
    planned(stand)
    operator(load.KfrReleaseOperator).execute(stand.context())
    with pytest.raises(Fatal):
        operator(load.KfrRemoveEndedOperator).execute(stand.context())
    assert stand.ti.xcoms[STATUS]["trouble"].startswith("NotApproved: ")


def test_a_page_that_cannot_be_told_fails_no_load(stand: Stand, monkeypatch: pytest.MonkeyPatch):
    def broken(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(stand.ti, "xcom_push", broken)
    take_lease(stand)
    operator(load.KfrExtractOperator).execute(stand.context())
