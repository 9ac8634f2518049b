from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import pytest

from kfr.load.journal import (
    SETTLING_MARGIN_SECONDS,
    Journal,
    Outcome,
    Single,
    Witness,
    is_doubtful,
    is_open,
    schedule,
)
from kfr.relationships.packing import Ints, ids_of
from tests.unit.load.one_load import OneLoad, a_send, packed

RATE = 250.0
START = date(2026, 11, 23)
BEFORE_MIDNIGHT = datetime(2026, 11, 23, 22, 59, tzinfo=UTC).timestamp()  # 23:59 in Oslo
AFTER_MIDNIGHT = BEFORE_MIDNIGHT + 120
FOUND = {"proven_at": BEFORE_MIDNIGHT + 1.5 * 3600, "shown": True}
WITNESS = Witness(customer_id=17_912_345_678)


@pytest.fixture
def journal(load: OneLoad) -> Journal:
    return load.world.journal


def rows_of(count: int) -> Ints:
    return packed(range(17_900_000_000, 17_900_000_000 + count), START)


def test_sends_queue_behind_each_other_at_the_register_s_rate():
    one = a_send("1" * 64, counts_from=1000.0, rows=500)
    other = a_send("2" * 64, counts_from=1001.0, rows=250)
    late = a_send("3" * 64, counts_from=9000.0, rows=250)
    plans = schedule([late, other, one], RATE)
    assert plans[one.name].loaded_at == 1002.0
    assert plans[other.name].loaded_at == 1003.0
    assert plans[late.name].loaded_at == 9001.0


def test_a_send_settles_only_after_twice_the_time_of_all_that_is_queued():
    """A second copy of each file may be loading: nothing says that it cannot."""
    one = a_send("1" * 64, counts_from=1000.0, rows=500)
    other = a_send("2" * 64, counts_from=1000.0, rows=250)
    plans = schedule([one, other], RATE)
    assert plans[one.name].settled_at == 1004.0 + SETTLING_MARGIN_SECONDS
    assert plans[other.name].settled_at == 1006.0 + SETTLING_MARGIN_SECONDS


def test_a_register_seen_to_be_slower_is_given_twice_the_time_that_it_took():
    send = a_send(counts_from=1000.0, rows=250, missing_until=1300.0)
    assert schedule([send], RATE)[send.name].settled_at == 1600.0 + SETTLING_MARGIN_SECONDS


@pytest.mark.parametrize(
    ("found_after", "settled_after"),
    [
        (600.0, 1200.0),  # at the first look, when it should be loaded
        (1300.0, 2600.0),  # a first look that came late is taken for the time that it took
        (1330.0, 1930.0),  # nobody looked for so long that only its own customers wait
    ],
)
def test_a_file_found_at_the_first_look_may_have_come_just_then(found_after, settled_after):
    send = a_send(counts_from=1000.0, rows=int(600 * RATE), proven_at=1000.0 + found_after)
    assert schedule([send], RATE)[send.name].settled_at == 1000.0 + settled_after + SETTLING_MARGIN_SECONDS


def test_of_a_file_sent_twice_removals_wait_as_if_the_first_copy_had_come_and_others_are_late_as_if_the_last_had():
    lost = a_send("1" * 64, counts_from=1000.0, rows=250, missing_until=1610.0)
    again = a_send("1" * 64, attempt=2, counts_from=1600.0, rows=250, missing_until=1610.0)
    other = a_send("2" * 64, counts_from=1601.0, rows=250)
    plans = schedule([again, other, lost], RATE)
    assert plans[other.name].late_at == 1622.0 + SETTLING_MARGIN_SECONDS
    assert plans[other.name].settled_at == 2224.0 + SETTLING_MARGIN_SECONDS


def test_what_stands_behind_a_file_that_was_found_late_is_given_its_time_from_then_on():
    """The register may have stood still: a second copy of the one that was found may be next, and then the others."""
    late = a_send("1" * 64, counts_from=1000.0, rows=500, proven_at=1900.0)
    again = a_send("1" * 64, attempt=2, counts_from=1300.0, rows=500)
    other = a_send("2" * 64, counts_from=1301.0, rows=250)
    plans = schedule([late, again, other], RATE)
    assert plans[late.name].settled_at == 1902.0 + SETTLING_MARGIN_SECONDS
    assert plans[again.name].settled_at == 1906.0 + SETTLING_MARGIN_SECONDS
    assert plans[other.name].settled_at == 1908.0 + SETTLING_MARGIN_SECONDS
    assert (
        plans[other.name].late_at == 1306.0 + SETTLING_MARGIN_SECONDS
    )  # its own copy may be lost: it is sent again
    alone = schedule([late, other], RATE)
    assert alone[other.name].late_at == 1902.0 + SETTLING_MARGIN_SECONDS


def test_a_file_that_is_found_when_it_is_due_makes_nothing_settle_later():
    one = a_send("1" * 64, counts_from=1000.0, rows=500)
    other = a_send("2" * 64, counts_from=1000.0, rows=250)
    due = [replace(one, proven_at=1002.0), replace(other, proven_at=1003.0)]
    assert schedule(due, RATE) == schedule([one, other], RATE)


@pytest.mark.parametrize(("code", "alike"), [("KFR-005", True), ("KFR-004", False), ("413", False)])
def test_the_same_bytes_are_refused_alike_also_where_a_worker_died_before_it_could_write_that(
    load, code, alike
):
    """Unless the answer may be the interface's own: it says nothing of the copy that had no answer."""
    journal = load.world.journal
    outcomes = [Outcome.UNKNOWN, Outcome.REFUSED, Outcome.INTENDED, Outcome.ACCEPTED]
    for attempt, outcome in enumerate(outcomes, 1):
        journal.put(
            a_send(attempt=attempt, outcome=outcome, code=code if outcome is Outcome.REFUSED else None)
        )
    journal.put(a_send("2" * 64, outcome=Outcome.INTENDED))
    seen = [Outcome.REFUSED] * 3 + [Outcome.ACCEPTED] if alike else outcomes
    assert [(s.file[0], s.outcome) for s in load.sends] == [
        ("2", Outcome.INTENDED),
        *(("f", o) for o in seen),
    ]


def test_a_refused_send_takes_no_time_and_is_never_open():
    refused = a_send("1" * 64, counts_from=1000.0, rows=10**6, outcome=Outcome.REFUSED)
    other = a_send("2" * 64, counts_from=1000.0, rows=250)
    plans = schedule([refused, other], RATE)
    assert plans[other.name].loaded_at == 1001.0
    assert not is_open(refused, plans.get(refused.name), 1000.0)


@pytest.mark.parametrize(
    ("changes", "open_after"),
    [
        ({"witnesses": (WITNESS,)}, True),
        ({"witnesses": (WITNESS,), "proven_at": 1.0}, False),
        ({"witnesses": (WITNESS,), "outcome": Outcome.UNKNOWN}, True),
        ({}, False),  # nothing could prove it: waited out, whatever came of it
        ({"outcome": Outcome.UNKNOWN}, False),
        ({"outcome": Outcome.INTENDED}, False),
        ({"witnesses": (WITNESS,), "closed_because": "Bits says so"}, False),
    ],
)
def test_a_send_is_closed_by_proof_and_time_or_by_a_person_and_by_nothing_else(changes, open_after):
    send = a_send(counts_from=1000.0, **changes)
    plan = schedule([send], RATE)[send.name]
    assert is_open(send, plan, plan.settled_at - 0.1) == (send.closed_because is None)
    assert is_open(send, plan, plan.settled_at) == open_after


def test_an_entry_is_read_as_it_was_written(journal: Journal):
    send = a_send(witnesses=(WITNESS, Witness(customer_id=312_345_676)), proven_at=3.5)
    journal.intend(send, rows_of(3))
    assert journal.sends() == [send]
    assert journal.rows(send).tolist() == rows_of(3).tolist()


def test_the_attempts_of_a_file_stand_in_order_beyond_the_ninth(journal: Journal):
    for attempt in range(1, 13):
        journal.put(a_send("1" * 64, attempt=attempt))
    journal.put(a_send("2" * 64))
    assert [s.attempt for s in journal.of_file("1" * 64)] == list(range(1, 13))


def test_rows_are_there_before_the_entry_that_speaks_of_them(load: OneLoad):
    """A crash between the two must not leave a send whose rows nobody knows."""
    for touches in range(1, 5):
        send = a_send(f"{touches}" * 64)
        load.crash(touches, lambda send=send: load.world.journal.intend(send, rows_of(2)))
    for send in load.world.journal.sends():
        assert len(load.world.journal.rows(send)) == 2


def test_an_intention_taken_back_is_as_if_never_made(journal: Journal):
    send = a_send()
    journal.intend(send, rows_of(1))
    journal.withdraw(send)
    assert journal.sends() == []


def test_a_closed_send_is_kept_for_the_log_without_identifiers(load: OneLoad):
    journal, send = load.world.journal, a_send(witnesses=(WITNESS,), counts_from=BEFORE_MIDNIGHT)
    journal.intend(send, rows_of(2))
    journal.archive(send)
    assert journal.sends() == []
    (name,) = load.world.state.names("history")
    kept = load.world.state.read_json(name)
    assert (kept["rows"], kept["outcome"], kept["witnesses"]) == (250, "accepted", [])
    assert str(WITNESS.customer_id) not in str(kept)
    assert load.world.state.names("rows") == []


def test_the_rows_of_a_file_are_kept_while_another_attempt_needs_them(journal: Journal):
    one, other = a_send(attempt=1), a_send(attempt=2)
    for send in (one, other):
        journal.intend(send, rows_of(2))
    journal.archive(one)
    assert len(journal.rows(other)) == 2


def test_the_day_s_count_has_files_re_sends_singles_and_what_is_archived(journal: Journal):
    today = date(2026, 11, 23)
    journal.put(a_send("1" * 64, counts_from=BEFORE_MIDNIGHT, rows=100))
    journal.put(a_send("1" * 64, attempt=2, counts_from=BEFORE_MIDNIGHT, rows=100))
    journal.put(a_send("2" * 64, counts_from=BEFORE_MIDNIGHT, rows=50, outcome=Outcome.UNKNOWN))
    journal.put(a_send("3" * 64, counts_from=BEFORE_MIDNIGHT, rows=7000, outcome=Outcome.REFUSED))
    closed = a_send("4" * 64, counts_from=BEFORE_MIDNIGHT, rows=20)
    journal.intend(closed, rows_of(20))
    journal.archive(closed)
    journal.put_singles("one-run", np.column_stack([rows_of(3), np.full(3, Single.ANSWERED)]))
    assert journal.rows_sent_on(today) == 100 + 100 + 50 + 20 + 3
    journal.drop_singles("one-run")
    assert journal.rows_sent_on(today) == 273


def test_a_row_counts_on_the_oslo_day_on_which_it_left(journal: Journal):
    journal.put(a_send("1" * 64, counts_from=BEFORE_MIDNIGHT, rows=100))
    journal.put(a_send("2" * 64, counts_from=AFTER_MIDNIGHT, rows=50))
    closed = a_send("3" * 64, counts_from=AFTER_MIDNIGHT, rows=20)
    journal.intend(closed, rows_of(20))
    journal.archive(closed)
    assert journal.rows_sent_on(date(2026, 11, 23)) == 100
    assert journal.rows_sent_on(date(2026, 11, 24)) == 70


def test_a_single_addition_counts_on_its_own_day_only(journal: Journal):
    """It carries no date, so it starts on the day of the call."""
    journal.put_singles("one-run", np.column_stack([rows_of(3), np.full(3, Single.ANSWERED)]))
    assert journal.rows_sent_on(START) == 3
    assert journal.rows_sent_on(date(2026, 11, 24)) == 0
    journal.drop_singles("one-run")  # recorded by the next day's run
    assert journal.rows_sent_on(START) == 3
    assert journal.rows_sent_on(date(2026, 11, 24)) == 0


def test_a_single_addition_that_proves_nothing_any_more_was_sent_all_the_same(journal: Journal):
    rows = rows_of(5)
    journal.put_singles("one-run", np.column_stack([rows, np.full(5, Single.ANSWERED)]))
    assert sorted(journal.void_singles("one-run", np.sort(ids_of(rows[:2]))).tolist()) == sorted(
        rows[:2].tolist()
    )
    assert journal.singles("one-run")[:, 0].tolist() == rows[2:].tolist()
    assert journal.rows_sent_on(START) == 5
    ((_, _, delivered),) = journal.archived()
    assert sorted(delivered.tolist()) == sorted(rows[:2].tolist())
    assert journal.void_singles("one-run", np.sort(ids_of(rows[:2]))).size == 0


def test_what_a_cleared_run_sends_singly_counts_beside_what_it_had_sent_before(journal: Journal):
    """Else the notice to Bits, over 100,000 in a day, would count too few."""
    before, after = rows_of(3), rows_of(5)[3:]
    for rows in (before, after):
        journal.put_singles("one-run", np.column_stack([rows, np.full(len(rows), Single.ANSWERED)]))
        journal.drop_singles("one-run")
    assert journal.rows_sent_on(START) == 5
    ((_, _, delivered),) = journal.archived()
    assert sorted(delivered.tolist()) == sorted(rows_of(5).tolist())


def test_a_run_without_single_additions_has_none(journal: Journal):
    assert journal.singles("one-run").shape == (0, 2)
    assert journal.runs_with("singles") == []


def test_neither_the_name_of_a_send_nor_its_picture_holds_a_customer():
    send = a_send(witnesses=(WITNESS,))
    assert str(WITNESS.customer_id) not in f"{send!r} {send.name}"
    assert send.name == replace(send, label="x").name  # of file and attempt alone


def test_the_same_file_sent_again_by_another_run_of_the_day_is_counted_twice(load):
    """Its attempts begin anew, since the first entry is archived; the notice counts both."""
    journal, day = load.world.journal, load.today
    for counts_from in (load.world.now, load.world.now + 60):
        send = a_send(counts_from=counts_from)
        journal.intend(send, packed([1_898_228_475], day))
        journal.archive(send)
        journal.archive(send)  # a worker died in between
    assert journal.rows_sent_on(day) == 500


def test_removals_that_one_run_archives_in_two_steps_are_all_on_record(load):
    journal, day = load.world.journal, load.today
    for customer in (1_898_228_475, 912_345_675):
        journal.archive_removals("run", packed([customer], day))
    ((name, send, rows),) = journal.archived()
    assert (name, send) == (f"{day.isoformat()}-removals-run", None)
    assert rows.tolist() == packed([912_345_675, 1_898_228_475], day).tolist()


@pytest.mark.parametrize(
    ("hours", "told", "doubtful"),
    [
        (1 / 30, {}, True),  # it is the next day, two minutes later
        (11.9, {}, True),
        (12.1, {}, False),
        (1 / 30, {"proven_at": 1.0}, False),
        (1 / 30, {"outcome": Outcome.REFUSED}, False),
        (1 / 30, {"outcome": Outcome.UNKNOWN}, True),
        (1 / 30, {**FOUND, "shown": False}, True),
        (12.1, {**FOUND, "shown": False}, False),
        (2.9, FOUND, True),  # nobody looked for one and a half hours: a second copy may take as long again
        (3.1, FOUND, False),
        (
            2.9,
            {**FOUND, "missing_until": BEFORE_MIDNIGHT + 3600},
            False,
        ),  # somebody did, and `schedule` knows
        (12.1, {**FOUND, "proven_at": BEFORE_MIDNIGHT + 7 * 3600}, False),
    ],
)
def test_a_file_that_nothing_proves_may_come_for_half_a_day_also_when_it_was_sent_before_midnight(
    hours, told, doubtful
):
    send = a_send(counts_from=BEFORE_MIDNIGHT, **told)
    assert is_doubtful(send, BEFORE_MIDNIGHT + 3600 * hours) is doubtful


def test_a_file_that_nothing_proves_may_come_until_the_day_is_over():
    morning = BEFORE_MIDNIGHT - 20 * 3600
    send = a_send(counts_from=morning)
    assert is_doubtful(send, BEFORE_MIDNIGHT)
    assert not is_doubtful(send, AFTER_MIDNIGHT)


def test_the_sends_of_a_run_are_told_apart_by_when_they_left_too(journal):
    """Numbers begin anew for a file of which everything is archived."""
    for left in (1000.0, 2000.0, 3000.0):
        if left > 1000.0:
            journal.archive(*journal.sends())
        journal.intend(a_send("1" * 64, rows=1, counts_from=left), rows_of(1))
    assert [s.counts_from for s in journal.of_run("earlier-run", 0.0)] == [1000.0, 2000.0, 3000.0]
