"""Read agreements from the warehouse and fold them into what the register should hold.

The result is sealed in the run's folder: `<name>.active` and `<name>.ended` (packed relationships),
`<name>.waiting` and `<name>.tainted` (customers), and `<name>.json` (day and counts, nothing else). The refused
rows are kept apart, as they were read, for the data steward.

Everyone is read, or with the scope `interval` those customers of whom something changed in some days: all of
their agreements, so that they fold to their state now whatever the interval is. A load that begins at the last
proven day reads those, too, of whom a load before has left something open, however long ago they changed.
"""

import itertools
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from kfr.clock import oslo_today
from kfr.load import lease, mirror, refusals, rejects, start_pairs, watermark
from kfr.load.evidence import PLAN
from kfr.load.rejects import Row
from kfr.load.removal_queue import Removal, RemovalQueue
from kfr.load.warehouse import Snapshot
from kfr.load.world import World
from kfr.register.errors import ConfigurationError, Retriable
from kfr.relationships import agreements as a
from kfr.relationships.columns import take
from kfr.relationships.customers import NOTHING, among, distinct, union, without
from kfr.relationships.identifiers import BLOCK_ROWS, Bytes, Reason, classify, worlds
from kfr.relationships.identifiers import World as Population
from kfr.relationships.packing import UNKNOWN_DAY, Ints, day_number, ids_of, lookup, starts_of, text_of

PARTS = ("active", "ended", "waiting", "tainted")
QUESTION = 500  # customers in one question to the warehouse
ASKED = "asked_again"  # in the state folder: customers of ours whom every load of an interval reads, see keep_asking
LATE_FACTS = timedelta(days=7)  # how far before the watermark an interval reaches back
_LABELS = [reason.label for reason in Reason]  # by number
CHECKED_CUSTOMERS = 200  # whose agreements are asked a second time, to see that the interval gave all of them


class CountMismatch(Retriable):
    """The rows read are not as many as the warehouse counted: the extract is incomplete."""


class HalfCustomers(Retriable):
    """Two of the warehouse's queries disagree about a customer: one leaves out agreements that the other gives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extract:
    """What an extract found; the arrays hold identifiers, the counts do not."""

    as_of: date
    days: tuple[date, date] | None  # the interval; None: everyone
    active: Ints = field(repr=False)
    ended: Ints = field(repr=False)
    waiting: Ints = field(repr=False)
    tainted: Ints = field(repr=False)
    counts: dict[str, int]
    rejected: dict[str, int]
    worlds: dict[str, int]
    alone_since: int  # of the lease under which it was made; 0 in a dry run

    @property
    def rows(self) -> int:
        return self.counts["rows"]

    @property
    def customers(self) -> Ints:
        """Everyone of whom the extract says anything, sorted."""
        return union(ids_of(self.active), ids_of(self.ended), self.waiting, self.tainted)

    @property
    def customer_count(self) -> int:
        """As many as `customers`, without an array of millions: only the few tainted ones overlap."""
        known = among(self.tainted, self.waiting)
        for part in (self.active, self.ended):
            known |= lookup(part, self.tainted) >= 0
        return sum(map(len, (self.active, self.ended, self.waiting))) + int((~known).sum())


def extract_relationships(world: World) -> Extract:
    """Read whom the run is about and say what was found; clearing this renews the day."""
    world.place.delete(PLAN)  # one from before is not of this extract, and no report may mix the two
    days = interval(world) if world.run.scope == "interval" else None
    more = _left_open(world) if days and world.run.interval is None else NOTHING
    result = extract(world, as_of=world.run.as_of, days=days, more=more)
    if days:
        _require_whole_customers(world, result)
    if not world.run.dry_run:
        _remember_tainted(world, result)
    world.say(sentence(result))
    return result


def interval(world: World) -> tuple[date, date] | None:
    """The days whose changes the run is about; None when nothing is proven yet, so that it is everyone.

    :raises ConfigurationError: the interval is inverted or lies in the future.
    """
    today = oslo_today(world.clock)
    if world.run.interval is None:
        proven = watermark.read(world)
        if proven is None:
            world.say("No load for everyone is proven yet, so there is no day to begin at: reading everyone.")
            return None
        return min(proven, today) - LATE_FACTS, today
    first, last = world.run.interval
    if first > last:
        raise ConfigurationError(
            f"The interval begins on {first} and ends before it, on {last}. Turn it around."
        )
    if first > today:
        raise ConfigurationError(
            f"The interval begins on {first}, which lies in the future (today in Oslo is {today}): nothing can "
            "have changed in it. Name days that have begun."
        )
    return first, last


def _left_open(world: World) -> Ints:
    """Customers who were sent and not proven, or whose row, start or removal is open: no day tells of them."""
    refused = distinct(ids_of(refusals.read(world.state)[:, 0]))
    possible = ids_of(mirror.read(world).possible) if mirror.is_readable(world) else NOTHING
    begun = RemovalQueue.read(world.state).of(Removal.INTENDED, Removal.HELD)
    return union(possible, refused, start_pairs.unsettled(world), begun, _asked(world))


def keep_asking(world: World, customers: Ints) -> None:
    """Let every load of an interval read `customers` (sorted) until the mirror has them as the warehouse does."""
    before = _asked(world)
    if without(customers, before).size:
        world.state.write_array(ASKED, union(before, customers))


def _remember_tainted(world: World, found: Extract) -> None:
    """Keep asking for whose end is open for a refused row: that it was deleted is no change in any interval.

    Until they are gone from the mirror, or customers with the start that it has: a run may die before its removals.
    """
    before = _asked(world)
    open_ = union(before, found.tainted)
    if not open_.size:
        return
    if mirror.is_readable(world):
        held, rows = mirror.read(world), lookup(found.active, open_)
        ours = (lookup(held.proven, open_) >= 0) | (lookup(held.possible, open_) >= 0)
        known = among(rows, union(held.proven, start_pairs.kept(world)[:, 0]))
        known |= (rows >= 0) & (starts_of(rows) == UNKNOWN_DAY)
        open_ = open_[ours & ~known]
    if found.as_of < oslo_today(world.clock):
        open_ = union(open_, before)  # of a past day: it does not tell who is one today
    if not np.array_equal(open_, before):
        world.state.write_array(ASKED, open_)


def _asked(world: World) -> Ints:
    return world.state.read_array(ASKED) if world.state.exists(ASKED) else NOTHING


def extract(
    world: World,
    name: str = "extract",
    *,
    as_of: date | None = None,
    days: tuple[date, date] | None = None,
    more: Ints = NOTHING,
) -> Extract:
    """Read everyone, or who changed in `days` and `more`, as of a day (default: today in Oslo) and seal the result.

    :raises ConfigurationError: `as_of` lies in the future, or the SQL does not give what is asked for.
    :raises CountMismatch: the source's own count, taken in the same snapshot, differs.
    """
    day = resolve_as_of(world, as_of)
    warehouse = world.warehouse
    refused: list[Row] = []
    outside = _Outside(days) if days else None
    with warehouse.changed_agreements(*days) if days else warehouse.agreements(day) as snapshot:
        parts = itertools.chain(_read(snapshot, refused, outside), _read_more(world, more, refused, outside))
        folded = a.fold_parts(parts, day_number(day))
        expected = snapshot.expected_rows
    if expected is not None and expected != folded.rows:
        raise CountMismatch(
            f"agreements.sql gave {folded.rows:,} rows where count_agreements.sql counted {expected:,}. "
            "Nothing was sent. Make the two agree (same tables, same conditions), or read from a source that "
            "holds still."
        )
    result = Extract(
        alone_since=0 if world.run.dry_run else lease.alone_since(world),
        as_of=day,
        days=days,
        active=folded.active,
        ended=folded.ended,
        waiting=folded.waiting,
        tainted=folded.tainted,
        counts={
            "rows": folded.rows,
            "active": len(folded.active),
            "folded": folded.rows_folded,
            "not_active": folded.rows_not_active,
            "rejected": folded.rows_rejected,
            "without_start": folded.without_start,
            "outside": outside.customers if outside else 0,
        },
        rejected=dict(folded.rejected_by_reason),
        worlds=_worlds(folded.active),
    )
    _write(world, name, result)
    rejects.keep(world, name, refused)
    return result


def read(world: World, name: str = "extract") -> Extract:
    """The extract that this run made earlier."""
    facts: dict[str, Any] = world.place.read_json(f"{name}.json")
    facts["as_of"] = date.fromisoformat(facts["as_of"])
    facts["days"] = tuple(map(date.fromisoformat, facts["days"])) if facts["days"] else None
    facts |= {part: world.place.read_array(f"{name}.{part}") for part in PARTS}
    return Extract(**facts)


def resolve_as_of(world: World, as_of: date | None) -> date:
    today = oslo_today(world.clock)
    if as_of is not None and as_of > today:
        raise ConfigurationError(
            f"as_of is {as_of}, which lies in the future (today in Oslo is {today}). "
            "Leave it empty, or name a past day."
        )
    return as_of or today


def fold_again(world: World, customers: Ints, as_of: date) -> a.Folded:
    """Ask the warehouse about `customers` again, for all of their agreements as they stand now."""
    table = world.warehouse.agreements_of([text_of(int(c)) for c in customers])
    return a.fold(a.read_agreements(table), day_number(as_of))


def _require_whole_customers(world: World, found: Extract) -> None:
    """Ask for some customers of an interval again: a query that gives only what changed would end them.

    :raises HalfCustomers: the second answer differs.
    """
    some = found.customers[:: max(1, len(found.customers) // CHECKED_CUSTOMERS)]
    if not some.size:
        return
    again = fold_again(world, some, found.as_of)
    first = lookup(found.active, some)
    if differ := len(np.setxor1d(first[first >= 0], again.active)):
        raise HalfCustomers(
            f"changed_agreements.sql and agreements_of.sql disagree about {differ} of {len(some)} customers. "
            "Nothing was sent. The first must give all agreements of each customer of whom one changed, not "
            "only the changed ones; if the warehouse was being loaded, the retry will see it settled."
        )


def _read(snapshot: Snapshot, refused: list[Row], outside: "_Outside | None") -> Iterator[a.Agreements]:
    for batch in snapshot.batches():
        read = a.read_agreements(batch)
        refused += _refused(batch, read.reasons, rejects.KEPT_REJECTS - len(refused))
        if outside:
            outside.see(read)
        yield read


def _read_more(
    world: World, more: Ints, refused: list[Row], outside: "_Outside | None"
) -> Iterator[a.Agreements]:
    """The agreements of those of `more` who were not among the others."""
    left = without(more, outside.everyone) if outside else more
    for first in range(0, len(left), QUESTION):
        texts = [text_of(customer) for customer in left[first : first + QUESTION].tolist()]
        for batch in world.warehouse.agreements_of(texts).to_batches():
            read = a.read_agreements(batch)
            refused += _refused(batch, read.reasons, rejects.KEPT_REJECTS - len(refused))
            yield read


def _worlds(active: Ints) -> dict[str, int]:
    counts, numbers_of_2032 = np.zeros(len(Population) + 1, np.int64), 0
    for first in range(0, len(active), BLOCK_ROWS):
        kinds, is_2032 = classify(ids_of(active[first : first + BLOCK_ROWS]))
        counts += np.bincount(worlds(kinds), minlength=len(counts))
        numbers_of_2032 += int(is_2032.sum())
    return {str(int(w)): int(counts[w]) for w in Population if counts[w]} | {"is_2032": numbers_of_2032}


def _write(world: World, name: str, extract_: Extract) -> None:
    facts = asdict(extract_)
    for part in PARTS:
        world.place.write_array(f"{name}.{part}", facts.pop(part))
    dates = {"as_of": extract_.as_of.isoformat(), "days": extract_.days and [str(d) for d in extract_.days]}
    world.place.write_json(f"{name}.json", {**facts, **dates})


def sentence(result: Extract) -> str:
    reasons = ", ".join(f"{n:,} {reason}" for reason, n in sorted(result.rejected.items())) or "none"
    whom = f"who changed from {result.days[0]} to {result.days[1]}" if result.days else "everyone"
    return (
        f"Extracted {whom} as of {result.as_of}: {result.rows:,} rows, {len(result.active):,} active relationships, "
        f"{result.counts['folded']:,} rows folded, {result.counts['not_active']:,} not active, "
        f"rejected: {reasons}."
    )


class _Outside:
    """Customers of whom no agreement began or ended in an interval: entered late, or the query is too wide."""

    def __init__(self, days: tuple[date, date]) -> None:
        self._first, self._last = map(day_number, days)
        self._everyone: list[Ints] = []
        self._changed: list[Ints] = []

    def see(self, part: a.Agreements) -> None:
        changed = ((part.starts >= self._first) & (part.starts <= self._last)) | (
            (part.ends >= self._first) & (part.ends <= self._last)
        )
        known = part.ids != 0
        self._everyone.append(part.ids[known])
        self._changed.append(part.ids[known & changed])

    @property
    def everyone(self) -> Ints:
        return union(*self._everyone)

    @property
    def customers(self) -> int:
        return len(self.everyone) - len(union(*self._changed))


def _refused(batch: pa.RecordBatch, reasons: Bytes, most: int) -> list[Row]:
    """The refused rows of a batch as they were read: the steward must find them in the source."""
    positions = np.flatnonzero(reasons)[:most]
    columns = [take(batch.column(at), positions).to_pylist() for at in range(3)]
    return [
        {
            "customer_id": customer,
            "started_on": started and str(started),
            "ended_on": ended and str(ended),
            "reason": _LABELS[reason],
        }
        for customer, started, ended, reason in zip(*columns, reasons[positions].tolist(), strict=True)
    ]
