from datetime import timedelta

import numpy as np
import pytest

from kfr.load import strata
from kfr.load.ingestion import LookUpsUnreliable
from kfr.load.strata import MISS_PATIENCE_SECONDS, MISS_PAUSE_SECONDS, Stratum
from kfr.relationships.customers import NOTHING
from kfr.relationships.packing import UNKNOWN_DAY, pack
from tests.simulator import FaultKind
from tests.unit.load.one_load import OneLoad, packed

START_DAYS_AGO = 100


@pytest.fixture
def registered(load: OneLoad) -> OneLoad:
    """Sixty customers in the register, since a hundred days ago."""
    load.join(60)
    load.load()
    return load


def rows_of(load: OneLoad):
    return packed(sorted(load.registered), load.today - timedelta(days=START_DAYS_AGO))


def test_a_sample_is_the_same_at_every_draw_and_another_for_another_stratum(registered):
    rows = rows_of(registered)
    first = strata.sample(registered.world, rows, "one").tolist()
    assert len(first) == registered.institution.sample_size
    assert strata.sample(registered.world, rows, "one").tolist() == first
    assert strata.sample(registered.world, rows, "another").tolist() != first
    assert set(first) <= set(rows.tolist())


def test_a_small_stratum_is_looked_up_whole(registered):
    rows = rows_of(registered)[:7]
    assert strata.sample(registered.world, rows, "one").tolist() == rows.tolist()


def test_a_row_is_right_when_it_is_there_today_and_on_its_start(registered):
    world, row = registered.world, int(rows_of(registered)[0])
    assert strata.is_right(world, row)
    assert not strata.is_right(world, row - 1)  # the day before: nothing is found there
    assert strata.is_right(world, row + 1)


def test_a_row_without_a_start_is_right_when_it_is_there_today(registered):
    (customer, *_), (nobody,) = sorted(registered.registered), registered.join(1)
    row, absent = pack(np.array([customer, nobody], np.int64), np.full(2, UNKNOWN_DAY)).tolist()
    assert strata.is_right(registered.world, row)
    assert not strata.is_right(registered.world, absent)


def test_what_is_right_at_a_second_look_is_not_wrong(registered):
    rows = rows_of(registered)[:3].tolist()
    looks: list[int] = []

    def is_wrong(row: int) -> bool:
        looks.append(row)
        return row == rows[1] and looks.count(row) < 3

    began = registered.world.now
    assert strata.patiently(registered.world, rows, is_wrong) == []
    assert looks == [*rows, rows[1], rows[1]]  # who was right is not asked again
    assert registered.world.now - began == 2 * MISS_PAUSE_SECONDS


def test_patience_ends(registered):
    began = registered.world.now
    assert strata.patiently(registered.world, [7], lambda _: True) == [7]
    assert registered.world.now - began == MISS_PATIENCE_SECONDS


def test_a_missing_row_is_found_missing(registered):
    rows = rows_of(registered)
    registered.institution.simulator.plant_defect("missing", int(rows[4]) >> 17)
    assert strata.missing(registered.world, rows, rows) == [int(rows[4])]


def test_a_register_that_finds_nobody_shows_nothing(registered):
    rows = rows_of(registered)
    registered.fault(FaultKind.LOOK_UP_LAGS, "look_up", times=100_000, seconds=86_400.0)
    with pytest.raises(LookUpsUnreliable):
        strata.missing(registered.world, rows, rows[:5])


def test_of_an_empty_stratum_nothing_is_missing(registered):
    assert strata.missing(registered.world, NOTHING, NOTHING) == []
    assert Stratum(name="none", rows=0, sampled=0, misses=0).wrong_at_most == 0
