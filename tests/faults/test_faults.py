"""Whole loads under random faults: a part of what `make faults` plays, in every test run."""

import os

import pytest

from tests.faults.campaign import Tally, play_all
from tests.faults.scenario import play_seed

RUNS = 2_000  # three minutes of CPU; `make faults` goes on from there


@pytest.fixture(scope="module")
def campaign() -> tuple[Tally, list[str]]:
    """What all runs came to, and those that broke a promise."""
    tally, broken = Tally(), []
    for fact in play_all(list(range(1, 1 + RUNS)), processes=os.cpu_count() or 1):
        tally.add(fact)
        broken += (
            [f"make faults SEED={fact['seed']} VERBOSE=1: {fact['problems']}"] if fact["problems"] else []
        )
    return tally, broken


def test_every_promise_holds_after_every_fault_run(campaign: tuple[Tally, list[str]]):
    assert campaign[1] == []


def test_faults_of_many_kinds_struck_at_many_points_and_most_loads_needed_nobody(
    campaign: tuple[Tally, list[str]],
):
    tally = campaign[0]
    assert tally.runs == RUNS
    assert len({kind for kind, _ in tally.struck}) >= 20
    assert len({point for _, point in tally.struck}) >= 30
    assert set(tally.stories) >= {"first", "periodic", "backfill", "reconcile"}
    assert tally.three_files >= 0.3 * tally.runs
    assert tally.passing_alone >= 0.95 * tally.passing


def test_a_seed_plays_the_same_run_again():
    first, again = [], []
    assert str(play_seed(7, say=first.append)) == str(play_seed(7, say=again.append))
    assert first == again
