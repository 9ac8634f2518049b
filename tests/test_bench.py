"""`make bench` at a small size: all of it runs and is written down. How fast anything is, no test says."""

import json
import subprocess
import sys

import pytest

from bench.report import Line
from tests.conftest import ROOT

pytestmark = pytest.mark.system  # a minute, most of it the starts of processes

# What does not depend on the machine: the files are the same by all ways, no worker waits, no Dag file is heavy.
CERTAIN = ("plans of all ways that differ", "worker slots held", "heavy modules that Airflow does not bring")
WAYS = ("ours, ADBC", "ours, DuckDB", "ours, any other hook", "what a team would write", "psql COPY")


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[Line]:
    """What a small run of everything has measured."""
    results = tmp_path_factory.mktemp("results")
    command = [sys.executable, "-m", "bench", "--agreements", "20000", "--rounds", "1", "--calls", "100"]
    done = subprocess.run(
        [*command, "--results", str(results)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    values = json.loads((results / "20k-agreements.json").read_text())["lines"]
    found = [
        Line(**{name: value for name, value in line.items() if name != "reached"} | {"goal": _goal(line)})
        for line in values
    ]
    table = (results / "20k-agreements.md").read_text()
    assert all(line.what in table and line.what in done.stdout for line in found)
    return found


def _goal(line: dict) -> tuple | None:
    return tuple(line["goal"]) if line["goal"] else None


def test_every_way_from_the_warehouse_to_batch_files_is_measured(lines: list[Line]):
    seconds = {line.what: line.seconds for line in lines}
    for way in WAYS:
        assert [took for what, took in seconds.items() if what.startswith(way) and took], way


def test_every_goal_stands_beside_what_was_measured(lines: list[Line]):
    goals = [line for line in lines if line.goal]
    assert len(goals) > 15
    assert [line.what for line in goals if line.ratio is None] == []


def test_what_does_not_depend_on_the_machine_is_reached(lines: list[Line]):
    certain = [line for line in lines if any(word in line.what for word in CERTAIN)]
    assert len(certain) >= len(CERTAIN)
    assert [line.what for line in certain if not line.reached] == []


def test_each_part_is_there(lines: list[Line]):
    parts = " ".join(dict.fromkeys(line.part for line in lines))
    for part in ("batch files", "Difference", "register's side", "virtual time", "while nothing runs"):
        assert part in parts
