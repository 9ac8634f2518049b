"""Customers who come back on the day of their removal: until it is over no look-up tells whether they are there."""

from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import numpy as np
import pytest

from kfr.clock import OSLO
from kfr.load import (
    comparison,
    extract,
    lease,
    mirror,
    planning,
    reconciliation,
    removal,
    verification,
)
from kfr.load.journal import Single
from kfr.load.removal_queue import Removal
from kfr.load.staging import StagingFull
from kfr.load.world import World
from kfr.relationships.packing import text_of
from tests.faults.institution import Institution
from tests.faults.warehouse import Agreement
from tests.simulator import Switches
from tests.unit.load.one_load import TEN_ROWS, OneLoad, die_removing, states, verify


@pytest.fixture
def removing(folder: Path) -> tuple[OneLoad, int]:
    """A register that answers yes for the rest of the day; a load that is about to remove a customer."""
    load = OneLoad(Institution(folder, switches=Switches(removal="ends_today_inclusive")))
    customer = load.join(10)[4]
    load.first()
    load.pass_days(1)
    load = load.next()
    load.end([customer])
    load.plan(first_load=False)
    load.close_additions()
    return load, customer


def die(*_: object) -> None:
    raise StagingFull("No space left.")


def come_back(load: OneLoad, customer: int) -> None:
    for agreement in load.institution.warehouse.agreements_held:
        if int(agreement.customer) == customer:
            agreement.ended = None


def start_anew(load: OneLoad, customer: int) -> None:
    """The earlier agreement ended long ago after all; a new one starts today."""
    for agreement in load.institution.warehouse.agreements_held:
        if int(agreement.customer) == customer:
            agreement.ended = load.today - timedelta(days=30)
    load.institution.warehouse.agreements_held.append(Agreement(text_of(customer), load.today))


def sent_in_vain(load: OneLoad, customer: int) -> tuple[OneLoad, int]:
    """The customer is removed, is back, and goes out in a file that the register takes without them; it is loaded."""
    switches = Switches(removal="ends_today_inclusive", re_registration="no_effect_that_day")
    load.institution.simulator.switches = switches
    removal.remove_ended(load.world)
    lease.release(load.world)
    come_back(load, customer)
    load.join(3)
    load = load.next()
    load.add()
    return load, customer


def is_registered_tomorrow(load: OneLoad, customer: int) -> bool:
    load.pass_days(1)
    today = load.today
    return load.world.look_up(customer, today, today)


@pytest.mark.parametrize("answered", [True, False], ids=["removed", "perhaps removed"])
@pytest.mark.parametrize("compare_with", ["mirror", "register"])
@pytest.mark.parametrize("plans", [1, 2], ids=["one plan", "a plan that was not carried out before"])
def test_who_comes_back_on_the_day_of_the_removal_is_sent_again_whatever_look_ups_say(
    removing, answered, compare_with, plans
):
    load, customer = removing
    if answered:
        removal.remove_ended(load.world)
    else:
        die_removing(load)
    lease.release(load.world)
    come_back(load, customer)
    assert load.world.look_up(customer, load.today, load.today)  # though it is removed
    for _ in range(plans):
        load = load.next(compare_with=compare_with)
        assert load.plan(first_load=False).added == 1
        assert states(load) == {customer: Removal.RETURNED}
        lease.release(load.world)
    load.run_through()
    assert customer in load.possible  # a look-up tells tomorrow
    assert is_registered_tomorrow(load, customer)
    load = load.next()
    load.run_through()
    assert customer in load.proven
    assert states(load) == {}


@pytest.mark.parametrize("others", [0, 3], ids=["alone in the file", "with newcomers who prove it"])
@pytest.mark.parametrize("today", [False, True], ids=["by file", "singly"])
def test_whom_the_register_did_not_take_back_that_day_is_found_missing_the_next(removing, others, today):
    """It may answer yes to a registration on the day of a removal, and do nothing with it."""
    load, customer = removing
    load.institution.simulator.switches = Switches(
        removal="ends_today_inclusive", re_registration="no_effect_that_day"
    )
    removal.remove_ended(load.world)
    lease.release(load.world)
    if today:
        start_anew(load, customer)
    else:
        come_back(load, customer)
    load.join(others)
    load = load.next()
    load.run_through()
    assert customer not in load.registered  # nobody can know it yet
    for _ in range(2):
        load.pass_days(1)
        load = load.next()
        load.run_through()
        assert customer in load.registered
        assert customer in load.proven
        assert states(load) == {}


@pytest.mark.parametrize("stays", [True, False])
def test_who_comes_back_and_leaves_once_more_that_day(removing, stays):
    load, customer = removing
    die_removing(load)
    lease.release(load.world)
    come_back(load, customer)
    load = load.next()
    load.run_through()
    load.end([customer])
    load = load.next()
    load.run_through()
    assert states(load) == {
        customer: Removal.DUE
    }  # nothing shows that the file is loaded: it waits for a day
    if stays:
        come_back(load, customer)
    load = load.next()
    load.run_through()
    load.pass_days(1)
    load = load.next()
    load.run_through()
    assert (customer in load.registered) == (customer in load.proven) == stays


def test_a_removal_that_is_open_is_not_looked_up_by_a_comparison(removing):
    load, customer = removing
    die_removing(load)
    assert comparison.settled(load.world, np.array([customer])).size == 0
    load.pass_days(1)
    assert comparison.settled(load.world, np.array([customer])).size == 0  # it was tried for minutes
    load.pass_days(1)
    assert comparison.settled(load.world, np.array([customer])).size == 1


def test_a_removal_that_did_not_work_is_not_forgotten_if_the_worker_dies_before_the_mirror_has_it(
    removing, monkeypatch
):
    load, customer = removing
    removal.remove_ended(load.world)
    verify(load.world)
    mirror.record(load.world)
    lease.release(load.world)
    load.pass_days(1)
    load.world.register.register_one(customer)  # it is there again, or still
    load = load.next()
    load.plan(first_load=False)
    load.close_additions()
    removal.remove_ended(load.world)
    with monkeypatch.context() as patch:
        patch.setattr("kfr.load.mirror._move", die)
        with pytest.raises(StagingFull):
            verify(load.world)
    assert states(load) == {customer: Removal.REMOVED}
    with pytest.raises(verification.NotEqual, match="clear remove_ended"):
        verify(load.world)
    assert states(load) == {customer: Removal.DUE}
    load.finish()
    assert customer not in load.registered


def test_a_removal_that_is_open_and_of_which_the_evidence_is_gone_is_settled_by_a_comparison(removing):
    """Else the mirror would hold them for ever, and each sample that draws them would raise an alarm."""
    load, customer = removing
    die_removing(load)
    lease.release(load.world)
    load.forget([customer])
    load.pass_days(2)
    load = load.next("kfr_reconcile", compare_with="register")
    assert load.acquire()
    extract.extract_relationships(load.world)
    assert reconciliation.compare(load.world, full=True, seconds=1e9)
    planning.plan(load.world, first_load=False)
    assert customer not in load.proven
    assert states(load) == {}


def test_a_removal_that_is_carried_out_after_midnight_is_one_of_that_day(removing, monkeypatch):
    load, customer = removing
    day = load.today
    load.institution.clock.set(datetime.combine(day, time(23, 58), OSLO).astimezone(UTC))

    def late(world: World, one: int) -> None:
        load.institution.clock.advance(300)
        delete(world, one)
        raise StagingFull("No space left.")

    delete = removal._delete
    with monkeypatch.context() as patch:
        patch.setattr(removal, "_delete", late)
        with pytest.raises(StagingFull):
            removal.remove_ended(load.world)
    assert load.today > day
    lease.release(load.world)
    come_back(load, customer)
    load = load.next()
    load.run_through()
    assert is_registered_tomorrow(load, customer)


@pytest.mark.parametrize("touches", range(1, 60, 2))
def test_a_worker_that_dies_when_a_look_up_has_told_lets_it_be_looked_up_once_more(removing, touches):
    """Before the mirror has it; the file of the day before would prove who is not there."""
    load, customer = sent_in_vain(*removing)
    verify(load.world)
    load.pass_days(1)
    assert load.acquire()
    extract.extract_relationships(load.world)
    load.crash(touches, lambda: planning.plan(load.world, first_load=False))
    load.run_through()
    assert customer in load.registered


def test_who_leaves_and_comes_back_within_one_removal_is_still_of_that_day(removing, monkeypatch):
    load, customer = sent_in_vain(*removing)
    load.end([customer])
    with monkeypatch.context() as patch:
        patch.setattr(removal, "_require_few", die)
        with pytest.raises(StagingFull):
            removal.remove_ended(load.world)
    come_back(load, customer)
    load.finish()
    lease.release(load.world)
    assert states(load) == {customer: Removal.RETURNED}
    load.pass_days(1)
    load = load.next()
    load.run_through()
    assert customer in load.registered


def test_who_left_and_came_back_with_the_start_that_another_run_had_filed_again_is_ours(load):
    """That run's entries stand as long as one of its files is in doubt."""
    customers = load.join(10)
    y = load.join(1)[0]
    load.first()
    load.pass_days(1)
    for agreement in load.institution.warehouse.agreements_held:
        agreement.started -= timedelta(days=20)
    load.join(3)
    load = load.next(max_batch_bytes=TEN_ROWS)
    load.run_through()
    load.end([y])
    load = load.next()
    load.run_through()
    come_back(load, y)
    load = load.next()
    load.run_through()
    assert y in load.possible + load.proven or y not in load.registered
    load.pass_days(1)
    load.end([y])
    for _ in range(2):
        load = load.next()
        load.run_through()
        load.pass_days(1)
    assert y not in load.registered
    assert set(customers) <= load.registered.keys()
    assert states(load).get(y) is not Removal.RETURNED


def test_a_removal_whose_proof_is_open_is_looked_up_when_the_customer_is_back(removing):
    """It had not worked, and the plan that finds them back is not carried out."""
    load, customer = removing
    removal.remove_ended(load.world)
    lease.release(load.world)
    load.world.register.register_one(customer)  # it is there again, or still
    load.pass_days(1)
    come_back(load, customer)
    load = load.next()
    load.plan(first_load=False)
    lease.release(load.world)
    assert customer in load.proven
    load.end([customer])
    load = load.next()
    load.run_through()
    assert customer not in load.registered


def test_that_somebody_is_gone_is_known_when_the_day_is_over_and_kept_until_another_run(removing):
    load, customer = removing
    load.institution.simulator.switches = Switches(removal="ends_yesterday")
    removal.remove_ended(load.world)
    verify(load.world)
    assert states(load) == {customer: Removal.REMOVED}
    load.pass_days(1)
    verify(load.world)
    mirror.record(load.world)
    assert states(load) == {customer: Removal.GONE}
    mirror.record(load.next().world)
    assert states(load) == {}


def test_a_plan_that_is_made_anew_forgets_no_removal_of_the_day(removing):
    """Made twice in one run, as after a crash behind it."""
    load, customer = removing
    removal.remove_ended(load.world)
    lease.release(load.world)
    come_back(load, customer)
    load = load.next(compare_with="register")
    for _ in range(2):
        assert load.plan(first_load=False).added == 1
    assert planning.read(load.world).added == 1


@pytest.fixture
def sent_singly_in_vain(removing) -> tuple[OneLoad, int]:
    """Who is back is added by a call of their own, on the day of the removal; nothing comes of it."""
    load, customer = removing
    removal.remove_ended(load.world)
    lease.release(load.world)
    load.institution.simulator.switches = Switches(re_registration="no_effect_that_day")
    start_anew(load, customer)
    load = load.next()
    load.run_through()
    return load, customer


def test_a_call_of_which_no_look_up_tells_that_day_is_not_proven(sent_singly_in_vain):
    load, _ = sent_singly_in_vain
    assert load.world.journal.singles(load.run.key)[:, 1].tolist() == [Single.THERE_BEFORE]


def test_a_call_made_in_vain_proves_nobody_to_a_mirror_that_is_made_anew(sent_singly_in_vain):
    load, customer = sent_singly_in_vain
    singles = load.world.journal.singles(load.run.key)
    singles[:, 1] = Single.PROVEN  # as an older version wrote
    load.world.journal.put_singles(load.run.key, singles)
    load.pass_days(1)
    load.world.state.delete("mirror")
    load = load.reconcile()
    assert customer in load.registered
    assert customer in load.proven


def test_a_look_up_from_before_somebody_was_added_does_not_let_the_next_one_count(folder):
    """Added, removed and back within seconds: one look-up is behind, the next says yes for the rest of the day."""
    load = OneLoad(Institution(folder, switches=Switches(removal="ends_today_inclusive", look_up_lag=40.0)))
    load.join(10)
    load.first()
    load.pass_days(1)
    load = load.next()
    (customer,) = load.join(days_ago=0)
    load.plan(first_load=False)
    load.close_additions()
    load.end([customer])
    load.finish()
    lease.release(load.world)
    assert states(load) == {customer: Removal.REMOVED}
    load.institution.clock.advance(60)
    come_back(load, customer)
    for compare_with in ("register", "mirror"):
        load = load.next(compare_with=compare_with)
        load.run_through()
        load.pass_days(1)
    assert customer in load.registered
    assert customer in load.proven
