from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

from kfr.load import lease, mirror, planning, start_pairs, starts, upload, verification, watermark
from kfr.load.journal import StartChange
from kfr.load.verification import NotEqual
from kfr.relationships.customers import NOTHING
from kfr.relationships.packing import date_of, ids_of, starts_of, text_of
from tests.faults.institution import Agreement, Institution
from tests.simulator import FaultKind, Switches
from tests.unit.load.one_load import OneLoad, packed

EARLIER, LATER = -50, 50  # days by which a start is corrected


def loaded(load: OneLoad, customers: int = 10) -> list[int]:
    """A first load of some customers; their identifiers."""
    new = load.join(customers)
    load.first()
    load.pass_days(1)
    return new


def correct_start(load: OneLoad, customer: int, days: int) -> date:
    (agreement,) = [a for a in load.institution.warehouse.agreements_held if int(a.customer) == customer]
    agreement.started += timedelta(days=days)
    return agreement.started


def stratum(load: OneLoad) -> verification.Stratum:
    return next(s for s in verification.read(load.world).strata if s.name == starts.NAME)


def proven_start(load: OneLoad, customer: int) -> date | None:
    proven = mirror.read(load.world).proven
    return date_of(int(starts_of(proven[ids_of(proven) == customer])[0]))


def takes_starts(folder: Path, second_file: str, **more: int) -> OneLoad:
    return OneLoad(Institution(folder, switches=Switches(second_file=second_file), **more))


@pytest.mark.parametrize("days", [EARLIER, LATER])
def test_a_start_that_the_register_takes_is_proven_and_the_mirror_has_it(folder, days):
    load = takes_starts(folder, "changes_start")
    customer, *_ = loaded(load)
    start = correct_start(load, customer, days)
    load = load.next()
    load.run_through()
    assert load.registered[customer] == start
    assert (stratum(load).rows, stratum(load).start_not_corrected) == (1, 0)
    assert proven_start(load, customer) == start


@pytest.mark.parametrize("days", [EARLIER, LATER])
def test_a_start_that_the_register_keeps_is_filed_twice_reported_and_neither_removed_nor_filed_again(
    folder, days
):
    """Twice, on two days: the first file may have been lost, or late."""
    load = takes_starts(folder, "keeps_start")
    customer, *_ = loaded(load)
    before = load.registered[customer]
    files = len(load.calls("register_file"))
    correct_start(load, customer, days)
    for known in (None, before):
        load = load.next()
        proof = load.run_through()
        assert (stratum(load).start_not_corrected, proof.misses) == (1, 0)
        assert proven_start(load, customer) == known
        load.pass_days(1)
    for _ in range(2):
        load = load.next()
        load.run_through()
        assert planning.read(load.world).start_kept == 1
        assert proven_start(load, customer) == before
        load.pass_days(1)
    assert load.calls("remove_one") == []
    assert len(load.calls("register_file")) == files + 2
    assert start_pairs.untaken(load.world).size == 0


@pytest.mark.parametrize("days", [EARLIER, LATER])
@pytest.mark.parametrize("back", [False, True], ids=["stays", "is taken back the next day"])
@pytest.mark.parametrize("kind", [FaultKind.FILE_DROPPED, FaultKind.LOADING_STALLED])
def test_a_start_whose_file_is_lost_or_late_is_filed_again(folder, days, back, kind):
    """Nothing in it could prove it, so it looks as if the register had kept the old one."""
    load = takes_starts(folder, "changes_start")
    customer, *_ = loaded(load)
    correct_start(load, customer, days)
    load = load.next()
    load.fault(kind, seconds=7200.0)
    load.run_through()
    assert stratum(load).start_not_corrected == 1
    assert proven_start(load, customer) is None
    load.pass_days(1)
    start = correct_start(load, customer, -days if back else 0)
    for _ in range(2):
        load = load.next()
        load.run_through()
        assert load.registered[customer] == start == proven_start(load, customer)
        load.pass_days(1)


def test_two_filings_of_one_day_forget_no_start(folder):
    load = takes_starts(folder, "keeps_start")
    customer, *_ = loaded(load)
    before = load.registered[customer]
    correct_start(load, customer, EARLIER)
    for days in (0, 1, 1, 1):
        load = load.next()
        load.run_through()
        load.pass_days(days)
    assert proven_start(load, customer) == before
    assert start_pairs.kept(load.world)[:, 1].tolist() == packed([customer], before).tolist()


def test_a_file_that_may_still_come_though_it_is_archived_lets_no_start_count_as_kept(folder):
    load = takes_starts(folder, "changes_start")
    one, other, *_ = loaded(load)
    for customer in (one, other):
        start = correct_start(load, customer, EARLIER)
    load.fault(FaultKind.LOADING_STALLED, seconds=8 * 3600.0)
    load = load.next()
    load.run_through()
    mirror.void(load.world, np.array([other]))  # as if the other one had been looked up in vain
    assert [s for s in load.sends if s.run == load.run.key] == []
    load = load.next()
    load.run_through()
    assert start_pairs.kept(load.world).size == 0
    load.pass_days(1)
    for _ in range(2):
        load = load.next()
        load.run_through()
        load.pass_days(1)
    assert load.registered[one] == start == proven_start(load, one)


def test_two_filings_of_one_day_show_no_more_than_one(folder):
    load = takes_starts(folder, "changes_start")
    customer, *_ = loaded(load)
    start = correct_start(load, customer, EARLIER)
    for _ in range(2):
        load.fault(FaultKind.FILE_DROPPED)
        load = load.next()
        load.run_through()
    load.pass_days(1)
    load = load.next()
    load.run_through()
    assert load.registered[customer] == start == proven_start(load, customer)


def test_another_correction_of_a_start_that_was_kept_is_filed(folder):
    load = takes_starts(folder, "keeps_start")
    customer, *_ = loaded(load)
    correct_start(load, customer, EARLIER)
    load = load.next()
    load.run_through()
    load.pass_days(1)
    correct_start(load, customer, EARLIER)
    load = load.next()
    load.run_through()
    assert planning.read(load.world).start_changed == 1


def test_one_start_not_taken_makes_all_of_them_looked_up(folder):
    """The sample is one in each block; where one is kept, the mirror must not claim the others."""
    load = takes_starts(folder, "keeps_start", sample_size=3)
    customers = loaded(load, 8)
    for customer in customers:
        correct_start(load, customer, EARLIER)
    load = load.next()
    load.run_through()
    assert (stratum(load).rows, stratum(load).sampled, stratum(load).start_not_corrected) == (8, 8, 8)


@pytest.mark.parametrize("days_ago", [30, 5], ids=["before the day of loading", "after it"])
@pytest.mark.parametrize(("second_file", "kept"), [("changes_start", 0), ("keeps_start", 1)])
def test_a_start_of_one_registered_without_a_date_is_judged_by_the_days_around_it(
    folder, days_ago, second_file, kept
):
    """It began on the day of loading, which the mirror does not know."""
    load = takes_starts(folder, second_file)
    undated = load.institution.new_customer()
    load.institution.warehouse.agreements_held.append(Agreement(undated, None))
    loaded(load, 3)
    load.pass_days(10)
    (agreement,) = [a for a in load.institution.warehouse.agreements_held if a.customer == undated]
    agreement.started = load.today - timedelta(days=days_ago)
    load = load.next()
    load.run_through()
    assert stratum(load).start_not_corrected == kept


def test_who_is_gone_from_the_register_ends_the_claim_and_is_added_by_the_next_load(folder):
    load = takes_starts(folder, "changes_start")
    customer, *_ = loaded(load)
    correct_start(load, customer, EARLIER)
    load = load.next()
    load.add()
    load.institution.simulator.plant_defect("missing", customer)
    with pytest.raises(NotEqual, match="changed starts"):
        load.finish()
    assert customer not in load.proven
    lease.release(load.world)
    load.pass_days(1)
    load = load.next()
    load.run_through()
    assert customer in load.registered


def test_entries_say_what_became_of_each_start_and_who_was_removed_is_left_out(folder):
    load = takes_starts(folder, "changes_start")
    one, other, *_ = loaded(load)
    for customer in (one, other):
        correct_start(load, customer, EARLIER)
    load = load.next()
    load.add()
    assert starts.verify(load.world, NOTHING).rows == 2
    entries = load.world.journal.start_changes(load.run.key)
    assert entries[:, 2].tolist() == [StartChange.CORRECTED] * 2
    assert starts.verify(load.world, ids_of(entries[:1, 0])).rows == 1


def filed_anew(folder: Path, second_file: str) -> tuple[OneLoad, int, date]:
    """A run that has filed another start and not looked what became of it; whose, and the start before."""
    load = takes_starts(folder, second_file)
    customer, *_ = loaded(load)
    before = load.registered[customer]
    correct_start(load, customer, EARLIER)
    load = load.next()
    for label in load.plan(first_load=False).labels:
        load.send(label)
    return load, customer, before


@pytest.mark.parametrize("dies", [True, False])
def test_a_start_that_was_filed_is_set_right_when_the_warehouse_takes_it_back(folder, dies):
    """By another run after one that died, or by the same one, planned again."""
    load, customer, before = filed_anew(folder, "changes_start")
    assert load.registered[customer] == before + timedelta(days=EARLIER)
    if dies:
        mirror.record(load.world)
        lease.release(load.world)
        load.pass_days(1)
        load = load.next()
    correct_start(load, customer, -EARLIER)
    load.run_through()
    assert load.registered[customer] == before
    assert proven_start(load, customer) == (before if dies else None)  # the first file may come yet, that day
    load.pass_days(1)
    load = load.next()
    load.run_through()
    assert load.registered[customer] == before == proven_start(load, customer)


def test_a_start_that_the_register_kept_is_known_again(folder):
    load, customer, before = filed_anew(folder, "keeps_start")
    mirror.record(load.world)
    assert proven_start(load, customer) is None  # as long as nobody has looked
    load.close_additions()
    load.finish()
    lease.release(load.world)
    load.pass_days(1)
    load = load.next()
    load.run_through()
    assert proven_start(load, customer) == before


def test_of_two_starts_of_one_day_none_is_known_until_the_next_whatever_the_runs_are_called(folder):
    load = takes_starts(folder, "changes_start")
    customer, *_ = loaded(load)
    for days, run in ((-50, "scheduled__1"), (20, "manual__2"), (-20, "manual__3")):  # and back to the first
        load.institution.clock.advance(3600)
        load = load.with_run(dag_id="kfr_periodic_load", run_id=run)
        start = correct_start(load, customer, days)
        load.run_through()
        assert load.registered[customer] == start
        assert proven_start(load, customer) == (
            start if days == -50 else None
        )  # the file before may come yet
    load.pass_days(1)
    load = load.next()
    load.run_through()
    assert load.registered[customer] == start == proven_start(load, customer)


@pytest.mark.parametrize(
    ("second_file", "kind"), [("keeps_start", None), ("changes_start", FaultKind.FILE_DROPPED)]
)
def test_days_of_an_earlier_relationship_do_not_show_that_a_start_was_taken(folder, second_file, kind):
    """A customer who had left and is back by a new agreement: the warehouse says that they have never left."""
    switches = Switches(removal="ends_yesterday", re_registration="new_start", second_file=second_file)
    load = OneLoad(Institution(folder, switches=switches))
    customer, *_ = loaded(load)
    load.end([customer])
    load = load.next()
    load.run_through()
    load.pass_days(30)
    agreements = load.institution.warehouse.agreements_held
    agreements.append(Agreement(text_of(customer), load.today - timedelta(days=1)))
    load = load.next()
    load.run_through()
    (first, _) = (a for a in agreements if int(a.customer) == customer)
    first.ended = None
    load.pass_days(1)
    load = load.next()
    if kind:
        load.fault(kind)
    load.run_through()
    assert (stratum(load).rows, stratum(load).start_not_corrected) == (1, 1)
    assert proven_start(load, customer) is None
    load.pass_days(1)
    load = load.next()
    load.run_through()
    taken = second_file == "changes_start"
    assert load.registered[customer] == proven_start(load, customer)
    assert (load.registered[customer] == first.started) == taken
    load.pass_days(1)
    load = load.reconcile()
    assert load.registered[customer] == proven_start(load, customer)


@pytest.mark.parametrize("dies", [True, False])
def test_a_load_of_an_interval_comes_back_to_a_start_that_a_backfill_has_left_open(folder, dies):
    """The change is weeks old: no day tells that the customer is due."""
    load = takes_starts(folder, "changes_start")
    customer, *_ = loaded(load)
    start = correct_start(load, customer, -50)
    (agreement,) = [a for a in load.institution.warehouse.agreements_held if int(a.customer) == customer]
    agreement.recorded = load.today
    load.pass_days(40)
    load.world.state.write_json(watermark.NAME, {"as_of": load.today.isoformat(), "run": "a daily load"})
    days = (load.today - timedelta(days=45), load.today - timedelta(days=30))
    load = load.next(scope="interval", compare_with="register", interval=days)
    load.fault(FaultKind.FILE_DROPPED)
    if dies:
        load.plan(first_load=False)
        upload.upload(load.world, "0001")
        lease.release(load.world)
    else:
        load.run_through()
    for _ in range(3):
        load.pass_days(1)
        load = load.next(scope="interval", compare_with="mirror", interval=None)
        load.run_through()
    assert load.registered[customer] == start == proven_start(load, customer)
    assert start_pairs.unsettled(load.world).size == 0


def test_a_start_that_nobody_looked_at_stays_open_until_it_is_known(folder):
    load = takes_starts(folder, "changes_start")
    known, *_ = loaded(load)
    rows = packed([known], date(2020, 1, 1))
    start_pairs.add(load.world.state, start_pairs.OPEN, np.column_stack([rows, rows]))
    assert start_pairs.unsettled(load.world).tolist() == [known]
    mirror.record(load.next().world)
    assert start_pairs.unsettled(load.world).size == 0
