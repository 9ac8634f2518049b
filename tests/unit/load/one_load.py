"""One load of an institution in a box, step by step: what a task does in Airflow, a method does here."""

import asyncio
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Any
from unittest import mock

import numpy as np
import pytest

from kfr.clock import oslo_today
from kfr.load import arrivals, extract, lease, mirror, planning, reconciliation, removal, upload, verification
from kfr.load.ingestion import Loading, await_loading, await_settling
from kfr.load.journal import Outcome, Send
from kfr.load.removal_queue import Removal, RemovalQueue
from kfr.load.world import Run, World
from kfr.register.client import RegisterClient
from kfr.register.errors import InvalidRequest, KfrError
from kfr.relationships.batch_file import FRAME_BYTES
from kfr.relationships.guards import Limits
from kfr.relationships.packing import DAY_BITS, Ints, day_number, ids_of, pack, text_of
from tests.faults.fuse import Crash
from tests.faults.institution import Institution
from tests.faults.warehouse import Agreement
from tests.simulator import Event, Fault, FaultKind

START = date(2020, 1, 1)  # of those who are sent without a load
GENEROUS = Limits(shrink_share=0.9, removals=10_000, removal_share=1.0, reject_share=0.5)
GRACE_SECONDS = 60.0
RUN = Run(
    dag_id="kfr_initial_load",
    run_id="manual__1",
    approval="never",
    limits=GENEROUS,
    loading_grace=GRACE_SECONDS,
)
TEN_ROWS = (
    FRAME_BYTES + 10 * len("01234567890#2026-11-23,") - 1
)  # bytes of such a request: small loads, several files


@dataclass
class OneLoad:
    """A run of a load. Every step gets a new worker's world, as after a crash."""

    institution: Institution
    run: Run = RUN
    _numbers: Any = field(default_factory=lambda: itertools.count(1))

    @property
    def world(self) -> World:
        return self.institution.world(self.run)

    @property
    def today(self) -> date:
        return oslo_today(self.institution.clock)

    def with_run(self, **changes: Any) -> "OneLoad":
        """The same institution in another run, or in the same one asked otherwise."""
        return replace(self, run=replace(self.run, **changes))

    # the warehouse

    def join(self, customers: int = 1, *, days_ago: int = 100) -> list[int]:
        """Customers become customers; their identifiers, sorted."""
        new = [self.institution.new_customer() for _ in range(customers)]
        start = self.today - timedelta(days=days_ago)
        self.institution.warehouse.agreements_held += [Agreement(c, start) for c in new]
        return sorted(int(c) for c in new)

    def end(self, customers: Sequence[int], *, on: date | None = None) -> None:
        """Their agreements end, today if not told otherwise."""
        for agreement in self.institution.warehouse.agreements_held:
            if int(agreement.customer) in customers:
                agreement.ended = on or self.today

    def forget(self, customers: Sequence[int]) -> None:
        """The warehouse loses all their agreements."""
        warehouse = self.institution.warehouse
        warehouse.agreements_held = [a for a in warehouse.agreements_held if int(a.customer) not in customers]

    # the steps

    def acquire(self) -> lease.Lease | None:
        return lease.acquire(self.world, finished=lambda _: False, heartbeat_seconds=300, first_load=True)

    def plan(self, *, first_load: bool = True) -> planning.Plan:
        """Take the lease, extract, plan and approve."""
        assert self.acquire()
        extract.extract_relationships(self.world)
        plan = planning.plan(self.world, first_load=first_load)
        planning.approve(self.world, "a person")
        return plan

    def send(self, label: str = "0001") -> upload.FileResult:
        """Send a file and see it loaded."""
        loading = self.wait(upload.upload(self.world, label))
        return upload.finish(self.world, label, loading.proven, loading.late)

    def wait(self, files: list[str], say: Callable[[str], None] = lambda _: None) -> Loading:
        return asyncio.run(self._wait(files, say))

    async def _wait(self, files: list[str], say: Callable[[str], None]) -> Loading:
        world = self.world

        async def look_up(customer: int, first: date, last: date) -> bool:
            return world.look_up(customer, first, last)

        return await await_loading(
            world.journal,
            files,
            clock=self.institution.clock,
            look_up=look_up,
            rows_per_second=self.rate,
            grace=self.run.loading_grace,
            say=say,
        )

    def settle(self) -> None:
        """Let the time pass in which a second copy of any file could be loading."""
        asyncio.run(
            await_settling(self.world.journal, {}, clock=self.institution.clock, rows_per_second=self.rate)
        )

    def load(self) -> planning.Plan:
        """Everything up to the removals: plan, every file, those who arrived meanwhile."""
        plan = self.plan()
        for label in plan.labels:
            self.send(label)
        self.close()
        return plan

    def close(self) -> list[str]:
        """The closing file, and the wait until nothing can be loading any more."""
        arrivals.register_arrivals(self.world)
        labels = arrivals.close_arrivals(self.world)
        for label in labels:
            self.send(label)
        self.settle()
        return labels

    def finish(self) -> verification.Proof:
        """Removals, proof, mirror."""
        removal.remove_ended(self.world)
        proof = verification.verify(self.world)
        mirror.record(self.world)
        return proof

    def first(self) -> "OneLoad":
        """A whole first load, to its end; the same load."""
        self.load()
        self.finish()
        lease.release(self.world)
        return self

    def next(self, dag_id: str = "kfr_periodic_load", **asked: Any) -> "OneLoad":
        """The next load of the same institution, periodic if not told otherwise."""
        return self.with_run(dag_id=dag_id, run_id=f"manual__{next(self._numbers) + 1}", **asked)

    def add(self) -> None:
        """A periodic load up to its removals: plan, every file, single additions."""
        for label in self.plan(first_load=False).labels:
            self.send(label)
        self.close_additions()

    def run_through(self) -> verification.Proof:
        """A whole periodic load, to its end."""
        self.add()
        proof = self.finish()
        lease.release(self.world)
        return proof

    def reconcile(self) -> "OneLoad":
        """A run of kfr_reconcile with everyone looked up, to its end."""
        load = self.compare()
        load.run_through()
        return load

    def compare(self) -> "OneLoad":
        """A run of kfr_reconcile that has looked everyone up."""
        load = self.next("kfr_reconcile")
        assert load.acquire()
        extract.extract_relationships(load.world)
        assert reconciliation.compare(load.world, full=True, seconds=1e6)
        return load

    def close_additions(self) -> None:
        """As `close`, in a periodic load: who starts today goes singly, who arrives meanwhile waits for the next."""
        arrivals.register_today(self.world)
        for label in arrivals.close_arrivals(self.world, arrivals=False):
            self.send(label)
        self.settle()

    # what there is to see

    @property
    def rate(self) -> float:
        return self.institution.settings.rows_per_second

    @property
    def registered(self) -> dict[int, date]:
        """Who is in the register now, and since when."""
        return {
            c: start for c, (start, end) in self.institution.simulator.relationships().items() if end is None
        }

    @property
    def proven(self) -> list[int]:
        return ids_of(mirror.read(self.world).proven).tolist()

    @property
    def possible(self) -> list[int]:
        return ids_of(mirror.read(self.world).possible).tolist()

    @property
    def sends(self) -> list[Send]:
        return sorted(self.world.journal.sends(), key=lambda s: (s.label, s.file, s.attempt))

    def calls(self, *operations: str) -> list[Event]:
        """What the register was asked to do, in order, refused and broken calls included."""
        return [e for e in self.institution.simulator.log if e.operation in operations]

    # what happens to it

    def fault(self, kind: FaultKind, operation: Any = "register_file", *, nth: int = 1, **more: Any) -> None:
        self.institution.simulator.faults.add(Fault(kind=kind, operation=operation, nth=nth, **more))

    def crash(self, touches: int, step: Callable[[], Any]) -> bool:
        """Run a step that dies at a touch of the world; False if it ended before that."""
        fuse = self.institution.fuse
        fuse.set(touches)
        try:
            step()
        except Crash:
            return True
        else:
            return False
        finally:
            fuse.set(10**9)
            fuse.replace()

    def pass_days(self, days: float = 1) -> None:
        self.institution.clock.advance(days * 24 * 3600)


def verify(world: World) -> verification.Proof:
    """The proof; before it the removals, as the task before it makes them."""
    if not world.place.exists("removals.json"):
        removal.remove_ended(world)
    return verification.verify(world)


def die_removing(load: OneLoad, *, sent: bool = True) -> None:
    """The worker dies at a removal: behind its DELETE, which the register has carried out, or before it was sent."""
    call = RegisterClient.remove_one

    def dies(client: RegisterClient, customer: int) -> None:
        if sent:
            call(client, customer)
        raise Crash

    with mock.patch.object(RegisterClient, "remove_one", dies), pytest.raises(Crash):
        removal.remove_ended(load.world)


def die_before_telling(load: OneLoad) -> None:
    """The worker dies when all are removed, and the institution's queue is not told."""
    untold = mock.patch.object(type(load.world.warehouse), "record_removals", side_effect=Crash)
    with untold, pytest.raises(Crash):
        removal.remove_ended(load.world)


def be_denied(load: OneLoad) -> OneLoad:
    """A periodic load whose removal is answered 404, of a customer who was proven to be there: it ends red."""
    load = load.next()
    load.add()
    with pytest.raises(KfrError, match="does not know"):
        removal.remove_ended(load.world)
    lease.release(load.world)
    return load


def end_and_ask(load: OneLoad, customer: int) -> OneLoad:
    """A periodic load up to its removals, of a customer who has ended and whose removal the institution asks for."""
    load = load.next()
    load.end([customer])
    load.institution.warehouse.queue[text_of(customer)] = None
    load.add()
    return load


def packed(customers: Sequence[int], start: date) -> Ints:
    """Packed relationships of some customers with one start, sorted."""
    return np.sort(pack(np.array(customers, np.int64), np.full(len(customers), day_number(start))))


def a_send(file: str = "f" * 64, **changes: Any) -> Send:
    """An accepted send of 250 rows: one second of loading. If it is proven, nothing is open about it."""
    given = {
        "attempt": 1, "run": "earlier-run", "label": "0001", "rows": 250, "size": 6000, "counts_from": 0.0,
        "outcome": Outcome.ACCEPTED, "verified": "proven_at" in changes,
        "shown": "proven_at" in changes,
    }  # fmt: skip
    return Send(file=file, **{**given, **changes})


def file_of(customer: int) -> str:
    """The fingerprint of the file that `sent` makes up for this customer and greater ones."""
    return f"{customer:040d}".ljust(64, "0")


def sent(load: OneLoad, customers: list[int], **changes: object) -> Ints:
    """A send with these customers stands in the journal; its rows."""
    rows = packed(customers, START)
    send = a_send(file_of(min(customers)), rows=len(rows), counts_from=load.world.now, **changes)
    load.world.journal.intend(send, rows)
    return rows


def customers_of(load: OneLoad) -> list[int]:
    """Whom the first file of a load holds, sorted."""
    return ids_of(load.world.place.read_array("files/0001")).tolist()


def removed(load: OneLoad) -> list[int]:
    """Whom the register was told to remove, and understood so, in order."""
    return [e.customer_id for e in load.calls("remove_one") if e.kind == "remove_one"]


def states(load: OneLoad) -> dict[int, Removal]:
    """Whose removal the queue has, and how far it has come."""
    return {c: e.state for c, e in RemovalQueue.read(load.world.state).entries.items()}


def refuse_all(*_: object) -> str:
    """What stands in for a client's call: an answer that need not be about the rows."""
    raise InvalidRequest("no", status=400, code="KFR-004")


def spoil(load: OneLoad, *positions: int) -> list[int]:
    """Rows of the first file get numbers with a wrong check digit, which the register refuses; the customers left."""
    rows = load.world.place.read_array("files/0001")
    rows[list(positions)] += 1 << DAY_BITS
    load.world.place.write_array("files/0001", rows)
    return np.delete(ids_of(rows), list(positions)).tolist()
