"""`make faults N=… SEED=… [PROCESSES=2] [VERBOSE=1]`: seeded fault runs, every promise checked after each.

A run is a whole load, first or periodic, and the next day's. Two processes share the seeds; each run that ends is a
line in `.faults/<commit>.jsonl`, and a seed that stands there is not played again for the same commit. A seed and its
commit repeat a run exactly.
"""

import argparse
import json
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.faults.campaign import Tally, play_all
from tests.faults.scenario import play_seed

RESULTS = Path(".faults")  # git-ignored
REPORTED_EVERY = 60.0  # seconds


def main() -> int:
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument(
        "--from-seed", type=int, default=1, help="the first seed; each run takes the next one"
    )
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--verbose", action="store_true", help="play one seed step by step")
    options = parser.parse_args()
    if options.verbose:
        return replay(options.from_seed)
    commit = _commit()
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{commit}.jsonl"
    wanted = range(options.from_seed, options.from_seed + options.runs)
    # A commit says what was played, a change does not.
    done = {} if commit.endswith("dirty") else {s: fact for s, fact in _played(file).items() if s in wanted}
    seeds = [seed for seed in wanted if seed not in done]
    began, tally = time.monotonic(), Tally()
    for fact in done.values():
        tally.add(fact)
        if fact["problems"]:
            _tell(fact, commit)
    if done:
        rest = "going on with the others" if seeds else "none is left"
        print(f"{len(done):,} of the seeds have been played on {commit}, {tally.broken} broken: {rest}")
    spoken = began
    with file.open("a") as lines:
        if done:
            lines.write("\n")  # one that was stopped may have left half a line
        for fact in play_all(seeds, options.processes):
            lines.write(json.dumps(fact) + "\n")
            lines.flush()
            tally.add(fact)
            if fact["problems"]:
                _tell(fact, commit)
            if time.monotonic() - spoken > REPORTED_EVERY:
                spoken = time.monotonic()
                print(f"{tally.runs:,} of {options.runs:,} runs, {tally.broken} broken", flush=True)
    print(tally.report(commit, time.monotonic() - began))
    return 1 if tally.broken else 0


def replay(seed: int) -> int:
    """Play one seed and say each step, each error, and what struck."""
    result = play_seed(seed, say=print)
    print("\n".join(["errors met:", *(f"  {error}" for error in result.errors)]))
    print(f"{result}\non {_commit()}")
    return 1 if result.problems else 0


def _tell(fact: dict[str, Any], commit: str) -> None:
    print(f"seed {fact['seed']} on {commit}: {'; '.join(fact['problems'])}", flush=True)
    print(f"  make faults SEED={fact['seed']} VERBOSE=1", flush=True)


def _played(file: Path) -> dict[int, dict[str, Any]]:
    """What came of each seed; a line that was cut when it was stopped is played again."""
    facts = []
    for line in file.read_text().split("\n") if file.exists() else []:
        with suppress(json.JSONDecodeError):
            facts.append(json.loads(line))
    return {fact["seed"]: fact for fact in facts}


def _commit() -> str:
    """The commit, and whether files differ from it: then a seed may not repeat."""
    git = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(git, capture_output=True, check=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "no-commit"


if __name__ == "__main__":
    sys.exit(main())
