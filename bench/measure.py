"""Run something in a process of its own, and say what it took."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SAMPLE_SECONDS = 0.002
LONGEST_SECONDS = 3600


class JobError(RuntimeError):
    """A measured process ended with an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Took:
    """What one process took, from the start of its work; `facts` is what it says of its result."""

    seconds: float
    cpu_seconds: float  # of this process; a database's own work is not in it
    peak_mb: float
    facts: Mapping[str, Any] = field(default_factory=dict)


def job(
    name: str, arguments: Mapping[str, Any], *, env: Mapping[str, str], python: str = sys.executable
) -> Took:
    """Run `bench.jobs` in a process; it measures itself, once Python and Airflow are there."""
    command = [python, "-m", "bench.jobs", name, json.dumps(arguments, default=str)]
    done = subprocess.run(
        command, env=dict(env), cwd=ROOT, capture_output=True, text=True, check=False, timeout=LONGEST_SECONDS
    )
    if done.returncode:
        raise JobError(f"{name} failed:\n{done.stderr[-3000:]}")
    return Took(**json.loads(done.stdout.splitlines()[-1]))


def program(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    output: Path | None = None,
    folder: Path | None = None,
) -> Took:
    """Run a program that is not ours; its start counts, it takes a few milliseconds.

    Its peak is read while it runs: what the kernel says at its end counts the process that started it, too.
    """
    with (output or Path(os.devnull)).open("wb") as file:
        began = time.perf_counter()
        process = subprocess.Popen(command, env=env, cwd=folder, stdout=file, stderr=subprocess.PIPE)
        peak = 0.0
        while True:
            peak = max(peak, peak_mb(process.pid))
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                seconds = time.perf_counter() - began
                break
            time.sleep(SAMPLE_SECONDS)
        process.returncode = os.waitstatus_to_exitcode(status)
        said = process.stderr.read() if process.stderr else b""
    if process.returncode:
        raise JobError(f"{command[0]} failed:\n{said.decode()[-2000:]}")
    return Took(seconds=seconds, cpu_seconds=usage.ru_utime + usage.ru_stime, peak_mb=peak)


def peak_mb(pid: int | str = "self") -> float:
    """The largest resident size that a process had so far; 0 when it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
        return int(status.split("VmHWM:")[1].split()[0]) / 1024
    except (OSError, IndexError):
        return 0.0


def together(parts: Sequence[Took]) -> Took:
    """Several processes one after another, as one."""
    facts: dict[str, Any] = {}
    for part in parts:
        facts |= part.facts
    return Took(
        seconds=sum(p.seconds for p in parts),
        cpu_seconds=sum(p.cpu_seconds for p in parts),
        peak_mb=max(p.peak_mb for p in parts),
        facts=facts,
    )


def middle(rounds: Sequence[Took]) -> Took:
    """The median of several rounds, each figure for itself; peak memory is the highest."""
    return Took(
        seconds=median(r.seconds for r in rounds),
        cpu_seconds=median(r.cpu_seconds for r in rounds),
        peak_mb=max(r.peak_mb for r in rounds),
        facts=rounds[-1].facts,
    )


def ratio(rounds: Sequence[Took], floors: Sequence[Took]) -> float:
    """The median of the ratios of each round: rounds differ more than what is measured."""
    return median(a.seconds / b.seconds for a, b in zip(rounds, floors, strict=False))
