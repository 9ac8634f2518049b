from datetime import timedelta

import pytest

from kfr.load import extract, watermark
from tests.unit.load.one_load import OneLoad


@pytest.fixture
def joined(load: OneLoad) -> OneLoad:
    load.join(3)
    return load


def follow(load: OneLoad) -> None:
    watermark.follow(load.world, extract.extract_relationships(load.world))


def test_before_the_first_proven_load_there_is_none(load):
    assert watermark.read(load.world) is None


def test_it_follows_a_proven_load_of_everyone(joined):
    follow(joined)
    assert watermark.read(joined.world) == joined.today
    joined.pass_days(3)
    follow(joined)
    assert watermark.read(joined.world) == joined.today


def test_a_load_as_of_a_past_day_never_moves_it_back(joined):
    follow(joined)
    today = joined.today
    follow(joined.with_run(as_of=today - timedelta(days=10)))
    assert watermark.read(joined.world) == today


@pytest.mark.parametrize("days_ago", [1, 10])
def test_a_load_as_of_a_past_day_does_not_move_it_for_it_removes_nobody(joined, days_ago):
    follow(joined.with_run(as_of=joined.today - timedelta(days=days_ago)))
    assert watermark.read(joined.world) is None
    follow(joined.with_run(as_of=joined.today))
    assert watermark.read(joined.world) == joined.today


def test_a_backfill_does_not_move_it_and_an_interval_that_begins_at_it_does(joined):
    follow(joined)
    proven = joined.today
    joined.pass_days(5)
    days = (joined.today - timedelta(days=1), joined.today)
    follow(joined.with_run(scope="interval", interval=days))
    assert watermark.read(joined.world) == proven
    follow(joined.with_run(scope="interval", interval=None))
    assert watermark.read(joined.world) == joined.today


def test_a_load_as_of_a_past_day_that_adds_somebody_takes_it_back_for_who_has_ended_since_is_back(joined):
    joined.first()
    follow(joined)
    joined.pass_days(1)
    (customer, *_) = joined.proven
    joined.end([customer])
    for agreement in joined.institution.warehouse.agreements_held:
        agreement.recorded = joined.today if int(agreement.customer) == customer else None
    load = joined.next()
    load.run_through()
    load.pass_days(20)
    follow(load)
    past = load.today - timedelta(days=21)
    load = load.next(as_of=past)
    load.run_through()
    assert customer in load.registered
    assert watermark.read(load.world) == past
    load.pass_days(1)
    load = load.next(scope="interval", as_of=None)
    load.run_through()
    assert customer not in load.registered


def test_a_load_as_of_a_past_day_that_adds_nobody_leaves_it(joined):
    joined.first()
    follow(joined)
    today = joined.today
    joined.next(as_of=today - timedelta(days=2)).run_through()
    assert watermark.read(joined.world) == today


def test_a_load_as_of_a_past_day_that_files_a_start_takes_it_back(joined):
    joined.first()
    follow(joined)
    past = joined.today
    joined.pass_days(10)
    customer = joined.proven[0]
    (agreement,) = (a for a in joined.institution.warehouse.agreements_held if int(a.customer) == customer)
    agreement.started -= timedelta(days=50)
    follow(joined)
    load = joined.next(as_of=past)
    load.run_through()
    assert watermark.read(load.world) == past
