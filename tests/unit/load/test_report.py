import json

from kfr.load import extract, report
from kfr.load.report import build, notice, table
from kfr.relationships.packing import text_of
from tests.faults.warehouse import Agreement
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


def test_a_run_that_failed_early_has_a_report_as_far_as_it_came(load: OneLoad):
    load.acquire()
    load.join(3)
    assert "rows" not in build(load.world)
    extract.extract_relationships(load.world)
    found = build(load.world)
    assert found["rows"]["active"] == 3
    assert not {"plan", "proof", "removals"} & found.keys()
    assert dict(table(found))["files"] == "0"


def test_a_report_is_kept_sealed_with_the_state_by_run(load: OneLoad):
    load.join(3)
    load.load()
    found = build(load.world)
    load.world.place.remove_all()
    (name,) = load.world.state.names("reports")
    assert load.run.key in name
    assert load.world.state.read_json(name) == json.loads(json.dumps(found))


def test_no_customer_is_in_report_table_or_mail(load: OneLoad):
    customers = load.join(5)
    plan = load.load()
    load.finish()
    found = build(load.world)
    mail = report.confirmation(load.world)
    told = notice(load.world, plan, next(iter(plan.forecast.rows_by_day)))
    shown = f"{found} {table(found)} {mail} {told}"
    assert not [c for c in map(text_of, customers) if c in shown]
