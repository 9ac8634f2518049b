import pytest

from kfr.load import retention
from kfr.load.retention import Retention, sweep
from tests.unit.load.one_load import OneLoad, a_send, file_of, packed, sent

DAY = 86_400


@pytest.fixture
def began(load: OneLoad) -> OneLoad:
    load.acquire()
    return load


def files(load: OneLoad) -> list[str]:
    return load.world.staging.everything.files()


def after(load: OneLoad, days: float) -> int:
    """Let so many days pass and sweep; how many files went."""
    load.pass_days(days)
    return sweep(load.world)


def test_staged_files_of_a_run_that_failed_go_after_fourteen_days(began):
    failed = began.with_run(run_id="failed").world.place
    for name in ("extract.json", "files/0001"):
        failed.write(name, b"x")
    assert sweep(began.world) == 0  # seen for the first time: its days begin
    assert after(began, 13.9) == 0
    assert after(began, 0.2) == 2
    assert failed.names("files") == []


def test_the_run_that_holds_the_register_keeps_its_files_however_long_it_takes(began):
    began.world.place.write("files/0001", b"x")
    sweep(began.world)
    assert after(began, 400) == 0
    assert began.world.place.exists("files/0001")


def test_a_run_that_goes_on_has_its_days_anew(began):
    other = began.with_run(run_id="other")
    other.world.place.write("files/0001", b"x")
    sweep(began.world)
    began.pass_days(10)
    sweep(other.world)  # cleared, and it holds the register now
    began.pass_days(10)
    assert sweep(began.world) == 0
    assert after(began, 14.1) == 1


def test_the_rows_of_a_file_that_was_never_sent_go_after_a_day(began):
    sent(began, [5, 6])
    send = a_send("e" * 64, rows=1)
    began.world.journal.intend(send, packed([7], began.today))
    began.world.journal.put_missing(send.file, packed([7], began.today))
    began.world.journal.withdraw(send)  # as when the register was not reached
    assert sweep(began.world) == 0
    assert after(began, 1.1) == 2
    assert began.world.state.names("rows") == [f"rows/{file_of(5)[:40]}"]
    assert began.world.state.names("missing") == []


def test_refused_rows_go_after_thirty_days_those_of_the_own_run_too(began):
    for load in (began, began.with_run(run_id="other")):
        load.world.rejects.write("extract", b"x")
    sweep(began.world)
    assert after(began, 29.9) == 0
    assert after(began, 0.2) == 2


def test_reports_and_what_was_sent_are_kept_for_five_years(began):
    state = began.world.state
    names = (
        "reports/one.json",
        "reports/one.html",
        f"history/{began.today}-f00-1",
        f"deliveries/notice-{began.today}",
        "deliveries/d-4",
        "deliveries/b-2-0123456789ab",
    )
    for name in names:
        state.write(name, b"x")
    sweep(began.world)
    assert after(began, 5 * 365) == 0
    assert after(began, 3) == 4
    assert len(state.names("deliveries")) == 2  # else a clear would send these mails again


def test_half_a_file_of_a_killed_writer_goes_after_a_day(began):
    left = began.institution.folder / began.world.state.scope / "sends" / ".one.0123.tmp"
    left.parent.mkdir()
    left.write_bytes(b"half")
    sweep(began.world)
    assert left.exists()  # a writer may be at it
    assert after(began, 1.1) == 1
    assert not left.exists()


def test_an_installation_sets_each_time(began):
    load = began.with_run(retention=Retention(staged_days=1, rejects_days=2, reports_years=1))
    load.with_run(run_id="failed").world.place.write("plan.json", b"x")
    load.with_run(run_id="failed").world.rejects.write("extract", b"x")
    load.world.state.write("reports/one.json", b"x")
    sweep(load.world)
    assert [after(load, 1.1), after(load, 1.1), after(load, 364)] == [1, 1, 1]


def test_the_state_that_a_load_stands_on_is_never_swept(load):
    load.join(20)
    load.first()
    load = load.next()
    load.acquire()
    sweep(load.world)
    before = {name for name in files(load) if name.startswith("state/") and "reports" not in name}
    after(load, 4 * 365)
    assert before <= set(files(load))
    assert len(load.proven) == 20


def test_a_crash_at_any_touch_of_a_sweep_is_as_if_there_was_none(began):
    for touches in range(1, 60):
        for run in ("one", "two"):
            began.with_run(run_id=run).world.place.write("files/0001", b"x")
        sweep(began.world)
        began.pass_days(15)
        died = began.crash(touches, lambda: sweep(began.world))
        sweep(began.world)
        assert [name for name in files(began) if "files/" in name] == []
        if not died:
            return
    pytest.fail("sweeping touches the world for ever")


def test_what_is_gone_is_not_remembered(began):
    began.with_run(run_id="failed").world.place.write("plan.json", b"x")
    sweep(began.world)
    after(began, 15)
    assert began.world.state.read_json(retention.SEEN) == {}
    began.with_run(run_id="failed").world.place.write("plan.json", b"x")  # cleared: its days begin anew
    assert after(began, 1) == 0


def test_it_says_how_much_went_and_nothing_on_a_day_without(began):
    began.with_run(run_id="failed").world.place.write("plan.json", b"x")
    sweep(began.world)
    assert not [said for said in began.institution.said if "Swept" in said]
    after(began, 15)
    assert began.institution.said[-1] == "Swept: 1 files whose time is over."
