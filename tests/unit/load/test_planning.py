import tempfile
from collections import Counter
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kfr.load import extract, lease, mirror, planning
from kfr.load.forecast import foresee
from kfr.load.journal import Witness
from kfr.load.planning import GuardStopped, NotApproved, from_json, needs_person
from kfr.load.removal_queue import Entry, Removal, RemovalQueue
from kfr.load.staging import StateMissing
from kfr.load.world import World
from kfr.register.errors import Fatal
from kfr.relationships.batch_file import FRAME_BYTES, render
from kfr.relationships.customers import NOTHING
from kfr.relationships.guards import Limits
from kfr.relationships.packing import Ints, ids_of, text_of
from tests.faults.institution import Institution, fast_folder
from tests.faults.warehouse import Agreement
from tests.simulator import FaultKind
from tests.unit.load.one_load import TEN_ROWS, OneLoad, a_send, packed

DAY = date(2026, 11, 23)  # where the virtual clock begins
NONSENSE = ["12345678901", " 1", ""]


def planned_rows(world: World) -> list[Ints]:
    return [world.place.read_array(f"files/{label}") for label in planning.read(world).labels]


def hold(world: World, proven: Ints) -> None:
    """The mirror holds these."""
    mirror.correct(world, mirror.read(world), present=proven, absent=NOTHING)


POOL = sorted({Institution(Path("unused"), seed=n).new_customer() for n in range(12)})
DAYS = st.none() | st.integers(-40, 3).map(lambda n: DAY + timedelta(days=n))
AGREEMENTS = st.lists(
    st.builds(Agreement, st.sampled_from([*POOL, *NONSENSE]), DAYS, DAYS), min_size=1, max_size=40
)
HELD = st.dictionaries(st.sampled_from(POOL), st.integers(-40, 0), max_size=12)


@settings(max_examples=60, deadline=None)
@given(AGREEMENTS, HELD, st.sampled_from([300, 350, TEN_ROWS, 10_000]))
def test_each_row_has_one_fate_and_each_addition_one_file(agreements, held, max_bytes):
    """Promise 1, over whatever the warehouse says and whatever the mirror holds."""
    with tempfile.TemporaryDirectory(dir=fast_folder()) as folder:
        load = OneLoad(Institution(Path(folder))).with_run(max_batch_bytes=max_bytes)
        load.institution.warehouse.agreements_held = agreements
        load.acquire()
        rows = [packed([int(c)], DAY + timedelta(days=n)) for c, n in held.items()]
        hold(load.world, np.sort(np.concatenate([NOTHING, *rows])))
        try:
            plan = load.plan()
        except GuardStopped:
            assert not load.world.journal.sends()
            return
        read = [a for a in agreements if a.started is None or a.started <= DAY]
        assert sum(plan.fates.values()) == len(read)
        wanted = {int(c) for c in load.institution.desired() if c in POOL}
        before = {int(c) for c in held}
        in_files = Counter(c for rows in planned_rows(load.world) for c in ids_of(rows).tolist())
        assert set(in_files.values()) <= {1}
        assert wanted - before <= in_files.keys() <= wanted
        assert sum(in_files.values()) == plan.added + plan.start_changed
        assert plan.removals == len(before - wanted)
        assert plan.unchanged == len(wanted) - len(in_files)


def test_every_file_s_request_fits_the_limit_and_new_rows_stand_last(load):
    load = load.with_run(max_batch_bytes=TEN_ROWS)
    changed, _ = load.join(5), load.join(40)
    load.acquire()
    hold(load.world, packed(changed, load.today - timedelta(days=1)))
    plan = load.plan()
    files = planned_rows(load.world)
    assert len(files) == len(plan.labels) == plan.forecast.files == 5
    assert all(len(render(rows)) + FRAME_BYTES <= TEN_ROWS for rows in files)
    assert ids_of(files[0])[:5].tolist() == changed
    assert plan.forecast.size == sum(len(render(rows)) + FRAME_BYTES for rows in files)


def test_the_same_extract_and_mirror_give_the_same_plan(load):
    load.institution.populate(50)
    one = load.plan()
    other = load.plan()
    assert one == other
    load.join(1)
    assert load.plan().fingerprint != one.fingerprint


def test_a_plan_is_read_as_it_was_made(load):
    load.institution.populate(50)
    plan = load.plan()
    assert planning.read(load.world) == plan


def test_fates_that_do_not_add_up_stop_the_run(load):
    load.institution.populate(50)
    found = extract.extract_relationships(load.world)
    with pytest.raises(Fatal, match="add up to"):
        planning.fates(found, added=len(found.active) - 1, start_changed=0, unchanged=0, held_back=0)


def test_who_is_only_possible_is_sent_again(load):
    customers = load.join(3)
    load.acquire()
    load.world.journal.intend(
        a_send(rows=3, witnesses=(Witness(customer_id=customers[0]),), counts_from=load.world.now),
        packed(customers, load.today - timedelta(days=100)),
    )
    assert load.plan().added == 3


def test_who_was_sent_by_an_earlier_run_and_is_found_now_is_not_sent_again(load):
    customers = load.join(3)
    load.plan()
    load.send()
    journal = load.world.journal
    (send,) = journal.sends()
    journal.put(
        a_send(send.file, run="earlier", rows=3, witnesses=send.witnesses, counts_from=send.counts_from)
    )
    assert load.plan().unchanged == 3
    assert load.proven == customers


def test_of_many_who_are_only_possible_some_are_looked_up_by_each_load_until_all_are(load, monkeypatch):
    monkeypatch.setattr(planning, "MOST_LOOKED_UP", 2)
    customers = load.join(5)
    load.plan()
    load.send()
    (send,) = load.world.journal.sends()
    load.world.journal.put(
        a_send(send.file, run="earlier", rows=5, witnesses=(), counts_from=send.counts_from)
    )
    load.settle()
    assert [load.plan().unchanged for _ in range(3)] == [2, 4, 5]
    assert load.proven == customers


def test_an_empty_warehouse_stops_the_run(load):
    with pytest.raises(GuardStopped, match=r"empty_extract.*Nothing was sent"):
        load.plan()


def test_a_warehouse_of_nothing_but_bad_rows_stops_the_run(load):
    load.institution.warehouse.agreements_held = [Agreement("12345678901", None), Agreement("x", None)]
    with pytest.raises(GuardStopped, match="all_rejected: All 2 rows"):
        load.plan()


def test_a_real_person_in_test_stops_the_run_and_is_not_named(load):
    load.join(3)
    person = "55068575027"  # of the extended D-numbers, as the contract gives it
    load.institution.warehouse.agreements_held.append(Agreement(person, load.today - timedelta(days=9)))
    with pytest.raises(GuardStopped, match="mixed_worlds: 1 numbers of real persons") as caught:
        load.plan()
    assert person not in f"{caught.value} {load.institution.said}"


def test_as_many_real_persons_as_bits_agreed_to_pass_in_test_and_one_more_does_not(load):
    load.join(3)
    held = load.institution.warehouse.agreements_held
    held.append(Agreement("55068575027", load.today - timedelta(days=9)))
    agreed = load.with_run(approval="never", limits=Limits(agreed_test_users=1))
    assert agreed.plan().added == 4
    held.append(Agreement("01010750160", load.today - timedelta(days=9)))
    with pytest.raises(GuardStopped, match="2 numbers of real persons in a load to test, where 1 are agreed"):
        agreed.plan()


@pytest.mark.parametrize(("approval", "asked"), [("auto", True), ("always", True), ("never", False)])
def test_customers_who_are_there_before_a_first_load_are_a_matter_for_a_person(load, approval, asked):
    load = load.with_run(approval=approval)
    (known, *_) = load.join(5)
    load.acquire()
    load.world.register.register_one(known)
    plan = load.plan()
    assert [f["code"] for f in plan.findings] == ["register_not_empty"]
    assert "1 of 5 sampled" in plan.findings[0]["message"]
    assert needs_person(load.world, plan) == asked


def test_a_number_that_the_register_refuses_is_no_reason_to_stop_the_plan(load):
    load.join(5)
    load.fault(FaultKind.STATUS, "look_up", status=400)  # ERR-002: by its own rule
    assert load.plan().findings == []


def test_an_empty_register_needs_no_person_unless_the_run_asks_for_one(load):
    load.join(5)
    plan = load.plan()
    assert plan.findings == []
    assert not needs_person(load.with_run(approval="auto").world, plan)
    assert needs_person(load.with_run(approval="always").world, plan)


def test_many_refused_rows_ask_a_person(load):
    load = load.with_run(approval="auto", limits=Limits())
    load.join(50)
    load.institution.warehouse.agreements_held.append(Agreement("12345678901", None))
    plan = load.plan()
    assert [f["code"] for f in plan.findings] == ["many_rejects"]
    assert needs_person(load.world, plan)


def test_a_dry_run_forecasts_and_writes_no_state(load):
    dry = load.with_run(dry_run=True)
    dry.join(30)
    extract.extract_relationships(dry.world)
    plan = planning.plan(dry.world, first_load=True)
    assert plan.added == 30
    assert [name for folder in ("sends", "mirrors") for name in dry.world.state.names(folder)] == []
    assert not any(dry.world.state.exists(name) for name in ("institution", "mirror", "lease", "removals"))
    assert dry.calls("register_file", "register_one", "remove_one") == []


def test_a_dry_run_without_the_state_that_it_needs_is_an_error_and_not_a_plan_for_everyone(load):
    load.join(3)
    load.load()
    dry = load.with_run(dry_run=True, run_id="dry")
    extract.extract_relationships(dry.world)
    assert planning.plan(dry.world, first_load=True).unchanged == 0  # proven by sends, not recorded yet
    mirror.record(load.world)
    assert planning.plan(dry.world, first_load=True).unchanged == 3
    load.world.state.delete("mirror")
    with pytest.raises(StateMissing):
        planning.plan(dry.world, first_load=True)


def test_the_forecast_has_files_hours_and_end_at_the_register_s_rate(load):
    forecast = foresee(load.world, [900_000], 20_000_000)
    assert (forecast.files, forecast.rows, forecast.hours) == (1, 900_000, 1.0)
    assert forecast.ends_at == "2026-11-23T11:00:00+01:00"


def test_the_forecast_waits_for_what_is_still_loading(load):
    load.world.journal.put(a_send(rows=900_000, counts_from=load.world.now))
    assert foresee(load.world, [450_000], 1).hours == 1.5


def test_the_notice_counts_the_day_s_rows_with_what_left_before(load):
    load.world.journal.put(a_send(rows=60_000, counts_from=load.world.now - 60))
    assert foresee(load.world, [40_000], 1).notice_days == []
    assert foresee(load.world, [40_001], 1).notice_days == ["2026-11-23"]


def test_the_notice_is_foreseen_for_each_day_on_which_files_will_be_sent(load):
    """Two in flight: the third leaves when the first is loaded, here after midnight."""
    twenty_hours = 20 * 900_000
    forecast = foresee(load.world, [twenty_hours, twenty_hours, 120_000, 30], 1)
    assert forecast.rows_by_day == {"2026-11-23": 2 * twenty_hours, "2026-11-24": 120_000, "2026-11-25": 30}
    assert forecast.notice_days == ["2026-11-23", "2026-11-24"]


def test_nothing_to_send_takes_no_time(load):
    forecast = foresee(load.world, [], 0)
    assert (forecast.files, forecast.hours, forecast.notice_days) == (0, 0.0, [])


def test_a_customer_who_comes_back_has_no_removal_to_wait_for(load):
    returning, other = load.join(1)[0], load.join(1)[0]
    load.end([other])
    load.acquire()
    queue = RemovalQueue.read(load.world.state)
    queue.entries = {c: Entry(state=Removal.DUE, run="earlier") for c in (returning, other)}
    queue.write()
    load.plan()
    assert list(RemovalQueue.read(load.world.state).entries) == [other]


def test_a_plan_says_figures_and_no_customer(load):
    customers = load.join(5)
    plan = load.plan()
    shown = f"{plan} {load.world.place.read_json('plan.json')} {load.institution.said}"
    assert not [c for c in map(text_of, customers) if c in shown]
    assert "Planned: 5 to add, 0 with another start, 0 unchanged, 0 to remove. Forecast: 1 files" in shown
    assert from_json(load.world.place.read_json("plan.json")) == plan


def test_a_mirror_for_which_much_is_missing_now_asks_a_person(load):
    load = load.with_run(approval="auto", limits=Limits())
    stays, leaves = load.join(5), load.join(5)
    load.end(leaves)
    load.acquire()
    hold(load.world, packed(sorted(stays + leaves), load.today - timedelta(days=100)))
    plan = load.plan()
    assert {f["code"] for f in plan.findings} == {"shrunk", "many_removals"}
    assert needs_person(load.world, plan)


def test_a_plan_that_another_run_has_overtaken_is_not_carried_out(load):
    """Cleared, a run goes on with its old plan: it would file old starts, and bring back who has been removed."""
    load.join(3)
    load.plan()
    lease.release(load.world)
    other = load.with_run(run_id="manual__2")
    assert other.acquire()
    lease.release(other.world)
    assert load.acquire()
    with pytest.raises(NotApproved, match="Clear extract_relationships"):
        planning.require_approved(load.world)
    load.plan()
    planning.require_approved(load.world)


def test_a_plan_stands_as_long_as_its_run_alone_has_held_the_register(load):
    load.join(3)
    load.plan()
    for _ in range(2):
        lease.release(load.world)
        assert load.acquire()
    planning.require_approved(load.world)


def test_an_extract_that_another_run_has_overtaken_is_not_planned_from(load):
    load.join(3)
    assert load.acquire()
    extract.extract_relationships(load.world)
    lease.release(load.world)
    other = load.with_run(run_id="manual__2")
    assert other.acquire()
    lease.release(other.world)
    assert load.acquire()
    with pytest.raises(NotApproved, match="Clear extract_relationships"):
        planning.plan(load.world, first_load=True)
    extract.extract_relationships(load.world)
    assert planning.plan(load.world, first_load=True).added == 3
