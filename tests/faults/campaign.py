"""Many fault runs: played on some processes, each kept as a line, all counted."""

import gc
import multiprocessing
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from tests.faults.scenario import Result, play_seed


class Tally:
    """What many runs came to."""

    def __init__(self) -> None:
        self.runs = self.broken = self.loads = self.three_files = 0
        self.passing = self.passing_alone = self.passing_struck = self.struck_alone = 0
        self.seconds = 0.0
        self.stories: Counter[str] = Counter()
        self.struck: Counter[tuple[str, str]] = Counter()

    def add(self, fact: dict[str, Any]) -> None:
        self.runs += 1
        self.broken += bool(fact["problems"])
        self.loads += fact["runs"]
        self.three_files += fact["files"] >= 3
        self.passing += fact["passing"]
        self.passing_alone += fact["passing"] and fact["green_alone"]
        if fact["struck"]:
            self.passing_struck += fact["passing"]
            self.struck_alone += fact["passing"] and fact["green_alone"]
        self.seconds += fact["cpu"]
        self.stories[fact["story"]] += 1
        for kind, point, times in fact["struck"]:
            # The status is the one that the register meant to give: the same fault, whatever it hid.
            self.struck["status_after_work" if kind.startswith("status_after_work") else kind, point] += times

    def report(self, commit: str, seconds: float) -> str:
        kinds: Counter[str] = Counter()
        points: dict[str, Counter[str]] = {}
        for (kind, point), times in self.struck.items():
            kinds[kind] += times
            points.setdefault(kind, Counter())[point] += times
        lines = [
            f"{kind:<40} {times:>9,}  {', '.join(f'{p} {n:,}' for p, n in points[kind].most_common())}"
            for kind, times in kinds.most_common()
        ]
        runs = max(self.runs, 1)
        places = len({point.removeprefix("before ").removeprefix("after ") for _, point in self.struck})
        stories = ", ".join(f"{story} {n:,}" for story, n in self.stories.most_common())
        shares = (
            f"three files or more in {self.three_files / runs:.0%} of the runs; {self.passing_alone:,} of "
            f"{self.passing:,} whose faults pass by themselves ended green without a person, "
            f"{self.struck_alone:,} of the {self.passing_struck:,} in which one struck"
        )
        verdict = (
            f"{self.runs:,} fault runs ({self.loads:,} loads) on {commit} in {seconds:.0f} s, "
            f"{1000 * self.seconds / runs:.0f} ms of CPU each: {self.broken} broke a promise"
        )
        many = f"{len(kinds)} kinds at {places} points (before and after one are one), {sum(kinds.values()):,} times; {stories}"
        return "\n".join(["what struck, how often, and where:", *lines, "", many, shares, verdict])


def play_all(seeds: list[int], processes: int = 1) -> Iterator[dict[str, Any]]:
    """Play each seed; what is kept of each, as it ends."""
    if processes == 1:
        yield from map(play_one, seeds)
        return
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(processes, context, _collect_seldom) as pool:
        yield from pool.map(play_one, seeds, chunksize=8)


def _collect_seldom() -> None:
    """A run makes few cycles and many values: to look for cycles at each 700th value takes a tenth of its time."""
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)


def play_one(seed: int) -> dict[str, Any]:
    """Play a seed; what is kept of it. A run that cannot be played is a failure, too."""
    began = time.process_time()
    try:
        result = play_seed(seed)
    except Exception as error:  # noqa: BLE001 - whatever it is, the seed must be named and the others go on
        result = Result(seed, "not played", problems=[f"{type(error).__name__}: {error}"])
    return {
        "seed": seed, "story": result.story, "problems": result.problems, "planned": result.planned,
        "runs": result.runs, "files": result.files, "calls": result.calls, "helped": result.helped,
        "passing": result.passing, "green_alone": result.green_alone,
        "struck": [(kind, point, times) for (kind, point), times in sorted(result.struck.items())],
        "cpu": round(time.process_time() - began, 4),
    }  # fmt: skip
