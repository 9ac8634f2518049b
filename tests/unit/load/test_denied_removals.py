"""Removals to which the register says "not found", or that the number is wrong: who is gone, and who decides."""

from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest

from kfr.load import lease, mirror, removal
from kfr.load.journal import Witness
from kfr.load.removal import ProofContradicted, SendsOpen, outstanding, remove_ended
from kfr.load.removal_queue import Removal, RemovalQueue
from kfr.load.upload import NotLoaded
from kfr.register.errors import Fatal
from kfr.relationships.packing import ids_of, text_of
from tests.simulator import FaultKind
from tests.unit.load.one_load import a_send, customers_of, packed, removed, states


def test_a_404_after_an_intention_means_that_it_was_done(loaded):
    """The worker died behind the DELETE: at whichever touch, the end is the same."""
    ended = customers_of(loaded)[:2]
    loaded.end(ended)
    for touches in range(1, 200):
        if not loaded.crash(touches, lambda: remove_ended(loaded.world)):
            break
    remove_ended(loaded.world)
    assert set(states(loaded).values()) == {Removal.REMOVED}
    assert not set(ended) & set(loaded.registered)


@pytest.mark.parametrize("kind", [FaultKind.RESET_AFTER_WORK, FaultKind.STATUS_AFTER_WORK])
def test_a_404_after_an_answer_that_got_lost_means_that_it_was_done(loaded, kind):
    loaded.end(customers_of(loaded)[:1])
    loaded.fault(kind, "remove_one")
    assert remove_ended(loaded.world).removed == 1
    assert set(states(loaded).values()) == {Removal.REMOVED}


def test_a_404_for_who_was_proven_reopens_the_file_keeps_the_removal_and_sends_it_again(loaded):
    missing, other = customers_of(loaded)[10:12]
    loaded.institution.simulator.plant_defect("missing", missing)
    loaded.end([missing, other])
    with pytest.raises(ProofContradicted, match="The file is open again, the removal is kept") as caught:
        remove_ended(loaded.world)
    assert text_of(missing) not in str(caught.value)
    assert caught.value.correlation_id
    assert caught.value.operation == "remove_one"
    assert states(loaded) == {missing: Removal.HELD, other: Removal.DUE}
    assert loaded.sends[0].proven_at is None
    assert not loaded.sends[0].shown
    assert loaded.sends[0].counts_from == loaded.world.now  # its time begins anew
    assert Witness(customer_id=missing) in loaded.sends[0].witnesses
    assert set(loaded.possible) == set(customers_of(loaded))  # what the file alone had proven
    assert not loaded.proven
    with pytest.raises(SendsOpen):
        remove_ended(loaded.world)
    for _ in range(2):  # late, then sent again
        with suppress(NotLoaded):
            loaded.send()
    loaded.settle()
    assert remove_ended(loaded.world).removed == 2
    assert set(states(loaded).values()) == {Removal.REMOVED}


def test_who_was_due_and_has_to_wait_for_the_next_day_leaves_no_load_red_until_then(loaded):
    missing, other = customers_of(loaded)[10:12]
    loaded.institution.simulator.plant_defect("missing", missing)
    loaded.end([missing, other])
    with pytest.raises(ProofContradicted):
        remove_ended(loaded.world)
    for send in loaded.sends:
        loaded.world.journal.put(replace(send, closed_because="Bits: never loaded"))
    found = remove_ended(loaded.world)
    assert (found.removed, found.held_back) == (0, 2)
    assert states(loaded) == {missing: Removal.HELD, other: Removal.DUE}
    assert outstanding(loaded.world).tolist() == []
    loaded.institution.clock.advance(86_400)
    assert remove_ended(loaded.world).removed == 2


def test_a_404_reopens_no_file_in_which_the_customer_was_only_filed_again(loaded):
    """Another file had registered them, and this one another start: it shows nothing of whether they are there."""
    missing = customers_of(loaded)[10]
    loaded.finish()
    loaded.institution.clock.advance(3600)
    load = loaded.next()
    mirror.record(load.world)  # the file that had registered them is closed
    filed = packed([missing], load.today)
    again = a_send("e" * 64, run="filed-again", rows=1, counts_from=load.world.now - 3600, proven_at=1.0)
    load.world.journal.intend(again, filed)
    load.world.journal.put_start_changes("filed-again", np.column_stack([filed, filed - 1, [0]]))
    assert not removal._reopen(load.world, missing)
    assert load.world.journal.of_file("e" * 64) == [again]


def test_a_404_for_who_was_only_possible_is_done(load):
    """It was sent and never proven: that it is not there contradicts nothing."""
    load.join(5)
    load.load()
    (nobody,) = load.join(1)
    send = a_send(run="another", rows=1, witnesses=(Witness(customer_id=nobody),), closed_because="Bits")
    load.world.journal.intend(send, packed([nobody], load.today))
    mirror.record(load.world)
    load.end([nobody])
    assert remove_ended(load.world).removed == 1


def test_a_gateway_s_404_is_no_answer_of_the_register(loaded):
    loaded.end(customers_of(loaded)[:1])
    loaded.fault(FaultKind.STATUS, "remove_one", status=404, body="html", times=1)
    with suppress(Exception):
        remove_ended(loaded.world)
    assert Removal.REMOVED not in states(loaded).values() or removed(loaded)
    remove_ended(loaded.world)
    assert len(removed(loaded)) == 1


def test_a_held_removal_is_sent_again_by_the_next_load_and_a_404_is_then_done(loaded):
    """A person was told; it was intended once, so the register's 404 no longer contradicts anything."""
    missing = customers_of(loaded)[10]
    loaded.finish()
    lease.release(loaded.world)
    loaded.institution.simulator.plant_defect("missing", missing)
    loaded.end([missing])
    load = loaded.next()
    load.plan(first_load=False)
    load.close_additions()
    with pytest.raises(Fatal, match="closed long since"):
        remove_ended(load.world)
    assert states(load) == {missing: Removal.HELD}
    lease.release(load.world)
    load.pass_days(1)
    for send in load.sends:
        load.world.journal.put(replace(send, closed_because="looked into"))
    load = load.next()
    load.run_through()
    assert len(load.calls("remove_one")) == 2
    assert states(load) == {missing: Removal.REMOVED}  # done; whether it is, a look-up of a later day tells
    assert missing not in load.proven


def test_all_whom_the_register_does_not_know_are_held_at_once_and_the_others_are_removed(loaded):
    """Else a person would have to clear once for each of them."""
    missing, others = customers_of(loaded)[10:13], customers_of(loaded)[20:22]
    loaded.finish()
    lease.release(loaded.world)
    for customer in missing:
        loaded.institution.simulator.plant_defect("missing", customer)
    loaded.end([*missing, *others])
    load = loaded.next()
    load.plan(first_load=False)
    load.close_additions()
    with pytest.raises(Fatal, match="does not know 3 of the 5 customers to remove") as caught:
        remove_ended(load.world)
    remedy = (
        "Their removals are kept. Run kfr_reconcile to see whether more are missing; then clear this task"
    )
    assert f"closed long since. {remedy}: it takes them for done." in str(caught.value)
    assert caught.value.operation == "remove_one"
    assert caught.value.correlation_id
    assert states(load) == dict.fromkeys(missing, Removal.HELD) | dict.fromkeys(others, Removal.REMOVED)
    assert remove_ended(load.world).removed == 3  # a person has looked, and cleared


def test_a_number_that_the_register_refuses_to_remove_holds_up_nobody_else(loaded):
    """Sent once without an answer, it is possible; but a number that is taken for wrong is not held."""
    refused, other = customers_of(loaded)[:2]
    held = mirror.record(loaded.world)
    possible = held.proven[ids_of(held.proven) == refused]
    mirror._move(loaded.world, held, mirror.take(held.proven, ids_of(possible)), possible)
    for send in loaded.sends:
        loaded.world.journal.archive(send)
    loaded.institution.simulator.refuses.add(refused)
    loaded.end([refused, other])
    remove_ended(loaded.world)
    queue = RemovalQueue.read(loaded.world.state)
    assert other not in loaded.registered
    assert set(queue.gone().tolist()) == {refused, other}


def test_a_proven_customer_whose_number_is_refused_on_removal_is_held_for_a_person(loaded):
    refused, other = customers_of(loaded)[:2]
    loaded.institution.simulator.refuses.add(refused)
    loaded.end([refused, other])
    assert remove_ended(loaded.world).held_back == 1
    queue = RemovalQueue.read(loaded.world.state)
    assert queue.of(Removal.HELD).tolist() == [refused]
    assert queue.gone().tolist() == [other]
    assert remove_ended(loaded.world).held_back == 1  # nobody has looked
    assert states(loaded)[refused] is Removal.HELD
