import re
from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kfr.load import mirror, start_pairs
from kfr.load.journal import Single, Witness
from kfr.load.lease import LeaseLost
from kfr.load.mirror import Mirror
from kfr.load.removal_queue import Entry, Removal, RemovalQueue
from kfr.load.retention import Retention
from kfr.load.staging import StateMissing
from kfr.relationships.customers import NOTHING
from kfr.relationships.packing import Ints, ids_of, pack, starts_of, text_of
from tests.unit.load.one_load import START, OneLoad, a_send, file_of, packed, sent

KEPT = 12  # versions
POPULATIONS = st.dictionaries(st.integers(1, 40), st.integers(0, 5), max_size=30)


def population(starts: dict[int, int]) -> Ints:
    return np.sort(pack(np.array(list(starts), np.int64), np.array(list(starts.values()), np.int64)))


def starts_by_customer(packed_: Ints) -> dict[int, int]:
    return dict(zip(ids_of(packed_).tolist(), starts_of(packed_).tolist(), strict=True))


@given(POPULATIONS, POPULATIONS)
def test_put_takes_the_new_row_in_place_of_the_old_one(held, new):
    assert starts_by_customer(mirror.put(population(held), population(new))) == held | new


@given(POPULATIONS, st.sets(st.integers(1, 40)))
def test_take_leaves_all_others(held, gone):
    left = mirror.take(population(held), np.array(sorted(gone), np.int64))
    assert starts_by_customer(left) == {c: s for c, s in held.items() if c not in gone}


def test_an_institution_that_just_began_holds_nothing(began):
    held = mirror.read(began.world)
    assert (held.version, held.proven.size, held.possible.size) == (0, 0, 0)


def test_without_a_state_there_is_no_empty_mirror(load):
    remedy = "Run kfr_reconcile: it rebuilds the mirror by looking everyone up."
    with pytest.raises(
        StateMissing, match=f"The mirror is lost: its state says that there was one. {remedy}"
    ):
        mirror.read(load.world)


@pytest.mark.parametrize(
    "lost", ["mirror", "mirrors/00000001.proven", "mirrors/00000001.possible", "institution"]
)
def test_a_mirror_that_is_lost_in_whole_or_part_is_never_read_as_empty(began, lost):
    sent(began, [5], proven_at=1.0)
    mirror.record(began.world)
    mirror.record(began.world)
    began.world.state.delete(lost)
    if lost == "institution":
        assert began.proven == [5]
    else:
        with pytest.raises(StateMissing):
            mirror.read(began.world)


def test_the_pointer_says_which_version_of_what_run_holds_how_many_since_when(began):
    sent(began, [5, 6], proven_at=1.0)
    sent(began, [7])
    held = mirror.record(began.world)
    assert began.world.state.read_json("mirror") == {
        "version": 1,
        "run": began.run.key,
        "at": began.world.now,
        "proven": 2,
        "possible": 1,
        "fingerprint": began.world.staging.fingerprint(held.proven.tobytes()),
    }


def test_old_versions_are_kept_for_a_while_and_then_dropped(began):
    for number in range(KEPT + 3):
        run = began.with_run(run_id=f"run-{number}", retention=Retention(mirrors=KEPT))
        sent(run, [1000 + number], proven_at=1.0)
        last = mirror.record(run.world)
    kept = sorted(
        {name.removeprefix("mirrors/").split(".")[0] for name in began.world.state.names("mirrors")}
    )
    assert len(kept) == KEPT
    assert int(kept[-1]) == last.version


def test_of_one_run_only_the_last_version_stays(began):
    """A version is an old load, not an old step of one."""
    for customer in (5, 6, 7):
        sent(began, [customer], proven_at=1.0)
        mirror.record(began.world)
    assert began.proven == [5, 6, 7]
    assert {name[:16] for name in began.world.state.names("mirrors")} == {"mirrors/00000003"}


def test_look_ups_move_the_mirror_and_what_proved_the_absent_proves_nothing_any_more(began):
    began.world.place.write_json("plan.json", {})  # of which the send is
    sent(began, [5, 6], proven_at=1.0, run=began.run.key)
    began.institution.clock.advance(3600)
    held = mirror.record(began.world)
    mirror.correct(began.world, held, present=packed([7], START), absent=np.array([6]))
    assert (began.proven, began.possible) == ([5, 7], [6])  # a part of the file may come yet
    mirror.record(began.world)
    assert began.proven == [5, 7]  # the send that proved 6 is archived: it cannot bring 6 back
    assert began.sends == []
    began.pass_days(1)
    mirror.correct(began.world, mirror.read(began.world), present=NOTHING, absent=np.array([6]))
    assert (began.proven, began.possible) == ([5, 7], [])


def test_look_ups_settle_what_was_only_possible(began):
    sent(began, [5, 6], witnesses=(Witness(customer_id=5),))
    held = mirror.record(began.world)
    mirror.correct(began.world, held, present=packed([5], START), absent=np.array([6]))
    assert (began.proven, began.possible) == ([5], [6])  # the file may come yet
    began.world.journal.archive(began.sends[0])
    began.pass_days(1)
    mirror.correct(began.world, mirror.read(began.world), present=NOTHING, absent=np.array([6]))
    assert (began.proven, began.possible) == ([5], [])


def test_who_was_answered_as_removed_and_is_found_is_due_again(began):
    queue = RemovalQueue.read(began.world.state)
    queue.entries = {c: Entry(state=Removal.GONE, run="one", day=1, asked=c != 7) for c in (5, 6, 7)}
    queue.write()
    asked = began.institution.warehouse.queue
    asked |= dict.fromkeys(map(text_of, (5, 6, 7)), "removed")
    mirror.correct(began.world, mirror.read(began.world), present=packed([5, 7], START), absent=np.array([6]))
    states = {c: e.state for c, e in RemovalQueue.read(began.world.state).entries.items()}
    assert states == {5: Removal.DUE, 6: Removal.GONE, 7: Removal.DUE}
    assert asked == {text_of(5): "waits", text_of(6): "removed", text_of(7): "removed"}  # 7 had ended
    assert RemovalQueue.read(began.world.state).entries[5].day == 0  # not answered on any day, as it seems


def test_a_start_that_was_kept_once_and_is_found_now_is_forgotten_as_kept(began):
    filed, kept = packed([5, 6], START), packed([5, 6], date(2021, 1, 1))
    began.world.state.write_array(start_pairs.KEPT, np.column_stack([filed, kept]))
    mirror.correct(began.world, mirror.read(began.world), present=filed[:1], absent=NOTHING)
    assert start_pairs.kept(began.world).tolist() == [[filed[1], kept[1]]]


def test_what_is_voided_is_closed_sends_and_singles_of_those_customers_only(began):
    sent(began, [5], proven_at=1.0)
    sent(began, [6], proven_at=1.0)
    sent(began, [7], witnesses=(Witness(customer_id=7),))  # open: it may still be loading
    singles = np.column_stack([packed([8, 9], START), [Single.PROVEN, Single.PROVEN]])
    began.world.journal.put_singles(began.run.key, singles)
    began.institution.clock.advance(3600)
    mirror.void(began.world, np.array([5, 7, 8]))
    assert {s.file for s in began.sends} == {file_of(6), file_of(7)}
    assert ids_of(began.world.journal.singles(began.run.key)[:, 0]).tolist() == [9]


def test_a_voided_send_still_counts_for_the_notice(began):
    sent(began, [5], proven_at=1.0)
    began.institution.clock.advance(3600)
    before = began.world.journal.rows_sent_on(began.today)
    mirror.void(began.world, np.array([5]))
    assert began.world.journal.rows_sent_on(began.today) == before == 1


def test_who_comes_back_waits_for_no_removal_and_is_proven_by_nothing_from_before(began):
    sent(began, [5, 6], proven_at=1.0)
    queue = RemovalQueue.read(began.world.state)
    queue.entries = {c: Entry(state=Removal.REMOVED, run="one", day=1) for c in (5, 7)}
    queue.write()
    began.institution.clock.advance(3600)
    mirror.welcome_back(began.world, np.array([5, 6]))
    assert list(RemovalQueue.read(began.world.state).entries) == [7]
    assert began.sends == []
    mirror.record(began.world)
    assert began.proven == []


def test_who_never_left_is_not_welcomed_back(began):
    sent(began, [5], proven_at=1.0)
    began.institution.clock.advance(3600)
    mirror.welcome_back(began.world, np.array([5]))
    assert len(began.sends) == 1


def test_an_auditor_s_table_has_each_customer_once_with_start_and_proof(began):
    sent(began, [17_912_345_678, 999_999_999], proven_at=1.0)
    rows = pack(np.array([1_010_112_345]), np.array([0]))
    began.world.journal.intend(a_send(file_of(4), rows=1), rows)
    mirror.record(began.world)
    assert mirror.table(began.world.state).to_pylist() == [
        {"customer_id": "999999999", "started_on": START, "proven": True},
        {"customer_id": "01010112345", "started_on": None, "proven": False},
        {"customer_id": "17912345678", "started_on": START, "proven": True},
    ]


def test_an_auditor_reads_an_old_load_too_and_a_version_that_is_not_there_is_an_error(began):
    sent(began, [5], proven_at=1.0)
    first = mirror.record(began.world)
    later = began.with_run(run_id="later")
    sent(later, [6], proven_at=1.0)
    mirror.record(later.world)
    assert mirror.table(began.world.state, first.version).num_rows == 1
    with pytest.raises(StateMissing):
        mirror.table(began.world.state, 99)


def test_of_a_lost_mirror_everyone_is_salvaged_who_stands_in_a_version_that_opens(began):
    sent(began, [5], proven_at=1.0)
    mirror.record(began.world)
    later = began.with_run(run_id="later")
    sent(later, [6], witnesses=(Witness(customer_id=6),))
    mirror.record(later.world)
    state = began.world.state
    (began.institution.folder / state.scope / "mirrors/00000002.proven").write_bytes(b"damaged")
    assert mirror.salvage(began.world).tolist() == [5, 6]
    assert not mirror.is_readable(began.world)
    restarted = mirror.read_or_restart(began.world)
    assert (restarted.version, restarted.proven.size) == (3, 0)  # what follows replaces no older version
    said = "The mirror is lost or damaged: it is made anew from what the register answers."
    assert began.institution.said[-1] == said
    mirror.correct(began.world, restarted, present=NOTHING, absent=np.array([5, 6]))
    assert mirror.is_readable(began.world)  # though nobody is in it


def test_versions_behind_a_damaged_one_are_salvaged_too_and_without_any_they_begin_at_one(began):
    for number, customer in enumerate((5, 6, 7)):
        run = began.with_run(run_id=f"run-{number}")
        sent(run, [customer], witnesses=(Witness(customer_id=customer),))
        mirror.record(run.world)
    folder = began.institution.folder / began.world.state.scope / "mirrors"
    (folder / "00000001.possible").write_bytes(b"damaged")
    assert mirror.salvage(began.world).tolist() == [5, 6, 7]
    for path in folder.iterdir():
        path.unlink()
    assert mirror.salvage(began.world).tolist() == []
    assert mirror.read_or_restart(began.world).version == 1


def test_an_auditor_s_columns_have_their_types_even_when_nobody_has_a_start(began):
    began.world.journal.intend(a_send(file_of(4), rows=1), pack(np.array([1_010_112_345]), np.array([0])))
    mirror.record(began.world)
    types = {field.name: str(field.type) for field in mirror.table(began.world.state).schema}
    assert types == {"customer_id": "string", "started_on": "date32[day]", "proven": "bool"}


def test_a_printed_mirror_shows_no_customer():
    shown = repr(Mirror(version=1, proven=packed([17_912_345_678], START), possible=NOTHING))
    assert shown == "Mirror(version=1)"


@pytest.mark.parametrize("state", [Removal.DUE, Removal.INTENDED, Removal.HELD])
def test_a_removal_of_who_is_looked_up_and_not_there_waits_no_longer(load: OneLoad, state: Removal):
    """Else it would wait for ever, since nobody is removed who is not ours, and no load would be green again."""
    gone, stays = load.join(2)
    load.load()
    queue = RemovalQueue.read(load.world.state)
    queue.entries |= {c: Entry(state=state, run="another run") for c in (gone, stays)}
    queue.write()
    held = mirror.record(load.world)
    mirror.correct(load.world, held, present=NOTHING, absent=np.array([gone]))
    assert list(RemovalQueue.read(load.world.state).entries) == [stays]


def test_a_mirror_that_another_run_has_moved_since_it_was_read_is_not_overwritten(load: OneLoad):
    load.join(2)
    load.load()
    stale = mirror.read(load.world)
    moved = mirror.record(load.world)
    assert moved.version > stale.version
    message = (
        "Another run has moved the mirror since this task read it, so this one's is not written. Clear "
        "acquire_register too."
    )
    with pytest.raises(LeaseLost, match=f"^{re.escape(message)}$"):
        mirror.correct(load.world, stale, present=packed([1_898_228_475], load.today), absent=NOTHING)
    assert mirror.read(load.world).version == moved.version
