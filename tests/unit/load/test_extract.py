from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from kfr.load import extract, rejects, watermark
from kfr.load.extract import CountMismatch, HalfCustomers
from kfr.load.warehouse import WarehouseError
from kfr.load.world import World
from kfr.register.errors import ConfigurationError
from kfr.relationships.packing import day_number, ids_of, starts_of, text_of
from tests.faults.warehouse import Agreement, MemorySnapshot
from tests.unit.load.one_load import OneLoad

BAD_CHECK_DIGIT = "12345678901"


def extracted(load: OneLoad) -> extract.Extract:
    return extract.extract_relationships(load.world)


def with_warehouse(load: OneLoad, warehouse: Any) -> World:
    return replace(load.world, warehouse=warehouse)


def test_an_extract_is_read_again_as_it_was_made(load):
    load.institution.populate(200)
    made, read = extracted(load), extract.read(load.world)
    for part in extract.PARTS:
        assert getattr(read, part).tolist() == getattr(made, part).tolist()
    assert (read.as_of, read.counts, read.rejected, read.worlds) == (
        made.as_of,
        made.counts,
        made.rejected,
        made.worlds,
    )
    assert read.days is None


def test_the_desired_state_is_the_warehouse_s(load):
    load.institution.populate(200)
    found = extracted(load)
    wanted = load.institution.desired()
    assert ids_of(found.active).tolist() == sorted(int(c) for c in wanted)
    known = {int(c): day_number(start) for c, start in wanted.items() if start}
    starts = dict(zip(ids_of(found.active).tolist(), starts_of(found.active).tolist(), strict=True))
    assert {c: starts[c] for c in known} == known


def test_an_extract_counts_each_row_read_once(load):
    load.institution.populate(300)
    counts = extracted(load).counts
    assert counts["rows"] == len(load.institution.warehouse.agreements_held) - sum(
        a.started is not None and a.started > load.today for a in load.institution.warehouse.agreements_held
    )
    assert counts["active"] + counts["folded"] + counts["not_active"] + counts["rejected"] == counts["rows"]


@pytest.mark.parametrize("lie", [1, -1])
def test_a_count_that_does_not_match_stops_the_run_and_says_both_figures(load, lie):
    load.join(3)
    load.institution.warehouse.lies_about_count = lie
    with pytest.raises(CountMismatch, match=rf"gave 3 rows where .* counted {3 + lie}.*Nothing was sent"):
        extracted(load)
    assert not load.world.place.exists("extract.json")


def test_a_day_to_come_is_refused(load):
    tomorrow = load.today + timedelta(days=1)
    with pytest.raises(ConfigurationError, match=f"as_of is {tomorrow}, which lies in the future"):
        extracted(load.with_run(as_of=tomorrow))


def test_the_day_is_that_of_oslo_settled_once_and_renewed_by_clearing_the_extraction(load):
    load.institution.clock.set(load.institution.clock.now().replace(hour=22, minute=59))
    load.join(1)
    assert extracted(load).as_of == date(2026, 11, 23)
    load.institution.clock.advance(120)  # past midnight in Oslo, not yet in UTC
    assert extract.read(load.world).as_of == date(2026, 11, 23)
    assert extracted(load).as_of == date(2026, 11, 24)


def test_a_past_day_gives_the_customers_of_that_day(load):
    old, new = load.join(2, days_ago=50), load.join(2, days_ago=10)
    load.end(old, on=load.today - timedelta(days=20))
    past = extracted(load.with_run(as_of=load.today - timedelta(days=30)))
    assert ids_of(past.active).tolist() == old
    assert ids_of(extracted(load).active).tolist() == new


def test_refused_rows_are_kept_sealed_as_they_were_read_with_their_reason(load):
    load.join(1)
    held = load.institution.warehouse.agreements_held
    held += [Agreement(BAD_CHECK_DIGIT, date(2020, 1, 1)), Agreement(" 1234", None, date(2020, 1, 1))]
    good = load.institution.new_customer()
    held.append(Agreement(good, date(2021, 1, 1), date(2020, 1, 1)))
    found = extracted(load)
    (kept,) = rejects.read(load.world.staging)
    rows = kept.rows
    assert kept.run == load.run.key
    assert [row["customer_id"] for row in rows] == [BAD_CHECK_DIGIT, " 1234", good]
    assert [row["started_on"] for row in rows] == ["2020-01-01", None, "2021-01-01"]
    assert sorted(row["reason"] for row in rows) == sorted(found.rejected)
    assert found.tainted.tolist() == [int(good)]  # whoever has a refused row is never removed


def test_more_refused_rows_than_a_steward_can_read_are_counted_and_not_kept(load, monkeypatch):
    monkeypatch.setattr(rejects, "KEPT_REJECTS", 5)
    load.institution.warehouse.agreements_held += [Agreement(BAD_CHECK_DIGIT, None)] * 2500
    assert sum(extracted(load).rejected.values()) == 2500
    assert len(load.world.rejects.read_json("extract")["rows"]) == 5


def test_neither_sentence_nor_picture_of_an_extract_holds_a_customer(load):
    customers = load.join(3)
    load.institution.warehouse.agreements_held.append(Agreement(BAD_CHECK_DIGIT, load.today))
    shown = f"{extracted(load)!r} {load.institution.said}"
    assert not [c for c in [*map(text_of, customers), BAD_CHECK_DIGIT] if c in shown]
    assert "4 rows, 3 active relationships" in shown


def of_days(load: OneLoad, first: int, last: int) -> OneLoad:
    """A run about the days from so many days ago to so many days ago."""
    days = (load.today - timedelta(days=first), load.today - timedelta(days=last))
    return load.with_run(scope="interval", interval=days)


def test_an_interval_gives_whoever_changed_in_it_with_all_agreements_as_of_now(load):
    load.join(3, days_ago=200)
    new, gone, late = load.join(2, days_ago=10), load.join(1, days_ago=300), load.join(1, days_ago=300)
    load.end(gone, on=load.today - timedelta(days=11))
    held = load.institution.warehouse.agreements_held
    for agreement in held:
        if int(agreement.customer) in late:
            agreement.recorded = load.today - timedelta(days=10)
    held.append(
        Agreement(text_of(new[0]), load.today - timedelta(days=400))
    )  # not of the interval, and theirs
    found = extracted(of_days(load, 11, 10))
    assert ids_of(found.active).tolist() == sorted(new + late)
    assert ids_of(found.ended).tolist() == gone
    assert found.customers.tolist() == sorted(new + gone + late)
    starts = dict(zip(ids_of(found.active).tolist(), starts_of(found.active).tolist(), strict=True))
    assert starts[new[0]] == day_number(load.today - timedelta(days=400))
    assert found.counts["outside"] == 1  # entered late: nothing of it began or ended in the interval
    assert extract.read(load.world).days == found.days
    assert f"Extracted who changed from {found.days[0]} to {found.days[1]}" in load.institution.said[-1]


def test_an_old_interval_is_folded_to_the_state_of_today_and_not_of_then(load):
    (customer,) = load.join(1, days_ago=50)
    load.end([customer], on=load.today - timedelta(days=5))
    found = extracted(of_days(load, 50, 49))
    assert (found.active.size, ids_of(found.ended).tolist()) == (0, [customer])
    assert found.as_of == load.today


def test_nobody_is_outside_of_an_extract_of_everyone(load):
    load.join(3, days_ago=200)
    assert extracted(load).counts["outside"] == 0


@pytest.mark.parametrize(("first", "last", "told"), [(1, 2, "Turn it around"), (-1, -2, "have begun")])
def test_an_interval_that_cannot_be_is_refused(load, first, last, told):
    with pytest.raises(ConfigurationError, match=told):
        extracted(of_days(load, first, last))


def test_an_interval_may_reach_into_the_days_to_come(load):
    """The run of today has tomorrow as its end."""
    new = load.join(2, days_ago=0)
    assert ids_of(extracted(of_days(load, 0, -1)).active).tolist() == new


def test_before_anything_is_proven_the_interval_is_everyone(load):
    old = load.join(2, days_ago=200)
    found = extracted(load.with_run(scope="interval"))
    assert (found.days, ids_of(found.active).tolist()) == (None, old)
    assert any("reading everyone" in said for said in load.institution.said)


def test_an_interval_begins_seven_days_before_the_last_proven_load(load):
    """What is entered late by less than that is found; a load of everyone finds the rest."""
    load.join(1, days_ago=200)
    watermark.follow(load.world, extracted(load))
    proven = load.today
    load.pass_days(3)
    old, edge = load.join(1, days_ago=11), load.join(1, days_ago=10)
    found = extracted(load.with_run(scope="interval"))
    assert found.days == (proven - timedelta(days=7), load.today)
    assert ids_of(found.active).tolist() == edge
    assert old[0] not in found.customers


def test_a_clock_that_went_back_does_not_turn_the_interval_around(load):
    watermark.follow(load.world, replace(extracted(load), as_of=load.today + timedelta(days=30)))
    assert extract.interval(load.with_run(scope="interval").world) == (
        load.today - timedelta(days=7),
        load.today,
    )


class _OnlyWhatChanged:
    """A query for an interval that gives the changed agreements and leaves out the others."""

    def __init__(self, load: OneLoad) -> None:
        self._load = load
        self.agreements_of = load.institution.warehouse.agreements_of

    @contextmanager
    def changed_agreements(self, first: date, last: date) -> Iterator[MemorySnapshot]:
        held = self._load.institution.warehouse.agreements_held
        yield MemorySnapshot([a for a in held if first <= (a.ended or a.started) <= last], None)


def test_a_query_that_gives_half_customers_is_found_out_before_anything_is_sent(load):
    (customer,) = load.join(1, days_ago=100)
    load.end([customer], on=load.today - timedelta(days=1))
    held = load.institution.warehouse.agreements_held
    held.append(Agreement(text_of(customer), load.today - timedelta(days=50)))  # goes on: a customer still
    world = with_warehouse(of_days(load, 2, 0), _OnlyWhatChanged(load))
    with pytest.raises(HalfCustomers, match="disagree about 1 of 1 customers") as told:
        extract.extract_relationships(world)
    assert text_of(customer) not in str(told.value)


def test_half_customers_are_found_among_many_by_asking_for_some(load, monkeypatch):
    monkeypatch.setattr(extract, "CHECKED_CUSTOMERS", 10)
    customers = load.join(50, days_ago=100)
    load.end(customers, on=load.today - timedelta(days=1))
    held = load.institution.warehouse.agreements_held
    held += [Agreement(text_of(c), load.today - timedelta(days=50)) for c in customers]
    asked: list[int] = []
    warehouse = _OnlyWhatChanged(load)
    ask = warehouse.agreements_of
    warehouse.agreements_of = lambda ids: (asked.append(len(ids)), ask(ids))[1]
    with pytest.raises(HalfCustomers, match="of 10 customers"):
        extract.extract_relationships(with_warehouse(of_days(load, 2, 0), warehouse))
    assert asked == [10]


class _Broken:
    """A warehouse whose rows come in a wrong shape, or stop half way."""

    def __init__(self, batch: Any) -> None:
        self._batch = batch

    @contextmanager
    def agreements(self, as_of: date) -> Iterator[Any]:
        snapshot = MemorySnapshot([], 2)
        snapshot.batches = lambda: iter([self._batch()])  # type: ignore[method-assign]
        yield snapshot


def _breaks_off() -> Any:
    raise WarehouseError("the server went away")


def test_reading_that_breaks_off_leaves_no_extract(load):
    with pytest.raises(WarehouseError):
        extract.extract(with_warehouse(load, _Broken(_breaks_off)))
    assert not load.world.place.exists("extract.json")


def test_asked_again_a_customer_is_folded_from_all_agreements_the_future_ones_too(load):
    ended, active, tainted, returning = load.join(1), load.join(1), load.join(1), load.join(1)
    everyone = np.array(sorted(ended + active + tainted + returning), np.int64)
    load.end(everyone.tolist())
    held = load.institution.warehouse.agreements_held
    held += [
        Agreement(text_of(active[0]), load.today - timedelta(days=5)),
        Agreement(text_of(tainted[0]), load.today, load.today - timedelta(days=9)),
        Agreement(text_of(returning[0]), load.today + timedelta(days=1)),  # within the bridge of one day
    ]
    found = extract.fold_again(load.world, everyone, load.today)
    assert ids_of(found.ended).tolist() == sorted(ended + tainted)
    assert ids_of(found.active).tolist() == active
    assert found.tainted.tolist() == tainted
    assert found.waiting.tolist() == returning


def test_nothing_is_said_of_whom_the_warehouse_says_nothing(load):
    (gone,) = load.join(1)
    load.forget([gone])
    found = extract.fold_again(load.world, np.array([gone]), load.today)
    assert [len(part) for part in (found.active, found.ended, found.waiting, found.tainted)] == [0] * 4


def test_rows_of_any_batch_size_give_the_same_extract(load):
    load.institution.populate(100)
    held = load.institution.warehouse.agreements_held

    class OneByOne:
        @contextmanager
        def agreements(self, as_of: date) -> Iterator[MemorySnapshot]:
            snapshot = MemorySnapshot(held, len(held))
            whole = pa.Table.from_batches(list(snapshot.batches()))
            snapshot.batches = lambda: iter(whole.to_batches(max_chunksize=1))  # type: ignore[method-assign]
            yield snapshot

    by_one = extract.extract(with_warehouse(load, OneByOne()), "by_one")
    at_once = extract.extract(with_warehouse(load, _all(held)), "at_once")
    assert by_one.active.tolist() == at_once.active.tolist()
    assert by_one.counts == at_once.counts


def _all(held: list[Agreement]) -> Any:
    class All:
        @contextmanager
        def agreements(self, as_of: date) -> Iterator[MemorySnapshot]:
            yield MemorySnapshot(held, len(held))

    return All()


def test_a_plan_of_an_earlier_extract_is_gone_when_the_run_extracts_again(load):
    """A report must not tell the rows of one with the fates of the other."""
    load.join(2)
    load.plan()
    extract.extract_relationships(load.world)
    assert not load.world.place.exists("plan.json")
