"""What was sent, written down before it is sent: the memory that makes a crash harmless.

Every POST of a file is a *send* with an entry of its own, so that what may be loading anywhere is known from
the entries alone. Nothing here is derived twice: when a send settles, whether it is open, how many rows went
out today are all computed from the entries.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime
from enum import IntEnum, StrEnum
from typing import Any, Literal

import numpy as np

from kfr.clock import oslo_date
from kfr.load.staging import Place
from kfr.relationships.customers import NOTHING, among, union
from kfr.relationships.packing import Ints, date_of, day_number, ids_of, starts_of

ASKED = "asked"  # folder: who has read the delivery log, when and why
UNANSWERED = "-singles-unanswered-"  # in a name of it: who was sent singly, and no answer came
DELIVERED = "delivered"  # folder: who was in what was sent, for the delivery log
SETTLING_MARGIN_SECONDS = 10.0  # the rate is "about" 250, and a register may take a moment to begin
SETTLING_FACTOR = 2  # a second copy of every file may be loading, too (nothing says that it cannot)
FIRST_LOOK_SECONDS = 120.0  # so late a first look that found the file counts for the time that it took
DOUBT_SECONDS = 12 * 3600.0  # a file that was sent just before midnight, too, is given some hours
# Refusals that say of a row that it is wrong; any other may be the interface's (OAS).
OF_A_ROW = frozenset({"KFR-005", "KFR-010", "ERR-002", "ERR-003"})


class Outcome(StrEnum):
    INTENDED = "intended"  # written before the POST; still standing after a crash: it may have been sent
    ACCEPTED = "accepted"  # 201: valid, not loaded
    UNKNOWN = "unknown"  # no answer: it may be loading
    REFUSED = "refused"  # turned down whole: nothing of it will load


class Single(IntEnum):
    """How far a single addition has come."""

    INTENDED = 0
    ANSWERED = 1
    PROVEN = 2
    THERE_BEFORE = 3  # by an earlier try, or since an earlier day: the next load looks up since when


class StartChange(IntEnum):
    """What became of a relationship that was filed again with another start."""

    SENT = 0
    CORRECTED = 1  # looked up: the new start holds
    KEPT = 2  # looked up: the register kept the old one
    UNTAKEN = 3  # looked up the first time that it was filed: the old one holds, or the file is lost or late


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """A customer absent before the send; found afterwards, it proves the send."""

    customer_id: int = field(repr=False)
    shared: bool = field(default=False, compare=False)  # something else can have brought it, too


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """One POST of one file."""

    file: str  # the file's fingerprint
    attempt: int
    run: str
    label: str
    rows: int
    size: int  # bytes of the whole request body
    counts_from: float  # Unix seconds: the answer, or the latest moment at which it can have arrived
    outcome: Outcome = Outcome.INTENDED
    correlation_id: str | None = None
    witnesses: tuple[Witness, ...] = ()
    proven_at: float | None = None  # when its witnesses were found
    missing_until: float | None = None  # when a witness was last seen to be missing
    closed_because: str | None = None  # a person's reason
    shown: bool = False  # proven, and by a witness whom nothing else can have brought
    verified: bool = False  # a sample of its rows was looked up, and what was missing is known
    code: str | None = None  # with which it was refused

    @property
    def name(self) -> str:
        return f"sends/{self.file[:40]}-{self.attempt}"

    @property
    def day(self) -> date:
        """The Oslo day from which it counts."""
        return oslo_date(datetime.fromtimestamp(self.counts_from, UTC))

    @property
    def loads(self) -> bool:
        """Whether any row of it may be in the register, now or later."""
        return self.outcome is not Outcome.REFUSED


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When a send should be loaded, is late, and when nothing of it can still be loading; Unix seconds."""

    loaded_at: float
    late_at: float
    settled_at: float


def schedule(sends: Iterable[Send], rows_per_second: float) -> dict[str, Schedule]:
    """Queue the sends behind each other at the register's rate (ONB D-3), by name.

    A register that was seen to be slower than its rate is given twice the time that it was seen to take. What stands
    behind a file that was found late is given its time from then on: the register may have stood still. Where a
    file was sent more than once nothing says which copy came in the end: what waits until nothing can be loading
    (removals) takes it for the first, what only asks whether others are late takes it for the last.
    """
    sends = [send for send in sends if send.loads]
    last = {send.file: send.attempt for send in sorted(sends, key=lambda s: s.attempt)}
    loaded = late = settled = 0.0
    result = {}
    for send in sorted(sends, key=lambda s: s.counts_from):
        seconds = send.rows / rows_per_second
        loaded = max(loaded, send.counts_from) + seconds
        late = max(late, send.counts_from) + SETTLING_FACTOR * seconds
        settled = max(settled, send.counts_from) + SETTLING_FACTOR * seconds
        if send.proven_at is not None:  # it is there, and a second copy of it may be next
            settled = max(settled, send.proven_at + (SETTLING_FACTOR - 1) * seconds)
            took = send.proven_at - send.counts_from  # after longer, `is_doubtful` says who waits
            if took <= SETTLING_FACTOR * seconds + FIRST_LOOK_SECONDS:
                settled = max(settled, send.counts_from + SETTLING_FACTOR * took)
            if send.attempt == last[send.file]:
                late = max(late, send.proven_at)
        if send.missing_until is not None:
            seen = send.counts_from + SETTLING_FACTOR * (send.missing_until - send.counts_from)
            settled = max(settled, seen)
            if send.attempt == last[send.file]:
                late = max(late, seen)
        result[send.name] = Schedule(
            loaded_at=loaded,
            late_at=late + SETTLING_MARGIN_SECONDS,
            settled_at=settled + SETTLING_MARGIN_SECONDS,
        )
    return result


def is_open(send: Send, plan: Schedule | None, now: float) -> bool:
    """Whether rows of this send may still be loading, as far as is proven."""
    if plan is None or send.closed_because is not None:
        return False
    if now < plan.settled_at:
        return True
    # Nothing can prove a send without witnesses; whatever came of it, the time for it has passed.
    return send.proven_at is None and bool(send.witnesses)


def is_doubtful(send: Send, now: float) -> bool:
    """Whether nothing shows that a send has loaded, and it is too early to say that nothing of it will come.

    The time for it may have passed, but the register may have stood still: so the rest of the day, and half a day.
    The same of a second copy of one that was found at the first look: it may take as long as the first one has.
    """
    if not _is_recent(send, now):
        return False
    if send.proven_at is not None and send.shown:
        took = send.proven_at - send.counts_from
        if send.missing_until is not None or now >= send.counts_from + SETTLING_FACTOR * took:
            return False
    return True


def _is_recent(send: Send, now: float) -> bool:
    """Whether something of a send may come yet, should it not be there: the rest of the day, and half a day."""
    today = oslo_date(datetime.fromtimestamp(now, UTC))
    return send.loads and (send.day == today or now < send.counts_from + DOUBT_SECONDS)


class Journal:
    """The sends, single additions and changed starts of one institution, in its state folder."""

    def __init__(self, state: Place) -> None:
        self._state = state

    def sends(self) -> list[Send]:
        """The sends that are not archived.

        The same bytes are refused alike, if the answer says that a row is wrong: where one was, the others are that
        had no answer.
        """
        return self._sends(self._state.names("sends"))

    def _sends(self, names: Iterable[str]) -> list[Send]:
        sends = [_send(self._state.read_json(name)) for name in names]
        refused = {s.file for s in sends if s.outcome is Outcome.REFUSED and s.code in OF_A_ROW}
        return [
            replace(send, outcome=Outcome.REFUSED)
            if send.file in refused and send.outcome is not Outcome.ACCEPTED
            else send
            for send in sends
        ]

    def of_file(self, fingerprint: str) -> list[Send]:
        """The sends of a file, first to last."""
        own = [name for name in self._state.names("sends") if name.startswith(f"sends/{fingerprint[:40]}-")]
        return sorted(self._sends(own), key=lambda s: s.attempt)

    def intend(self, send: Send, rows: Ints) -> None:
        """Record that `send` is about to go out, with its rows, before it does."""
        self._state.write_array(f"rows/{send.file[:40]}", rows)
        self.put(send)

    def put(self, send: Send) -> None:
        self._state.write_json(send.name, asdict(send))

    def rows(self, send: Send) -> Ints:
        return self._state.read_array(f"rows/{send.file[:40]}")

    def doubtful(self, now: float) -> Ints:
        """Rows that may come yet, of files that nothing shows to be loaded (`is_doubtful`); of archived ones, too.

        And those of a file that is shown to be loaded, but which look-ups did not find.
        """
        recent = [send for send in self.sends() if _is_recent(send, now)]
        here = [self.rows(s) if is_doubtful(s, now) else self.missing(s.file) for s in recent]
        return union(*here, *(rows for _, rows in self.archived_doubtful(now)))

    def recent_rows(self, now: float) -> Ints:
        """Rows of every file of which something may come yet, by whichever copy; of archived ones, too."""
        here = (self.rows(send) for send in self.sends() if _is_recent(send, now))
        return union(*here, *(rows for _, rows in self._archived_of_late(now, _is_recent)))

    def singles_behind(self, now: float) -> Ints:
        """The single additions, packed, that may wait in the register behind a doubtful file: since its day."""
        sends = [*self.sends(), *(send for send, _ in self.archived_doubtful(now))]
        days = [send.day for send in sends if is_doubtful(send, now)]
        if not days:
            return NOTHING
        here = (self.singles(run)[:, 0] for run in self.runs_with("singles"))
        names = (n for n in self._state.names(DELIVERED) if "-singles-" in n)
        past = (self._state.read_array(n) for n in names if n >= f"{DELIVERED}/{min(days).isoformat()}")
        singles = union(*here, *past)
        return singles[starts_of(singles) >= day_number(min(days))]

    def archived_doubtful(self, now: float) -> list[tuple[Send, Ints]]:
        """Those sends of which the entry is archived, and their rows, packed and sorted."""
        return self._archived_of_late(now, is_doubtful)

    def _archived_of_late(self, now: float, that: Callable[[Send, float], bool]) -> list[tuple[Send, Ints]]:
        first = f"{DELIVERED}/{oslo_date(datetime.fromtimestamp(now - DOUBT_SECONDS, UTC)).isoformat()}"
        return [
            (send, np.sort(self._state.read_array(name)))
            for name, send in self._delivered(n for n in self._state.names(DELIVERED) if n >= first)
            if send and that(send, now)
        ]

    def missing(self, file: str) -> Ints:
        """The rows of a file, proven as a whole, that look-ups did not find; packed."""
        name = f"missing/{file[:40]}"
        return self._state.read_array(name) if self._state.exists(name) else NOTHING

    def put_missing(self, file: str, rows: Ints) -> None:
        """Let nobody be proven by `rows` of a file: it may be proven as a whole and still lack them."""
        self._state.write_array(f"missing/{file[:40]}", rows)

    def withdraw(self, send: Send) -> None:
        """Take an intention back: it is certain that nothing was sent."""
        self._state.delete(send.name)

    def archive(self, send: Send) -> None:
        """Keep a closed send for the delivery log: the fact without identifiers, and apart from it who was in it.

        One of which rows are missing shows nothing any more: they may come yet, and which they are is not kept.
        """
        send = replace(send, shown=send.shown and not self.missing(send.file).size)
        sent = f"{send.day.isoformat()}-{send.file[:40]}-{send.attempt}-{send.counts_from:.0f}"
        if self._state.exists(f"rows/{send.file[:40]}"):  # else a worker died after this, and before the end
            self._state.write_array(f"{DELIVERED}/{sent}", self.rows(send))
        self._state.write_json(f"history/{sent}", asdict(replace(send, witnesses=())))
        self._state.delete(send.name)
        if not self.of_file(send.file):
            self._state.delete(f"rows/{send.file[:40]}")
            self._state.delete(f"missing/{send.file[:40]}")

    def of_run(self, run: str, since: float) -> list[Send]:
        """The sends of a run that began at `since` (Unix seconds), those that are archived by now too."""
        first = f"history/{oslo_date(datetime.fromtimestamp(since, UTC)).isoformat()}"
        names = [n for n in self._state.names("history") if n >= first and "-singles-" not in n]
        past = [_send(self._state.read_json(name)) for name in names]
        found = {(s.name, s.counts_from): s for s in [*past, *self.sends()]}
        return sorted((s for s in found.values() if s.run == run), key=lambda s: (s.label, s.counts_from))

    def open_sends(self, rows_per_second: float, now: float) -> list[tuple[Send, Schedule]]:
        sends = self.sends()
        plans = schedule(sends, rows_per_second)
        return [(s, plans[s.name]) for s in sends if is_open(s, plans.get(s.name), now)]

    def singles(self, run: str) -> Ints:
        """Single additions of a run: int64 of shape (n, 2), packed relationship and `Single`."""
        name = f"singles/{run}"
        return self._state.read_array(name) if self._state.exists(name) else np.empty((0, 2), np.int64)

    def put_singles(self, run: str, singles: Ints) -> None:
        self._state.write_array(f"singles/{run}", singles)

    def start_changes(self, run: str) -> Ints:
        """Starts that a run filed again: int64 of shape (n, 3), as filed, as before (packed), `StartChange`."""
        name = f"starts/{run}"
        return self._state.read_array(name) if self._state.exists(name) else np.empty((0, 3), np.int64)

    def put_start_changes(self, run: str, entries: Ints) -> None:
        if len(entries) or self._state.exists(f"starts/{run}"):
            self._state.write_array(f"starts/{run}", entries)

    def drop_start_changes(self, run: str) -> None:
        self._state.delete(f"starts/{run}")

    def runs_with(self, what: Literal["singles", "starts"]) -> list[str]:
        """The runs that have entries of single additions, or of changed starts."""
        return [name.removeprefix(f"{what}/") for name in self._state.names(what)]

    def drop_singles(self, run: str) -> None:
        self._archive_singles(run, self.singles(run))
        self._state.delete(f"singles/{run}")

    def void_singles(self, run: str, customers: Ints) -> Ints:
        """Archive those single additions of a run that are of `customers` (sorted): they prove nothing more."""
        singles = self.singles(run)
        theirs = among(ids_of(singles[:, 0]), customers)
        if theirs.any():
            self._archive_singles(run, singles[theirs])
            self.put_singles(run, singles[~theirs])
        rows: Ints = singles[theirs, 0]
        return rows

    def _archive_singles(self, run: str, singles: Ints) -> None:
        """Add single additions to the delivery log and to the figures, by day.

        A run that is cleared comes here once more, and what it sent then counts beside what it had sent before. If a
        worker dies before the end the day counts too many, never too few: the notice to Bits may go early.
        """
        packed, states = singles.T
        for number in np.unique(starts_of(packed)).tolist():
            if day := date_of(number):
                name, of_day = f"{day.isoformat()}-singles-{run}", starts_of(packed) == number
                unanswered = of_day & (states == Single.INTENDED)
                self._deliver(name, packed[of_day & ~unanswered])
                if unanswered.any():
                    self._deliver(f"{day.isoformat()}{UNANSWERED}{run}", packed[unanswered])
                before = f"history/{name}"
                sent = int(self._state.read_json(before)["rows"]) if self._state.exists(before) else 0
                self._state.write_json(before, {"rows": sent + int(of_day.sum())})

    def archive_removals(self, run: str, removed: Ints) -> None:
        """Keep for the delivery log whose removal is proven: packed with the day on which it was answered."""
        for number in np.unique(starts_of(removed)).tolist():
            if day := date_of(number):
                self._deliver(f"{day.isoformat()}-removals-{run}", removed[starts_of(removed) == number])

    def removals_of(self, customers: Ints) -> Ints:
        """The proven removals of `customers` (sorted), packed with the day on which each was answered."""
        names = self._state.names(DELIVERED)
        removals = (self._state.read_array(name) for name in names if "-removals-" in name)
        return union(*(rows[among(ids_of(rows), customers)] for rows in removals))

    def _deliver(self, name: str, rows: Ints) -> None:
        """Add to what the delivery log has under a name: a run comes here more than once."""
        kept = f"{DELIVERED}/{name}"
        before = [self._state.read_array(kept)] if self._state.exists(kept) else []
        self._state.write_array(kept, union(*before, rows))

    def archived(self) -> Iterator[tuple[str, Send | None, Ints]]:
        """The delivery log: the name (it begins with the day), the send if it was one, and its packed rows."""
        for name, send in self._delivered(self._state.names(DELIVERED)):
            yield name.removeprefix(f"{DELIVERED}/"), send, self._state.read_array(name)

    def _delivered(self, names: Iterable[str]) -> Iterator[tuple[str, Send | None]]:
        for name in names:
            fact = f"history/{name.removeprefix(f'{DELIVERED}/')}"
            of_file = "-singles-" not in name and "-removals-" not in name and self._state.exists(fact)
            yield name, _send(self._state.read_json(fact)) if of_file else None

    def rows_sent_on(self, day: date) -> int:
        """Rows that left on an Oslo day, over files, singles and re-sends, as the notice counts them."""
        under_way = sum(s.rows for s in self.sends() if s.loads and s.day == day)
        names = (n for n in self._state.names("history") if n.startswith(f"history/{day.isoformat()}-"))
        archived = (self._state.read_json(name) for name in names)
        past = sum(int(s["rows"]) for s in archived if s.get("outcome") != Outcome.REFUSED)
        today = day_number(day)  # a single addition carries no date: it starts on the day on which it left
        singles = sum(
            int((starts_of(self.singles(run)[:, 0]) == today).sum()) for run in self.runs_with("singles")
        )
        return under_way + past + singles


def _send(value: dict[str, Any]) -> Send:
    witnesses = tuple(Witness(**w) for w in value.pop("witnesses"))
    return Send(**{**value, "outcome": Outcome(value["outcome"])}, witnesses=witnesses)
