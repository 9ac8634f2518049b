"""A year of one institution: the warehouse changes daily, loads run, are missed, repeated, broken; promises hold.

One seed draws it all. Everything after a day's loads is compared by rules told a second time: who is a customer by
`Institution.desired`, who is registered by the simulator, who the mirror holds by its own file.
"""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

from kfr.clock import OSLO, oslo_today
from kfr.load import lease, mirror
from kfr.load.planning import Plan
from kfr.load.staging import Staging
from kfr.load.world import Run
from kfr.register.settings import Environment
from kfr.relationships.packing import date_of, ids_of, starts_of
from tests.faults import excuses
from tests.faults.check import broken_promises
from tests.faults.institution import KEY, Institution
from tests.faults.people import GENEROUS, close_hopeless_sends
from tests.faults.play import Kind, Play
from tests.faults.store import MemoryPath
from tests.faults.warehouse import Agreement
from tests.keystores import ORGANISATION
from tests.simulator import Fault, FaultKind, Switches

FEWEST = 5  # customers: an empty warehouse authorises no removal
CLEARS = 6  # of one run, before we say that it does not come to an end
FAULTS = (
    FaultKind.STATUS, FaultKind.STATUS_AFTER_WORK, FaultKind.NO_CONNECTION, FaultKind.RESET_BEFORE_WORK,
    FaultKind.RESET_AFTER_WORK, FaultKind.CLOSED_AFTER_WORK, FaultKind.BODY,
)  # fmt: skip
FILE_FAULTS = (FaultKind.FILE_DROPPED, FaultKind.FILE_PARTLY_LOADED, FaultKind.FILE_LOADED_TWICE)


@dataclass
class Year:
    """The institution, and what a test does to it day by day. `counts` says what was met."""

    folder: Path | MemoryPath
    seed: int = 0
    switches: Switches = field(default_factory=Switches)
    requests_per_second: float = 200.0
    rows_per_second: float = 250.0
    sample_size: int = 40
    environment: Environment = "test"
    thin: bool = False
    counts: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    plays: list[Play] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(f"year {self.seed}")
        self.institution = Institution(
            self.folder,
            seed=self.seed,
            switches=self.switches,
            requests_per_second=self.requests_per_second,
            rows_per_second=self.rows_per_second,
            sample_size=self.sample_size,
            environment=self.environment,
            thin=self.thin,
        )
        self.registered_again: set[int] = set()  # their start is the register's own business
        self.start_moved: set[int] = set()  # nothing says that the register takes another start
        self.vanished: set[str] = set()
        self.forgotten: set[int] = set()  # registered, and neither warehouse nor mirror knows them
        self._runs = 0

    # time

    @property
    def today(self) -> date:
        return oslo_today(self.institution.clock)

    def sleep_until(self, day: date, at: time) -> None:
        moment = datetime.combine(day, at, OSLO).astimezone(UTC)
        if moment > self.institution.clock.now():
            self.institution.clock.set(moment)

    # what happens in the warehouse

    @property
    def held(self) -> list[Agreement]:
        return self.institution.warehouse.agreements_held

    def active(self) -> list[str]:
        return sorted(self.institution.desired())

    def arrive(self, days_ago: int = 0) -> None:
        """A new customer, entered today, of some days ago (a late fact) or of a day to come."""
        start = self.today - timedelta(days=days_ago)
        self.held.append(Agreement(self.institution.new_customer(), start, recorded=self.today))
        self.counts["arrivals"] += 1

    def leave(self, days_ago: int = 0) -> None:
        if len(active := self.active()) < FEWEST:
            return
        customer = self.random.choice(active)
        end = self.today - timedelta(days=days_ago)
        for agreement in self._of(customer):
            if agreement.ended is None or agreement.ended > self.today:
                agreement.ended = max(end, agreement.started or end)
                agreement.recorded = self.today
        self.counts["departures"] += 1

    def come_back(self) -> None:
        """A customer who has left opens a new agreement; whether the old one goes on is the fold's to say."""
        gone = sorted({a.customer for a in self.held if a.ended} - set(self.active()) - self.vanished)
        if gone:
            customer = self.random.choice(gone)
            self.held.append(Agreement(customer, self.today, recorded=self.today))
            self.registered_again.add(int(customer))
            self.counts["returns"] += 1

    def open_another(self) -> None:
        if not (active := self.active()):
            return
        customer = self.random.choice(active)
        if any(agreement.started is None for agreement in self._of(customer)):
            self.start_moved.add(int(customer))  # a start becomes known, after it was registered without one
        self.held.append(Agreement(customer, self.today, recorded=self.today))

    def move_start(self, days: int) -> None:
        """A start is corrected, back or forth."""
        if not (active := self.active()):
            return
        customer = self.random.choice(active)
        for agreement in self._of(customer):
            if agreement.started:
                agreement.started = min(agreement.started + timedelta(days=days), self.today)
                if agreement.ended:
                    agreement.ended = max(agreement.ended, agreement.started)
                agreement.recorded = self.today
        self.start_moved.add(int(customer))
        self.counts["starts moved"] += 1

    def change_number(self) -> None:
        """A D-number becomes a birth number: the old one vanishes, and its removal is asked for."""
        if not (active := self.active()):
            return
        old, new = self.random.choice(active), self.institution.new_customer()
        for agreement in self._of(old):
            agreement.customer, agreement.recorded = new, self.today
        self.institution.warehouse.queue[old] = None
        self.counts["numbers changed"] += 1

    def vanish(self) -> None:
        """Rows are gone without a word: nobody is removed for that."""
        if not (active := self.active()):
            return
        customer = self.random.choice(active)
        for agreement in self._of(customer):
            self.held.remove(agreement)
        self.vanished.add(customer)
        self.counts["vanished"] += 1

    def ask_for_vanished(self) -> None:
        """A data steward decides, and puts them in the institution's queue."""
        self.institution.warehouse.queue |= dict.fromkeys(sorted(self.vanished))
        self.vanished.clear()

    def break_row(self) -> None:
        if active := self.active():
            agreement = self._of(self.random.choice(active))[0]
            self.held.append(
                Agreement(agreement.customer, self.today, self.today - timedelta(days=3), self.today)
            )

    def _of(self, customer: str) -> list[Agreement]:
        return [a for a in self.held if a.customer == customer]

    # what happens to the register and to us

    def add_fault(self) -> None:
        operation = self.random.choice(["token", "register_one", "remove_one", "register_file", "look_up"])
        kinds = FAULTS + FILE_FAULTS * 2 if operation == "register_file" else FAULTS
        fault = Fault(
            kind=self.random.choice(kinds),
            operation=operation,
            nth=self.random.choice([1, 1, 2, 5]),
            times=self.random.choice([1, 1, 3, 8]),
            status=self.random.choice([500, 503, 504, 429, 401]),
            body=self.random.choice(["html", "empty", "cut"]),
            retry_after=self.random.choice([None, 5]),
            seconds=0.0,
            share=self.random.choice([0.1, 0.9]),
        )
        self.institution.simulator.faults.add(fault)
        self.counts["faults set"] += 1

    def add_crash(self) -> None:
        self.institution.fuse.set(self.random.randrange(1, 300))
        self.counts["crashes set"] += 1

    def lose_mirror(self) -> None:
        """A disk was restored without it: only the pointer, or all versions too."""
        state = Staging(self.folder, KEY, environment="test", fid=ORGANISATION).state  # no worker does this
        state.delete("mirror")
        if self.random.random() < 0.5:
            for name in state.names("mirrors"):
                state.delete(name)
            registered = self.institution.simulator.relationships()
            known = {int(agreement.customer) for agreement in self.held}
            self.forgotten |= {c for c, (_, end) in registered.items() if end is None} - known
        self.counts["mirrors lost"] += 1

    # loads

    def first_load(self) -> Play:
        return self.play("first", self._run("kfr_initial_load"))

    def load(self, **asked) -> Play:
        return self.play("periodic", self._run("kfr_periodic_load", **asked))

    def load_until_green(self) -> None:
        """The last run counts: others may be left as they failed, or began on the day before."""
        for _ in range(CLEARS):
            began = self.today
            if self.problems or (self.load().green and self.today == began):
                return
            self.institution.clock.advance(600)
        self.problems.append(f"{self.today}: no load ends green")

    def backfill(self, first: date, last: date) -> Play:
        self.counts["backfills"] += 1
        asked = {"scope": "interval", "compare_with": "register", "interval": (first, last)}
        return self.play("periodic", self._run("kfr_periodic_load", **asked))

    def reconcile(self, *, full: bool = False, **asked) -> Play:
        self.counts["reconciliations"] += 1
        return self.play("reconcile", self._run("kfr_reconcile", **asked), full=full)

    def dry_run(self) -> Play:
        """Nothing may change, neither there nor here."""
        before = self.institution.simulator.relationships()
        play = self.load(dry_run=True)
        if self.institution.simulator.relationships() != before:
            self.problems.append("a dry run changed the register")
        return play

    def play(
        self, kind: Kind, run: Run, *, full: bool = False, approve: Callable[[Plan], bool] = lambda _: True
    ) -> Play:
        """Play a run to its end: faults stop, a person clears; then the promises are checked."""
        play = Play(self.institution, run, kind=kind, full=full, approve=approve)
        self.plays.append(play)
        self.counts[f"{kind} loads"] += 1
        for _ in range(CLEARS):
            if play.play():
                break
            if kind == "periodic" and self.random.random() < 0.3:  # nobody clears it: the next run goes on
                self.counts["runs abandoned"] += 1
                self.institution.simulator.faults.clear()
                self.institution.fuse.disarm()
                close_hopeless_sends(self.institution, run)
                break
            self.counts["clears"] += 1
            self.institution.clock.advance(self.random.choice([60, 1800]))
            self.institution.simulator.faults.clear()
            self.institution.fuse.disarm()
            close_hopeless_sends(self.institution, run)
            play.clear()
        else:
            self.problems.append(f"{self.today}: {run.run_id} is not green: {play.errors[-1:]}")
        self.counts["errors met"] += len(play.errors)
        return play

    def held_by(self, run_id: str) -> lease.Lease | None:
        return lease.current(self.institution.world(self._run(run_id)))

    def _run(self, dag_id: str, **asked) -> Run:
        self._runs += 1
        return Run(
            dag_id=dag_id,
            run_id=f"manual__{self._runs}",
            max_batch_bytes=self.random.choice([900, 10_000_000]),
            **{"approval": "never", "limits": GENEROUS, **asked},
        )

    # what must hold

    def check(
        self, play: Play | None = None, *, changed: frozenset[int] = frozenset(), whole: bool = True
    ) -> None:
        """After a green load: register equals warehouse, and the mirror equals the register.

        :param changed: of whom something happened since the list was made; they are the next load's.
        :param whole: whether the load was about everyone; else only the mirror is compared.
        """
        institution, where = self.institution, f"{self.today} seed {self.seed}"
        play = play or self.plays[-1]
        self.problems += [f"{where}: {p}" for p in broken_promises(institution, play, settle=False)]
        refuses = institution.simulator.refuses
        desired = {int(c): start for c, start in institution.desired().items() if int(c) not in refuses}
        active = {
            c: start for c, (start, end) in institution.simulator.relationships().items() if end is None
        }
        excused = {int(c) for c in self.vanished} | excuses.held_back(self.institution, play) | self.forgotten
        queue = institution.warehouse.queue  # whoever is asked about after it was read is the next load's
        excused |= {int(c) for c, result in queue.items() if result in (None, "waits")}
        excused |= (turned := excuses.turned_at_midnight(self.institution, play) | changed)
        start_moved = set(self.start_moved)
        if not whole:
            desired = {c: start for c, start in desired.items() if c in active}
            excused |= active.keys()
            start_moved |= active.keys()
        if missing := desired.keys() - active.keys() - turned - excuses.returned(self.institution, play):
            self.problems.append(f"{where}: {len(missing)} missing in the register after {play.run.run_id}")
        if left := active.keys() - desired.keys() - excused:
            self.problems.append(f"{where}: {len(left)} left over in the register after {play.run.run_id}")
        held = mirror.read(institution.world(play.run))
        proven, possible = set(ids_of(held.proven).tolist()), set(ids_of(held.possible).tolist())
        if wrong := (proven - active.keys()) | (active.keys() - proven - possible - self.forgotten):
            self.problems.append(f"{where}: the mirror differs from the register in {len(wrong)}")
        self.problems += [f"{where}: {p}" for p in excuses.kept_wrongly(self.institution, play)]
        undisturbed = active.keys() - self.registered_again - excuses.unproven(self.institution, play)
        undisturbed &= {
            int(a.customer) for a in self.held
        }  # whose start was filed anew and who vanished: nobody asks
        open_starts = excuses.open_starts(self.institution, play)
        for row in held.proven.tolist():
            customer, start = row >> 17, date_of(int(starts_of(row)))
            if (
                row not in open_starts
                and customer in undisturbed
                and start
                and active.get(customer) not in (start, None)
            ):
                self.problems.append(f"{where}: the mirror has another start than the register")
        wrong_start = [
            c
            for c in desired.keys() & undisturbed - start_moved - turned
            if desired[c] and active.get(c) not in (None, desired[c])
        ]
        if wrong_start and (wrong := set(wrong_start) - excuses.registered_late(self.institution)):
            self.problems.append(f"{where}: {len(wrong)} with another start than the warehouse")

    def unsettled(self) -> list[str]:
        """What is not as it should be, whatever excuses it today; a day or two later nothing may be left of it.

        But for what no load can know or mend: rows that the register refuses, or we do; who has vanished, or is known to
        nobody any more; a start that begins tomorrow, is of an earlier relationship, or was lost twice.
        """
        institution, today = self.institution, self.today
        desired = institution.desired()
        registered = institution.simulator.relationships().items()
        active = {c: start for c, (start, end) in registered if end is None}
        wanted = {
            int(c): start for c, start in desired.items() if int(c) not in institution.simulator.refuses
        }
        never = {int(c) for c in self.vanished} | self.forgotten
        never |= {
            int(a.customer)
            for a in self.held
            if a.started and ((a.ended and a.ended < a.started) or a.started == today + timedelta(days=1))
        }
        asked = {c for c, result in institution.warehouse.queue.items() if result in (None, "waits")}
        wrong_start = {c for c in wanted.keys() & active.keys() if wanted[c] not in (None, active[c])}
        found = {
            "missing": wanted.keys() - active.keys(),
            "left over": active.keys() - wanted.keys() - never,
            "not removed though asked for": {int(c) for c in asked} - self.forgotten,
            "with another start": wrong_start - excuses.start_is_their_own(institution, wrong_start),
        }
        return [f"{len(who)} {what}" for what, who in found.items() if who]
