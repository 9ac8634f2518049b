"""One fault run from one seed: a population, its changes, undocumented behaviour, faults and crashes."""

import random
import tempfile
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args, get_type_hints

from kfr.load import removal
from kfr.load.journal import is_open, schedule
from kfr.load.world import Run
from kfr.relationships.guards import Limits
from tests.faults.check import broken_promises
from tests.faults.institution import Institution, fast_folder
from tests.faults.play import Play
from tests.simulator import Fault, FaultKind, Switches

CLEARS = 8  # how often a person clears what failed, before we say that the load does not converge
GENEROUS = Limits(shrink_share=0.9, removals=10_000, removal_share=1.0, reject_share=0.5)


@dataclass
class Result:
    seed: int
    green: bool
    clears: int
    problems: list[str]
    planned: list[str]
    errors: list[str]
    hours: float

    def __str__(self) -> str:
        state = "ok" if not self.problems else "BROKEN " + "; ".join(self.problems)
        return f"seed {self.seed}: {state}, {self.clears} clears, {self.hours:.1f} virtual hours; {', '.join(self.planned)}"


def play_seed(seed: int) -> Result:
    """Play one seed to its end: faults stop, people clear; then every promise is checked."""
    rng = random.Random(f"scenario {seed}")
    with tempfile.TemporaryDirectory(dir=fast_folder()) as folder:
        institution = Institution(Path(folder), seed=seed, switches=_switches(rng))
        institution.clock.set(_start(rng, institution.clock.now()))
        institution.populate(rng.choice([40, 40, 300, 600]))
        for _ in range(rng.randrange(4)):
            institution.warehouse.later(rng.uniform(0, 30), lambda: institution.leave(rng.randrange(1, 6)))
            institution.warehouse.later(rng.uniform(0, 30), lambda: institution.arrive(rng.randrange(1, 6)))
        planned = _plan_faults(rng, institution)
        run = Run(
            dag_id="kfr_initial_load",
            run_id=f"manual__{seed}",
            approval="never",
            max_batch_bytes=rng.choice([2_000, 5_000, 10_000_000]),
            limits=GENEROUS,
        )
        play, clears, problems = Play(institution, run), 0, []
        began = institution.clock.now()
        while not play.play() and clears < CLEARS:
            problems += broken_promises(institution, play)
            clears += 1
            institution.clock.advance(rng.choice([60, 3600, 6 * 3600]))
            institution.simulator.faults.clear()
            institution.fuse = institution.fuse.__class__()
            close_hopeless_sends(institution, run)
            play.clear()
        if not play.green:
            problems.append(
                f"5: not green after {CLEARS} clears: {play.errors[-1] if play.errors else play.states}"
            )
        problems += broken_promises(institution, play)
        hours = (institution.clock.now() - began) / timedelta(hours=1)
        return Result(seed, play.green, clears, problems, planned, play.errors, hours)


def close_hopeless_sends(institution: Institution, run: Run) -> None:
    """What the runbook has a person do, after asking Bits: close sends that will never load."""
    from dataclasses import replace

    world = institution.world(run)
    sends, rate = world.journal.sends(), institution.settings.rows_per_second
    plans = schedule(sends, rate)
    while institution.simulator.pending_rows:
        institution.clock.advance(600)
    for send in sends:
        plan = plans.get(send.name)
        overdue = plan and world.now > plan.settled_at + run.loading_grace
        if plan and overdue and is_open(send, plan, world.now) and not send.proven_at:
            removal._close_what_shows(world)
            current = next(s for s in world.journal.sends() if s.name == send.name)
            if current.proven_at is None:
                world.journal.put(replace(current, closed_because="Bits says that it was never loaded"))


def _start(rng: random.Random, now: datetime) -> datetime:
    """Any time of day; now and then just before midnight in Oslo, or the night when the clocks change."""
    if rng.random() < 0.15:
        return datetime(2027, 3, 27, 22, 59, 50, tzinfo=UTC)
    if rng.random() < 0.2:
        return now.replace(hour=22, minute=59, second=rng.randrange(60))
    return now + timedelta(seconds=rng.randrange(12 * 3600))


def _switches(rng: random.Random) -> Switches:
    """Each undocumented behaviour drawn by itself. Starts are compared, so what changes them is kept documented."""
    hints = get_type_hints(Switches)
    drawn = {}
    for field in fields(Switches):
        choices = get_args(hints[field.name])
        if field.name in ("re_registration", "second_file", "file_after_single", "size_limit", "duplicates"):
            continue
        if choices:
            drawn[field.name] = rng.choice(choices)
    drawn["look_up_lag"] = rng.choice([0.0, 0.0, 5.0, 40.0])
    drawn["other_bank"] = rng.random() < 0.5
    return Switches(**drawn)


def _plan_faults(rng: random.Random, institution: Institution) -> list[str]:
    faults = institution.simulator.faults
    planned = []
    for _ in range(rng.randrange(4)):
        fault = _draw_fault(rng)
        faults.add(fault)
        planned.append(f"{fault.kind}@{fault.operation}")
    if rng.random() < 0.6:
        touches = rng.randrange(1, 1200)
        institution.fuse.set(touches)
        planned.append(f"crash at touch {touches}")
    return planned


def _draw_fault(rng: random.Random) -> Fault:
    operation = rng.choice(
        ["token", "register_one", "remove_one", "register_file", "register_file", "look_up", "mail"]
    )
    if operation == "mail":
        kind = rng.choice([FaultKind.STATUS, FaultKind.CLOSED_BEFORE_WORK, FaultKind.CLOSED_AFTER_WORK])
        return Fault(kind=kind, operation="mail", nth=1, times=rng.choice([1, 2]))
    kinds = [
        FaultKind.STATUS, FaultKind.STATUS_AFTER_WORK, FaultKind.NO_CONNECTION, FaultKind.RESET_BEFORE_WORK,
        FaultKind.RESET_AFTER_WORK, FaultKind.CLOSED_AFTER_WORK, FaultKind.SLOW, FaultKind.BODY,
    ]  # fmt: skip
    if operation == "register_file":
        kinds += [
            FaultKind.FILE_DROPPED,
            FaultKind.FILE_PARTLY_LOADED,
            FaultKind.FILE_LOADED_TWICE,
            FaultKind.LOADING_STALLED,
        ] * 2
    if operation == "look_up":
        kinds += [FaultKind.LOOK_UP_LAGS]
    kind = rng.choice(kinds)
    return Fault(
        kind=kind,
        operation=operation,
        nth=rng.choice([1, 1, 2, 3, 5]),
        times=rng.choice([1, 1, 2, 8]),
        status=rng.choice([500, 502, 503, 504, 429, 401]),
        body=rng.choice(["html", "empty", "wrong_type", "cut"]),
        retry_after=rng.choice([None, 5, 90]),
        seconds=0.0 if kind is FaultKind.FILE_LOADED_TWICE else rng.choice([5.0, 90.0, 7200.0]),
        share=rng.choice([0.1, 0.5, 0.98]),
    )
