"""What the register holds for one institution: a pure function of what happened to it, and of time.

Nothing is applied when a row takes effect. A customer's state at any moment is folded from the rows of files that had taken
effect by then and from the single calls: so look-ups can lag, five million rows need no five million objects, and hours
of loading cost nothing until someone asks.
"""

from collections import defaultdict
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from enum import Enum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tests.simulator.clock import oslo_day, oslo_days
from tests.simulator.loading import Batch, Ints, Load
from tests.simulator.switches import Switches

Days = npt.NDArray[np.int32]
Snapshot = tuple[Ints, Days, Days]
SMALL_BATCH_ROWS = 20_000  # batches up to this are indexed by customer in a dict, since there may be many


@dataclass(frozen=True, slots=True)
class Period:
    """One period of a relationship; days are ordinals. `last` is the last day on which it is found, None: it goes on."""

    start: int
    last: int | None = None
    ended_on: int | None = None  # what the register shows as its end
    file: int | None = None  # the file that set its start; None: a single call
    removed_on: int | None = None  # the day of the call

    def overlaps(self, first: int, last: int) -> bool:
        if self.last is None:
            return self.start <= last
        return self.start <= self.last and self.start <= last and first <= self.last


class Act(Enum):
    REGISTER = "register"  # on a day, by a single call or a row
    END = "end"
    ERASE = "erase"
    MOVE_START = "move_start"  # a defect


class Entry(NamedTuple):
    """Something that happened to one customer."""

    at: float  # seconds since the simulator began
    order: int
    act: Act
    day: int  # of the start, or the last day; an ordinal
    switches: Switches
    ended_on: int = 0
    file: int | None = None
    dated: bool = False


@dataclass(slots=True)
class Register:
    """All relationships of one institution. Moments are seconds since it `began`, an aware moment."""

    began: datetime
    _loads: list[Load] = field(default_factory=list)
    _large: list[Load] = field(default_factory=list)
    _small: dict[int, list[tuple[Load, int]]] = field(default_factory=lambda: defaultdict(list))
    _singles: dict[int, list[Entry]] = field(default_factory=lambda: defaultdict(list))
    _orders: dict[int, int] = field(default_factory=dict)
    _epoch: float = field(init=False)

    def __post_init__(self) -> None:
        self._epoch = self.began.timestamp()

    def moment(self, at: datetime) -> float:
        """Seconds since it began, exact to the microsecond."""
        return (at - self.began).total_seconds()

    def at(self, moment: float) -> datetime:
        return self.began + timedelta(seconds=moment)

    def add_load(self, load: Load) -> None:
        self._orders[id(load)] = len(self._loads)
        self._loads.append(load)
        if len(load.batch) > SMALL_BATCH_ROWS:
            self._large.append(load)
            return
        for row, customer_id in enumerate(load.batch.ids.tolist()):
            self._small[customer_id].append((load, row))

    def record(
        self, customer_id: int, at: float, act: Act, switches: Switches, *, day: int, ended_on: int = 0
    ) -> None:
        """Remember a single call, or a defect, at a moment not before the last one."""
        entries = self._singles[customer_id]
        entries.append(Entry(at, len(self._loads), act, day, switches, ended_on))

    def periods(self, customer_id: int, at: float) -> list[Period]:
        """The periods of a customer as of a moment, the latest last; empty: not registered."""
        periods: list[Period] = []
        for entry in sorted(self._entries(customer_id, at), key=lambda entry: entry[:2]):
            _apply(periods, entry, self.today(entry.at))
        return periods

    def is_active(self, customer_id: int, at: float) -> bool:
        periods = self.periods(customer_id, at)
        return bool(periods) and periods[-1].last is None

    def today(self, at: float) -> int:
        return oslo_day(self._epoch + at)

    def snapshot(self, at: float) -> Snapshot:
        """All customers as of a moment: sorted identifiers, starts, ends shown (0: none); the latest period of each."""
        ids, starts = self._loaded_rows(at)
        order = np.argsort(ids, kind="stable")
        ids, starts = ids[order], starts[order]
        twice = np.zeros(len(ids), np.bool_)
        twice[1:] = ids[1:] == ids[:-1]
        folded = np.union1d(ids[twice], np.fromiter(self._singles, np.int64, len(self._singles)))
        simple = ~np.isin(ids, folded)
        rest = [(one, periods[-1]) for one in folded.tolist() if (periods := self.periods(one, at))]
        ids = np.concatenate([ids[simple], np.array([one for one, _ in rest], np.int64)])
        starts = np.concatenate([starts[simple], np.array([last.start for _, last in rest], np.int32)])
        ends = np.zeros(len(ids), np.int32)
        ends[len(ids) - len(rest) :] = [last.ended_on or 0 for _, last in rest]
        order = np.argsort(ids, kind="stable")
        return ids[order], starts[order], ends[order]

    def _entries(self, customer_id: int, at: float) -> list[Entry]:
        entries = [entry for entry in self._singles.get(customer_id, ()) if entry.at <= at]
        for load, row in self._small.get(customer_id, ()):
            self._take_row(entries, load, row, at)
        for load in self._large:
            for row in load.batch.rows_of(customer_id):
                self._take_row(entries, load, row, at)
        return entries

    def _take_row(self, entries: list[Entry], load: Load, row: int, at: float) -> None:
        effective = load.effective(row)
        if effective > at:
            return
        day = int(load.batch.days[row])
        started = day or oslo_day(self._epoch + effective)
        order = self._orders[id(load)]
        entries.append(
            Entry(effective, order, Act.REGISTER, started, load.switches, file=load.file, dated=day > 0)
        )

    def _loaded_rows(self, at: float) -> tuple[Ints, Days]:
        ids, starts = [np.zeros(0, np.int64)], [np.zeros(0, np.int32)]
        for load in self._loads:
            effective = load.effective_of_all()
            loaded = effective <= at
            days = load.batch.days[loaded]
            ids.append(load.batch.ids[loaded])
            starts.append(np.where(days > 0, days, oslo_days(self._epoch + effective[loaded])))
        return np.concatenate(ids), np.concatenate(starts)


def _apply(periods: list[Period], entry: Entry, today: int) -> None:
    """Fold one entry into a customer's periods, by the switches that were in force."""
    current = periods[-1] if periods else None
    if entry.act is Act.REGISTER:
        _register(periods, entry, today)
    elif current is None:
        return
    elif entry.act is Act.ERASE:
        periods.clear()
    elif entry.act is Act.MOVE_START:
        periods[-1] = replace(current, start=entry.day)
    elif current.last is None:
        periods[-1] = replace(current, last=entry.day, ended_on=entry.ended_on, removed_on=today)


def _register(periods: list[Period], entry: Entry, today: int) -> None:
    current = periods[-1] if periods else None
    if current is None:
        periods.append(Period(entry.day, file=entry.file))
    elif current.last is None:
        if entry.dated and _changes_start(current, entry):
            periods[-1] = Period(entry.day, file=entry.file)
    elif is_ignored(current, entry.switches, today):
        return
    elif entry.switches.re_registration in ("revives", "no_effect_that_day"):
        periods[-1] = Period(current.start, file=entry.file)
    elif entry.switches.re_registration == "new_start":
        periods.append(Period(entry.day, file=entry.file))


def is_ignored(ended: Period, switches: Switches, today: int) -> bool:
    """Whether a registration does nothing to a relationship that has ended."""
    that_day = switches.re_registration == "no_effect_that_day" and ended.removed_on == today
    return that_day or switches.re_registration == "no_effect"


def _changes_start(current: Period, entry: Entry) -> bool:
    if current.file is None:
        return entry.switches.file_after_single == "changes_start"
    if current.file == entry.file:
        return entry.switches.duplicates == "last"
    return entry.switches.second_file == "changes_start"


def removal(switches: Switches, today: int) -> tuple[Act, int, int]:
    """What a DELETE does today: the act, the last day on which it is found, the end that is shown."""
    if switches.removal == "erases":
        return Act.ERASE, 0, 0
    last = today if switches.removal == "ends_today_inclusive" else today - 1
    shown = today - 1 if switches.removal == "ends_yesterday" else today
    return Act.END, last, shown


def batch_of_one(customer_id: int) -> Batch:
    return Batch(np.array([customer_id], np.int64), np.zeros(1, np.int32))


def date_of(ordinal: int) -> date | None:
    return date.fromordinal(ordinal) if ordinal else None
