"""A bank's warehouse in memory: its agreements, what will happen to them, and how reading them can fail."""

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from functools import lru_cache
from typing import Literal

import pyarrow as pa

from kfr.clock import Clock, oslo_today
from kfr.load.warehouse import WarehouseError
from tests.simulator import VirtualClock

SCHEMA = pa.schema([("customer_id", pa.string()), ("started_on", pa.date32()), ("ended_on", pa.date32())])

Flaw = Literal[
    "dies mid-cursor", "changes while read", "returns half", "returns half and counts half", "is down"
]


@dataclass
class Agreement:
    customer: str
    started: date | None
    ended: date | None = None
    recorded: date | None = None


@dataclass
class _Planned:
    flaw: Flaw
    nth: int
    times: int


class MemoryWarehouse:
    """Agreements in a list; what happens at a moment happens when the warehouse is next asked after it."""

    def __init__(self, clock: VirtualClock, asked_by: Clock) -> None:
        """`asked_by` is the clock of the institution's runs: by it they say whose relationships have ended."""
        self._clock = clock
        self._asked_by = asked_by
        self.agreements_held: list[Agreement] = []
        self._coming: list[tuple[float, Callable[[], None]]] = []
        self.lies_about_count = 0
        self.queue: dict[str, str | None] = {}  # removals that the institution's own systems ask for
        self._planned: list[_Planned] = []
        self.struck: Counter[tuple[str, str]] = Counter()
        self.change: Callable[[], None] = lambda: None  # what happens while it is read
        self.rows_given: list[int] = []  # by each whole read of everyone
        self.said: dict[
            str, tuple[date, list[Agreement]]
        ] = {}  # of a customer by themselves: the last answer, and when

    def later(self, seconds: float, change: Callable[[], None]) -> None:
        self._coming.append((self._clock.now().timestamp() + seconds, change))
        self._coming.sort(key=lambda c: c[0])

    def settle(self) -> None:
        """Let all that is to come happen now: what comes after the list is closed is the next load's."""
        for _, change in self._coming:
            change()
        self._coming.clear()

    def advance(self) -> None:
        while self._coming and self._coming[0][0] <= self._clock.now().timestamp():
            self._coming.pop(0)[1]()

    def fail(self, flaw: Flaw, nth: int = 1, times: int = 1) -> None:
        """Let reading fail at the nth question from now on."""
        self._planned.append(_Planned(flaw, nth, times))

    def mend(self) -> None:
        self._planned.clear()

    @contextmanager
    def agreements(self, as_of: date) -> Iterator["MemorySnapshot"]:
        self.advance()
        flaw = self._strike("agreements")
        begun = [a for a in self.agreements_held if a.started is None or a.started <= as_of]
        count = len(begun) + self.lies_about_count
        if flaw == "changes while read":
            self.change()  # it was counted, and is read afterwards, without a snapshot
            begun = [a for a in self.agreements_held if a.started is None or a.started <= as_of]
        if flaw and flaw.startswith("returns half"):
            begun = random.Random(len(begun)).sample(begun, len(begun) // 2)
            count = len(begun) if flaw.endswith("counts half") else count
        self.rows_given.append(len(begun))
        yield MemorySnapshot(begun, count, flaw == "dies mid-cursor")

    @contextmanager
    def changed_agreements(self, from_date: date, to_date: date) -> Iterator["MemorySnapshot"]:
        self.advance()
        flaw = self._strike("changed_agreements")
        changed = {
            a.customer.strip()
            for a in self.agreements_held
            if any(day and from_date <= day <= to_date for day in (a.started, a.ended, a.recorded))
        }
        rows = [a for a in self.agreements_held if a.customer.strip() in changed]
        yield MemorySnapshot(rows, None, flaw == "dies mid-cursor")

    def queued_removals(self) -> list[str]:
        self.advance()
        self._strike("queued_removals")
        return [customer for customer, result in self.queue.items() if result in (None, "waits")]

    def record_removals(self, results: Sequence[tuple[str, str]]) -> None:
        self._strike("record_removals")
        self.queue |= {customer: result for customer, result in results if customer in self.queue}

    def agreements_of(self, customer_ids: Sequence[str]) -> pa.Table:
        self.advance()
        self._strike("agreements_of")
        wanted = set(customer_ids)
        rows = [a for a in self.agreements_held if a.customer in wanted]
        today = oslo_today(self._asked_by)
        self.said |= {c: (today, [replace(a) for a in rows if a.customer == c]) for c in customer_ids}
        return pa.Table.from_batches(list(MemorySnapshot(rows, None).batches()))

    def _strike(self, question: str) -> Flaw | None:
        """The flaw that this question meets; what concerns whole reads waits for one."""
        for planned in self._planned:
            if planned.flaw != "is down" and question not in ("agreements", "changed_agreements"):
                continue
            if planned.flaw not in ("is down", "dies mid-cursor") and question != "agreements":
                continue
            planned.nth -= 1
            if planned.nth > 0:
                continue
            planned.times -= 1
            if planned.times <= 0:
                self._planned.remove(planned)
            self.struck[f"warehouse {planned.flaw}", question] += 1
            if planned.flaw == "is down":
                raise WarehouseError("The warehouse does not answer.")
            return planned.flaw
        return None


class MemorySnapshot:
    """Rows as they stood; half of them come before a cursor that dies."""

    def __init__(self, rows: list[Agreement], expected_rows: int | None, dies: bool = False) -> None:
        self._rows = rows
        self.expected_rows = expected_rows
        self._dies = dies

    def batches(self) -> Iterator[pa.RecordBatch]:
        size = max(len(self._rows) // 2, 1) if self._dies else 1000
        for at in range(0, max(len(self._rows), 1), size):
            yield _batch(tuple((a.customer, a.started, a.ended) for a in self._rows[at : at + size]))
            if self._dies:
                raise WarehouseError("The connection to the warehouse broke off.")


@lru_cache
def _batch(rows: tuple[tuple[str, date | None, date | None], ...]) -> pa.RecordBatch:
    """A batch is not changed; a warehouse that did not change since gives it again."""
    return pa.record_batch(
        [list(column) for column in zip(*rows, strict=True)] or [[], [], []], schema=SCHEMA
    )
