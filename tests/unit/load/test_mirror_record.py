"""The mirror moves by what the journal proves, and by nothing else."""

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest

from kfr.load import mirror, refusals
from kfr.load.journal import Outcome, Single, StartChange, Witness
from kfr.load.removal_queue import Entry, Removal, RemovalQueue
from kfr.load.staging import StateMissing
from kfr.relationships.packing import UNKNOWN_DAY, Ints, date_of, day_number, ids_of, starts_of
from tests.faults.institution import Institution
from tests.unit.load.one_load import START, OneLoad, a_send, file_of, packed, sent


def starts_by_customer(packed_: Ints) -> dict[int, int]:
    return dict(zip(ids_of(packed_).tolist(), starts_of(packed_).tolist(), strict=True))


def test_what_is_proven_moves_to_the_mirror_and_what_was_only_sent_is_possible(began):
    sent(began, [5, 6], proven_at=1.0)
    sent(began, [7], witnesses=(Witness(customer_id=7),))
    sent(began, [8], outcome=Outcome.UNKNOWN)
    sent(began, [9], outcome=Outcome.INTENDED)  # the worker died: it may have left
    sent(began, [10], outcome=Outcome.REFUSED)
    sent(began, [11])  # waited out: nothing proved it
    mirror.record(began.world)
    assert began.proven == [5, 6]
    assert began.possible == [7, 8, 9, 11]


def test_what_is_possible_becomes_proven_and_is_then_possible_no_more(began):
    sent(began, [5], witnesses=(Witness(customer_id=5),))
    mirror.record(began.world)
    assert (began.proven, began.possible) == ([], [5])
    began.world.journal.put(a_send(file_of(5), rows=1, proven_at=1.0))
    mirror.record(began.world)
    assert (began.proven, began.possible) == ([5], [])


def test_rows_that_a_full_count_missed_are_not_taken_over(began):
    rows = sent(began, [5, 6, 7], proven_at=1.0)
    began.world.state.write_array(f"missing/{file_of(5)[:40]}", rows[1:2])
    mirror.record(began.world)
    assert (began.proven, began.possible) == ([5, 7], [6])


def test_rows_that_are_counted_as_missing_after_their_file_was_recorded_are_taken_back(began):
    rows = sent(began, [5, 6, 7], proven_at=1.0)
    mirror.record(began.world)
    assert began.proven == [5, 6, 7]
    began.world.state.write_array(f"missing/{file_of(5)[:40]}", rows[1:2])
    mirror.record(began.world)
    assert (began.proven, began.possible) == ([5, 7], [6])


def test_a_send_closed_by_a_person_proves_nobody_and_unproves_whom_it_was_looked_for_by(began):
    sent(began, [5, 6], proven_at=1.0)
    mirror.record(began.world)
    sent(began, [6, 7], witnesses=(Witness(customer_id=6),), closed_because="Bits: never loaded")
    began.world.journal.withdraw(began.world.journal.of_file(file_of(5))[0])
    mirror.record(began.world)
    assert (began.proven, began.possible) == ([5], [6, 7])


def test_a_single_addition_counts_when_it_is_proven(began):
    singles = np.column_stack([packed([5, 6, 7], START), [Single.PROVEN, Single.ANSWERED, Single.INTENDED]])
    began.world.journal.put_singles("another-run", singles)
    mirror.record(began.world)
    assert (began.proven, began.possible) == ([5], [6, 7])
    assert began.world.journal.runs_with("singles") == []  # the mirror has them now


@pytest.mark.parametrize("state", [Removal.REMOVED, Removal.GONE])
def test_who_was_removed_is_neither_proven_nor_possible(began, state):
    sent(began, [5, 6], proven_at=1.0)
    sent(began, [7, 8])
    queue = RemovalQueue.read(began.world.state)
    queue.entries = {c: Entry(state=state, run="one-run", day=1) for c in (5, 7)}
    queue.entries[6] = Entry(state=Removal.INTENDED, run="one-run")
    queue.write()
    mirror.record(began.world)
    assert (began.proven, began.possible) == ([6], [8])


@pytest.mark.parametrize("state", [Removal.INTENDED, Removal.HELD])
def test_who_is_not_to_be_removed_any_more_and_may_have_been_is_possible(began, state):
    sent(began, [5, 6], proven_at=1.0)
    queue = RemovalQueue.read(began.world.state)
    queue.entries = {c: Entry(state=state, run="one-run", day=1, wanted=c != 6) for c in (5, 6)}
    queue.write()
    mirror.record(began.world)
    assert (began.proven, began.possible) == ([5], [6])


def test_who_came_back_on_the_day_of_the_removal_is_possible_whatever_else_speaks_for_them(began):
    sent(began, [5, 6], proven_at=1.0)
    queue = RemovalQueue.read(began.world.state)
    queue.entries = {5: Entry(state=Removal.RETURNED, run="one-run", day=began.world.day)}
    queue.write()
    mirror.record(began.world)
    assert (began.proven, began.possible) == ([6], [5])


@pytest.mark.parametrize("told", [{"proven_at": 2.0}, {"outcome": Outcome.INTENDED}])
def test_whom_two_files_hold_with_two_starts_is_there_since_nobody_knows_when(began, told):
    """As when a run was overtaken: which file was loaded last, and whether the last one counts, is not documented."""
    sent(began, [4, 5, 6], proven_at=1.0)
    mirror.record(began.world)
    began.world.journal.intend(a_send("0" * 64, rows=2, **told), packed([5, 6], date(2015, 1, 1)))
    for _ in range(2):
        mirror.record(began.world)
        held = starts_by_customer(mirror.read(began.world).proven)
        assert held == {4: day_number(START), 5: UNKNOWN_DAY, 6: UNKNOWN_DAY}


def test_a_file_does_not_take_back_a_start_that_came_after_it(began):
    """A run that was overtaken goes on, and records its own files again."""
    sent(began, [5], proven_at=1.0)
    mirror.record(began.world)
    for send in began.world.journal.sends():
        began.world.journal.archive(send)
    sent(began, [7], proven_at=1.0)
    began.world.journal.intend(a_send("0" * 64, rows=1, proven_at=2.0), packed([5], date(2015, 1, 1)))
    mirror.record(began.world)
    assert starts_by_customer(mirror.read(began.world).proven) == dict.fromkeys((5, 7), day_number(START))


def test_whom_the_register_refused_is_not_proven_by_a_file_that_got_no_answer(began):
    """The file was refused with them: the others came by another one, and so did its witnesses."""
    sent(began, [5, 6, 7], proven_at=1.0, outcome=Outcome.UNKNOWN)
    refusals.record(began.world, "0001", packed([5, 6], START), packed([6], START))
    sent(began, [7], outcome=Outcome.REFUSED)  # alone, and the worker died before its file was finished
    mirror.record(began.world)
    assert (began.proven, began.possible) == ([5], [6, 7])


def another_file(load):
    sent(load, [4, 5], proven_at=2.0, witnesses=(Witness(customer_id=4),))


def a_single_addition(load):
    load.world.journal.put_singles("another-run", np.column_stack([packed([5], START), [Single.INTENDED]]))


def a_file_before_the_start_was_filed_anew(load):
    changes = np.column_stack([packed([5], START), packed([5], START), [StartChange.SENT]])
    load.world.journal.put_start_changes("another-run", changes)


@pytest.mark.parametrize(
    "brought_by", [another_file, a_single_addition, a_file_before_the_start_was_filed_anew]
)
@pytest.mark.parametrize("then", ["proven at once", "the other is archived", "and the witness is removed"])
def test_a_file_shows_nothing_if_something_else_can_have_brought_its_witnesses(began, brought_by, then):
    """The file may be lost; a small sample that finds the others does not tell."""
    journal, at_once = began.world.journal, then == "proven at once"
    brought_by(began)
    lost = a_send("f" * 64, rows=2, witnesses=(Witness(customer_id=5),), verified=True)
    journal.intend(replace(lost, proven_at=1.0 if at_once else None), packed([5, 6], START))
    mirror.record(began.world)
    if not at_once:
        for send in journal.sends():
            if send.file != lost.file:
                journal.archive(send)
        journal.drop_start_changes("another-run")
        (unproven,) = journal.sends()
        journal.put(replace(unproven, proven_at=1.0))
    if then == "and the witness is removed":
        queue = RemovalQueue.read(began.world.state)
        queue.entries[5] = Entry(state=Removal.GONE, run="another-run", day=1)
        queue.write()
    for _ in range(2):
        mirror.record(began.world)
        assert 6 not in began.proven
        assert 6 in began.possible
        assert not any(s.shown for s in journal.of_file(lost.file))


def test_whom_two_proven_files_hold_is_there_by_one_of_them(began):
    sent(began, [5, 6, 7], proven_at=1.0, shown=False, witnesses=(Witness(customer_id=5),))
    sent(began, [3, 5, 6], proven_at=1.0, shown=False, witnesses=(Witness(customer_id=5),))
    sent(began, [2, 7], witnesses=(Witness(customer_id=2),))
    mirror.record(began.world)
    assert (began.proven, began.possible) == ([5, 6], [2, 3, 7])


def test_whom_the_register_refused_is_proven_by_no_two_files_either(began):
    for others in ([5, 6, 7], [4, 6, 7]):
        witnesses = (Witness(customer_id=others[0], shared=True),)
        sent(began, others, proven_at=1.0, shown=False, witnesses=witnesses)
    refusals.record(began.world, "0001", packed([6], START), packed([6], START))
    mirror.record(began.world)
    assert (began.proven, began.possible) == ([7], [4, 5, 6])


def test_one_witness_that_only_its_file_can_have_brought_proves_it_for_good(began):
    sent(
        began,
        [5, 6, 7],
        proven_at=1.0,
        shown=False,
        witnesses=(Witness(customer_id=5), Witness(customer_id=6)),
    )
    for others, possible in (
        ([4, 5], [4]),
        ([3, 6], [3, 4]),
    ):  # the second takes the last witness, and too late
        sent(began, others, outcome=Outcome.UNKNOWN)
        mirror.record(began.world)
        assert began.world.journal.of_file(file_of(5))[0].shown
        assert (began.proven, began.possible) == ([5, 6, 7], possible)


def test_what_one_send_shows_is_not_noted_for_another_of_the_same_bytes(began):
    one = a_send(
        rows=2, counts_from=began.world.now, outcome=Outcome.UNKNOWN, witnesses=(Witness(customer_id=5),)
    )
    two = replace(one, attempt=2, proven_at=1.0, witnesses=(Witness(customer_id=6),))
    for send in (one, two):
        began.world.journal.intend(send, packed([5, 6], START))
    mirror.record(began.world)
    assert began.world.journal.of_file(one.file) == [one, replace(two, shown=True)]


@pytest.mark.parametrize(
    ("told", "start"),
    [
        ({}, None),
        ({"outcome": Outcome.REFUSED}, START),
        ({"file": "e" * 64}, START),  # planned, and never sent: another file was
    ],
)
def test_a_start_that_another_run_filed_anew_and_did_not_look_up_is_unknown(began, told, start):
    """Else the warehouse could go back to the start that the mirror has, and the register would keep the other."""
    other = date(2015, 1, 1)
    sent(began, [5, 6], proven_at=1.0)
    mirror.record(began.world)
    changes = np.column_stack([packed([5], other), packed([5], START), [StartChange.SENT]])
    began.world.journal.put_start_changes("earlier-run", changes)
    rows = packed([9], other) if "file" in told else packed([5], other)
    began.world.journal.intend(a_send(**{"rows": 1, "counts_from": began.world.now, **told}), rows)
    mirror.record(began.world)
    held = starts_by_customer(mirror.read(began.world).proven)
    assert held == {5: day_number(start) if start else UNKNOWN_DAY, 6: day_number(START)}


@pytest.mark.parametrize("runs", [("a-run", "z-run"), ("z-run", "a-run")])
def test_of_two_starts_that_were_taken_the_one_of_the_file_that_left_last_counts(began, runs):
    """Whatever the runs are called."""
    journal, starts = began.world.journal, (date(2015, 1, 1), date(2016, 1, 1))
    sent(began, [5], proven_at=1.0)
    mirror.record(began.world)
    for number, (run, start) in enumerate(zip(runs, starts, strict=True)):
        rows, at = packed([5], start), began.world.now + number
        journal.put_start_changes(run, np.column_stack([rows, packed([5], START), [StartChange.CORRECTED]]))
        file = f"{number}" * 64
        journal.intend(a_send(file, run=run, rows=1, counts_from=at, proven_at=at), rows)
    mirror.record(began.world)
    assert starts_by_customer(mirror.read(began.world).proven) == {5: day_number(starts[1])}


def test_recording_twice_is_recording_once(began):
    sent(began, [5, 6], proven_at=1.0)
    sent(began, [7], witnesses=(Witness(customer_id=7),))
    first = mirror.record(began.world)
    second = mirror.record(began.world)
    assert second.version == first.version  # nothing moved
    assert second.proven.tolist() == first.proven.tolist()
    assert second.possible.tolist() == first.possible.tolist()


def test_a_crash_at_any_touch_of_recording_is_as_if_there_was_none(load):
    load.acquire()
    for touches in range(1, 60):
        customer = 1000 + touches
        sent(load, [customer], proven_at=1.0, run=f"run-{touches}")
        sent(load, [customer + 10_000], witnesses=(Witness(customer_id=1),), run=f"run-{touches}")
        load.institution.clock.advance(3600)  # the proven one is closed, and archived on the way
        died = load.crash(touches, lambda: mirror.record(load.world))
        mirror.record(load.world)
        assert load.proven == list(range(1001, 1001 + touches))
        assert load.possible == list(range(11_001, 11_001 + touches))
        if not died:
            return
    pytest.fail("record touches the world for ever")


def test_a_crash_at_any_touch_of_the_very_first_recording_loses_nothing(folder):
    for touches in range(1, 60):
        load = OneLoad(Institution(folder / str(touches)))
        load.acquire()
        sent(load, [5], proven_at=1.0)
        died = load.crash(touches, lambda load=load: mirror.record(load.world))
        mirror.record(load.world)
        assert load.proven == [5]
        load.world.state.delete("mirror")
        with pytest.raises(StateMissing):
            mirror.read(load.world)
        if not died:
            return
    pytest.fail("record touches the world for ever")


def given_up(load: OneLoad) -> None:
    """A file of 5 and 6 that a person closed too early: it may come; 5 was looked up in vain, so it is archived."""
    journal, now = load.world.journal, load.world.now
    closed = a_send(file_of(5), rows=2, counts_from=now, closed_because="Bits", witnesses=WITNESS)
    journal.intend(closed, packed([5, 6], START))
    mirror.void(load.world, np.array([5]))
    assert journal.sends() == []


WITNESS = (Witness(customer_id=5),)


def test_a_file_that_may_come_though_it_is_archived_can_have_brought_the_witnesses_of_another(began):
    given_up(began)
    rows = packed([5], START + timedelta(days=1))
    now = began.world.now
    send = a_send(
        "e" * 64, run=began.run.key, rows=1, counts_from=now, proven_at=now, shown=False, witnesses=WITNESS
    )
    began.world.journal.intend(send, rows)
    mirror.record(began.world)
    assert (began.proven, began.possible) == ([], [5])


def test_whom_a_file_that_may_come_has_with_another_start_has_a_start_that_is_not_known(began):
    given_up(began)
    rows = packed([5, 9], START + timedelta(days=1))
    witnesses, now = (Witness(customer_id=9),), began.world.now
    send = a_send("e" * 64, run=began.run.key, rows=2, counts_from=now, proven_at=now, witnesses=witnesses)
    began.world.journal.intend(send, rows)
    mirror.record(began.world)
    held = mirror.read(began.world).proven
    assert ids_of(held).tolist() == [5, 9]
    assert [date_of(day) for day in starts_of(held).tolist()] == [None, START + timedelta(days=1)]


def test_the_same_bytes_sent_again_are_proven_whichever_copy_came(began):
    given_up(began)
    rows, now = packed([5, 6], START), began.world.now
    again = a_send(
        file_of(5),
        run=began.run.key,
        rows=2,
        attempt=2,
        counts_from=now,
        proven_at=now,
        shown=False,
        witnesses=WITNESS,
    )
    began.world.journal.intend(again, rows)
    mirror.record(began.world)
    assert began.proven == [5, 6]
