"""The oracle's own judgement of a removal: by what the warehouse has said, on the day by the clock that asked."""

import tempfile
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from kfr.clock import OSLO
from kfr.relationships.packing import text_of
from tests.faults.institution import Institution, fast_folder
from tests.faults.warehouse import Agreement
from tests.unit.load.one_load import OneLoad


@pytest.fixture
def load() -> Iterator[OneLoad]:
    """It is four seconds past midnight in Oslo."""
    with tempfile.TemporaryDirectory(dir=fast_folder()) as folder:
        load = OneLoad(Institution(Path(folder), seed=11))
        clock = load.institution.clock
        midnight = datetime.combine(load.today + timedelta(days=1), datetime.min.time(), OSLO)
        clock.advance((midnight - clock.now()).total_seconds() + 4)
        yield load


def removed_wrongly(load: OneLoad, customer: int) -> list[str]:
    """Ask the warehouse of a customer whom the register has, and remove them whatever it says."""
    load.world.register.register_one(customer)
    load.institution.warehouse.agreements_of([text_of(customer)])
    load.world.register.remove_one(customer)
    return load.institution.removed_wrongly


@pytest.mark.parametrize(("seconds_off", "wrong"), [(0, ["a customer"]), (-5, [])])
def test_who_begins_anew_today_may_go_by_a_clock_that_is_still_on_the_day_before(load, seconds_off, wrong):
    """Seed 400168779: it was called wrong by the day that the run's clock had not reached."""
    [customer] = load.join(days_ago=100)
    load.end([customer], on=load.today - timedelta(days=3))
    load.institution.warehouse.agreements_held.append(Agreement(text_of(customer), load.today))
    load.institution.own_clock.set_off(seconds_off)
    assert removed_wrongly(load, customer) == wrong


@pytest.mark.parametrize("seconds_off", [-5, 0, 5])
def test_who_is_a_customer_by_that_clock_may_not(load, seconds_off):
    [customer] = load.join(days_ago=3)
    load.institution.own_clock.set_off(seconds_off)
    assert removed_wrongly(load, customer) == ["a customer"]
