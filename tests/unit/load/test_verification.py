from dataclasses import replace
from datetime import timedelta

import pytest

from kfr.load import arrivals, lease, mirror, removal, verification
from kfr.load.ingestion import LookUpsUnreliable
from kfr.load.journal import Single
from kfr.load.strata import MISS_PATIENCE_SECONDS, MISS_PAUSE_SECONDS, Stratum
from kfr.load.upload import NotLoaded
from kfr.load.verification import NotEqual
from kfr.relationships.packing import ids_of, text_of
from tests.simulator import FaultKind
from tests.unit.load.one_load import TEN_ROWS, OneLoad, verify


def loaded(load: OneLoad, customers: int = 30) -> OneLoad:
    load.join(customers)
    load.load()
    return load


def customers_of(load: OneLoad, label: str = "0001") -> list[int]:
    return ids_of(load.world.place.read_array(f"files/{label}")).tolist()


def lose(load: OneLoad, *customers: int) -> None:
    for customer in customers:
        load.institution.simulator.plant_defect("missing", customer)


def stratum(load: OneLoad, name: str) -> Stratum:
    return next(s for s in verification.read(load.world).strata if s.name == name)


def asked_since(load: OneLoad, calls: int) -> list[int]:
    return [e.customer_id for e in load.calls("look_up")[calls:]]


def test_a_right_register_is_proven_and_the_proof_says_how_far(load):
    load = loaded(load, 300)  # the sample is 40 of each stratum
    proof = verify(load.world)
    assert (proof.misses, proof.look_ups) == (0, 40)
    assert [(s.name, s.rows, s.sampled, s.misses) for s in proof.strata] == [
        ("file 0001", 300, 40, 0),
        ("single additions", 0, 0, 0),
        ("starts of who came back", 0, 0, 0),
        ("changed starts", 0, 0, 0),
        ("removals", 0, 0, 0),
    ]
    assert 0 < proof.wrong_at_most <= 22
    assert proof.holds == 300
    assert verification.read(load.world) == proof


def test_no_miss_in_2995_bounds_the_wrong_share_under_a_tenth_of_a_percent():
    one = Stratum(name="file", rows=10_000_000, sampled=2995, misses=0)
    assert 9_900 < one.wrong_at_most <= 10_000
    assert Stratum(name="file", rows=2995, sampled=2995, misses=0).wrong_at_most == 0
    assert Stratum(name="file", rows=0, sampled=0, misses=0).wrong_at_most == 0


def test_a_sample_is_drawn_once_and_a_retry_looks_the_same_rows_up(load):
    load = loaded(load, 300)
    first = len(load.calls("look_up"))
    verify(load.world)
    second = len(load.calls("look_up"))
    verify(load.world)
    assert asked_since(load, first)[: second - first] == asked_since(load, second)
    assert len(set(asked_since(load, second))) == 40


def test_every_file_has_a_sample_of_its_own(load):
    load = load.with_run(max_batch_bytes=TEN_ROWS)
    load = loaded(load, 35)
    assert [s.name for s in verify(load.world).strata][:4] == [f"file 000{n}" for n in (1, 2, 3, 4)]


def test_a_miss_is_counted_fully_repaired_and_reported(load):
    load = loaded(load)
    missing = customers_of(load)[4:7]
    lose(load, *missing)
    proof = verify(load.world)
    assert stratum(load, "file 0001").repaired == 3
    assert stratum(load, "file 0001").misses == 0
    assert proof.misses == 3
    assert set(missing) <= load.registered.keys()
    assert mirror.record(load.world).proven.size == 30
    assert "3 of 30 sampled rows are wrong; counting all 30" in " ".join(load.institution.said)


def test_rows_outside_the_sample_are_found_by_the_full_count(load):
    load = loaded(load, 300)
    lose(load, *customers_of(load)[:150])
    verify(load.world)
    assert stratum(load, "file 0001").repaired == 150
    assert len(load.registered) == 300


def test_rows_that_go_missing_after_a_repair_are_found_by_the_next_proof(load):
    """A full count that is over says nothing about a later day."""
    load = loaded(load)
    first, second = customers_of(load)[4:6]
    lose(load, first)
    verify(load.world)
    lose(load, second)
    assert verify(load.world).misses == 1
    assert {first, second} <= load.registered.keys()


def test_rows_that_go_missing_while_others_are_repaired_are_no_proof(load):
    load = loaded(load)
    first, second = customers_of(load)[4:6]
    lose(load, first)
    load.fault(FaultKind.FILE_DROPPED)
    with pytest.raises(NotLoaded):
        verify(load.world)
    lose(load, second)
    with pytest.raises(NotEqual, match="'file 0001': 1"):
        verify(load.world)
    mirror.record(load.world)
    assert first in load.proven
    assert second not in load.proven
    assert verify(load.world).misses == 1
    assert len(load.registered) == 30


def test_the_mirror_does_not_hold_what_could_not_be_repaired(load):
    load = loaded(load)
    missing = customers_of(load)[9]
    lose(load, missing)
    load.fault(FaultKind.FILE_DROPPED, times=9)
    with pytest.raises(NotLoaded):
        verify(load.world)
    mirror.record(load.world)
    assert missing not in load.proven
    assert missing in load.possible
    assert len(load.proven) == 29


def test_a_repair_that_is_lost_too_is_sent_again_also_when_the_mirror_held_who_is_missing(load):
    """`remove_ended` records what the file's witnesses show; a repair without a witness would be waited out for good."""
    load = loaded(load)
    removal.remove_ended(load.world)
    missing = customers_of(load)[9]
    assert missing in load.proven
    lose(load, missing)
    load.fault(FaultKind.FILE_DROPPED)
    with pytest.raises(NotLoaded):
        verify(load.world)
    assert verify(load.world).misses == 1  # of the first look
    assert missing in load.registered


def test_a_look_up_that_lags_is_no_miss(load):
    load = loaded(load)
    load.fault(FaultKind.LOOK_UP_LAGS, "look_up", nth=7, times=3, seconds=10**6)
    began = load.world.now
    assert verify(load.world).misses == 0
    assert MISS_PAUSE_SECONDS <= load.world.now - began < MISS_PATIENCE_SECONDS
    assert len(load.calls("register_file")) == 1


def test_a_register_that_finds_nobody_shows_nothing(load):
    load = loaded(load, 100)
    load.fault(FaultKind.LOOK_UP_LAGS, "look_up", times=100_000, seconds=10**6)
    with pytest.raises(LookUpsUnreliable):
        verify(load.world)
    assert not load.world.place.exists("proof.json")
    assert len(load.calls("register_file")) == 1  # nothing is repaired on such a word


def test_a_full_count_goes_on_where_the_worker_died(load, monkeypatch):
    monkeypatch.setattr(verification, "COUNTED_AT_ONCE", 10)
    load = loaded(load)
    lose(load, customers_of(load)[2], customers_of(load)[25])
    for touches in range(150, 1500, 90):
        if not load.crash(touches, lambda: verify(load.world)):
            break
    verify(load.world)
    load.settle()
    assert len(load.registered) == 30
    assert mirror.record(load.world).proven.size == 30


def test_another_start_than_was_filed_is_reported_and_never_mended_by_a_removal(load):
    load = loaded(load)
    load.institution.simulator.plant_defect("other_start", customers_of(load)[5])
    # A start moved back still covers the day that was filed: only a later one shows.
    late = customers_of(load)[6]
    lose(load, late)
    load.world.register.register_one(late)
    verify(load.world)
    assert stratum(load, "file 0001").start_not_corrected == 1
    assert stratum(load, "file 0001").misses == 0
    assert load.calls("remove_one") == []


def test_who_was_refused_by_the_register_is_no_miss(load):
    load = loaded(load)
    rows = load.world.place.read_array("files/0001")
    load.world.place.write_array("refused/0001", rows[3:5])
    lose(load, *ids_of(rows[3:5]).tolist())
    assert verify(load.world).misses == 0
    assert stratum(load, "file 0001").rows == 28


def test_single_additions_are_proven_by_their_sample(load):
    load.join(3)
    load.plan()
    load.send()
    new = load.join(4, days_ago=0)
    load.close()
    verify(load.world)
    assert stratum(load, "single additions").rows == 4
    assert set(load.world.journal.singles(load.run.key)[:, 1].tolist()) == {Single.PROVEN}
    mirror.record(load.world)
    assert set(new) <= set(load.proven)


def test_a_single_addition_that_is_missing_ends_the_claim(load):
    load.join(3)
    load.plan()
    load.send()
    (new,) = load.join(1, days_ago=0)
    load.close()
    lose(load, new)
    with pytest.raises(NotEqual, match="single additions"):
        verify(load.world)
    mirror.record(load.world)
    assert new not in load.proven


def test_a_closing_file_is_proven_like_the_others(load):
    load.join(3)
    load.plan()
    load.send()
    dated = load.join(5, days_ago=9)
    load.close()
    lose(load, dated[2])
    verify(load.world)
    assert stratum(load, "file closing-1").repaired == 1
    assert load.registered[dated[2]] == load.today - timedelta(days=9)
    assert load.world.place.exists(f"{arrivals.CLOSING}.json")


def test_a_plan_without_a_file_is_proven_with_nothing_to_look_up(load):
    load = loaded(load)
    mirror.record(load.world)
    again = load.with_run(run_id="again")
    lease.release(load.world)
    assert again.plan().labels == []
    again.close()
    proof = again.finish()
    assert (proof.look_ups, proof.misses, proof.wrong_at_most) == (0, 0, 0)


def test_the_words_of_the_proof_name_no_customer(load):
    load = loaded(load)
    lose(load, customers_of(load)[4])
    verify(load.world)
    assert not [c for c in map(text_of, customers_of(load)) if c in " ".join(load.institution.said)]


def test_a_run_that_lost_the_register_while_it_verified_writes_nothing(load):
    load.join(3)
    load.load()
    removal.remove_ended(load.world)
    state = {name: load.world.state.read(name) for name in load.world.state.names("singles")}
    other, world = load.with_run(dag_id="kfr_reconcile", run_id="manual__9"), load.world
    look_up = world.register.look_up

    def slow(*asked):
        if not lease.is_held(other.world):
            lease.release(load.world)
            assert other.acquire()
        return look_up(*asked)

    slow_world = replace(world, register=_Register(world.register, slow))
    with pytest.raises(lease.LeaseLost):
        verification.verify(slow_world)
    assert {name: load.world.state.read(name) for name in load.world.state.names("singles")} == state
    assert not load.world.place.exists("proof.json")


class _Register:
    """The register's client with another look-up."""

    def __init__(self, client, look_up) -> None:
        self._client, self.look_up = client, look_up

    def __getattr__(self, name: str):
        return getattr(self._client, name)
