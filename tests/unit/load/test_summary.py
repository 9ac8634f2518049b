import json
import re

import pytest

from kfr.load import extract, planning, removal, report, upload, verification, watermark
from kfr.load.ingestion import record_proof
from kfr.load.summary import summarise
from kfr.load.upload import NotLoaded
from kfr.register.errors import AccessRefused
from kfr.relationships.packing import text_of
from kfr.ui.report_page import render
from tests.faults.institution import Agreement
from tests.simulator import FaultKind
from tests.unit.load.one_load import TEN_ROWS, OneLoad


def test_before_anything_was_loaded_there_is_a_certificate_and_nothing_else(load: OneLoad):
    found = summarise(load.world)
    assert (found["register"], found["lease"], found["run"]) == (None, None, {})
    assert found["certificate_days"] > 300
    assert found["open"] == {"sends": 0, "unproven": 0, "until": None}


def test_a_load_is_followed_from_plan_to_proof(load: OneLoad):
    load = load.with_run(max_batch_bytes=TEN_ROWS)
    customers = load.join(15)
    load.institution.warehouse.agreements_held.append(Agreement("12345678901", None))
    load.plan()
    found = summarise(load.world)
    assert [(f["label"], f["status"], f["sent_at"]) for f in found["run"]["files"]] == [
        ("0001", "planned", None),
        ("0002", "planned", None),
    ]
    assert found["run"]["plan"]["added"] == 15
    assert sum(found["run"]["extract"]["rejected"].values()) == 1
    assert found["lease"]["run_id"] == "manual__1"

    files = upload.upload(load.world, "0001")
    first = summarise(load.world)["run"]["files"][0]
    assert (first["status"], first["rows"], first["sends"]) == ("loading", 10, 1)
    assert first["sent_at"] < first["loaded_at"] < first["looked_up_until"]
    assert first["sent"] == [
        {"at": first["sent_at"], "correlation_id": load.sends[0].correlation_id, "superseded": False}
    ]
    assert summarise(load.world)["open"]["unproven"] == 1

    loading = load.wait(files)
    record_proof(load.world.journal, loading.proven)
    assert summarise(load.world)["run"]["files"][0]["status"] == "proven"  # before the task has come back
    upload.finish(load.world, "0001", loading.proven, loading.late)
    load.send("0002")
    load.join(2, days_ago=0)
    load.end(customers[:1])
    load.close()
    removal.remove_ended(load.world)
    verification.verify(load.world)
    watermark.follow(load.world, extract.read(load.world))
    found = summarise(load.world)
    assert {f["status"] for f in found["run"]["files"]} == {"proven"}
    assert all(f["proven_at"] for f in found["run"]["files"])
    assert (found["run"]["singles"], found["run"]["removals"]["removed"]) == (2, 1)
    assert (found["run"]["proof"]["misses"], found["register"]["as_of"]) == (0, "2026-11-23")
    assert found["register"]["proven"] == found["run"]["proof"]["holds"]
    assert found["removals"]["removed"] + found["removals"]["gone"] == 1


def test_a_file_is_looked_up_until_its_try_really_ends_and_its_first_copy_is_superseded_then(load: OneLoad):
    load.join(10)
    load.plan()
    load.fault(FaultKind.FILE_DROPPED, times=2)
    files = upload.upload(load.world, "0001")
    (told,) = summarise(load.world)["run"]["files"]
    loading = load.wait(files)
    assert loading.late == tuple(files)
    assert load.world.now == pytest.approx(told["looked_up_until"], abs=1)
    with pytest.raises(NotLoaded) as raised:
        upload.finish(load.world, "0001", loading.proven, loading.late)
    status = summarise(load.world, raised.value)
    assert (status["trouble"], status["runbook"]) == (f"NotLoaded: {raised.value}", "A send that never loads")
    upload.upload(load.world, "0001")
    (told,) = summarise(load.world)["run"]["files"]
    first, second = load.sends
    assert [(s["correlation_id"], s["superseded"]) for s in told["sent"]] == [
        (first.correlation_id, True),
        (second.correlation_id, False),
    ]
    assert told["looked_up_until"] > load.world.now
    kept = report.build(load.world)["files"][0]["sent"]
    assert [s["superseded"] for s in kept] == [True, False]
    assert "superseded" in render(report.build(load.world))


def test_a_file_without_an_answer_and_a_repair_are_seen_as_such(load: OneLoad):
    customers = load.join(10)
    load.plan()
    load.fault(FaultKind.RESET_AFTER_WORK)
    try:
        upload.upload(load.world, "0001")
    except Exception:  # noqa: BLE001
        assert summarise(load.world)["run"]["files"][0]["status"] == "no answer"
    load.send("0001")
    load.close()
    load.institution.simulator.plant_defect("missing", customers[3])
    load.finish()
    assert [f["label"] for f in summarise(load.world)["run"]["files"]] == ["0001", "repair-0001"]


def test_no_customer_is_in_it_and_it_goes_into_json(load: OneLoad):
    customers = load.join(20)
    load.load()
    load.end(customers[:2])
    load.finish()
    trouble = AccessRefused("no", correlation_id="3f0b2f6a-5a57-4b0e-9d0a-1c6f3f0a7d11")
    shown = json.dumps(summarise(load.world, trouble))
    assert not {text_of(c) for c in customers} & set(re.findall(r"\d{11}", shown))
    assert json.loads(shown)["trouble"].startswith("AccessRefused: no")


def test_it_changes_nothing(load: OneLoad):
    load.join(3)
    extract.extract_relationships(load.world)
    planning.plan(load.with_run(dry_run=True).world, first_load=True)
    before = sorted(p.name for p in load.institution.folder.rglob("*"))
    summarise(load.world)
    assert sorted(p.name for p in load.institution.folder.rglob("*")) == before
