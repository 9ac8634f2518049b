import json

import pytest

from kfr.load import confirmation, extract, lease, planning, report, upload, verification
from kfr.load.report import Kept, build, keep, table
from kfr.load.upload import NotLoaded
from kfr.load.volume import notice
from kfr.register.errors import OutcomeUnknown
from kfr.register.signature import verify
from kfr.relationships.packing import text_of
from tests.faults.warehouse import Agreement
from tests.simulator import FaultKind
from tests.unit.load.one_load import TEN_ROWS, OneLoad


def test_a_report_of_a_whole_load_has_its_figures(load: OneLoad):
    load = load.with_run(max_batch_bytes=TEN_ROWS, reason="case 1234")
    customers = load.join(15)
    load.institution.warehouse.agreements_held.append(Agreement("12345678901", None))
    load.plan()
    load.send("0001")
    load.send("0002")
    load.join(2, days_ago=0)
    load.end(customers[:1])
    load.close()
    load.finish()
    found = build(load.world)
    assert (found["dag_id"], found["run_id"], found["reason"]) == (
        "kfr_initial_load",
        "manual__1",
        "case 1234",
    )
    assert found["as_of"] == "2026-11-23"
    assert found["rows"]["rows"] == 16
    assert sum(found["rejected"].values()) == 1
    files = [(f["label"], f["rows"], f["status"]) for f in found["files"]]
    assert files == [("0001", 10, "proven"), ("0002", 5, "proven")]
    for file, send in zip(found["files"], load.sends, strict=True):
        (sent,) = file["sent"]
        assert (sent["fingerprint"], sent["correlation_id"], sent["rows"], sent["size"], sent["answer"]) == (
            send.file, send.correlation_id, send.rows, send.size, "accepted",
        )  # fmt: skip
        assert found["began_at"] <= sent["at"] <= sent["proven_at"] < found["written_at"]
    assert found["approved"]["by"] == "a person"
    assert found["single_additions"] == 2
    assert found["removals"]["removed"] == 1
    assert found["proof"]["misses"] == 0
    assert found["mirror"]["proven"] == 16
    rows = dict(table(found))
    assert (rows["rows read"], rows["files"], rows["single additions"]) == ("16", "2", "2")
    assert rows["removals removed"] == "1"


def test_a_repaired_file_is_in_the_report_beside_its_first_sending(load: OneLoad):
    customers = load.join(10)
    load.load()
    load.institution.simulator.plant_defect("missing", customers[3])
    load.finish()
    assert [f["label"] for f in build(load.world)["files"]] == ["0001", "repair-0001"]


def test_a_repair_that_was_late_is_in_the_report_before_and_after_it_has_come(load: OneLoad):
    customers = load.join(10)
    load.load()
    load.institution.simulator.plant_defect("missing", customers[3])
    load.fault(FaultKind.LOADING_STALLED, seconds=900)
    with pytest.raises(NotLoaded):
        load.finish()
    assert [(f["label"], f["status"]) for f in build(load.world)["files"]][1:] == [
        ("repair-0001", "not proven")
    ]
    load.institution.clock.advance(900)
    proof = verification.verify(load.world)
    assert [s.repaired for s in proof.strata if s.name == "file 0001"] == [proof.misses] == [1]
    (repair,) = build(load.world)["files"][1:]
    assert (repair["label"], repair["status"], len(repair["sent"])) == ("repair-0001", "proven", 1)


def test_a_run_that_failed_early_has_a_report_as_far_as_it_came(load: OneLoad):
    load.acquire()
    load.join(3)
    assert "rows" not in build(load.world)
    extract.extract_relationships(load.world)
    found = build(load.world)
    assert found["rows"]["active"] == 3
    assert not {"plan", "proof", "removals"} & found.keys()
    assert dict(table(found))["files"] == "0"


def test_a_report_is_kept_signed_and_sealed_with_the_state_by_run(load: OneLoad):
    load.join(3)
    load.load()
    kept = keep(load.world, build(load.world, "proven"))
    load.world.place.remove_all()
    (run,) = report.names(load.world.state)
    assert run == load.run.key
    found = report.read(load.world.state, run)
    assert found == kept == Kept.from_text(json.loads(json.dumps(kept.as_text())))
    assert json.loads(found.content)["outcome"] == "proven"
    assert verify(found.content, found.signed).organisation_number == load.institution.settings.fid
    assert (
        b"proven"
        not in (load.institution.folder / load.world.state.scope / f"reports/{run}.json").read_bytes()
    )


def test_a_run_that_is_cleared_when_it_is_over_does_not_overwrite_what_it_said_before(load: OneLoad):
    """What counts of a load is its signed report, for years."""
    load.join(3)
    load.load()
    load.finish()
    kept = keep(load.world, build(load.world, "not proven"))
    load.institution.clock.advance(60)
    kept = keep(load.world, build(load.world, "proven"))  # the same try: nothing is said twice
    assert report.names(load.world.state) == [load.run.key]
    lease.release(load.world)
    load.world.place.remove_all()
    load.pass_days(1)
    load.plan()
    again = keep(load.world, build(load.world))
    before, now = sorted(report.names(load.world.state), key=len, reverse=True)
    assert (report.read(load.world.state, before), report.read(load.world.state, now)) == (kept, again)
    assert before.startswith(f"{load.run.key}-20261123")


def test_a_dry_run_has_a_report_and_keeps_none(load: OneLoad):
    load = load.with_run(dry_run=True)
    load.join(3)
    extract.extract_relationships(load.world)
    planning.plan(load.world, first_load=True)
    found = json.loads(keep(load.world, build(load.world, "dry run")).content)
    assert (found["plan"]["added"], found["files"][0]["status"]) == (3, "not sent")
    assert report.names(load.world.state) == []
    assert not load.world.state.exists("institution")


def test_a_file_that_is_not_loaded_is_in_the_report_with_every_sending(load: OneLoad):
    load.join(3)
    load.plan()
    load.fault(FaultKind.RESET_AFTER_WORK, nth=1)
    with pytest.raises(OutcomeUnknown):
        upload.upload(load.world, "0001")
    upload.upload(load.world, "0001")
    (file,) = build(load.world)["files"]
    assert (file["status"], file["rows"]) == ("not proven", 3)
    assert [(s["attempt"], s["answer"], s["proven_at"]) for s in file["sent"]] == [
        (1, "unknown", None),
        (2, "accepted", None),
    ]


def test_a_mail_to_bits_is_in_the_report_with_its_message_id(load: OneLoad):
    load.join(3)
    load.load()
    load.finish()
    message_id = confirmation.send_confirmation(load.world)
    assert [(m["what"], m["message_id"]) for m in build(load.world)["mails"]] == [("d-4", message_id)]


def test_no_customer_is_in_report_table_or_mail(load: OneLoad):
    customers = load.join(5)
    plan = load.load()
    load.finish()
    found = build(load.world)
    mail = report.confirmation(load.world)
    told = notice(load.world, plan.forecast, next(iter(plan.forecast.rows_by_day)))
    shown = f"{found} {table(found)} {mail} {told}"
    assert not [c for c in map(text_of, customers) if c in shown]


def test_a_worker_that_dies_while_a_report_is_kept_leaves_one_that_its_signature_fits(load: OneLoad):
    load.join(3)
    load.load()
    keep(load.world, build(load.world, "not proven"))
    load.finish()
    for touches in range(1, 10):
        world = load.world
        crashed = load.crash(touches, lambda: keep(world, build(world, "proven")))  # noqa: B023
        found = report.read(load.world.state, load.run.key)
        assert verify(found.content, found.signed).organisation_number == load.institution.settings.fid
        if not crashed:
            break
    assert json.loads(found.content)["outcome"] == "proven"
