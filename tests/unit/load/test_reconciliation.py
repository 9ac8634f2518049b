import pytest

from kfr.load import comparison, extract, lease, mirror, planning, reconciliation, removal
from kfr.load.ingestion import LookUpsUnreliable
from kfr.load.lease import LeaseLost
from kfr.load.reconciliation import compare
from kfr.load.removal_queue import Entry, Removal, RemovalQueue
from kfr.relationships.packing import text_of
from tests.faults.fuse import Crash
from tests.faults.institution import Institution
from tests.simulator import FaultKind, Switches
from tests.unit.load.one_load import OneLoad, states

LONG = 600.0


def reconciling(load: OneLoad) -> OneLoad:
    """The next run of kfr_reconcile, which has made its extract."""
    load = load.next("kfr_reconcile")
    load.acquire()
    extract.extract_relationships(load.world)
    return load


@pytest.fixture
def loaded(load: OneLoad) -> OneLoad:
    """A hundred customers proven, ten of whom have left since and are removed; the sample is forty."""
    customers = load.join(100)
    load = load.first().next()
    load.end(customers[:10])
    load.run_through()
    load.pass_days(2)
    return reconciling(load)


def misses(load: OneLoad) -> dict[str, tuple[int, int, int]]:
    return {s.name: (s.rows, s.sampled, s.misses) for s in reconciliation.read(load.world)}


def lose(load: OneLoad, *customers: int) -> None:
    for customer in customers:
        load.institution.simulator.plant_defect("missing", customer)


def test_a_sample_that_is_right_ends_it_without_looking_everyone_up(loaded):
    version = mirror.read(loaded.world).version
    before = len(loaded.calls("look_up"))
    assert compare(loaded.world, full=False, seconds=LONG)
    assert misses(loaded) == {"in the register": (90, 40, 0), "not in the register": (10, 10, 0)}
    assert comparison.read(loaded.world) is None
    assert mirror.read(loaded.world).version == version
    assert len(loaded.calls("look_up")) - before == 40 * 2 + 10
    assert "At 95 % confidence at most" in loaded.institution.said[-1]


def test_a_miss_in_the_sample_makes_everyone_looked_up_and_all_who_are_lost_are_found(loaded):
    lost = loaded.proven[:60]
    lose(loaded, *lost)
    assert compare(loaded.world, full=False, seconds=LONG)
    found = comparison.read(loaded.world)
    assert found
    assert (found.lost, found.present) == (60, 30)
    assert not set(lost) & set(loaded.proven)


def test_who_should_not_be_there_and_is_makes_everyone_looked_up(loaded):
    gone = extract.read(loaded.world).ended >> 17
    loaded.institution.simulator.plant_defect("leftover", int(gone[3]))
    assert compare(loaded.world, full=False, seconds=LONG)
    assert misses(loaded)["not in the register"] == (10, 10, 1)
    found = comparison.read(loaded.world)
    assert found
    assert found.left_over == 1
    loaded.run_through()
    assert int(gone[3]) not in loaded.registered


def test_another_start_in_the_sample_makes_the_starts_looked_up_too(loaded):
    late = loaded.proven[:60]
    lose(loaded, *late)
    for customer in late:
        loaded.world.register.register_one(customer)  # there since today, where the warehouse says long ago
    assert compare(loaded.world, full=False, seconds=LONG)
    found = comparison.read(loaded.world)
    assert found
    assert (found.other_start, found.lost) == (60, 0)


def test_a_miss_alone_does_not_cost_a_second_look_up_of_everyone(loaded):
    lose(loaded, *loaded.proven[:60])
    before = len(loaded.calls("look_up"))
    compare(loaded.world, full=False, seconds=LONG)
    asked = [e.customer_id for e in loaded.calls("look_up")[before:]][-100:]
    assert len(set(asked)) == 100  # the last hundred look-ups are of a hundred customers


def test_a_person_may_ask_for_everyone_though_the_sample_is_right(loaded):
    assert compare(loaded.world, full=True, seconds=LONG)
    found = comparison.read(loaded.world)
    assert found
    assert (found.customers, found.present) == (100, 90)


def test_it_goes_on_where_it_was_and_draws_no_second_sample(loaded, monkeypatch):
    monkeypatch.setattr(comparison, "STRETCH", 10)
    stretches = 0
    while not compare(loaded.world, full=True, seconds=0.001):
        stretches += 1
    assert stretches == 9
    assert len([said for said in loaded.institution.said if said.startswith("Sampled")]) == 1
    before = len(loaded.calls("look_up"))
    assert compare(loaded.world, full=True, seconds=LONG)  # it is over
    assert len(loaded.calls("look_up")) == before


def test_a_new_extract_is_compared_anew(loaded):
    compare(loaded.world, full=False, seconds=LONG)
    loaded.join(1)
    extract.extract_relationships(loaded.world)
    before = len(loaded.calls("look_up"))
    assert compare(loaded.world, full=False, seconds=LONG)
    assert len(loaded.calls("look_up")) > before


@pytest.mark.parametrize("lost", ["pointer", "everything", "damaged"])
def test_a_mirror_that_is_lost_is_made_anew_from_what_the_register_answers(loaded, lost):
    state, proven = loaded.world.state, loaded.proven
    if lost == "damaged":
        (loaded.institution.folder / state.scope / "mirror").write_bytes(b"KFR1 damaged")
    else:
        state.delete("mirror")
    for name in state.names("mirrors") if lost == "everything" else []:
        state.delete(name)
    assert compare(loaded.world, full=False, seconds=LONG)
    assert loaded.proven == proven
    assert "made anew" in " ".join(loaded.institution.said)
    assert loaded.run_through().misses == 0
    assert loaded.calls("register_file")[1:] == []


def test_old_versions_tell_of_customers_whom_the_warehouse_has_forgotten(loaded):
    vanished = loaded.proven[7]
    loaded.forget([vanished])
    loaded.world.state.delete("mirror")
    extract.extract_relationships(loaded.world)
    compare(loaded.world, full=False, seconds=LONG)
    assert vanished in loaded.proven


@pytest.mark.parametrize(
    ("state", "days_ago"),
    [(Removal.DUE, None), (Removal.INTENDED, 2), (Removal.HELD, 2), (Removal.INTENDED, 0), (Removal.HELD, 0)],
)
def test_the_queue_of_removals_tells_of_customers_whom_nothing_else_knows(loaded, state, days_ago):
    """Vanished since, and the mirror is lost with all its versions; of a removal of today no look-up tells."""
    vanished, place = loaded.proven[7], loaded.world.state
    queue = RemovalQueue.read(place)
    day = 0 if days_ago is None else loaded.world.day - days_ago
    queue.entries[vanished] = Entry(state=state, run="one-run", day=day)
    queue.write()
    loaded.forget([vanished])
    for name in ("mirror", *place.names("mirrors")):
        place.delete(name)
    extract.extract_relationships(loaded.world)
    compare(loaded.world, full=False, seconds=LONG)
    mirror.record(loaded.world)
    assert (vanished in loaded.proven, vanished in loaded.possible) == (days_ago != 0, days_ago == 0)


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_mirror_lost_after_the_comparison_was_over_is_made_anew_by_the_same_run(loaded, dry_run):
    if dry_run:
        loaded = loaded.with_run(run_id="dry", dry_run=True)
    extract.extract_relationships(loaded.world)
    known = loaded.proven
    assert compare(loaded.world, full=False, seconds=LONG)
    loaded.world.state.delete("mirror")
    assert compare(loaded.world, full=False, seconds=LONG)
    if dry_run:
        assert comparison.is_staged(loaded.world)
        assert not loaded.world.state.exists("mirror")
        asked = len(loaded.calls("look_up"))
        assert compare(loaded.world, full=False, seconds=LONG)
        assert len(loaded.calls("look_up")) == asked
    else:
        assert loaded.proven == known


def test_who_was_removed_today_is_not_looked_up_when_the_mirror_is_lost_after_it(folder):
    """Who was to be looked up had been settled before: the register may say yes for the rest of the day."""
    load = OneLoad(Institution(folder, switches=Switches(removal="ends_today_inclusive")))
    gone = load.join(20)[5]
    load.first()
    load.pass_days(1)
    load.end([gone])
    loaded = reconciling(load)
    assert compare(loaded.world, full=True, seconds=LONG)
    planning.plan(loaded.world, first_load=False)
    planning.approve(loaded.world, "somebody")
    loaded.close_additions()
    assert removal.remove_ended(loaded.world).removed == 1
    loaded.world.state.delete("mirror")
    assert compare(loaded.world, full=True, seconds=LONG)
    assert gone not in loaded.proven
    assert states(loaded)[gone] == Removal.REMOVED


def test_look_ups_that_a_plan_had_staged_do_not_keep_a_lost_mirror_from_being_made_anew(loaded, monkeypatch):
    mirror.doubt(loaded.world, mirror.read(loaded.world).proven[:3])
    extract.extract_relationships(loaded.world)
    assert compare(loaded.world, full=False, seconds=LONG)
    with monkeypatch.context() as patched:
        patched.setattr(comparison, "take_over", die)
        with pytest.raises(Crash):
            planning.plan(loaded.world, first_load=False)
    assert comparison.is_staged(loaded.world)
    loaded.world.state.delete("mirror")
    assert compare(loaded.world, full=False, seconds=LONG)
    assert mirror.is_readable(loaded.world)


def die(*_: object) -> None:
    raise Crash


def test_a_dry_run_says_what_differs_and_leaves_the_mirror(loaded):
    lose(loaded, *loaded.proven[:60])
    dry = loaded.with_run(run_id="dry", dry_run=True)
    extract.extract_relationships(dry.world)
    before = loaded.world.state.read("mirror")
    assert compare(dry.world, full=False, seconds=LONG)
    assert dry.world.state.read("mirror") == before
    assert comparison.is_staged(dry.world)  # the plan of the dry run counts it
    assert comparison.read(dry.world) is None


def test_without_the_register_nothing_is_compared(loaded):
    lease.release(loaded.world)
    with pytest.raises(LeaseLost):
        compare(loaded.world, full=False, seconds=LONG)


def test_a_register_that_finds_nobody_makes_no_mirror(loaded):
    loaded.fault(FaultKind.LOOK_UP_LAGS, "look_up", times=100_000, seconds=30 * 86_400.0)
    before = loaded.world.state.read("mirror")
    with pytest.raises(LookUpsUnreliable):
        compare(loaded.world, full=False, seconds=LONG)
    assert loaded.world.state.read("mirror") == before


def test_its_words_name_no_customer(loaded):
    customers = [text_of(c) for c in loaded.proven]
    lose(loaded, loaded.proven[0])
    compare(loaded.world, full=True, seconds=LONG)
    assert not [c for c in customers if c in " ".join(loaded.institution.said)]
