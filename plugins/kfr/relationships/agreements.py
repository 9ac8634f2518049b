"""Agreements of the warehouse, folded into one relationship a customer.

An agreement is active on a day when it began by then and has not ended; a relationship is active
while any agreement of the customer is. It started with the first agreement of the unbroken chain
that is still active: a chain goes on while the next agreement starts at the latest the day after
the furthest end so far.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kfr.relationships import identifiers
from kfr.relationships.columns import Flags, nulls_of, values_of
from kfr.relationships.identifiers import Bytes, Reason
from kfr.relationships.packing import (
    DAY_BITS,
    DAY_MASK,
    LAST_DAY,
    UNIX_OFFSET,
    UNKNOWN_DAY,
    Ints,
    ids_of,
    pack,
    starts_of,
)

Days = npt.NDArray[np.int32]

_NEVER = np.iinfo(np.int64).max  # until it is clipped: later than any start, however wrong that is

BLOCK_ROWS = 1 << 16  # folded at a time
BRIDGE_DAYS = 1  # from one agreement's end to the start of the next that continues it


class ColumnError(ValueError):
    """Raised when the warehouse's query returns a column that is absent, twice there or of a wrong type."""

    def __init__(self, column: str, found: str, wanted: str) -> None:
        super().__init__(f"column {column}: found {found}, wanted {wanted}")
        self.column = column
        self.found = found
        self.wanted = wanted


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Agreements:
    """One entry per row read. A row with another reason than ACCEPTED is refused."""

    ids: Ints = field(repr=False)  # 0 where the identifier is refused; kept where only a date is
    starts: Days = field(repr=False)  # day numbers; UNKNOWN_DAY where missing
    ends: Days = field(repr=False)  # the first day without; LAST_DAY where there is none
    reasons: Bytes = field(repr=False)  # Reason


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Folded:
    """The customers of an extract on its `as_of`, and the fate of each row.

    Arrays are sorted, without repeats. `active`, `ended` and `waiting` are disjoint and cover all customers
    with an accepted row. `tainted` lies across them: nobody in it may be removed.
    """

    active: Ints = field(repr=False)  # packed relationships
    ended: Ints = field(repr=False)  # packed, by the last chain: an agreement has begun, none continues it
    waiting: Ints = field(repr=False)  # identifiers: only a future start, or one within the bridge
    tainted: Ints = field(repr=False)  # identifiers with a row refused for its dates
    without_start: int  # active relationships of which some agreement has no start
    rows_folded: int  # accepted rows of active customers, beyond the one that each relationship stands for
    rows_not_active: int
    rows_rejected: int
    rejected_by_reason: dict[str, int]  # Reason.label to rows; only what occurs

    @property
    def rows(self) -> int:
        """All rows read; each has exactly one fate (promise 1)."""
        return len(self.active) + self.rows_folded + self.rows_not_active + self.rows_rejected


def read_agreements(batch: pa.RecordBatch | pa.Table) -> Agreements:
    """Read the columns customer_id, started_on, ended_on, whatever their case; others are ignored.

    Dates are date32, date64 or a timestamp at 00:00 without zone. A start before 1753 counts as missing,
    an end after 2111 as never. ColumnError when a column is absent, twice there or of another type.
    """
    customer_ids = _column(batch, "customer_id")
    try:
        ids, reasons = identifiers.read(customer_ids)
    except TypeError as error:
        raise ColumnError("customer_id", str(customer_ids.type), "text") from error
    starts = _read_days(batch, "started_on", UNKNOWN_DAY)
    ends = _read_days(batch, "ended_on", _NEVER)
    for reason, found in (
        (Reason.ENDED_BEFORE_STARTED, (starts != UNKNOWN_DAY) & (ends < starts)),
        # An end before 1753 is no evidence that anything ended: some systems write 0001-01-01 for null.
        (Reason.DATE_OUT_OF_RANGE, (starts > LAST_DAY) | (ends <= UNKNOWN_DAY)),
    ):
        reasons[found & (reasons == Reason.ACCEPTED)] = reason
    return Agreements(
        ids=ids,
        starts=np.clip(starts, UNKNOWN_DAY, LAST_DAY).astype(np.int32),
        ends=np.clip(ends, UNKNOWN_DAY, LAST_DAY).astype(np.int32),
        reasons=reasons,
    )


def concatenate(parts: Sequence[Agreements]) -> Agreements:
    """The rows of several batches of one extract as one; `fold_parts` takes less memory."""
    return Agreements(
        ids=np.concatenate([np.zeros(0, np.int64), *(part.ids for part in parts)]),
        starts=np.concatenate([np.zeros(0, np.int32), *(part.starts for part in parts)]),
        ends=np.concatenate([np.zeros(0, np.int32), *(part.ends for part in parts)]),
        reasons=np.concatenate([np.zeros(0, np.uint8), *(part.reasons for part in parts)]),
    )


def fold(agreements: Agreements, as_of: int) -> Folded:
    """Fold the rows of an extract, in any order, into the customers' state on the day number `as_of`.

    Of a chain whose first start is missing the relationship takes the earliest start known in the chain.
    ValueError for an `as_of` that is no day number.
    """
    return fold_parts([agreements], as_of)


def fold_parts(parts: Iterable[Agreements], as_of: int) -> Folded:
    """Fold an extract that comes in parts, cut anywhere; each is let go once it is taken in. See `fold`."""
    if not UNKNOWN_DAY < as_of < LAST_DAY:
        raise ValueError(f"as_of must be a day number between {UNKNOWN_DAY} and {LAST_DAY}, not {as_of}")
    rows = _Rows(as_of)
    for part in parts:
        rows.add(part)
    active, ended, waiting = [], [], []
    without_start = rows_of_active = 0
    for block in rows.sorted_blocks():
        folded = _fold_block(block, as_of)
        active.append(folded.active)
        ended.append(folded.ended)
        waiting.append(folded.waiting)
        without_start += folded.without_start
        rows_of_active += folded.rows_of_active
    relationships = _join(active)
    rejected = {
        reason.label: int(rows.by_reason[reason]) for reason in Reason if reason and rows.by_reason[reason]
    }
    return Folded(
        active=relationships,
        ended=_join(ended),
        waiting=_join(waiting),
        tainted=np.unique(_join(rows.tainted)),
        without_start=without_start,
        rows_folded=rows_of_active - len(relationships),
        rows_not_active=int(rows.by_reason[Reason.ACCEPTED]) - rows_of_active,
        rows_rejected=sum(rejected.values()),
        rejected_by_reason=rejected,
    )


class _Block(NamedTuple):
    """All rows of some customers, sorted by customer and start."""

    begun: Ints  # packed agreements
    ends: Days  # of each; LAST_DAY while it runs
    future: Ints  # packed agreements that have not begun


class _Rows:
    """The accepted rows of an extract, each as an integer or two.

    Nothing that began by `as_of` can leave a gap behind an agreement that still runs, so its end does not
    matter. That leaves only the few ended ones to be kept and sorted with their ends, at twice the price.
    """

    def __init__(self, as_of: int) -> None:
        self._as_of = as_of
        self._begun: list[Ints] = []  # packed, with one more bit: whether it is over
        self._over: list[Ints] = []  # packed; those of them that are over, again
        self._ends: list[Days] = []  # of these
        self._future: list[Ints] = []
        self.tainted: list[Ints] = []
        self.by_reason = np.zeros(len(Reason), np.int64)

    def add(self, part: Agreements) -> None:
        self.by_reason += np.bincount(part.reasons, minlength=len(Reason))
        accepted = part.reasons == Reason.ACCEPTED
        begun = part.starts <= self._as_of
        future = np.flatnonzero(accepted & ~begun)
        begun &= accepted
        over = begun & (part.ends <= self._as_of)
        marked = pack(part.ids, part.starts)
        self._future.append(marked[future])
        self._over.append(marked[over])
        self._ends.append(part.ends[over])
        marked <<= 1
        marked |= over
        self._begun.append(marked[begun])
        refused = part.ids[~accepted]
        self.tainted.append(refused[refused != 0])

    def sorted_blocks(self) -> Iterator[_Block]:
        """All rows in blocks of whole customers: what is in between stays in the processor's cache."""
        begun, over, ends = (_join(each) for each in (self._begun, self._over, self._ends))
        future = np.sort(_join(self._future))
        begun.sort()
        ends = ends[np.argsort(over)]
        del over
        first = first_over = first_future = 0
        while first < len(begun) or first_future < len(future):
            beyond = min(first + BLOCK_ROWS, len(begun))
            beyond_future = len(future)
            if beyond < len(begun):  # the rest of the block's last customer belongs to it
                next_customer = (int(begun[beyond]) >> (DAY_BITS + 1)) + 1
                beyond = int(np.searchsorted(begun, next_customer << (DAY_BITS + 1)))
            if beyond < len(begun):
                beyond_future = int(np.searchsorted(future, next_customer << DAY_BITS))
            marked = begun[first:beyond]
            are_over = np.flatnonzero(marked & 1)
            block_ends = np.full(len(marked), LAST_DAY, np.int32)
            block_ends[are_over] = ends[first_over : first_over + len(are_over)]
            yield _Block(marked >> 1, block_ends, future[first_future:beyond_future])
            first, first_future, first_over = beyond, beyond_future, first_over + len(are_over)


class _FoldedBlock(NamedTuple):
    active: Ints
    ended: Ints
    waiting: Ints
    without_start: int
    rows_of_active: int


def _fold_block(block: _Block, as_of: int) -> _FoldedBlock:
    latest, future = _fold_begun(block.begun, block.ends), _first_starts(block.future)
    active = latest.ends > as_of
    at, known = _find(latest.ids, future.ids)
    continues = known.copy()
    continues[known] = ~active[at] & (future.starts[known] <= latest.ends[at] + BRIDGE_DAYS)
    ended = ~active
    ended[at[continues[known]]] = False
    return _FoldedBlock(
        active=pack(latest.ids[active], latest.starts[active]),
        ended=pack(latest.ids[ended], latest.starts[ended]),
        waiting=future.ids[continues | ~known],
        without_start=int((latest.lacks_start & active).sum()),
        rows_of_active=int(latest.rows[active].sum()) + int(future.rows[known][active[at]].sum()),
    )


class _Latest(NamedTuple):
    """Per customer, sorted by identifier: the last chain among the agreements that have begun."""

    ids: Ints
    starts: Ints  # the earliest start known in the chain; UNKNOWN_DAY if none is
    ends: Ints  # the furthest end
    lacks_start: Flags  # some agreement of the chain has no start
    rows: Ints


class _Future(NamedTuple):
    """Per customer, sorted by identifier: the first start to come."""

    ids: Ints
    starts: Ints
    rows: Ints


def _fold_begun(packed: Ints, ends: Days) -> _Latest:
    """Fold the agreements that have begun.

    If any of them runs on a later day, so does the last chain: whatever starts until then continues it.
    """
    # The furthest end so far: with the identifier in front, a new customer starts the maximum anew.
    furthest = (packed & ~DAY_MASK) | ends
    np.maximum.accumulate(furthest, out=furthest)
    new_customer = _changes(ids_of(packed))
    new_chain = new_customer.copy()
    new_chain[1:] |= packed[1:] > furthest[:-1] + BRIDGE_DAYS
    chains, customers = np.flatnonzero(new_chain), np.flatnonzero(new_customer)
    beyond = np.flatnonzero(_lasts(new_customer)) + 1
    first = chains[_lasts(new_customer[chains])]
    ids, starts = ids_of(packed[first]), starts_of(packed[first])
    lacks_start = starts == UNKNOWN_DAY
    # Rows without a start sort first, so the earliest known start of such a chain stands right behind them.
    known = np.searchsorted(packed, pack(ids[lacks_start], np.array([UNKNOWN_DAY + 1])))
    has_known = known < beyond[lacks_start]
    starts[np.flatnonzero(lacks_start)[has_known]] = starts_of(packed[known[has_known]])
    return _Latest(ids, starts, starts_of(furthest[beyond - 1]), lacks_start, beyond - customers)


def _first_starts(packed: Ints) -> _Future:
    new_customer = _changes(ids_of(packed))
    customers = np.flatnonzero(new_customer)
    first = packed[customers]
    return _Future(ids_of(first), starts_of(first), np.flatnonzero(_lasts(new_customer)) + 1 - customers)


def _changes(ids: Ints) -> Flags:
    """Where a sorted array takes a new value; its first entry always is one."""
    changes = np.ones(len(ids), np.bool_)
    changes[1:] = ids[1:] != ids[:-1]
    return changes


def _lasts(firsts: Flags) -> Flags:
    """The last entry of each group, where `firsts` has the first of each."""
    lasts = np.ones(len(firsts), np.bool_)
    lasts[:-1] = firsts[1:]
    return lasts


def _find(ids: Ints, wanted: Ints) -> tuple[npt.NDArray[np.intp], Flags]:
    """Where in the sorted `ids` those of `wanted` stand that are there, and which these are."""
    at = np.searchsorted(ids, wanted)
    known = np.zeros(len(wanted), np.bool_)
    inside = at < len(ids)
    known[inside] = ids[at[inside]] == wanted[inside]
    return at[known], known


def _join(parts: list[Any]) -> Any:
    """The parts as one array; the list is emptied, so that they are not held beside it."""
    joined = np.concatenate(parts) if parts else np.zeros(0, np.int64)
    parts.clear()
    return joined


def _column(batch: pa.RecordBatch | pa.Table, name: str) -> Any:
    # Some warehouses give back every column name in capitals.
    found = [index for index, column in enumerate(batch.schema.names) if column.lower() == name]
    if len(found) != 1:
        columns = ", ".join(batch.schema.names)
        raise ColumnError(name, f"{len(found)} of this name among the columns {columns}", "one")
    return batch.column(found[0])


def _read_days(batch: pa.RecordBatch | pa.Table, name: str, missing: int) -> Ints:
    """Day numbers, possibly outside the range; `missing` for a null."""
    column = _column(batch, name)
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if pa.types.is_null(column.type):
        return np.full(len(column), missing, np.int64)
    ticks_a_day = _ticks_a_day(name, column.type)
    nulls = nulls_of(column)
    ticks: Ints = values_of(column, np.int32 if pa.types.is_date32(column.type) else np.int64).astype(
        np.int64
    )
    if nulls is not None:
        ticks[nulls] = 0  # what lies under a null is arbitrary
    days = ticks
    if ticks_a_day > 1:
        days = ticks // ticks_a_day
        if (days * ticks_a_day != ticks).any():
            raise ColumnError(name, f"{column.type} with a time of day", "a date")
    days += UNIX_OFFSET
    if nulls is not None:
        days[nulls] = missing
    return days


_TICKS_A_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


def _ticks_a_day(name: str, found: pa.DataType) -> int:
    """What a column of this type counts in a day."""
    if pa.types.is_date32(found):
        return 1
    if pa.types.is_date64(found):
        return 86_400 * _TICKS_A_SECOND["ms"]
    if isinstance(found, pa.TimestampType) and found.tz is None:
        return 86_400 * _TICKS_A_SECOND[found.unit]
    raise ColumnError(name, str(found), "a date, or a timestamp at 00:00 without a time zone")
