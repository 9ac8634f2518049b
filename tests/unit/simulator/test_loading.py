"""Files load by themselves, row by row, at the set rate; the log says when they began and ended."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from tests.simulator import Fault, Switches, VirtualClock
from tests.simulator.identifiers import text_of
from tests.unit.simulator.caller import ORGANISATIONS, Caller, make_simulator

FIRST, SECOND, THIRD = ORGANISATIONS
FILE = ",".join(ORGANISATIONS)


def held(caller):
    return set(caller.starts())


def file_events(caller):
    """What the log says of files, in whole seconds since the simulator began."""
    log = caller.simulator.log
    began = log[0].at
    return [
        (event.kind, event.file, round((event.at - began).total_seconds()))
        for event in log
        if event.kind.startswith("file_load")
    ]


def test_rows_take_effect_one_by_one_in_the_files_order(caller):
    caller.send(FILE)
    steps = []
    for _ in range(4):
        steps.append(held(caller))
        caller.simulator.clock.sleep(1)
    assert steps == [set(), {FIRST}, {FIRST, SECOND}, set(ORGANISATIONS)]


def test_the_rate_is_that_of_the_register():
    caller = Caller(make_simulator(rate=250))
    rows = ",".join(ORGANISATIONS * 1000)
    caller.send(rows)
    caller.simulator.clock.sleep(6)
    assert caller.simulator.pending_rows == 1500
    caller.simulator.clock.sleep(6)
    assert caller.simulator.pending_rows == 0


def test_a_rate_changed_on_the_way_counts_from_then_on(caller):
    caller.send(FILE)
    caller.simulator.clock.sleep(1)
    caller.simulator.rows_per_second = 0.1
    caller.simulator.clock.sleep(9)
    assert held(caller) == {FIRST}
    caller.simulator.clock.sleep(1)
    assert held(caller) == {FIRST, SECOND}


def test_the_log_says_when_each_file_began_and_ended_however_late_it_is_read(caller):
    caller.send(FILE)
    caller.send(FILE)
    caller.simulator.clock.sleep(3600)
    assert file_events(caller) == [
        ("file_load_started", 1, 0),
        ("file_loaded", 1, 3),
        ("file_load_started", 2, 3),
        ("file_loaded", 2, 6),
    ]
    moments = [event.at for event in caller.simulator.log]
    assert moments == sorted(moments)


def test_the_log_has_no_event_a_row():
    caller = Caller(make_simulator(rate=1e5))
    caller.send(",".join(ORGANISATIONS * 20_000))
    caller.simulator.clock.sleep(60)
    assert len(caller.simulator.log) == 4


def test_a_dated_row_starts_on_its_date_and_an_undated_one_on_the_day_it_was_loaded():
    clock = VirtualClock(
        datetime(2026, 11, 23, 22, 59, 58, 500_000, tzinfo=UTC)
    )  # 1.5 s before midnight in Oslo
    caller = Caller(make_simulator(clock=clock))
    caller.send(f"{FIRST},{SECOND},{THIRD}#1999-12-31")
    clock.sleep(600)
    assert caller.starts() == {FIRST: "2026-11-23", SECOND: "2026-11-24", THIRD: "1999-12-31"}


def test_a_delete_before_its_row_is_loaded_finds_nothing_and_the_row_comes_to_life_afterwards(caller):
    caller.send(FILE)
    answer = caller.remove(THIRD)
    assert (answer.status_code, answer.json()["errorCode"]) == (404, "KFR-008")
    caller.simulator.clock.sleep(3)
    assert caller.finds(THIRD)
    assert caller.remove(THIRD).status_code == 204


def test_at_the_very_moment_of_loading_a_removal_finds_its_row_and_it_stays_removed():
    caller = Caller(make_simulator(rate=3))  # a third of a second cannot be written as a float
    caller.send(FILE)
    caller.simulator.clock.sleep(1 / 3)
    assert held(caller) == {FIRST}
    assert caller.remove(FIRST).status_code == 204
    caller.simulator.clock.sleep(10)
    assert held(caller) == {SECOND, THIRD}


def test_a_single_registration_takes_effect_at_once_while_files_are_pending(caller):
    caller.send(f"{SECOND},{THIRD}")
    assert caller.register(FIRST).status_code == 201
    assert caller.finds(FIRST)


@pytest.mark.parametrize(("order", "first"), [("fifo", FIRST), ("newest_first", SECOND)])
def test_files_load_one_after_the_other(order, first):
    caller = Caller(make_simulator(switches=Switches(file_order=order)))
    caller.send(FIRST)
    caller.send(SECOND)
    caller.simulator.clock.sleep(1)
    assert held(caller) == {first}
    caller.simulator.clock.sleep(1)
    assert held(caller) == {FIRST, SECOND}


def test_the_newest_file_stops_an_older_one_that_is_half_loaded():
    caller = Caller(make_simulator(switches=Switches(file_order="newest_first")))
    caller.send(f"{FIRST},{SECOND}")
    caller.simulator.clock.sleep(1)
    caller.send(THIRD)
    caller.simulator.clock.sleep(1)
    assert held(caller) == {FIRST, THIRD}
    caller.simulator.clock.sleep(1)
    assert held(caller) == set(ORGANISATIONS)
    assert file_events(caller) == [
        ("file_load_started", 1, 0),
        ("file_load_started", 2, 1),
        ("file_loaded", 2, 2),
        ("file_loaded", 1, 3),
    ]


def test_parallel_files_share_the_rate():
    caller = Caller(make_simulator(switches=Switches(file_order="parallel")))
    caller.send(f"{FIRST},{SECOND}")
    caller.send(THIRD)
    caller.simulator.clock.sleep(1.9)
    assert held(caller) == set()
    caller.simulator.clock.sleep(0.2)
    assert held(caller) == {FIRST, THIRD}
    caller.simulator.clock.sleep(1)  # alone now, it has the whole rate
    assert held(caller) == set(ORGANISATIONS)


def test_shuffled_files_load_in_an_order_that_the_seed_gives():
    def first_loaded(seed: int) -> str:
        caller = Caller(make_simulator(seed=seed, switches=Switches(file_order="shuffled")))
        for one in ORGANISATIONS:
            caller.send(one)
        caller.simulator.clock.sleep(1)
        (one,) = held(caller)
        return one

    drawn = [first_loaded(seed) for seed in range(12)]
    assert set(drawn) == set(ORGANISATIONS)
    assert drawn == [first_loaded(seed) for seed in range(12)]


def test_reversed_rows_begin_with_the_last():
    caller = Caller(make_simulator(switches=Switches(row_order="reversed")))
    caller.send(FILE)
    caller.simulator.clock.sleep(1)
    assert held(caller) == {THIRD}


def test_shuffled_rows_load_in_an_order_that_the_seed_gives():
    def first_loaded(seed: int) -> str:
        caller = Caller(make_simulator(seed=seed, switches=Switches(row_order="shuffled")))
        caller.send(FILE)
        caller.simulator.clock.sleep(1)
        (one,) = held(caller)
        return one

    drawn = [first_loaded(seed) for seed in range(12)]
    assert set(drawn) == set(ORGANISATIONS)
    assert drawn == [first_loaded(seed) for seed in range(12)]


def test_switches_changed_later_leave_files_accepted_before_as_they_were(caller):
    caller.send(FILE)
    caller.simulator.switches = Switches(row_order="reversed")
    caller.simulator.clock.sleep(1)
    assert held(caller) == {FIRST}


def test_a_large_file_is_held_as_arrays_and_answers_like_a_small_one():
    caller = Caller(make_simulator(rate=1e6))
    rng = np.random.default_rng(1)
    rows = [*ORGANISATIONS] * 10_000
    rng.shuffle(rows)
    caller.send(",".join([*rows, f"{FIRST}#1999-01-01", "55068575027#2001-02-03"]))
    caller.simulator.clock.sleep(1)
    assert caller.finds("55068575027", "2001-02-03")
    assert not caller.finds("55068575027", "2001-02-02")
    assert not caller.finds("298765527")
    assert caller.starts() == dict.fromkeys(ORGANISATIONS, "2026-11-23") | {"55068575027": "2001-02-03"}


def test_the_whole_state_is_that_of_each_customer_through_every_kind_of_history():
    switches = Switches(re_registration="new_start", second_file="changes_start", duplicates="last")
    caller = Caller(make_simulator(switches=switches))
    caller.simulator.faults.add(Fault(kind="file_loaded_twice", operation="register_file", nth=1, seconds=20))
    caller.send(f"{FIRST}#2001-01-01,{SECOND}#2002-02-02,{FIRST}#2003-03-03,{THIRD}")
    for step in range(40):
        caller.simulator.clock.sleep(1)
        if step in {2, 9, 15}:
            caller.remove(ORGANISATIONS[step % 3])
        if step in {5, 12}:
            caller.register(ORGANISATIONS[step % 3])
        if step == 30:
            caller.simulator.clock.sleep(86_400)
        now = (caller.simulator.clock.now() + timedelta(hours=1)).date()
        by_look_up = {one for one in ORGANISATIONS if caller.finds(one, now.isoformat())}
        assert by_look_up == held(caller)
    assert [text_of(one) for one in caller.simulator.relationships()] == list(ORGANISATIONS)
