"""A year in which the warehouse changes daily and everything goes wrong that can: the register stays equal to it."""

import json
import tempfile
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from kfr.load import mirror, report
from kfr.relationships.packing import ids_of
from tests.faults.days import play_year
from tests.faults.institution import fast_folder
from tests.faults.year import Year
from tests.simulator import Switches

DAYS = st.integers(-5, 40)  # ago


def said(year: Year, run: str) -> dict:
    """The signed report of a run."""
    return json.loads(report.read(year.institution.state, run).content)


@pytest.fixture
def year() -> Iterator[Year]:
    """An institution after its first load, in the morning of the next day."""
    with tempfile.TemporaryDirectory(dir=fast_folder()) as folder:
        year = Year(Path(folder), seed=1)
        year.institution.populate(12)
        year.first_load()
        year.sleep_until(year.today + timedelta(days=1), time(4))
        yield year


def test_a_year_ends_with_register_warehouse_and_mirror_equal_on_every_day():
    with tempfile.TemporaryDirectory(dir=fast_folder()) as folder:
        year = play_year(Path(folder), seed=2026)
    assert year.problems == []
    for happened in (
        "days missed",
        "mirrors lost",
        "backfills",
        "returns",
        "starts moved",
        "clears",
        "faults set",
    ):
        assert year.counts[happened] > 0, year.counts


class Keeping(RuleBasedStateMachine):
    """Whatever people, systems and faults do, in any order: after the next load all is equal."""

    def __init__(self) -> None:
        super().__init__()
        self.temporary = tempfile.TemporaryDirectory(dir=fast_folder())
        self.year = Year(Path(self.temporary.name), seed=7)
        self.year.institution.populate(8)
        self.year.first_load()
        self.mirror_lost = False

    @rule(ago=DAYS)
    def arrives(self, ago):
        self.year.arrive(ago)

    @precondition(lambda self: len(self.year.active()) > 2)  # an empty list authorises no removal
    @rule(ago=st.integers(0, 30))
    def leaves(self, ago):
        self.year.leave(ago)

    @rule()
    def comes_back(self):
        self.year.come_back()

    @rule(days=st.integers(-500, 30))
    def start_is_corrected(self, days):
        self.year.move_start(days)

    @rule()
    def number_changes(self):
        self.year.change_number()

    @rule(hours=st.sampled_from([1, 5, 24, 24, 50]))
    def time_passes(self, hours):
        self.year.institution.clock.advance(hours * 3600)

    @rule()
    def a_fault_comes(self):
        self.year.add_fault()

    @rule()
    def the_worker_will_crash(self):
        self.year.add_crash()

    @rule()
    def mirror_is_lost(self):
        self.year.lose_mirror()
        self.mirror_lost = True

    @precondition(lambda self: not self.mirror_lost)
    @rule(scope=st.sampled_from(["everyone", "interval"]))
    def periodic_load(self, scope):
        self.year.load(scope=scope)

    @precondition(lambda self: not self.mirror_lost)
    @rule(first=st.integers(0, 20), days=st.integers(0, 5))
    def backfill(self, first, days):
        begin = self.year.today - timedelta(days=first)
        self.year.backfill(begin, begin + timedelta(days=days))

    @precondition(lambda self: not self.mirror_lost)
    @rule()
    def dry_run(self):
        self.year.dry_run()

    @rule(full=st.booleans())
    def reconcile(self, full):
        self.year.reconcile(full=full)
        self.mirror_lost = False

    def teardown(self) -> None:
        if self.mirror_lost:
            self.year.reconcile()
        self.year.load_until_green()
        self.year.check()
        problems = self.year.problems
        self.temporary.cleanup()
        assert problems == []


TestKeeping = Keeping.TestCase
TestKeeping.settings = settings(
    max_examples=12,
    stateful_step_count=20,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def test_a_day_without_changes_sends_nothing_and_says_so(year):
    year.load()
    log = year.institution.simulator.log
    before = len(log)
    assert year.load().green
    assert {e.operation for e in log[before:] if e.operation} <= {"look_up", "token"}
    assert "Nothing to change" in " ".join(year.institution.said)


def test_who_came_and_left_between_two_loads_was_never_registered_and_is_reported(year):
    customer = year.institution.new_customer()
    year.arrive()
    year.held[-1].customer = customer
    year.sleep_until(year.today + timedelta(days=3), time(4))
    year.held[-1].ended = year.today - timedelta(days=1)
    play = year.load()
    year.check()
    assert play.green
    assert year.problems == []
    assert int(customer) not in year.institution.simulator.relationships()
    assert said(year, play.run.key)["plan"]["never_seen"] == 1


def test_a_start_that_the_register_keeps_is_filed_on_two_days_and_reported(year):
    year.move_start(-100)
    reports = []
    for _ in range(3):
        year.sleep_until(year.today + timedelta(days=1), time(4))
        key = year.load().run.key
        reports.append(said(year, key))
    assert [each["plan"]["start_changed"] for each in reports] == [1, 1, 0]
    assert reports[2]["plan"]["start_kept"] == 1
    for each in reports[:2]:
        [starts] = [s for s in each["proof"]["strata"] if s["name"] == "changed starts"]
        assert starts["start_not_corrected"] == 1


def test_a_start_that_the_register_takes_is_proven_and_in_the_mirror():
    with tempfile.TemporaryDirectory(dir=fast_folder()) as folder:
        year = Year(Path(folder), seed=3, switches=Switches(second_file="changes_start"))
        year.institution.populate(12)
        year.first_load()
        for days in (-100, 20):  # back, then forth
            year.move_start(days)
            year.start_moved.clear()
            year.load()
            year.check()
        assert year.problems == []


def test_a_backfill_repairs_what_the_register_lost(year):
    """The mirror still says that they are there; only the register knows better."""
    simulator = year.institution.simulator
    customer = simulator.plant_defect("missing", int(year.active()[0]))
    year._of(f"{customer:011d}")[0].recorded = year.today
    year.load()
    assert customer not in simulator.relationships()
    year.backfill(year.today - timedelta(days=1), year.today)
    year.check()
    assert year.problems == []


def test_five_backfills_backwards_come_to_the_same_end(year):
    for ago in range(5):
        year.arrive(ago)
        year.leave(ago)
    today = year.today
    for ago in range(5):
        year.backfill(today - timedelta(days=ago + 1), today - timedelta(days=ago))
    year.check()
    assert year.problems == []


def test_a_customer_who_came_back_while_the_removal_waited_is_not_removed(year):
    customer = year.active()[0]
    year.institution.warehouse.queue[customer] = None  # the core system asks, and is late
    play = year.load()
    assert play.green
    assert year.institution.warehouse.queue[customer] == "customer"
    year.check()
    assert year.problems == []


def test_a_vanished_customer_is_removed_only_when_the_queue_asks(year):
    year.vanish()
    (vanished,) = year.vanished
    year.load()
    assert year.institution.simulator.relationships()[int(vanished)][1] is None
    year.ask_for_vanished()
    year.load()
    assert year.institution.warehouse.queue[vanished] == "removed"
    year.check()
    assert year.problems == []


def test_a_new_number_is_registered_with_the_old_start_before_the_old_number_goes(year):
    old = next(c for c, start in sorted(year.institution.desired().items()) if start)
    start = year.institution.desired()[old]
    new = year.institution.new_customer()
    for agreement in year._of(old):
        agreement.customer = new
    year.institution.warehouse.queue[old] = None
    year.load()
    log = year.institution.simulator.log
    removed = next(e.at for e in log if e.operation == "remove_one" and e.customer_id == int(old))
    assert year.institution.simulator.relationships()[int(new)] == (start, None)
    assert max(e.at for e in log if e.kind == "file_loaded") < removed
    year.check()
    assert year.problems == []


@pytest.mark.parametrize("lost", ["pointer", "everything", "damaged"])
def test_a_mirror_that_is_lost_stops_a_load_and_is_made_anew_by_reconciling(year, lost):
    state = year.institution.staging().state
    year.arrive(3)
    year.load()
    before = ids_of(mirror.read(year.institution.world(year.plays[-1].run)).proven).tolist()
    if lost == "damaged":
        version = state.read_json("mirror")["version"]
        path = next(year.folder.rglob(f"{version:08d}.proven"))
        path.write_bytes(path.read_bytes()[:-1])
    else:
        state.delete("mirror")
    for name in state.names("mirrors") if lost == "everything" else []:
        state.delete(name)
    year.leave()
    stopped = year.play("periodic", year._run("kfr_periodic_load"))
    assert not stopped.green
    year.problems.clear()
    assert year.reconcile().green
    after = ids_of(mirror.read(year.institution.world(year.plays[-1].run)).proven).tolist()
    assert len(after) == len(before) - 1
    year.check()
    assert year.problems == []


def test_a_reconciliation_samples_first_and_looks_everyone_up_only_when_the_sample_says_no(year):
    said = year.institution.said
    year.reconcile()
    assert any("all are as they should be" in line for line in said)
    assert not any("Compared" in line for line in said)
    simulator = year.institution.simulator
    simulator.plant_defect("missing", int(year.active()[0]))
    year.reconcile()
    assert any("Looking all up" in line for line in said)
    assert any("Compared" in line for line in said)
    year.check()
    assert year.problems == []


def test_a_dry_reconciliation_says_what_it_would_do_and_does_nothing(year):
    simulator = year.institution.simulator
    simulator.plant_defect("missing", int(year.active()[0]))
    before = simulator.relationships(), _state_of(year)
    said = len(year.institution.said)
    assert year.reconcile(full=True, dry_run=True).green
    assert (simulator.relationships(), _state_of(year)) == before
    said_now = " ".join(year.institution.said[said:])
    assert "1 are missing (1 of them proven before)" in said_now
    assert "Planned: 1 to add" in said_now


def _state_of(year: Year) -> dict[str, bytes]:
    folder = year.folder / year.institution.staging().state.scope
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2027, 3, 27, 22, 59, 59, tzinfo=UTC),  # 23:59:59 before the night without 02:30
        datetime(2027, 3, 28, 0, 59, 59, tzinfo=UTC),  # the hour that is left out
        datetime(2027, 10, 30, 21, 59, 59, tzinfo=UTC),
        datetime(2027, 10, 31, 0, 30, tzinfo=UTC),  # the hour that comes twice
        datetime(2027, 12, 31, 22, 59, 59, tzinfo=UTC),
    ],
)
def test_loads_around_midnight_and_the_changes_of_the_clock_keep_their_dates(moment):
    with tempfile.TemporaryDirectory(dir=fast_folder()) as folder:
        year = Year(Path(folder), seed=5, switches=Switches(single="after_files"))
        year.institution.clock.set(moment - timedelta(days=2))
        year.institution.populate(12)
        year.first_load()
        year.institution.clock.set(moment)
        year.arrive(0)
        year.arrive(1)
        year.leave()
        year.load()
        year.load()
        year.check()
        assert year.problems == []


def _interval(first: date, last: date) -> dict:
    return {"scope": "interval", "compare_with": "register", "interval": (first, last)}


def test_an_interval_that_is_inverted_or_lies_in_the_future_is_refused(year):
    today = year.today
    for days, said in [
        ((today, today - timedelta(days=1)), "ends before it"),
        ((today + timedelta(days=1), today + timedelta(days=2)), "in the future"),
    ]:
        play = year.play("periodic", year._run("kfr_periodic_load", **_interval(*days)))
        assert not play.green
        assert said in " ".join(play.errors)


def test_an_interval_query_that_gives_everyone_asks_a_person(year):
    warehouse = year.institution.warehouse
    warehouse.changed_agreements = lambda *_: warehouse.agreements(year.today)
    play = year.backfill(year.today - timedelta(days=1), year.today)
    plan = next(line for line in year.institution.said if "outside_interval" in line)
    assert "nothing began or ended" in plan
    assert play.green  # `approval` is `never` here: what a guard asks is said, and goes on


def test_an_interval_query_that_gives_only_the_changed_agreements_is_found_out(year):
    customer = next(c for c in year.active() if len(year._of(c)) == 1 and year._of(c)[0].started)
    year._of(customer)[0].recorded = year.today - timedelta(days=300)
    year.held.append(type(year.held[0])(customer, year.today, recorded=year.today))
    warehouse = year.institution.warehouse
    whole = warehouse.changed_agreements

    def only_changed(first, last):
        return _Only(whole(first, last), year)

    warehouse.changed_agreements = only_changed
    play = year.play("periodic", year._run("kfr_periodic_load", **_interval(year.today, year.today)))
    assert not play.green
    assert "must give all agreements" in " ".join(play.errors)


class _Only:
    """A snapshot without the agreements that did not change."""

    def __init__(self, snapshot, year: Year) -> None:
        self._snapshot, self._year = snapshot, year

    def __enter__(self):
        snapshot = self._snapshot.__enter__()
        snapshot._rows = [a for a in snapshot._rows if a.recorded == self._year.today]
        return snapshot

    def __exit__(self, *error: object):
        return self._snapshot.__exit__(*error)
