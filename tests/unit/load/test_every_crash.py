"""Promise 5: any order, any number of times, a crash at any instruction; the register ends as the warehouse is."""

import random
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from kfr.load.world import Run
from tests.faults.check import broken_promises
from tests.faults.institution import Institution, fast_folder
from tests.faults.play import Play
from tests.unit.load.one_load import GENEROUS, TEN_ROWS

CUSTOMERS = 12
MOST_CLEARS = 4
WORKERS_DIE_AT = 20  # of the touches of a load, drawn over all of them; `make faults` goes on from there


@dataclass
class Played:
    """A small load, played to its end, with those who come and go while it runs."""

    touches: int
    problems: list[str]


def play_until_green(crash_at: int | None, seed: int) -> Played:
    with tempfile.TemporaryDirectory(dir=fast_folder()) as folder:
        institution = Institution(Path(folder), seed=seed, sample_size=4)
        institution.populate(CUSTOMERS)
        institution.warehouse.later(0.5, lambda: institution.leave(2))
        institution.warehouse.later(0.5, lambda: institution.arrive(2))
        run = Run(
            dag_id="kfr_initial_load",
            run_id="manual__1",
            approval="never",
            max_batch_bytes=TEN_ROWS,
            limits=GENEROUS,
            loading_grace=60.0,
        )
        if crash_at is not None:
            institution.fuse.set(crash_at)
        play, problems = Play(institution, run), []
        for _ in range(MOST_CLEARS):
            if play.play():
                break
            problems += broken_promises(institution, play)
            institution.clock.advance(600)
            play.clear()
        problems += broken_promises(institution, play)
        if not play.green:
            problems.append(f"not green: {play.errors[-1]}")
        return Played(institution.fuse.touches, problems)


@pytest.fixture(scope="module")
def all_touches() -> int:
    """How often a whole load touches the world: writes of state, calls of the register, mails."""
    whole = play_until_green(None, seed=1)
    assert whole.problems == []
    assert whole.touches > 200
    return whole.touches


@pytest.mark.parametrize("part", range(4))
def test_a_worker_that_dies_at_any_touch_of_the_world_changes_nothing_in_the_end(all_touches: int, part: int):
    first, beyond = (all_touches * p // 4 for p in (part, part + 1))
    drawn = random.Random(part).sample(range(first + 1, beyond + 1), WORKERS_DIE_AT // 4)
    broken = {
        at: played.problems for at in sorted(drawn) if (played := play_until_green(at, seed=1)).problems
    }
    assert broken == {}


def test_a_run_that_is_over_can_be_cleared_and_played_again_and_nothing_changes():
    with tempfile.TemporaryDirectory(dir=fast_folder()) as folder:
        institution = Institution(Path(folder), seed=2, sample_size=4)
        institution.populate(CUSTOMERS)
        run = Run(dag_id="kfr_initial_load", run_id="manual__1", approval="never", limits=GENEROUS)
        assert Play(institution, run).play()
        before = institution.simulator.relationships()
        again = Play(institution, run)  # everything cleared, from the first task on
        assert again.play(), again.errors
        assert institution.simulator.relationships() == before
        assert broken_promises(institution, again) == []
        assert [e.kind for e in institution.simulator.log].count("file_accepted") == 1


def test_two_first_loads_of_one_institution_end_as_one():
    with tempfile.TemporaryDirectory(dir=fast_folder()) as folder:
        institution = Institution(Path(folder), seed=3, sample_size=4)
        institution.populate(CUSTOMERS)
        for number in range(2):
            run = Run(
                dag_id="kfr_initial_load", run_id=f"manual__{number}", approval="never", limits=GENEROUS
            )
            play = Play(institution, run)
            assert play.play(), play.errors
            institution.leave(1)
            institution.arrive(1)
        assert [e.kind for e in institution.simulator.log].count("mail") == 1
        last = Play(
            institution, Run(dag_id="kfr_initial_load", run_id="last", approval="never", limits=GENEROUS)
        )
        assert last.play(), last.errors
        assert broken_promises(institution, last) == []
