"""What recording does with new starts, and with the entries of runs that are over once the mirror holds them."""

from datetime import date

import numpy as np

from kfr.load import mirror, start_pairs
from kfr.load.journal import Outcome, Single, StartChange, Witness
from kfr.load.removal_queue import Entry, Removal, RemovalQueue
from kfr.relationships.packing import Ints, day_number, ids_of
from tests.unit.load.one_load import START, OneLoad, a_send, file_of, packed, sent


def changed(customer: int, state: StartChange = StartChange.KEPT, *, filed: date = START) -> Ints:
    """One customer's entry of a start that was filed again: as filed, as before, what became of it."""
    return np.column_stack([packed([customer], filed), packed([customer], date(2010, 1, 1)), [state]])


def test_closed_sends_of_other_runs_are_archived_and_this_run_s_own_stay(began):
    began.world.place.write_json("plan.json", {})
    sent(began, [5], proven_at=1.0, run="another-run")
    sent(began, [6], proven_at=1.0, run=began.run.key)
    sent(began, [7], witnesses=(Witness(customer_id=7),), run="another-run")  # open
    sent(
        began, [8], proven_at=1.0, verified=False, run="another-run"
    )  # its witnesses were found, and nobody looked at more
    sent(began, [9], proven_at=1.0, run="another-run")
    sent(began, [10], outcome=Outcome.REFUSED, run="another-run")
    began.institution.clock.advance(3600)
    mirror.record(began.world)
    assert {s.file for s in began.sends} == {file_of(6), file_of(7), file_of(8)}
    assert (began.proven, began.possible) == ([5, 6, 9], [7, 8])


def test_single_additions_and_new_starts_of_this_run_stay_and_those_of_runs_that_are_over_go(began):
    journal, own = began.world.journal, began.run.key
    for run in ("0-over", own, "~loading", "~over"):
        journal.put_singles(run, np.column_stack([packed([5], START), [Single.PROVEN]]))
        journal.put_start_changes(run, changed(6, StartChange.SENT))
    # Open: when it is merged, it must be known what of it was only filed again.
    sent(began, [7], witnesses=(Witness(customer_id=7),), run="~loading")
    mirror.record(began.world)
    assert journal.runs_with("singles") == [own]
    assert sorted(journal.runs_with("starts")) == sorted([own, "~loading"])


def test_a_start_that_was_filed_again_moves_the_mirror_when_it_was_looked_up_and_by_no_file(began):
    """The file that carries it is proven by others in it, and the register need not take another start."""
    sent(began, [5, 6], proven_at=1.0)
    new = date(2021, 1, 1)
    again = a_send("a" * 64, rows=3, proven_at=2.0, counts_from=began.world.now + 1)
    began.world.journal.intend(again, packed([5, 6, 8], new))
    corrected, kept = StartChange.CORRECTED, StartChange.KEPT
    entries = [
        changed(5, corrected, filed=new),
        changed(6, kept, filed=new),
        changed(8, corrected, filed=new),
    ]
    began.world.journal.put_start_changes(began.run.key, np.concatenate(entries))
    held = mirror.record(began.world)
    # 8 is held by nothing that proves them: a start alone does not. But they may have left, and be back with it.
    assert held.proven.tolist() == [*packed([5], new), *packed([6], START)]
    assert held.possible.tolist() == packed([8], new).tolist()


def test_a_start_that_the_register_kept_is_remembered_the_last_one_filed_of_each_customer(began):
    journal = began.world.journal
    for number, customers in enumerate([(5, 6), (6, 7)]):
        entries = [changed(c, StartChange.KEPT, filed=date(2021 + number, 1, 1)) for c in customers]
        entries.append(changed(8, StartChange.SENT))  # not looked up: which start is there is not known
        journal.put_start_changes(f"run-{number}", np.concatenate(entries))
        mirror.record(began.world)
    first, second = date(2021, 1, 1), date(2022, 1, 1)
    kept = start_pairs.kept(began.world)
    assert kept.dtype == np.int64  # a float could not tell one customer from the next
    assert kept.tolist() == [
        *changed(5, filed=first)[:, :2].tolist(),
        *changed(6, filed=second)[:, :2].tolist(),
        *changed(7, filed=second)[:, :2].tolist(),
    ]
    assert journal.runs_with("starts") == []


def test_a_removal_that_is_proven_goes_from_the_queue_to_the_delivery_log_when_its_run_is_over(began):
    """While the customer stands in a file that is not archived, the entry keeps them from coming back."""
    own, day = began.run.key, day_number(date(2026, 3, 1))
    queue = RemovalQueue.read(began.world.state)
    queue.entries = {
        4: Entry(state=Removal.GONE, run="over", day=day),
        5: Entry(state=Removal.GONE, run=own, day=day),
        6: Entry(state=Removal.REMOVED, run="over", day=day),
        7: Entry(state=Removal.GONE, run="over", day=day),
        8: Entry(state=Removal.GONE, run="over", day=day + 1),
    }
    queue.write()
    sent(began, [7, 9], witnesses=(Witness(customer_id=9),), run="over")
    mirror.record(began.world)
    assert list(RemovalQueue.read(began.world.state).entries) == [5, 6, 7]
    logged = {name: ids_of(rows).tolist() for name, _, rows in began.world.journal.archived()}
    assert logged == {f"2026-03-01-removals-{own}": [4], f"2026-03-02-removals-{own}": [8]}


def test_a_send_that_nothing_proves_stays_for_its_day_in_other_runs_too(load: OneLoad):
    """Until then no removal of its customers: its rows may still load, and bring them back."""
    load.join(2)
    load.load()
    other = load.with_run(dag_id="kfr_reconcile", run_id="manual__9")
    send = a_send(run=load.run.key, witnesses=(), rows=1, counts_from=load.world.now - 60)
    load.world.journal.intend(send, packed([1_898_228_475], load.today))
    mirror.record(other.world)
    assert send.name in [s.name for s in other.world.journal.sends()]
    load.pass_days(1)
    mirror.record(other.world)
    assert send.name not in [s.name for s in other.world.journal.sends()]
