"""Files that were loaded, and whose run died before it looked at more than their witnesses."""

from dataclasses import replace

import pytest

from kfr.load import lease, planning, removal, upload
from kfr.load.ingestion import LookUpsUnreliable
from kfr.relationships.packing import ids_of
from tests.simulator import FaultKind
from tests.unit.load.one_load import OneLoad


def died_before_its_proof(load: OneLoad, *, lost: int) -> list[int]:
    """A first load whose file is proven by its witnesses, and that never came to look at more; who is missing."""
    load.join(300)
    load.load()
    removal.remove_ended(load.world)
    witnesses = {w.customer_id for s in load.sends for w in s.witnesses}
    customers = ids_of(load.world.place.read_array("files/0001")).tolist()
    gone = [customer for customer in customers if customer not in witnesses][:lost]
    for customer in gone:
        load.institution.simulator.plant_defect("missing", customer)
    load.institution.clock.advance(3600)
    lease.release(load.world)
    return gone


def test_a_file_that_was_never_verified_is_sampled_by_the_next_load_and_sent_again_if_it_lacks_rows(load):
    died_before_its_proof(load, lost=60)  # of 300: the sample of 40 cannot miss them all
    after = load.next()
    after.acquire()
    plan = after.plan(first_load=False)
    assert plan.unchanged + plan.added == 300
    for label in plan.labels:
        after.send(label)
    after.close_additions()
    assert after.finish().misses == 0
    assert sorted(after.registered) == sorted(int(c) for c in after.institution.desired())
    assert len(after.possible) == 60  # what was lost may come yet, that day
    lease.release(after.world)
    after.pass_days(1)
    after = after.next()
    after.run_through()
    assert sorted(after.registered) == after.proven


def test_a_file_that_was_never_verified_and_is_whole_is_not_sent_again(load):
    died_before_its_proof(load, lost=0)
    after = load.next()
    after.acquire()
    calls = len(after.calls("look_up"))
    plan = after.plan(first_load=False)
    assert (plan.added, plan.unchanged) == (0, 300)
    assert after.plan(first_load=False).unchanged == 300
    assert (
        len(after.calls("look_up")) - calls == 80
    )  # once: 40 of them, whether they are there and since when


def test_where_nobody_is_found_a_file_that_was_never_verified_is_not_doubted(load):
    load.join(50)
    second = load.first().next()
    second.join(30)
    for label in second.plan(first_load=False).labels:
        second.send(label)
    second.close_additions()
    lease.release(second.world)
    third, before = second.next(), second.sends
    switches = third.institution.simulator.switches
    third.institution.simulator.switches = replace(switches, look_up_lag=10_000_000.0)
    with pytest.raises(LookUpsUnreliable):
        third.plan(first_load=False)
    assert third.sends == before


def after_a_lost_file(load: OneLoad) -> tuple[OneLoad, list[int], list[int]]:
    """A load in which the file of the load before it seems to be proven; who was in both files, who in the lost one."""
    load.join(50)
    lost = load.first().next()
    joined = lost.join(40)
    lost.fault(FaultKind.FILE_DROPPED)
    upload.upload(lost.world, *lost.plan(first_load=False).labels)
    lease.release(lost.world)
    witnesses = {w.customer_id for s in lost.sends for w in s.witnesses}
    left = [customer for customer in joined if customer not in witnesses][:2]
    lost.forget(left)  # so that the next file is another one, with the witnesses of the lost one in it
    after = lost.next()
    with pytest.raises(removal.SendsOpen) as waits:  # its witnesses are found only now, and it may be next
        after.run_through()
    after.institution.clock.advance(waits.value.retry_after)
    assert all(s.proven_at for s in after.sends)
    return after, [customer for customer in joined if customer not in left], left


def test_a_lost_file_whose_witnesses_the_next_file_brings_proves_nobody_else(load):
    after, _, left = after_a_lost_file(load)
    assert after.finish().misses == 0
    assert after.proven == sorted(after.registered)
    assert after.possible == left


def test_who_is_in_a_file_that_something_else_may_have_brought_is_not_removed_that_day(load):
    """It may be loaded after all, hours later, and would bring them back."""
    after, both, _ = after_a_lost_file(load)
    after.end(both[:1])
    found = removal.remove_ended(after.world)
    assert (found.removed, found.held_back) == (0, 1)
    after.institution.clock.advance(86_400)
    assert removal.remove_ended(after.world).removed == 1


def test_a_file_that_an_earlier_run_had_sent_is_verified_by_the_run_that_sees_it_loaded(load, monkeypatch):
    monkeypatch.setattr(planning, "MOST_LOOKED_UP", 0)  # else who was sent and is not proven is looked up
    load.join(50)
    began = load.first().next()
    began.join(40)
    upload.upload(began.world, *began.plan(first_load=False).labels)
    lease.release(began.world)
    after = began.next()
    after.run_through()
    assert len(after.calls("register_file")) == 2  # the first load's, and the one of the run that died
    assert after.sends == []  # verified, so there is nothing left to look for
    assert after.proven == sorted(after.registered)


def test_a_file_of_a_plan_that_was_replaced_proves_nobody_before_a_sample_of_it_is_looked_up(load):
    """Its first row was loaded, the others came by the next plan's file: all its witnesses are there."""
    load.join(50)
    began = load.first().next()
    joined = began.join(40)
    began.fault(FaultKind.FILE_PARTLY_LOADED, share=1 / 40)
    upload.upload(began.world, *began.plan(first_load=False).labels)
    (send,) = (send for send in began.sends if send.run == began.run.key)
    left = [customer for customer in joined if customer not in {w.customer_id for w in send.witnesses}][:2]
    began.forget(left)
    began.institution.clock.advance(600)
    began.add()  # planned again: who is found is not sent again
    for _ in range(2):  # what shows a file late waits for it
        with pytest.raises(removal.SendsOpen) as waits:
            began.finish()
        began.institution.clock.advance(waits.value.retry_after)
    began.finish()
    (first,) = (s for s in began.sends if s.file == send.file)
    assert first.shown
    assert began.proven == sorted(began.registered)
    assert began.possible == left
    lease.release(began.world)
    after = began.next()
    after.run_through()
    assert after.proven == sorted(after.registered)
