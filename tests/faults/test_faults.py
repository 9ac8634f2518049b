"""Whole loads under random faults: a part of what `make faults` plays, in every test run."""

import json
import os

import pytest

from tests.faults import __main__ as command
from tests.faults.bites import BUGS
from tests.faults.campaign import Tally, play_all, play_one
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


def test_the_report_counts_runs_in_which_a_fault_struck_apart_and_a_fault_after_the_work_as_one_kind():
    tally, fact = Tally(), {**play_one(1), "problems": [], "passing": True, "green_alone": True}
    tally.add({**fact, "struck": []})
    tally.add(
        {**fact, "struck": [["status_after_work 200", "look_up", 2], ["status_after_work 201", "look_up", 1]]}
    )
    tally.add({**fact, "struck": [["status 503", "look_up", 1]], "green_alone": False})
    said = tally.report("a-commit", 1.0)
    assert "2 kinds at 1 points" in said
    assert (
        "2 of 3 whose faults pass by themselves ended green without a person, 1 of the 2 in which one struck"
        in said
    )


def test_a_seed_plays_the_same_run_again():
    first, again = [], []
    assert str(play_seed(7, say=first.append)) == str(play_seed(7, say=again.append))
    assert first == again


@pytest.mark.parametrize("bug", BUGS)
def test_each_bug_that_make_bites_puts_in_still_has_its_place_in_the_package(bug: str):
    with BUGS[bug]():
        pass


def test_who_plays_the_same_seeds_again_is_told_what_they_came_to_and_a_line_that_was_cut_is_played(
    tmp_path, monkeypatch, capsys
):
    lines = [json.dumps({**play_one(1), "problems": ["5: one is lost"]}), json.dumps(play_one(2))[:40]]
    (tmp_path / "a-commit.jsonl").write_text("\n".join(lines))
    monkeypatch.setattr(command, "RESULTS", tmp_path)
    monkeypatch.setattr(command, "_commit", lambda: "a-commit")
    monkeypatch.setattr("sys.argv", ["faults", "--runs", "3"])
    for played in (1, 3):
        assert command.main() == 1
        said = capsys.readouterr().out
        assert "seed 1 on a-commit: 5: one is lost" in said
        assert f"{played} of the seeds have been played on a-commit, 1 broken" in said
        assert "3 fault runs" in said
