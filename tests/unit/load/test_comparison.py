from datetime import date, timedelta

import numpy as np
import pytest

from kfr.load import comparison, extract, lease, mirror
from kfr.load.comparison import Comparison
from kfr.load.ingestion import LookUpsUnreliable
from kfr.load.removal_queue import Entry, Removal, RemovalQueue
from kfr.relationships.customers import NOTHING
from kfr.relationships.packing import Ints, date_of, day_number, ids_of, starts_of, text_of
from tests.faults.institution import Agreement
from tests.simulator import FaultKind
from tests.unit.load.one_load import OneLoad, packed


@pytest.fixture
def loaded(load: OneLoad) -> OneLoad:
    """Twelve customers loaded and proven, and the next load, which has made its extract."""
    load.join(12)
    load = load.first().next()
    load.pass_days(1)
    load.acquire()
    extract.extract_relationships(load.world)
    return load


def customers_of(load: OneLoad) -> Ints:
    return extract.read(load.world).customers


def compare(load: OneLoad, customers: Ints | None = None, *, starts: bool = True) -> Comparison:
    extract.extract_relationships(load.world)
    world = load.world
    asked = customers_of(load) if customers is None else customers
    asked = comparison.settled(world, asked)
    assert comparison.look_up(world, asked, mirror.read(world), starts=starts)
    comparison.take_over(world, mirror.read(world))
    found = comparison.read(load.world)
    assert found
    return found


def start_of(load: OneLoad, customer: int) -> date | None:
    proven = mirror.read(load.world).proven
    return date_of(int(starts_of(proven[ids_of(proven) == customer])[0]))


def looked_up(load: OneLoad) -> int:
    return len(load.calls("look_up"))


def test_a_register_that_is_right_shows_no_difference_and_moves_no_mirror(loaded):
    before = mirror.read(loaded.world).version
    assert compare(loaded) == Comparison(
        customers=12, present=12, missing=0, lost=0, left_over=0, other_start=0
    )
    assert mirror.read(loaded.world).version == before


def test_who_was_lost_is_absent_from_the_mirror_and_sent_again(loaded):
    lost = int(customers_of(loaded)[3])
    loaded.institution.simulator.plant_defect("missing", lost)
    found = compare(loaded)
    assert (found.missing, found.lost, found.present) == (1, 1, 11)
    assert lost not in loaded.proven
    loaded.run_through()
    assert lost in loaded.registered


def test_who_is_new_is_missing_and_not_lost(loaded):
    loaded.join(2)
    found = compare(loaded)
    assert (found.customers, found.missing, found.lost) == (14, 2, 0)


def test_who_is_left_over_enters_the_mirror_so_that_a_load_removes_him(loaded):
    left = int(customers_of(loaded)[0])
    loaded.end([left])
    found = compare(loaded)
    assert (found.left_over, found.present, found.other_start) == (1, 12, 0)
    assert left in loaded.proven
    loaded.run_through()
    assert left not in loaded.registered


def test_who_is_in_the_register_and_not_in_the_mirror_needs_no_second_sending(loaded):
    """As after a lost mirror: what is found is proven, with the start that look-ups give."""
    world = loaded.world
    mirror.correct(world, mirror.read(world), present=NOTHING, absent=customers_of(loaded))
    assert loaded.proven == []
    found = compare(loaded)
    assert (found.present, found.missing, found.other_start) == (12, 0, 0)
    assert len(loaded.proven) == 12
    assert start_of(loaded, int(customers_of(loaded)[0])) == loaded.today - timedelta(days=101)


@pytest.mark.parametrize("known", [True, False], ids=["in the mirror", "lost"])
def test_another_start_is_found_out_to_the_day(loaded, known):
    customer = int(customers_of(loaded)[5])
    loaded.institution.simulator.plant_defect("missing", customer)
    loaded.world.register.register_one(customer)  # there since today, where the warehouse says long ago
    if not known:
        world = loaded.world
        mirror.correct(world, mirror.read(world), present=NOTHING, absent=np.array([customer]))
    found = compare(loaded)
    assert (found.other_start, found.missing) == (1, 0)
    assert start_of(loaded, customer) == loaded.today


@pytest.mark.parametrize("days", [20, -20])
def test_a_start_corrected_in_the_warehouse_is_looked_for_and_the_old_one_stays_held(loaded, days):
    customer = int(customers_of(loaded)[5])
    before = loaded.registered[customer]
    (agreement,) = [a for a in loaded.institution.warehouse.agreements_held if int(a.customer) == customer]
    agreement.started += timedelta(days=days)
    assert compare(loaded).other_start == 1
    assert start_of(loaded, customer) == before


def test_a_start_that_nobody_knows_is_found_though_the_mirror_has_one_between_it_and_the_warehouse_s(loaded):
    customer = int(customers_of(loaded)[5])
    loaded.institution.simulator.plant_defect("missing", customer)
    loaded.world.register.register_one(customer)
    world, between = loaded.world, loaded.today - timedelta(days=30)
    mirror.correct(world, mirror.read(world), present=packed([customer], between), absent=NOTHING)
    compare(loaded)
    assert start_of(loaded, customer) == loaded.today


def test_an_undated_relationship_is_found_and_needs_no_start(loaded):
    undated = loaded.institution.new_customer()
    loaded.institution.warehouse.agreements_held.append(Agreement(undated, None))
    loaded.world.register.register_one(int(undated))
    found = compare(loaded)
    assert (found.present, found.other_start) == (13, 0)
    assert start_of(loaded, int(undated)) is None


def test_who_was_registered_without_a_date_keeps_the_day_of_loading_when_a_later_start_becomes_known(loaded):
    undated = loaded.institution.new_customer()
    loaded.institution.warehouse.agreements_held.append(Agreement(undated, None))
    loaded.run_through()
    load = loaded.next()
    load.pass_days(10)
    load.acquire()
    (agreement,) = [a for a in load.institution.warehouse.agreements_held if a.customer == undated]
    agreement.started = load.today - timedelta(days=3)
    assert compare(load).other_start == 1  # in the register for ten days, by three that the warehouse has
    assert start_of(load, int(undated)) is None


def test_who_is_known_from_nowhere_and_is_there_is_held_without_a_start(loaded):
    """As a customer of an old version whom the warehouse has forgotten."""
    stranger = int(loaded.institution.new_customer())
    loaded.world.register.register_one(stranger)
    found = compare(loaded, np.union1d(customers_of(loaded), np.array([stranger])))
    assert (found.present, found.left_over) == (13, 1)
    assert start_of(loaded, stranger) is None


def test_without_starts_each_customer_costs_one_look_up(loaded):
    began = looked_up(loaded)
    compare(loaded, starts=False)
    assert looked_up(loaded) - began == 12
    compare(loaded, starts=True)
    assert looked_up(loaded) - began == 12 + 24


def test_who_was_removed_today_is_not_asked_for(loaded):
    """The register may answer yes for the rest of the day, and that says nothing."""
    customer, other = customers_of(loaded)[:2].tolist()
    queue = RemovalQueue.read(loaded.world.state)
    today = day_number(loaded.today)
    queue.entries[customer] = Entry(state=Removal.REMOVED, run="one", day=today)
    queue.entries[other] = Entry(state=Removal.REMOVED, run="one", day=today - 1)
    queue.write()
    assert compare(loaded).customers == 11
    assert {c: e.state for c, e in RemovalQueue.read(loaded.world.state).entries.items()} == {
        customer: Removal.REMOVED,
        other: Removal.DUE,  # found on a later day: its removal is due again
    }


def test_a_register_that_finds_nobody_moves_nothing(loaded):
    before = mirror.read(loaded.world).version
    loaded.fault(FaultKind.LOOK_UP_LAGS, "look_up", times=100_000, seconds=10 * 86_400.0)
    with pytest.raises(LookUpsUnreliable, match="nothing follows from them"):
        compare(loaded)
    assert not comparison.is_staged(loaded.world)
    assert mirror.read(loaded.world).version == before


def test_the_worker_may_die_anywhere_and_no_stretch_is_looked_up_twice(loaded, monkeypatch):
    monkeypatch.setattr(comparison, "STRETCH", 4)
    asked = customers_of(loaded)
    held = mirror.read(loaded.world)
    began = looked_up(loaded)
    for touches in (12, 20, 30):
        loaded.crash(touches, lambda: comparison.look_up(loaded.world, asked, held))
    assert comparison.look_up(loaded.world, asked, held)
    assert looked_up(loaded) - began <= 24 + 3 * 8  # at most the stretch under way, once for each crash
    assert loaded.world.place.read_array("compared.rows").tolist() == held.proven.tolist()
    before = looked_up(loaded)
    assert comparison.look_up(loaded.world, asked, held)
    assert looked_up(loaded) == before


def test_wherever_the_worker_dies_the_comparison_comes_to_its_end(loaded, monkeypatch):
    """Also between the two arrays of its last checkpoint, which are of one length in the end."""
    monkeypatch.setattr(comparison, "STRETCH", 4)
    asked, held = customers_of(loaded), mirror.read(loaded.world)
    for touches in range(1, 100):
        loaded.world.place.delete("compared.json")
        died = loaded.crash(touches, lambda: comparison.look_up(loaded.world, asked, held))
        assert comparison.look_up(loaded.world, asked, held)
        comparison.take_over(loaded.world, mirror.read(loaded.world))
        found = comparison.read(loaded.world)
        assert found
        assert (found.customers, found.present) == (12, 12)
        if not died:
            break
    assert touches > 30


def test_the_answers_to_one_question_are_never_taken_for_those_to_another(loaded, monkeypatch):
    """As when the worker dies in the first checkpoint of the other."""
    asked, held = customers_of(loaded), mirror.read(loaded.world)
    monkeypatch.setattr(comparison, "STRETCH", 4)
    assert not comparison.look_up(loaded.world, asked, held, until=loaded.world.now + 0.001)
    for touches in range(1, 60):
        loaded.crash(touches, lambda: comparison.look_up(loaded.world, asked[4:], held))
        assert comparison.look_up(loaded.world, asked, held)
        assert loaded.world.place.read_array("compared.rows").tolist() == held.proven.tolist()


def test_it_stops_at_its_time_and_goes_on_where_it_was(loaded, monkeypatch):
    monkeypatch.setattr(comparison, "STRETCH", 4)
    asked, held = customers_of(loaded), mirror.read(loaded.world)
    assert not comparison.look_up(loaded.world, asked, held, until=loaded.world.now + 0.001)
    assert len(loaded.world.place.read_array("compared.rows")) == 4
    assert "Compared 4 of 12 customers" in loaded.institution.said[-1]
    assert comparison.look_up(loaded.world, asked, held)


def test_another_question_begins_anew(loaded):
    asked, held = customers_of(loaded), mirror.read(loaded.world)
    comparison.look_up(loaded.world, asked, held)
    comparison.look_up(loaded.world, asked[:5], held)
    assert len(loaded.world.place.read_array("compared.rows")) == 5
    before = looked_up(loaded)
    comparison.look_up(loaded.world, asked[:5], held, starts=False)
    assert looked_up(loaded) == before + 5


def test_nobody_to_ask_for_is_an_answer_too(loaded):
    assert compare(loaded, NOTHING).customers == 0


def test_a_dry_run_counts_and_writes_no_state(loaded):
    loaded.institution.simulator.plant_defect("missing", int(customers_of(loaded)[3]))
    dry = loaded.with_run(dry_run=True, run_id="dry")
    extract.extract_relationships(dry.world)
    before = {n: loaded.world.state.read(n) for n in loaded.world.state.names("mirrors")}
    comparison.look_up(dry.world, customers_of(dry), mirror.read(dry.world))
    after = comparison.take_over(dry.world, mirror.read(dry.world))
    assert len(after.proven) == 11
    assert {n: loaded.world.state.read(n) for n in loaded.world.state.names("mirrors")} == before
    found = comparison.read(dry.world)
    assert found
    assert found.lost == 1


def test_a_run_that_compared_nothing_says_so(loaded):
    assert comparison.read(loaded.world) is None
    assert not comparison.is_staged(loaded.world)


def test_its_words_name_no_customer(loaded):
    customers = [text_of(c) for c in customers_of(loaded).tolist()]
    loaded.institution.simulator.plant_defect("missing", int(customers[0]))
    shown = f"{compare(loaded)} {loaded.institution.said}"
    assert not [c for c in customers if c in shown]
    assert "1 are missing (1 of them proven before)" in shown


def test_a_number_that_the_register_refuses_to_look_up_is_not_there(loaded):
    odd = packed([11_111_111_111], loaded.today)
    found = compare(loaded, np.union1d(customers_of(loaded), ids_of(odd)))
    assert (found.customers, found.present) == (13, 12)


def test_what_was_seen_before_another_run_wrote_is_looked_up_again(loaded):
    """Else a customer whom that run removed would be taken for present, and the next removal contradict it."""
    asked, held = customers_of(loaded), mirror.read(loaded.world)
    assert comparison.look_up(loaded.world, asked, held)
    lease.release(loaded.world)
    other = loaded.with_run(run_id="manual__9")
    assert other.acquire()
    lease.release(other.world)
    assert loaded.acquire()
    before = looked_up(loaded)
    assert comparison.look_up(loaded.world, asked, held)
    assert looked_up(loaded) > before


def test_a_worker_that_was_overtaken_takes_nothing_over_of_what_it_saw(loaded):
    """Whom the other run has removed meanwhile it saw present: they would be due again, and then held."""
    ended = customers_of(loaded)[:3]
    lease.release(loaded.world)
    slow = loaded.next()
    slow.plan(first_load=False)
    held = mirror.read(slow.world)
    comparison.look_up(slow.world, ended, held)
    lease.release(slow.world)
    loaded.end(ended.tolist())
    other = loaded.next()
    other.run_through()
    removed = RemovalQueue.read(other.world.state).entries
    with pytest.raises(lease.LeaseLost):
        comparison.take_over(slow.world, held)
    assert RemovalQueue.read(other.world.state).entries == removed
    assert {entry.state for entry in removed.values()} <= {Removal.REMOVED, Removal.GONE}
    assert len(removed) == 3
