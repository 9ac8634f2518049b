"""Since when does the register have a customer who comes back after days on which they were none?"""

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

from kfr.load import lease, mirror, planning, returns, start_pairs, strata, verification
from kfr.register.client import RegisterClient
from kfr.relationships.packing import date_of, ids_of, starts_of, text_of
from tests.faults.institution import Agreement, Institution
from tests.simulator import FaultKind, Switches
from tests.unit.load.one_load import OneLoad, die_removing, packed


def gone(folder: Path, days: int = 20, **switches: object) -> tuple[OneLoad, int]:
    """A customer who was removed so many days ago."""
    load = OneLoad(Institution(folder, switches=Switches(**switches)))
    customer = load.join(10)[4]
    load.first()
    load.pass_days(1)
    load.end([customer])
    load = next_load(load)
    load = next_load(load)  # knows that they are gone
    load.pass_days(days - 1)
    return load, customer


def next_load(load: OneLoad) -> OneLoad:
    load = load.next()
    load.run_through()
    load.pass_days(1)
    return load


def come_back(load: OneLoad, customer: int, *, days_ago: int) -> date:
    start = load.today - timedelta(days=days_ago)
    load.institution.warehouse.agreements_held.append(Agreement(text_of(customer), start))
    return start


def stratum(load: OneLoad) -> verification.Stratum:
    return next(s for s in verification.read(load.world).strata if s.name == returns.NAME)


def held_start(load: OneLoad, customer: int) -> date | None:
    proven = mirror.read(load.world).proven
    return date_of(int(starts_of(proven[ids_of(proven) == customer])[0]))


@pytest.mark.parametrize("days_ago", [0, 5], ids=["singly", "by file"])
def test_who_comes_back_to_a_register_that_begins_anew_is_proven_at_once(folder, days_ago):
    load, customer = gone(folder, re_registration="new_start", second_file="changes_start")
    start = come_back(load, customer, days_ago=days_ago)
    load = load.next()
    load.run_through()
    assert (stratum(load).rows, stratum(load).start_not_corrected) == (1, 0)
    assert load.registered[customer] == start == held_start(load, customer)


@pytest.mark.parametrize("lag", [0.0, 5.0, 40.0])
@pytest.mark.parametrize("days_ago", [0, 5], ids=["singly", "by file"])
def test_who_is_taken_up_again_with_the_earlier_start_is_filed_again_and_then_right(folder, days_ago, lag):
    takes = {"second_file": "changes_start", "file_after_single": "changes_start"}
    load, customer = gone(folder, re_registration="revives", look_up_lag=lag, **takes)
    start = come_back(load, customer, days_ago=days_ago)
    load = load.next()
    load.run_through()
    assert (stratum(load).rows, stratum(load).start_not_corrected) == (1, 1)
    assert customer in load.possible
    load.pass_days(1)
    load = next_load(load)
    assert planning.read(load.world).start_changed == 1
    assert load.registered[customer] == start == held_start(load, customer)


def test_who_is_taken_up_again_by_a_register_that_keeps_starts_is_reported_and_counts_as_kept(folder):
    load, customer = gone(folder, re_registration="revives", second_file="keeps_start")
    first = load.today
    come_back(load, customer, days_ago=5)
    for _ in range(4):
        load = next_load(load)
    assert load.registered[customer] < first - timedelta(days=20)
    assert customer in load.proven
    assert len(start_pairs.kept(load.world)) == 1


@pytest.mark.parametrize("days_ago", [0, 5], ids=["singly", "by file"])
def test_a_run_that_died_before_it_looked_leaves_that_to_the_next_one(folder, days_ago):
    takes = {"second_file": "changes_start", "file_after_single": "changes_start"}
    load, customer = gone(folder, re_registration="revives", **takes)
    start = come_back(load, customer, days_ago=days_ago)
    load.join(5)
    load = load.next()
    load.add()
    lease.release(load.world)
    load.pass_days(1)
    for _ in range(2):
        load = next_load(load)
    assert load.registered[customer] == start == held_start(load, customer)


@pytest.mark.parametrize(
    "days_ago", [18, 20, 25], ids=["the day before is free", "it is the next day", "long before"]
)
def test_only_where_a_day_lies_between_the_removal_and_the_new_start_it_is_looked_up(folder, days_ago):
    load, customer = gone(folder, re_registration="new_start")
    come_back(load, customer, days_ago=days_ago)
    load = load.next()
    load.run_through()
    assert stratum(load).rows == (1 if days_ago == 18 else 0)


def test_who_came_back_is_remembered_no_longer_than_the_removal(folder):
    load, customer = gone(folder, days=3, re_registration="revives")
    others = load.proven[:2]
    removed_on = packed(others, load.today - timedelta(days=5 * 366))
    removed_on[0] -= 1  # a day more than five years
    start_pairs.note_removed(load.world.state, removed_on)
    come_back(load, customer, days_ago=0)
    next_load(load)
    sent = packed(sorted([*others, customer]), load.today)
    assert ids_of(start_pairs.came_back(load.world, sent)).tolist() == sorted([others[1], customer])


def test_a_removal_that_nobody_has_proven_yet_counts_too(folder):
    load, customer = gone(folder, re_registration="revives")
    state = load.world.state
    assert load.world.journal.removals_of(np.array([customer])).size == 1
    for name in state.names("delivered"):
        if "-removals-" in name:
            removals = state.read_array(name)
            state.delete(name)
    state.write_json(
        "removals", {str(customer): {"state": "removed", "run": "one", "day": int(starts_of(removals)[0])}}
    )
    come_back(load, customer, days_ago=5)
    load = load.next()
    load.run_through()
    assert (stratum(load).rows, stratum(load).start_not_corrected) == (1, 1)


def come_back_without_one(
    load: OneLoad, customers: list[int], monkeypatch: pytest.MonkeyPatch, *, in_the_sample: bool
) -> int:
    """All customers come back, and of their file one is not loaded, a customer who is in its sample, or not."""
    for customer in customers:
        start = come_back(load, customer, days_ago=3)
    load.join(50)
    load.plan(first_load=False)
    drawn = ids_of(strata.sample(load.world, load.world.place.read_array("files/0001"), "0001"))
    lost = next(c for c in customers if (c in drawn) is in_the_sample)
    send = RegisterClient.send_file

    def without(self: RegisterClient, content: bytes) -> str:
        return send(self, bytes(content).replace(f"{text_of(lost)}#{start},".encode(), b""))

    with monkeypatch.context() as patch:
        patch.setattr(RegisterClient, "send_file", without)
        load.send()
    assert lost not in load.registered
    return lost


def several_gone(folder: Path, **switches: object) -> tuple[OneLoad, list[int]]:
    load = OneLoad(
        Institution(folder, sample_size=10, switches=Switches(second_file="changes_start", **switches))
    )
    customers = load.join(30)[:10]
    load.first()
    load.pass_days(1)
    load.end(customers)
    load = next_load(next_load(load))
    load.pass_days(10)
    return load.next(), customers


@pytest.mark.parametrize("dies", [False, True])
def test_who_came_back_and_is_looked_up_in_vain_is_a_miss_though_not_in_the_sample_of_the_file(
    folder, dies, monkeypatch
):
    load, customers = several_gone(folder, re_registration="new_start")
    lost = come_back_without_one(load, customers, monkeypatch, in_the_sample=False)
    if dies:
        lease.release(load.world)
        load.pass_days(1)
        load = load.next()
        load.run_through()
    else:
        load.close_additions()
        assert load.finish().misses == 1
    assert lost in load.registered


@pytest.mark.parametrize("in_the_sample", [False, True])
def test_who_came_back_and_is_repaired_is_looked_up_on_the_day_before_too(folder, in_the_sample, monkeypatch):
    load, customers = several_gone(folder, re_registration="revives")
    start = load.today - timedelta(days=3)
    lost = come_back_without_one(load, customers, monkeypatch, in_the_sample=in_the_sample)
    load.close_additions()
    proof = load.finish()
    lease.release(load.world)
    assert sum(s.start_not_corrected for s in proof.strata) == len(customers)
    load.pass_days(1)
    next_load(load)
    assert load.registered[lost] == start == held_start(load, lost)


def test_a_single_addition_that_came_back_and_is_lost_is_a_miss(folder):
    load, customers = several_gone(folder, re_registration="new_start")
    for customer in customers:
        come_back(load, customer, days_ago=0)
    load.join(40, days_ago=0)
    load.plan(first_load=False)
    load.close_additions()
    singles = np.sort(load.world.journal.singles(load.run.key)[:, 0])
    drawn = ids_of(strata.sample(load.world, singles, "singles"))
    load.institution.simulator.plant_defect("missing", next(c for c in customers if c not in drawn))
    with pytest.raises(verification.NotEqual, match="'single additions': 1"):
        load.finish()


@pytest.mark.parametrize("backfill", [False, True])
def test_a_removal_that_a_worker_died_in_counts_too(folder, backfill):
    load = OneLoad(
        Institution(folder, switches=Switches(re_registration="revives", second_file="changes_start"))
    )
    customer = load.join(10)[4]
    load.first()
    load.pass_days(1)
    load.end([customer])
    load = load.next()
    load.plan(first_load=False)
    load.close_additions()
    die_removing(load)
    lease.release(load.world)
    left = load.today
    load.pass_days(4)
    if backfill:
        load = load.next(compare_with="register", scope="interval", interval=(left, load.today))
        load.run_through()
        assert ids_of(load.world.journal.removals_of(np.array([customer]))).tolist() == [customer]
        load.pass_days(20)
        load = load.with_run(compare_with="mirror", scope="everyone", interval=None)
    start = come_back(load, customer, days_ago=1)
    for _ in range(2):
        load = next_load(load)
    assert load.registered[customer] == start == held_start(load, customer)


def test_whom_another_system_has_registered_before_is_looked_up_by_the_next_load(folder):
    """A single POST is answered with 200 then; and so it is where an answer to an earlier one was lost."""
    takes = {"second_file": "changes_start", "file_after_single": "changes_start"}
    load, _ = gone(folder, **takes)
    (customer,) = load.join(days_ago=-30)
    load.world.register.register_one(customer)
    load.pass_days(30)
    start = load.today
    load = next_load(load)
    assert customer in load.possible
    load = next_load(load)
    assert load.registered[customer] == start == held_start(load, customer)


@pytest.mark.parametrize("days_ago", [0, 5], ids=["singly", "by file"])
def test_a_look_up_that_is_behind_the_last_one_does_not_say_that_the_register_began_anew(
    folder, days_ago, monkeypatch
):
    load, customer = gone(folder, re_registration="revives", second_file="changes_start")
    come_back(load, customer, days_ago=days_ago)
    load = load.next()
    load.add()
    is_found = strata.is_found

    def behind(world, row, first, last):
        if first < date_of(int(starts_of(np.array([row]))[0])):
            load.fault(FaultKind.LOOK_UP_LAGS, "look_up", times=2, seconds=300.0)
            monkeypatch.setattr(strata, "is_found", is_found)
        return is_found(world, row, first, last)

    monkeypatch.setattr(strata, "is_found", behind)
    load.finish()
    assert any(call.fault == FaultKind.LOOK_UP_LAGS for call in load.calls("look_up"))
    assert (stratum(load).rows, stratum(load).start_not_corrected) == (1, 1)
    assert customer in load.possible
