"""One answer that is behind, where a single "not found" would prove a start for good."""

import contextlib
from datetime import date, timedelta
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from kfr.load import comparison, lease, mirror, removal, starts, strata, upload
from kfr.load.world import World
from kfr.relationships.packing import DAY_BITS, date_of, ids_of, starts_of, text_of
from tests.faults.institution import Agreement, Institution
from tests.simulator import FaultKind, Switches
from tests.unit.load.one_load import OneLoad


def answer_late(load: OneLoad, customer: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The register's next answer about a day before the customer's start is from five minutes ago."""
    see, finds, behind = comparison._see, World.finds, []

    def in_a_comparison(world, who, wanted, held, **asked):
        start = date_of(int(starts_of(np.array([wanted]))[0]))

        def late(world, who, first, last):
            if who == customer and start and first < start and not behind:
                behind.append(first)
                load.fault(FaultKind.LOOK_UP_LAGS, "look_up", seconds=300.0)
            return finds(world, who, first, last)

        with monkeypatch.context() as patched:
            patched.setattr(World, "finds", late)
            return see(world, who, wanted, held, **asked)

    monkeypatch.setattr(comparison, "_see", in_a_comparison)


def held_start(load: OneLoad, customer: int) -> object:
    proven = mirror.read(load.world).proven
    return date_of(int(starts_of(proven[ids_of(proven) == customer])[0]))


def quiet(load: OneLoad, days: int = 3) -> OneLoad:
    for _ in range(days):
        load.pass_days(1)
        load = load.next()
        assert load.run_through().misses == 0
    return load


def came_back(
    folder: Path,
    days_ago: int,
    *,
    is_over: bool,
    second: Literal["keeps_start", "changes_start"] = "changes_start",
) -> tuple[OneLoad, Agreement]:
    """The run after the one that has registered a customer anew, a minute ago; the register has the earlier start."""
    switches = Switches(re_registration="revives", second_file=second, file_after_single=second)
    load = OneLoad(Institution(folder, switches=switches))
    customer = load.join(20)[3]
    load.first()
    load.pass_days(1)
    load.end([customer])
    load = load.next()
    load.run_through()
    load = quiet(load, 2)
    load.pass_days(20)
    agreement = Agreement(text_of(customer), load.today - timedelta(days=days_ago))
    load.institution.warehouse.agreements_held.append(agreement)
    load = load.next()
    load.add()
    if is_over:
        load.finish()
    lease.release(load.world)
    load.institution.clock.advance(60)
    return load.next(), agreement


@pytest.mark.parametrize("is_over", [True, False], ids=["green", "died before the proof"])
@pytest.mark.parametrize("days_ago", [0, 5], ids=["singly", "by file"])
def test_who_came_back_a_minute_ago_is_not_proven_by_a_look_up_from_before(
    folder, days_ago, is_over, monkeypatch
):
    load, agreement = came_back(folder, days_ago, is_over=is_over)
    customer, start = int(agreement.customer), agreement.started
    answer_late(load, customer, monkeypatch)
    load.run_through()
    load = quiet(load)
    assert load.registered[customer] == start == held_start(load, customer)


def test_who_was_sent_with_another_start_a_minute_ago_is_not_proven_by_a_look_up_from_before(
    folder, monkeypatch
):
    """Half of the first file is there, so that nothing but a look-up tells of who is in it."""
    load = OneLoad(Institution(folder, switches=Switches(second_file="changes_start")))
    load.join(20)
    load.first()
    load.pass_days(1)
    joined = load.join(8, days_ago=30)
    load = load.next()
    load.fault(FaultKind.FILE_PARTLY_LOADED, share=0.5)
    load.plan(first_load=False)
    upload.upload(load.world, "0001")
    lease.release(load.world)  # the worker died
    load.institution.clock.advance(60)
    customer = next(c for c in joined if c in load.registered)
    (agreement,) = (a for a in load.institution.warehouse.agreements_held if int(a.customer) == customer)
    agreement.started += timedelta(days=10)
    load = load.next()
    answer_late(load, customer, monkeypatch)
    load.plan(first_load=False)
    assert any(call.fault == FaultKind.LOOK_UP_LAGS for call in load.calls("look_up"))
    assert held_start(load, customer) is None
    lease.release(load.world)
    for _ in range(4):
        load.pass_days(1)
        load = load.next()
        load.add()
        with contextlib.suppress(removal.SendsOpen):  # a second copy of the first file could come yet
            load.finish()
        lease.release(load.world)
    assert load.registered[customer] == agreement.started == held_start(load, customer)


def prove_late(load: OneLoad, customer: int, start: date, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proof, in which the first answer about a day before a start that was filed again is from five minutes ago."""
    is_taken, is_found, behind = starts._is_taken, strata.is_found, []

    def late(world, row, first, last):
        if row >> DAY_BITS == customer and first < start and not behind:
            behind.append(first)
            load.fault(FaultKind.LOOK_UP_LAGS, "look_up", seconds=300.0)
        return is_found(world, row, first, last)

    def of_a_changed_start(*asked):
        with monkeypatch.context() as patched:
            patched.setattr(strata, "is_found", late)
            return is_taken(*asked)

    with monkeypatch.context() as patched:
        patched.setattr(starts, "_is_taken", of_a_changed_start)
        load.finish()
    lease.release(load.world)


@pytest.mark.parametrize("second", ["keeps_start", "changes_start"])
@pytest.mark.parametrize("is_lost", [False, True], ids=["", "second file lost"])
@pytest.mark.parametrize("days_ago", [0, 5], ids=["singly", "by file"])
def test_a_start_that_is_filed_again_is_not_proven_where_the_same_proof_has_seen_an_earlier_one(
    folder, days_ago, is_lost, second, monkeypatch
):
    load, agreement = came_back(folder, days_ago, is_over=True, second=second)
    customer = int(agreement.customer)
    if is_lost:
        load.fault(FaultKind.FILE_DROPPED)
    load.add()
    prove_late(load, customer, agreement.started, monkeypatch)
    load = quiet(load)
    if second == "changes_start":
        assert load.registered[customer] == agreement.started == held_start(load, customer)
    else:
        assert held_start(load, customer) in (None, load.registered[customer])


@pytest.mark.parametrize("behind", ["comparison", "proof"])
def test_nor_is_another_start_of_theirs_that_the_warehouse_has_a_minute_later(folder, behind, monkeypatch):
    load, agreement = came_back(folder, 0, is_over=True)
    customer = int(agreement.customer)
    agreement.started -= timedelta(days=3)
    if behind == "comparison":
        answer_late(load, customer, monkeypatch)
        load.run_through()
    else:
        load.fault(FaultKind.FILE_DROPPED)
        load.add()
        prove_late(load, customer, agreement.started, monkeypatch)
    load = quiet(load)
    assert load.registered[customer] == agreement.started == held_start(load, customer)
