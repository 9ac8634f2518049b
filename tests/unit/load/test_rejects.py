from datetime import date, timedelta

from kfr.load import extract, rejects
from kfr.relationships.packing import text_of
from tests.faults.institution import Agreement
from tests.unit.load.one_load import OneLoad, packed

ROW = {
    "customer_id": "12345678901",
    "started_on": "2020-01-01",
    "ended_on": None,
    "reason": "wrong_check_digit",
}


def kept(load: OneLoad) -> list[rejects.Rejects]:
    return list(rejects.read(load.world.staging))


def test_what_was_kept_is_read_by_run_the_latest_first(load):
    rejects.keep(load.world, "extract", [ROW])
    load.pass_days(1)
    later = load.with_run(run_id="later")
    rejects.keep(later.world, "extract", [ROW, ROW | {"customer_id": "x"}])
    assert [(found.run, len(found.rows)) for found in kept(load)] == [(later.run.key, 2), (load.run.key, 1)]
    assert kept(load)[1].rows == [ROW]


def test_a_row_that_several_readings_of_a_run_refused_is_told_once(load):
    for reading in ("extract", "arrivals", "removals"):
        rejects.keep(load.world, reading, [ROW])
    (found,) = kept(load)
    assert found.rows == [ROW]


def test_a_repaired_row_is_forgotten_by_the_same_reading(load):
    rejects.keep(load.world, "extract", [ROW])
    rejects.keep(load.world, "extract", [])
    assert kept(load) == []


def test_they_outlive_the_run_s_staged_files(load):
    load.join(1)
    load.institution.warehouse.agreements_held.append(Agreement("12345678901", date(2020, 1, 1)))
    extract.extract_relationships(load.world)
    load.world.place.remove_all()
    (found,) = kept(load)
    assert found.rows[0]["customer_id"] == "12345678901"


def test_a_row_that_only_the_register_refuses_is_kept_for_the_steward_too(load):
    """It looks right to us; the register says no, and so the steward must see it."""
    load.join(7)
    load.acquire()
    wrong = 12_345_678_901
    load.plan()
    start = load.today - timedelta(days=100)
    rows = packed([*load.world.place.read_array("files/0001") >> 17, wrong], start)
    load.world.place.write_array("files/0001", rows)
    assert load.send().refused == 1
    (found,) = kept(load)
    assert found.rows == [
        {
            "customer_id": text_of(wrong),
            "started_on": str(start),
            "ended_on": None,
            "reason": rejects.BY_THE_REGISTER,
        }
    ]


def test_nothing_of_them_shows_when_they_are_printed(load):
    rejects.keep(load.world, "extract", [ROW])
    assert "12345678901" not in repr(kept(load))
