"""One fault run from one seed: an institution, its changes, undocumented behaviour, and everything that goes wrong."""

import random
import tempfile
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import time, timedelta
from pathlib import Path
from unittest import mock

from kfr.load import forecast, ingestion, volume
from kfr.load.planning import Plan
from kfr.load.world import Run
from kfr.register.limits import NOTICE_ROWS_PER_DAY
from tests.faults import draws
from tests.faults.check import broken_promises
from tests.faults.days import CHANGES
from tests.faults.institution import fast_folder
from tests.faults.people import WATCHFUL, close_hopeless_sends
from tests.faults.play import Kind, Play
from tests.faults.store import MemoryPath, MemoryStore
from tests.faults.turns import no_loop
from tests.faults.wire import thin_clients
from tests.faults.year import Year

STORIES = ("first", "first", "first", "periodic", "periodic", "periodic", "backfill", "reconcile")
DAGS = {"first": "kfr_initial_load", "periodic": "kfr_periodic_load", "reconcile": "kfr_reconcile"}
FEWEST = 6  # customers that stay: a list without any authorises no removal, and a person decides
CLEARS = 8  # how often a person helps, before we say that a load does not converge
THROUGH_HTTPX = 0.005  # of the runs; the others use a thin client before the same transport
ON_DISK = 0.005  # of the runs; the others' state lies in memory, which is quicker
FEW = 2  # witnesses besides the last; everyone is looked up then, since a sample may miss a miss
FEW_WITNESSES = (
    0.5  # of the runs; else small files would be proven row by row, and no miss left for the sample
)
QUIET_DAYS = 2  # after which nothing may be excused any more
NOTICE_SOON = 0.1  # of the runs: Bits wants to be told of a few rows already
FEW_ROWS = 20
QUIET_ARRIVALS_SECONDS = 300.0  # nobody comes while it loads
SLOW_REGISTER = 0.1  # of the runs: it loads a fifth of what the connection says
SAME_DAY = 0.15  # of the runs: another load follows before the day is over
FROM_EXTRACT = 0.25  # of the clears: a person has everything read and planned again
OLD_CLEARED = 0.3  # of the runs that were replaced by others: somebody clears them all the same
MIRROR_LOST = 0.06  # of the runs: before the next day's load a disk is restored without it
WRONG_WORLD = 0.01  # of the runs: synthetic numbers in a warehouse that is loaded to production


@dataclass
class Result:
    """What one seed came to."""

    seed: int
    story: str
    files: int = 0
    calls: int = 0
    runs: int = 0
    helped: int = 0  # how often a person cleared, or started another run
    hours: float = 0.0
    green_alone: bool = False
    passing: bool = True  # nothing was planned that needs a person
    planned: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    struck: Counter[tuple[str, str]] = field(default_factory=Counter)

    def __str__(self) -> str:
        state = "BROKEN " + "; ".join(self.problems) if self.problems else "ok"
        facts = f"{self.files} files, {self.calls} calls, helped {self.helped} times, {self.hours:.1f} virtual hours"
        struck = ", ".join(f"{kind} at {point}" for kind, point in sorted(self.struck))
        return f"seed {self.seed}: {state}; {self.story}, {facts}; struck: {struck or 'nothing'}"


def play_seed(seed: int, say=lambda _: None) -> Result:
    """Play one seed to its end: faults stop, people help; then every promise is checked.

    :param say: told of each step as it is taken.
    """
    with ExitStack() as stack:
        rng = random.Random(f"scenario {seed}")
        root = MemoryPath(MemoryStore())
        if rng.random() < ON_DISK:
            root = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=fast_folder())))
        most = FEW_ROWS if rng.random() < NOTICE_SOON else NOTICE_ROWS_PER_DAY
        for module in (forecast, volume):
            stack.enter_context(mock.patch.object(module, "NOTICE_ROWS_PER_DAY", most))
        if rng.random() < FEW_WITNESSES:
            stack.enter_context(mock.patch.object(ingestion, "WITNESS_BLOCKS", FEW))
            stack.enter_context(mock.patch.object(ingestion, "LAST_WITNESSES", 1))
        if thin := rng.random() > THROUGH_HTTPX:
            stack.enter_context(thin_clients())
        # Salts and CorrelationIDs: so a seed repeats them, too, and asking the system takes longer.
        stack.enter_context(mock.patch("os.urandom", random.Random(f"system {seed}").randbytes))
        scenario = _Scenario(seed, rng, root, say, thin=thin)
        scenario.institution.most_rows_without_notice = most
        return scenario.play()


class _Scenario:
    def __init__(self, seed: int, rng: random.Random, root, say, *, thin: bool) -> None:
        self.rng, self.say = rng, say
        story = rng.choice(STORIES)
        self.kind: Kind = "periodic" if story == "backfill" else story
        self.customers = rng.randrange(10, 61 if story == "first" else 31)
        wrong_world = rng.random() < WRONG_WORLD
        self.year = Year(
            root,
            seed=seed,
            switches=draws.switches(rng),
            requests_per_second=rng.choice([20.0, 200.0]),
            rows_per_second=rng.choice([3.0, 20.0, 250.0]),
            sample_size=rng.choice([3, 100]) if ingestion.WITNESS_BLOCKS > FEW else 100,
            environment="production" if wrong_world else "test",
            thin=thin,
        )
        self.institution = self.year.institution
        if rng.random() < SLOW_REGISTER:
            self.institution.believe(self.year.rows_per_second * 5)
        self.institution.clock.set(draws.start(rng, self.institution.clock.now()))
        self.result = Result(seed, "synthetic numbers to production" if wrong_world else story)
        self.institution.warehouse.change = self._change
        self.institution.fuse.pause = self._another_run
        self.plays: list[Play] = []
        self.faults_over = False
        self.halves = 0  # extracts that were half and passed for whole, so far
        self.listed: dict[str, dict] = {}  # who was a customer when a run made its list
        self.moved: dict[str, set[str]] = {}  # and who came or went since, also if all is as it was by now

    def play(self) -> Result:
        rng, institution, result = self.rng, self.institution, self.result
        began = institution.clock.now()
        institution.populate(self.customers)
        if institution.environment == "production":
            result.passing = False
            self._wrong_world()
            return result
        if result.story != "first":
            self._quiet_first_load()
        for _ in range(rng.randrange(4)):
            institution.warehouse.later(rng.uniform(0, 30), self._change)
        result.planned = draws.plan_faults(rng, institution, first=result.story == "first")
        result.passing = set(result.planned) <= draws.PASSING
        self.say(
            f"{result.story}: {self.customers} customers, {institution.switches}, planned {result.planned}"
        )
        self._until_green(self._play_of(self.kind, asked=self._asked()))
        if rng.random() < SAME_DAY:
            self._same_day()
        red = [play for play in self.plays if not play.green and not play.run.dry_run]
        if red and rng.random() < OLD_CLEARED:
            self.say(" and a run that others have overtaken is cleared")
            red[0].clear()
            red[0].is_over = lambda _: True  # it may have begun beside another
            self._until_green(red[0], quiet=True)
        self._stop_faults()
        self._next_day()
        result.runs, result.calls = len(self.plays), len(institution.calls)
        result.files = sum(c.operation == "register_file" for c in institution.calls)
        result.hours = (institution.clock.now() - began) / timedelta(hours=1)
        result.errors = [error for play in self.plays for error in play.errors]
        result.struck = self._struck()
        result.problems = list(dict.fromkeys([*result.problems, *self.year.problems]))
        return result

    # what happens before and after

    def _quiet_first_load(self) -> None:
        """One that all went well in, so that there is something to keep right; then some days of change.

        One file and a small sample: nothing is at stake in it, and it would take a quarter of a run's time.
        """
        institution, play = self.institution, self._play_of("first")
        settings, institution.settings = institution.settings, replace(institution.settings, sample_size=3)
        play.arrivals_seconds = QUIET_ARRIVALS_SECONDS
        play.run = replace(play.run, max_batch_bytes=10_000_000)
        if not play.play():
            self.result.problems.append(f"a quiet first load is not green: {play.errors[-1:]}")
        institution.settings = settings
        days = self.rng.choice([1, 1, 2, 5])
        for _ in range(days):
            at = self.rng.choice([time(4), time(11, 30), time(23, 59, 30)])
            self.year.sleep_until(self.year.today + timedelta(days=1), at)
            self._change()
            self._change()

    def _change(self) -> None:
        """Two things that happen in a warehouse; as likely as the rest that somebody comes or goes."""
        if len(self.year.active()) < FEWEST:
            self.year.arrive(days_ago=1)
            return
        before, changes = self.institution.desired(), [change for _, change in CHANGES]
        self.rng.choice(changes)(self.year)
        self.rng.choice(changes[:5])(self.year)
        differ = _differ(before, self.institution.desired())
        for moved in self.moved.values():
            moved.update(differ)

    def _same_day(self) -> None:
        """Somebody comes back, who may have been removed just now, and another load or two run."""
        for _ in range(self.rng.choice([1, 1, 2])):
            self.institution.clock.advance(self.rng.choice([60, 600, 3 * 3600]))
            self.year.come_back()
            self._change()
            asked = {"compare_with": self.rng.choice(["mirror", "register"])}
            if self.rng.random() < 0.3:
                today = self.year.today
                asked |= {"scope": "interval", "interval": (today - timedelta(days=1), today)}
            self._until_green(self._play_of("periodic", asked), quiet=True)

    def _next_day(self) -> None:
        """Without a fault the next day's load is green, and all is as it should be."""
        self.year.sleep_until(self.year.today + timedelta(days=1), time(4))
        if self.rng.random() < MIRROR_LOST and self.institution.state.exists("mirrored"):
            self._change()
            self.year.lose_mirror()
            self.result.struck["mirror lost", "state"] += 1
        self._until_green(self._play_of("periodic"), quiet=True)
        self._settle()

    def _settle(self) -> None:
        """What was excused is over within days on which nothing happens."""
        for _ in range(QUIET_DAYS):
            if self.result.problems or self.year.problems or not self.year.unsettled():
                return
            while self.institution.simulator.pending_rows:
                self.institution.clock.advance(3600)
            self.year.sleep_until(self.year.today + timedelta(days=1), time(4))
            self.say(f" not settled: {self.year.unsettled()}")
            self._until_green(self._play_of("periodic"), quiet=True)
        self.result.problems += [f"5: for {QUIET_DAYS} days {what}" for what in self.year.unsettled()]

    def _wrong_world(self) -> None:
        play = self._play_of("first")
        if play.play():
            self.result.problems.append("10: synthetic numbers were loaded to production")
        if any(c.operation not in ("token", "look_up") for c in self.institution.calls):
            self.result.problems.append("10: something was written for a warehouse of the wrong world")

    # runs

    def _asked(self) -> dict:
        if self.result.story == "backfill":
            last = self.year.today
            days = (last - timedelta(days=self.rng.randrange(1, 7)), last)
            return {"scope": "interval", "compare_with": "register", "interval": days}
        return {"dry_run": True} if self.kind != "first" and self.rng.random() < 0.03 else {}

    def _play_of(self, kind: Kind, asked: dict | None = None) -> Play:
        run = Run(
            dag_id=DAGS[kind],
            run_id=f"{self.rng.choice(['manual', 'scheduled'])}__{len(self.plays) + 1}",  # some sort before others
            max_batch_bytes=draws.batch_bytes(self.rng, self.customers),
            limits=WATCHFUL,
            loading_grace=self.rng.choice([30.0, 120.0]),
            **(asked or {}),
        )
        play = Play(
            self.institution,
            run,
            kind=kind,
            full=kind == "reconcile" and self.rng.random() < 0.5,
            approve=self._is_whole,
            arrivals_seconds=self.rng.choice([15.0, 60.0]),
            crash_is_final=self.rng.random() < 0.3,
            on_task=lambda task: self._on_task(run, task),
        )
        self.plays.append(play)
        self.year.plays.append(play)
        return play

    def _on_task(self, run: Run, task: str) -> None:
        if task == "extract_relationships":
            self.listed.pop(run.key, None)
        # Of a first load the list is closed when all who arrived are sent; a retry of what follows reads it anew.
        closed = "remove_ended" if run.dag_id == DAGS["first"] else "extract_relationships"
        if task == closed and run.key not in self.listed:
            self.listed[run.key], self.moved[run.key] = self.institution.desired(), set()
        self.say(f"  {self.institution.clock.now():%H:%M:%S} {task}")

    def _until_green(self, play: Play, *, quiet: bool = False) -> None:
        """Play it; as long as it is red a person waits, mends what is broken, and clears or starts another."""
        for helped in range(CLEARS):
            self.say(f" {play.run.run_id} of {play.run.dag_id}, after {helped} times of help")
            if play.play():
                break
            self.say(f"  red: {play.errors[-1:]}")
            self._check(play)
            if helped or self.rng.random() < 0.5:
                self._stop_faults()
            self.result.helped += 1
            self.institution.clock.advance(self.rng.choice([60, 1800, 6 * 3600]))
            if self.faults_over:
                close_hopeless_sends(self.institution, play.run, hasty=self.rng.random() < 0.5)
            play = self._go_on(play)
        else:
            self.result.problems.append(f"5: not green after {CLEARS} times of help: {play.errors[-1:]}")
        if not quiet:
            self.result.green_alone = self.result.helped == 0
        self._check(play)
        if play.green and not play.run.dry_run:
            self._compare(play)

    def _compare(self, play: Play) -> None:
        """A green run's register; who changed after its list was made is the next run's."""
        changed = _differ(self.listed.get(play.run.key, {}), self.institution.desired())
        changed = frozenset(map(int, changed | self.moved.get(play.run.key, set())))
        half = self.institution.warehouse.struck["warehouse returns half and counts half", "agreements"]
        whole = play.run.scope == "everyone" and half == self.halves  # what no guard can see, nobody can know
        if half > self.halves:  # who is new came with the start of either agreement, and may have to keep it
            several = Counter(agreement.customer for agreement in self.year.held)
            self.year.start_moved |= {int(customer) for customer, n in several.items() if n > 1}
        self.halves = half
        self.year.check(play, changed=changed, whole=whole)

    def _is_whole(self, plan: Plan) -> bool:
        """Whoever is asked looks whether the list is as long as the warehouse's own."""
        begun = [a for a in self.year.held if a.started is None or a.started <= self.year.today]
        asked_for = {f["code"] for f in plan.findings}
        return "shrunk" not in asked_for or sum(plan.fates.values()) > 0.8 * len(begun)

    def _go_on(self, play: Play) -> Play:
        if any("mirror is lost" in error for error in play.errors[-1:]):
            return self._play_of("reconcile")
        if play.run.dry_run or play.asks_for_mail or self.rng.random() < 0.6:
            play.clear(from_extract=not play.asks_for_mail and self.rng.random() < FROM_EXTRACT)
            return play
        kind = play.kind
        if kind == "first" and self.institution.state.exists("mirrored") and self.rng.random() < 0.5:
            kind = "reconcile" if self.rng.random() < 0.5 else "periodic"
        return self._play_of(kind)

    def _another_run(self) -> None:
        """While a worker of one run is stopped, another begins; it may think that the first one is over."""
        alive = self.rng.random() < 0.5
        institution, writer = self.institution, (self.institution.current, self.institution.task)
        other = self._play_of("periodic" if self.kind != "periodic" else "reconcile")
        other.is_over = lambda _: not alive
        other.most_waits = 3 if alive else 100
        held = institution.state.exists("lease") and institution.state.read_json("lease")["held"]
        self.say(f"  the worker stops; {other.run.run_id} begins ({'it lives' if alive else 'thought over'})")
        before, runs = len(institution.calls), len(self.plays)
        with no_loop():
            other.play()
        wrote = [c for c in institution.calls[before:] if c.operation not in ("token", "look_up")]
        alone = len(self.plays) == runs  # else a third one came, that may have taken over
        if alive and held and wrote and alone:
            self.result.problems.append("6: another run wrote while the first one lived")
        self._check(other)
        if other.green:
            self._compare(other)
        institution.current, institution.task = writer
        institution.attempt += 1
        self.say("  the worker goes on")

    def _stop_faults(self) -> None:
        institution, self.faults_over = self.institution, True
        institution.simulator.faults.clear()
        institution.fuse.disarm()
        institution.warehouse.mend()
        institution.own_clock.off = 0.0
        if institution.certificate.not_after < institution.clock.now() + timedelta(days=30):
            self.result.struck["certificate expires", "task"] += not institution.certificate_holds
            institution.renew_certificate()

    def _check(self, play: Play) -> None:
        self.result.problems += broken_promises(self.institution, play, settle=False)

    def _struck(self) -> Counter[tuple[str, str]]:
        """What really happened, by kind and point."""
        struck = self.result.struck + self.institution.fuse.struck + self.institution.warehouse.struck
        for event in self.institution.simulator.log:
            if event.fault and event.operation:
                kind = f"{event.fault} {event.status}" if event.fault.startswith("status") else event.fault
                struck[kind, event.operation] += 1
            elif event.kind == "refused" and event.code in ("KFR-005", "ERR-002"):
                struck["row refused", event.operation] += 1
            elif event.kind == "refused" and event.code == "MP-130":
                struck["clock off", event.operation] += 1
            elif event.kind == "refused" and event.code == "MP-123":
                struck["certificate expires", event.operation] += 1
        return struck


def _differ(before: dict, now: dict) -> set[str]:
    """The customers whose start, or whether they have one, is another one by now."""
    return {c for c in before.keys() | now.keys() if before.get(c, 0) != now.get(c, 0)}
