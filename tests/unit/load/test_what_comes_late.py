"""What one look-up, one sample or one run says is not the last word, as long as something else may come or say more."""

from dataclasses import replace
from datetime import date, datetime, time, timedelta
from pathlib import Path

import numpy as np
import pytest

from kfr.clock import OSLO
from kfr.load import (
    arrivals,
    comparison,
    extract,
    lease,
    mirror,
    removal,
    start_pairs,
    strata,
    upload,
    verification,
    watermark,
)
from kfr.load.journal import StartChange
from kfr.load.removal_queue import Entry, Removal, RemovalQueue
from kfr.load.staging import StagingFull
from kfr.load.upload import TurnedDown
from kfr.register.client import RegisterClient
from kfr.register.errors import OutcomeUnknown, Retriable
from kfr.relationships.packing import ids_of, starts_of
from tests.faults.institution import Institution
from tests.faults.warehouse import Agreement
from tests.simulator import FaultKind, Switches
from tests.unit.load.one_load import TEN_ROWS, OneLoad, packed, refuse_all, removed, states, verify


def begun(folder: Path, **switches: str) -> tuple[OneLoad, list[int]]:
    """An institution a day after its first load, with small samples; its customers."""
    load = OneLoad(Institution(folder, switches=Switches(**switches)))
    load.institution.settings = replace(load.institution.settings, sample_size=5)
    customers = load.join(20)
    load.first()
    load.pass_days(1)
    return load.next(), customers


def agreement(load: OneLoad, customer: int) -> Agreement:
    return next(a for a in load.institution.warehouse.agreements_held if int(a.customer) == customer)


def start_of(load: OneLoad, customer: int) -> int:
    """The day number that the mirror has; 0 if it is not known."""
    held = mirror.read(load.world).proven
    (row,) = held[ids_of(held) == customer]
    return int(starts_of(row))


def sleep_until(load: OneLoad, at: time) -> None:
    now = load.institution.clock.now().astimezone(OSLO)
    then = datetime.combine(now.date(), at, OSLO)
    then += timedelta(days=1) if then <= now else timedelta()
    load.institution.clock.advance((then - now).total_seconds())


def died_while_it_waited(load: OneLoad) -> tuple[OneLoad, set[int]]:
    """A run whose file is loaded, and nobody has recorded that; in whom no witness and no sample looks."""
    load.plan(first_load=False)
    upload.upload(load.world, "0001")
    load.institution.clock.advance(3600)
    lease.release(load.world)
    (send,) = (s for s in load.sends if s.run == load.run.key)
    rows = np.sort(load.world.journal.rows(send))
    seen = {w.customer_id for w in send.witnesses} | set(
        ids_of(strata.sample(load.world, rows, send.label)).tolist()
    )
    return load, set(ids_of(rows).tolist()) - seen


@pytest.mark.parametrize("lost", [False, True], ids=["mirror", "mirror lost"])
def test_who_was_looked_up_in_vain_is_not_proven_by_a_file_that_is_still_open(folder, lost):
    load, _ = begun(folder)
    load.join(60)
    load, unseen = died_while_it_waited(load)
    missing = min(unseen)
    load.institution.simulator.plant_defect("missing", missing)
    if lost:
        load.world.state.delete("mirror")
    load = load.reconcile()
    found = comparison.read(load.world)
    assert found is not None
    assert found.missing == 1
    assert missing in load.registered  # sent again


def test_who_is_back_and_was_looked_up_in_vain_the_next_day_is_not_proven_by_the_file_of_that_day(folder):
    load, customers = begun(folder, removal="ends_today_inclusive", re_registration="no_effect_that_day")
    load.end(customers[:6])
    load.run_through()
    for customer in customers[:6]:
        agreement(load, customer).ended = None
    load = load.next()
    load.join(60)
    load, _ = died_while_it_waited(load)
    load.pass_days(1)
    load = load.reconcile()
    assert set(customers[:6]) <= load.registered.keys()


def test_a_miss_that_a_run_has_found_is_not_drawn_away_by_the_next(folder, monkeypatch):
    """Its sample is another one: of another run's file it knows the rows only as they were sent."""
    load, _ = begun(folder)
    load.join(60)
    load.add()
    missing = int(ids_of(strata.sample(load.world, verification._added(load.world, "0001"), "0001"))[0])
    load.institution.simulator.plant_defect("missing", missing)

    def die(*_: object) -> None:
        raise StagingFull("No space left.")

    with monkeypatch.context() as patch:
        patch.setattr(verification, "_count_fully", die)
        with pytest.raises(StagingFull):
            verify(load.world)
    lease.release(load.world)
    load.pass_days(1)
    load = load.next()
    with monkeypatch.context() as patch:
        patch.setattr(strata, "sample", lambda *_, **__: np.empty(0, np.int64))  # the next one's passes it by
        labels = load.plan(first_load=False).labels
    for label in labels:
        load.send(label)
    load.close_additions()
    load.finish()
    assert missing in load.registered


@pytest.mark.parametrize("known", ["mirror", "queue"])
def test_who_has_ended_is_not_forgotten_for_one_look_up_that_was_behind(folder, monkeypatch, known):
    load, customers = begun(folder)
    ended = customers[3]
    load.end([ended])
    if known == "queue":
        held = mirror.read(load.world)
        queue = RemovalQueue.read(load.world.state)
        queue.entries = {ended: Entry(state=Removal.DUE, run="one")}
        queue.write()
        mirror.correct(load.world, held, present=packed([], date(2020, 1, 1)), absent=np.array([], np.int64))
    see = comparison._see

    def late_once(world, customer, *more, **named):
        return -1 if customer == ended else see(world, customer, *more, **named)

    monkeypatch.setattr(comparison, "_see", late_once)
    load = load.reconcile()
    assert removed(load) == [ended]


def test_nobody_is_removed_whose_single_addition_may_wait_behind_a_file(folder):
    load, customers = begun(folder, single="after_files", second_file="changes_start")
    agreement(load, customers[0]).started -= timedelta(days=5)
    (brief,) = load.join(1, days_ago=0)
    load.plan(first_load=False)
    load.fault(FaultKind.LOADING_STALLED, seconds=4 * 3600.0)
    load.send("0001")
    load.close_additions()
    with pytest.raises(verification.NotEqual):
        load.finish()
    lease.release(load.world)
    load.end([brief])  # it was a mistake
    load = load.next()
    load.run_through()
    assert removed(load) == []
    assert states(load) == {brief: Removal.DUE}
    for _ in range(2):
        load.pass_days(1)
        load = load.next()
        load.run_through()
        assert brief not in load.registered


def test_single_additions_of_before_a_doubtful_file_and_those_that_are_proven_do_not_wait_behind_it(folder):
    load, customers = begun(folder, single="after_files", second_file="changes_start")
    brief, stays = load.join(2, days_ago=0)
    load.run_through()
    load.pass_days(1)
    agreement(load, customers[0]).started -= timedelta(days=5)
    load = load.next()
    load.join(1, days_ago=0)
    load.end([brief])
    load.run_through()
    assert removed(load) == [brief]
    assert stays in load.registered


def test_a_start_is_not_settled_while_another_one_may_come(folder):
    """Taken back on the same day, before the first file is loaded: that one comes last."""
    load, customers = begun(folder, second_file="changes_start", file_order="newest_first")
    customer = customers[3]
    first = agreement(load, customer).started
    agreement(load, customer).started = first + timedelta(days=5)
    load.fault(FaultKind.LOADING_STALLED, seconds=2 * 3600.0)
    load.run_through()
    agreement(load, customer).started = first
    load = load.next()
    load.run_through()
    assert load.world.journal.start_changes(load.run.key)[:, 2].tolist() == [StartChange.SENT]
    for _ in range(2):
        load.pass_days(1)
        load = load.next()
        load.run_through()
    assert load.registered[customer] == first
    assert start_of(load, customer)


def test_of_two_starts_the_one_filed_last_counts_though_the_first_one_s_file_is_archived(folder):
    load, customers = begun(
        folder,
        removal="ends_today_inclusive",
        re_registration="no_effect_that_day",
        second_file="changes_start",
    )
    moved, back = customers[3], customers[7]
    sleep_until(load, time(20))
    load.end([back])
    load.run_through()
    agreement(load, back).ended = None
    first = agreement(load, moved).started
    agreement(load, moved).started = first + timedelta(days=5)
    sleep_until(load, time(23))
    load = load.next()
    load.run_through()
    for days, at in ((9, time(0, 30)), (5, time(6)), (5, time(6))):
        sleep_until(load, at)
        agreement(load, moved).started = first + timedelta(days=days)
        load = load.next()
        load.run_through()
    assert load.registered[moved] == first + timedelta(days=5)


@pytest.mark.parametrize("name", [start_pairs.KEPT, start_pairs.UNTAKEN])
def test_a_start_that_was_not_taken_is_forgotten_with_the_relationship(folder, name):
    load, customers = begun(folder)
    gone, stays = customers[:2]
    pairs = np.column_stack([packed([gone, stays], load.today), packed([gone, stays], date(2020, 1, 1))])
    load.world.state.write_array(name, pairs)
    mirror.welcome_back(load.world, np.array([gone]))
    assert ids_of(load.world.state.read_array(name)[:, 0]).tolist() == [stays]


def test_who_is_back_and_has_left_again_is_not_proven_by_the_file_of_that_day(folder):
    load, customers = begun(folder, removal="ends_today_inclusive", re_registration="no_effect_that_day")
    back = customers[3]
    load.end([back])
    load.run_through()
    agreement(load, back).ended = None
    load = load.next()
    load.join(10)
    load.add()
    queue = RemovalQueue.read(load.world.state)
    queue.entries[back].state = Removal.DUE  # found to have left again; the run dies before the DELETE
    queue.write()
    lease.release(load.world)
    load.pass_days(1)
    load = load.next()
    load.run_through()
    assert back in load.registered
    assert states(load) == {}


def test_whom_the_register_did_not_know_is_gone_only_by_a_look_up_of_a_later_day(folder):
    load, customers = begun(folder)
    ended, unknown = customers[3:5]
    load.end([ended, unknown])
    load.plan(first_load=False)
    mirror.doubt(load.world, packed([unknown], date(2020, 1, 1)))
    load.institution.simulator.plant_defect("missing", unknown)
    load.close_additions()
    load.finish()
    lease.release(load.world)
    assert states(load) == {ended: Removal.REMOVED, unknown: Removal.REMOVED}
    load.pass_days(1)
    load = load.next()
    load.run_through()
    assert states(load) == {}
    assert load.calls("look_up")[-1].at.date() > load.calls("remove_one")[-1].at.date()


@pytest.mark.parametrize("compare_with", ["mirror", "register"])
def test_who_was_not_in_a_file_that_is_shown_to_be_loaded_may_come_yet(folder, compare_with):
    """A part of it came later, after the run that sent it had died."""
    load, _ = begun(folder)
    load.join(60)
    load.plan(first_load=False)
    load.send()
    load.settle()
    (send,) = (s for s in load.sends if s.run == load.run.key)
    rows = np.sort(load.world.journal.rows(send))
    seen = set(ids_of(strata.sample(load.world, rows, send.label)).tolist())
    late = min(seen - {w.customer_id for w in send.witnesses})
    load.world.register.remove_one(late)  # as if their row had not come
    earlier = len(removed(load))
    mirror.record(load.world)
    lease.release(load.world)
    load.end([late])
    load = load.next(compare_with=compare_with)
    load.run_through()
    assert removed(load)[earlier:] == []
    load.world.register.register_one(late)  # it comes
    load.pass_days(1)
    load = load.next()
    load.run_through()
    assert late not in load.registered


def test_a_file_without_an_answer_may_load_though_the_same_bytes_are_turned_down_since(folder, monkeypatch):
    load, customers = begun(folder)
    load = load.with_run(max_batch_bytes=TEN_ROWS)
    load.join(12, days_ago=10)
    load.plan(first_load=False)
    load.send("0001")
    load.fault(FaultKind.STATUS_AFTER_WORK, status=504)
    load.fault(FaultKind.LOADING_STALLED, "look_up", seconds=900.0)
    with pytest.raises(OutcomeUnknown):
        upload.upload(load.world, "0002")
    load.institution.clock.advance(60)
    with monkeypatch.context() as patch:
        patch.setattr(RegisterClient, "send_file", refuse_all)
        with pytest.raises(TurnedDown):
            upload.upload(load.world, "0002")
        assert upload.upload(load.world, "0002") == []  # both rows stand refused
    two = ids_of(load.world.place.read_array("files/0002")).tolist()
    upload.finish(load.world, "0002", {}, [])
    load.end(customers[:1])
    with pytest.raises(removal.SendsOpen):
        removal.remove_ended(load.world)
    load.close_additions()
    load.institution.clock.advance(900)
    with pytest.raises(removal.SendsOpen):  # it is seen now, and a second copy may be next
        removal.remove_ended(load.world)
    load.institution.clock.advance(3600)
    load.finish()
    assert removed(load) == customers[:1]
    assert set(two) <= load.registered.keys()
    assert set(two) <= {*load.proven, *load.possible}


def test_a_single_addition_whose_answer_was_lost_is_not_forgotten_by_a_later_try_that_breaks_off(folder):
    load, _ = begun(folder)
    _, lost = load.join(2, days_ago=0)
    load.plan(first_load=False)
    load.fault(FaultKind.STATUS, "register_one", nth=1, status=400)  # a gateway: the first goes by file
    load.fault(FaultKind.RESET_AFTER_WORK, "register_one", nth=2)
    with pytest.raises(OutcomeUnknown):
        arrivals.register_today(load.world)
    load.fault(FaultKind.NO_CONNECTION, "register_one", nth=1)
    with pytest.raises(Retriable):
        arrivals.register_today(load.world)
    mirror.record(load.world)
    assert lost in load.registered
    assert lost in load.possible


def test_an_interval_reads_those_too_who_were_sent_and_not_proven_however_long_ago_they_changed(folder):
    load, _ = begun(folder)
    watermark.follow(load.world, extract.extract_relationships(load.world))
    new = load.join(3, days_ago=20)
    days = (load.today - timedelta(days=25), load.today - timedelta(days=15))
    load = load.next(scope="interval", compare_with="register", interval=days)
    load.plan(first_load=False)
    load.fault(FaultKind.FILE_DROPPED)
    with pytest.raises(upload.NotLoaded):
        load.send()
    lease.release(load.world)
    (send,) = (s for s in load.sends if s.run == load.run.key)
    load.world.journal.put(replace(send, closed_because="Bits: it never came"))
    for _ in range(2):  # the first one learns that they are possible
        load.pass_days(1)
        load = load.next(scope="interval", compare_with="mirror", interval=None)
        load.run_through()
    assert set(new) <= load.registered.keys()
    load.pass_days(20)
    load.end(new[:1], on=load.today - timedelta(days=15))
    mirror.doubt(load.world, packed(new[:1], date(2020, 1, 1)))
    load = load.next(scope="interval", compare_with="mirror", interval=None)
    load.run_through()
    assert removed(load) == new[:1]
