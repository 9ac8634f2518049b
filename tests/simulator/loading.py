"""Files that are accepted and load afterwards, row by row, at the register's rate.

Nothing runs: a load keeps the stretches of time in which it progressed, so that the moment at which any row took
effect can be computed when someone asks, also long afterwards. Times are seconds since the simulator began.
"""

import math
import random
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tests.simulator.switches import Switches

Ints = npt.NDArray[np.int64]
Days = npt.NDArray[np.int32]
Seconds = npt.NDArray[np.float64]

A_ROW = 1e-6  # rows; what rounding may cost
MICROSECONDS = 1_000_000  # what a clock shows; moments are rounded to it, so that they compare exactly


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """The rows of a file in its order: identifiers, and days as ordinals (0: undated)."""

    ids: Ints
    days: Days
    _sorted: list[tuple[Ints, npt.NDArray[np.int32]]] = field(default_factory=list, repr=False)

    def __len__(self) -> int:
        return len(self.ids)

    def rows_of(self, customer_id: int) -> list[int]:
        """The rows of one customer, in the file's order."""
        if not self._sorted:  # on the first question, not while the request is answered
            order = np.argsort(self.ids, kind="stable").astype(np.int32)
            self._sorted.append((self.ids[order], order))
        ids, order = self._sorted[0]
        first = int(ids.searchsorted(customer_id))
        last = first
        while last < len(ids) and ids[last] == customer_id:
            last += 1
        return [int(row) for row in order[first:last]]


@dataclass(slots=True, eq=False)
class Load:
    """One pass of loading of a batch, or of a single registration that queues behind the files."""

    batch: Batch
    switches: Switches  # those in force when it was accepted
    file: int | None  # its number; None for a single registration
    available: float  # loads from this moment on
    limit: int  # so many rows are loaded, the rest never
    fault: str = ""
    ranks: npt.NDArray[np.int32] | None = None  # each row's turn; None: the file's order
    place: float = 0.0  # in the queue, when that is shuffled
    progress: float = 0.0
    finished: bool = False
    _since: list[float] = field(default_factory=list)  # stretches of one rate each: when it began,
    _from: list[float] = field(default_factory=list)  # the progress there,
    _rates: list[float] = field(default_factory=list)  # rows a second

    def __post_init__(self) -> None:
        self.finished = self.limit == 0

    @property
    def started(self) -> bool:
        return any(self._rates)

    @property
    def rows_left(self) -> int:
        return 0 if self.finished else self.limit - math.floor(self.progress + A_ROW)

    def go_on(self, at: float, rate: float) -> None:
        """Load at a rate from a moment on."""
        if rate == (self._rates[-1] if self._rates else 0.0):
            return
        self._since.append(at)
        self._from.append(self.progress)
        self._rates.append(rate)

    def effective(self, row: int) -> float:
        """The moment at which a row took or (if nothing changes) takes effect; infinite for never."""
        turn = row if self.ranks is None else int(self.ranks[row])
        if turn >= self.limit:
            return math.inf
        stretch = bisect_right(self._from, turn + 1 - A_ROW) - 1
        if stretch < 0 or self._rates[stretch] == 0:
            return math.inf
        moment = self._since[stretch] + (turn + 1 - self._from[stretch]) / self._rates[stretch]
        return round(moment * MICROSECONDS) / MICROSECONDS

    def effective_of_all(self) -> Seconds:
        """The same for every row."""
        turns = (np.arange(len(self.batch)) if self.ranks is None else self.ranks).astype(np.float64)
        if not self._rates:
            return np.full(len(turns), np.inf)
        since, start, rates = np.array(self._since), np.array(self._from), np.array(self._rates)
        stretch = np.searchsorted(start, turns + 1 - A_ROW, side="right") - 1
        with np.errstate(divide="ignore"):
            moments = since[stretch] + (turns + 1 - start[stretch]) / rates[stretch]
        return np.where(turns < self.limit, np.rint(moments * MICROSECONDS) / MICROSECONDS, np.inf)


@dataclass(slots=True)
class LoadingQueue:
    """All that is accepted and not yet loaded."""

    rows_per_second: float
    rng: random.Random
    _pending: list[Load] = field(default_factory=list)
    _stalls: list[tuple[float, float]] = field(default_factory=list)
    _now: float = 0.0

    @property
    def pending_rows(self) -> int:
        return sum(load.rows_left for load in self._pending)

    def put(self, load: Load) -> None:
        load.ranks = self._ranks(len(load.batch), load.switches.row_order)
        load.place = self.rng.random()
        if not load.finished:
            self._pending.append(load)

    def stall(self, since: float, until: float) -> None:
        self._stalls.append((since, until))

    def advance(self, until: float) -> Iterator[tuple[float, str, Load]]:
        """Load until a moment; yield when loads began (`file_load_started`) and ended (`file_loaded`)."""
        while self._pending and self._now < until:
            rates = self._rates()
            for load in self._pending:
                rate, started = rates.get(id(load), 0.0), load.started
                load.go_on(self._now, rate)
                if rate and not started:
                    yield self._now, "file_load_started", load
            ends = {id(load): self._end(load, rates[id(load)]) for load in self._pending if id(load) in rates}
            stop = (
                min(until, self._next_change(), *ends.values()) if ends else min(until, self._next_change())
            )
            self._progress(rates, stop)
            for load in [load for load in self._pending if ends.get(id(load), math.inf) <= stop]:
                load.progress, load.finished = float(load.limit), True
                self._pending.remove(load)
                yield stop, "file_loaded", load
        self._now = max(self._now, until)
        self._stalls = [stall for stall in self._stalls if stall[1] > self._now]

    def _progress(self, rates: dict[int, float], stop: float) -> None:
        for load in self._pending:
            load.progress += rates.get(id(load), 0.0) * (stop - self._now)
        self._now = stop

    def _end(self, load: Load, rate: float) -> float:
        return self._now + max(0.0, load.limit - load.progress) / rate

    def _next_change(self) -> float:
        moments = [moment for stall in self._stalls for moment in stall]
        moments += [load.available for load in self._pending]
        return min((moment for moment in moments if moment > self._now), default=math.inf)

    def _rates(self) -> dict[int, float]:
        """Who loads now, at how many rows a second; loads by their `id`."""
        ready = [load for place, load in enumerate(self._pending) if self._is_ready(place, load)]
        if not ready or any(since <= self._now < until for since, until in self._stalls):
            return {}
        ready.sort(key=lambda load: load.available)
        order = ready[-1].switches.file_order
        if order == "parallel":
            return {id(load): self.rows_per_second / len(ready) for load in ready}
        places = {"fifo": ready[0], "newest_first": ready[-1]}
        chosen = places.get(order) or min(ready, key=lambda load: load.place)
        return {id(chosen): self.rows_per_second}

    def _is_ready(self, place: int, load: Load) -> bool:
        if load.file is None:  # a single registration that queues behind the files accepted before it
            return all(before.file is None for before in self._pending[:place])
        return load.available <= self._now

    def _ranks(self, rows: int, order: str) -> npt.NDArray[np.int32] | None:
        if order == "file":
            return None
        turns = np.arange(rows, dtype=np.int32)
        if order == "reversed":
            return turns[::-1].copy()
        return np.random.default_rng(self.rng.getrandbits(64)).permutation(turns)
