"""Whole loads under random faults: a part of what `make faults` plays, in every test run."""

from collections.abc import Iterator

import pytest

from tests.faults.campaign import Tally, play_all
from tests.faults.scenario import play_seed

PARTS, RUNS = 6, 40  # about 60 s of CPU; `make faults` goes on from there


@pytest.fixture(scope="module")
def tally() -> Iterator[Tally]:
    """What all parts came to, for the last test."""
    return Tally()


@pytest.mark.parametrize("part", range(PARTS))
def test_every_promise_holds_after_every_fault_run(part: int, tally: Tally):
    for fact in play_all(list(range(1 + part * RUNS, 1 + (part + 1) * RUNS))):
        tally.add(fact)
        assert fact["problems"] == [], f"make faults SEED={fact['seed']} VERBOSE=1"


def test_faults_of_many_kinds_struck_at_many_points_and_most_loads_needed_nobody(tally: Tally):
    if tally.runs < PARTS * RUNS:
        pytest.skip("counts the runs of the tests before it")
    assert len({kind for kind, _ in tally.struck}) >= 20
    assert len({point for _, point in tally.struck}) >= 30
    assert set(tally.stories) >= {"first", "periodic", "backfill", "reconcile"}
    assert tally.three_files >= 0.3 * tally.runs
    assert tally.passing_alone >= 0.95 * tally.passing


def test_a_seed_plays_the_same_run_again():
    first, again = [], []
    assert str(play_seed(7, say=first.append)) == str(play_seed(7, say=again.append))
    assert first == again
