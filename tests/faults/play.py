"""Plays the three Dags in virtual time: the same steps, order, retries and trigger rules as theirs."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from typing import Any, Literal

from kfr.load import (
    arrivals,
    confirmation,
    extract,
    lease,
    mirror,
    planning,
    readiness,
    reconciliation,
    removal,
    report,
    retention,
    upload,
    verification,
    volume,
    watermark,
)
from kfr.load.forecast import FILES_IN_FLIGHT
from kfr.load.ingestion import Seen, await_loading, await_settling
from kfr.load.journal import Journal
from kfr.load.world import Run, World
from kfr.register.errors import Fatal, KfrError, Refused
from tests.faults.fuse import Crash
from tests.faults.institution import Institution
from tests.faults.turns import play_together

Kind = Literal["first", "periodic", "reconcile"]

RETRIES = 5
RETRY_SECONDS = 60.0
ARRIVALS_SECONDS = 5.0
HEARTBEAT_SECONDS = 300.0


@dataclass
class Play:
    """One Dag run. `states` has what became of each task; a cleared run plays on where it failed."""

    institution: Institution
    run: Run
    states: dict[str, str] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    approve: Callable[[planning.Plan], bool] = lambda _: True
    on_task: Callable[[str], None] = lambda _: None  # called before each try of a task
    over: bool = False
    kind: Kind = "first"
    full: bool = False  # of a reconciliation
    is_over: Callable[[lease.Lease], bool] = lambda _: True  # whether the holder of the lease is
    arrivals_seconds: float = ARRIVALS_SECONDS
    crash_is_final: bool = (
        False  # nobody tries again what a dead worker did: a person clears, or a new run comes
    )
    plays: int = 0
    _cleared: int = 0  # errors that a person has seen
    planned_again: bool = False
    most_waits: int = 10_000  # for the lease, before the run gives up

    @property
    def green(self) -> bool:
        """As Airflow sees it: the leaves decide."""
        return self.states.get("remove_staged_files") == "success"

    @property
    def asks_for_mail(self) -> bool:
        """Whether a person must look for D-4 in the mail server's log."""
        return any("not known whether the mail d-4 left" in error for error in self.errors[self._cleared :])

    def clear(self, *, from_extract: bool = False) -> None:
        """A person clears what failed, and acquire_register with it; or what the errors say, or all of it."""
        self.states = {task: state for task, state in self.states.items() if state in ("success", "skipped")}
        said = self.errors[self._cleared :]
        if from_extract or any("lear extract_relationships" in e or "rejected" in e for e in said):
            self.states = {"check_readiness": "success"}
        if any("lear remove_ended" in error for error in said):
            self.states.pop("remove_ended", None)
        left = any(mail.subject.startswith("D-4") for mail in self.institution.simulator.mails)
        if self.asks_for_mail and left:
            self.states["send_confirmation"] = "success"  # it is in the mail server's log: marked by hand
        self._cleared = len(self.errors)
        for task in ("acquire_register", "record_mirror", "release_register", "remove_staged_files"):
            self.states.pop(task, None)
        self.over = False

    def play(self) -> bool:
        """Run to the end; return whether the run is green."""
        first = self.kind == "first"
        self.institution.attempt += 1
        self.planned_again |= self.plays > 0 and "plan_changes" not in self.states
        self.plays += 1
        self._simple("check_readiness", [], readiness.check)
        self._simple("acquire_register", ["check_readiness"], self._acquire)
        self._simple("extract_relationships", ["acquire_register"], extract.extract_relationships)
        before_plan = ["extract_relationships"]
        if self.kind == "reconcile":
            self._simple("compare_register", before_plan, self._compare)
            before_plan = ["compare_register"]
        self._simple("plan_changes", before_plan, lambda w: planning.plan(w, first_load=first))
        if self.run.dry_run and self.states["plan_changes"] == "success":
            self.states |= dict.fromkeys(self.writers, "skipped")
        else:
            self._simple("approve_changes", ["plan_changes"], self._approve)
            self._simple("announce_volume", ["approve_changes"], volume.announce_volume)
            self._load()
            self._simple("remove_ended", [self.closing], removal.remove_ended)
            self._simple("verify_register", ["remove_ended"], verification.verify)
            self.institution.verified |= first and self.states["verify_register"] == "success"
            if first:
                self._simple("send_confirmation", ["verify_register"], confirmation.send_confirmation)
        self._try("record_mirror", self._record)
        self._try("release_register", lease.release)
        if self.states["record_mirror"] == "success" and not (first and self._failed("send_confirmation")):
            self._try("remove_staged_files", lambda w: w.place.remove_all())
        else:
            self.states["remove_staged_files"] = "upstream_failed"
        self.over = True
        return self.green

    @property
    def closing(self) -> str:
        return "close_arrivals" if self.kind == "first" else "close_additions"

    @property
    def beside(self) -> str:
        return "register_arrivals" if self.kind == "first" else "register_today"

    @property
    def writers(self) -> list[str]:
        """The tasks that a dry run skips."""
        tasks = [
            "approve_changes",
            "announce_volume",
            "upload_batch_file",
            self.beside,
            self.closing,
            "remove_ended",
        ]
        return [*tasks, "verify_register", *(["send_confirmation"] if self.kind == "first" else [])]

    def _load(self) -> None:
        if self.states["announce_volume"] != "success":
            self.states |= dict.fromkeys(("upload_batch_file", self.beside, self.closing), "upstream_failed")
            return
        labels = planning.read(self.institution.world(self.run)).labels
        files = {f"upload_batch_file[{label}]": label for label in labels}
        pending = [task for task in files if self.states.get(task) != "success"]
        slots = [self._upload_each(pending, files) for _ in range(FILES_IN_FLIGHT)]
        clock = self.institution.clock
        if self.states.get(self.beside) != "success" and self.kind == "first":
            play_together(clock, *slots, self._arrivals(list(files)))
        else:
            self._simple(self.beside, ["announce_volume"], arrivals.register_today)
            play_together(clock, *slots)
        bad = [t for t in [*files, self.beside] if self.states.get(t) != "success"]
        if bad:
            self.states[self.closing] = "upstream_failed"
        elif self.states.get(self.closing) != "success":
            play_together(clock, self._upload(self.closing, None))

    async def _upload_each(self, pending: list[str], files: dict[str, str]) -> None:
        """One of the slots: it takes the next file when it is done with one."""
        while pending:
            task = pending.pop(0)
            await self._upload(task, [files[task]])

    async def _upload(self, task: str, labels: list[str] | None) -> None:
        """A deferrable task: POST in a worker, wait in a trigger, record in a worker."""
        for attempt in range(RETRIES + 1):
            self.on_task(task)
            try:
                world = self._world(task)
                if labels is None:
                    self.institution.warehouse.settle()
                first = self.kind == "first"
                mine = labels if labels is not None else arrivals.close_arrivals(world, arrivals=first)
                files = [f for label in mine for f in upload.upload(world, label)]
                proven, late = await self._wait(task, files, until_settled=labels is None)
                world = self._world(task)
                for label in mine:
                    upload.finish(world, label, proven, late)
            except (KfrError, Crash, OSError) as error:
                if self._stops(task, error):
                    return
                wait = _wait_before_retry(error, attempt)
            else:
                self.states[task] = "success"
                return
            await self.institution.clock.asleep(wait)

    async def _wait(
        self, task: str, files: list[str], *, until_settled: bool
    ) -> tuple[dict[str, Seen], tuple[str, ...]]:
        journal, rate = Journal(self.institution.staging().state), self.institution.settings.rows_per_second
        loading = await await_loading(
            journal,
            files,
            clock=self.institution.own_clock,
            look_up=partial(self._look_up, task),
            rows_per_second=rate,
            grace=self.run.loading_grace,
        )
        if until_settled and not loading.late:
            await await_settling(
                journal, loading.proven, clock=self.institution.own_clock, rows_per_second=rate
            )
        return loading.proven, loading.late

    async def _look_up(self, task: str, customer: int, first: date, last: date) -> bool:
        """As the trigger does. In one piece: another task's wait must not age a token assertion on its way."""
        return self._world(f"trigger of {task}").look_up(customer, first, last)

    async def _arrivals(self, uploads: list[str]) -> None:
        tries = 0
        while True:
            over = all(self.states.get(t) in ("success", "failed") for t in uploads)
            self.on_task("register_arrivals")
            try:
                arrivals.register_arrivals(self._world("register_arrivals"))
            except (KfrError, Crash, OSError) as error:
                tries += 1
                if self._stops("register_arrivals", error) or tries > RETRIES:
                    return
                await self.institution.clock.asleep(_wait_before_retry(error, tries - 1))
                continue
            if over:
                self.states["register_arrivals"] = "success"
                return
            await self.institution.clock.asleep(self.arrivals_seconds)

    def _simple(self, task: str, after: list[str], step: Callable[[World], Any]) -> None:
        if self.states.get(task) in ("success", "skipped"):
            return
        if any(self.states.get(t) != "success" for t in after):
            self.states[task] = "upstream_failed"
        else:
            self._try(task, step)

    def _try(self, task: str, step: Callable[[World], Any]) -> None:
        wait = 0.0
        for attempt in range(RETRIES + 1):
            self.institution.clock.sleep(wait)
            self.on_task(task)
            try:
                step(self._world(task))
            except (KfrError, Crash, OSError) as error:
                if self._stops(task, error):
                    return
                wait = _wait_before_retry(error, attempt)
            else:
                self.states[task] = "success"
                return

    def _stops(self, task: str, error: BaseException) -> bool:
        """What the Dag's retry policy does with an error; a crash is retried as a lost heartbeat is."""
        self.errors.append(f"{task}: {type(error).__name__}: {error}")
        self.institution.fuse.replace()
        self.institution.attempt += isinstance(error, Crash)
        self.states[task] = "failed"
        return isinstance(error, Fatal | Refused) or (isinstance(error, Crash) and self.crash_is_final)

    def _acquire(self, world: World) -> None:
        if self.run.dry_run:
            return
        for _ in range(self.most_waits):
            if lease.acquire(
                world,
                finished=self.is_over,
                heartbeat_seconds=HEARTBEAT_SECONDS,
                first_load=self.kind == "first",
            ):
                return
            self.institution.clock.sleep(60)
        raise Fatal("the sensor timed out")

    def _compare(self, world: World) -> None:
        while not reconciliation.compare(world, full=self.full, seconds=600.0):
            self.institution.clock.sleep(30)
            world = self._world("compare_register")

    def _approve(self, world: World) -> None:
        plan = planning.read(world)
        if planning.needs_person(world, plan) and not self.approve(plan):
            raise Fatal("rejected")
        planning.approve(world, "the play")

    def _record(self, world: World) -> None:
        if world.run.dry_run:
            return
        verified = self.states.get("verify_register") == "success"
        if verified:
            lease.check(world)
            planning.require_current(world)
        if lease.is_held(world):
            mirror.record(world)
            if verified:
                watermark.follow(world, extract.read(world))
            retention.sweep(world)
            report.keep(world, report.build(world, "proven" if verified else "not proven"))
        if self.states.get("verify_register") != "success":
            raise Fatal("The load is not verified.")

    def _failed(self, task: str) -> bool:
        return self.states.get(task) not in ("success", "skipped")

    def _world(self, task: str) -> World:
        world = self.institution.world(self.run)
        self.institution.task = task
        self.institution.require_certificate()
        return world


def _wait_before_retry(error: BaseException, attempt: int) -> float:
    """As the Dags have it: doubled at each, and what says when to come back is not tried before."""
    return max(RETRY_SECONDS * 2.0**attempt, getattr(error, "retry_after", None) or 0.0)
