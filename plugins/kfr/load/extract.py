"""Read every agreement from the warehouse and fold it into what the register should hold.

The result is sealed in the run's folder: `<name>.active` (packed relationships), `<name>.ended`,
`<name>.waiting` and `<name>.tainted` (customers), `<name>.rejects` (the refused rows as they were read, for
the data steward) and `<name>.json` (day and counts, nothing else).
"""

import json
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa

from kfr.clock import oslo_today
from kfr.load.world import World
from kfr.register.errors import ConfigurationError, Retriable
from kfr.relationships import agreements as a
from kfr.relationships.identifiers import Bytes, Reason, classify, worlds
from kfr.relationships.packing import Ints, day_number, ids_of, text_of

PARTS = ("active", "ended", "waiting", "tainted")
KEPT_REJECTS = 100_000  # rows kept whole for the data steward; all are counted


class CountMismatch(Retriable):
    """The rows read are not as many as the warehouse counted: the extract is incomplete."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extract:
    """What an extract found; the arrays hold identifiers, the counts do not."""

    as_of: date
    complete: bool
    active: Ints = field(repr=False)
    ended: Ints = field(repr=False)
    waiting: Ints = field(repr=False)
    tainted: Ints = field(repr=False)
    counts: dict[str, int]
    rejected: dict[str, int]
    worlds: dict[str, int]

    @property
    def rows(self) -> int:
        return self.counts["rows"]


def extract_relationships(world: World) -> Extract:
    """Read everyone as of the run's day and say what was found; clearing this renews the day."""
    result = extract(world, as_of=world.run.as_of)
    world.say(sentence(result))
    return result


def extract(world: World, name: str = "extract", *, as_of: date | None = None) -> Extract:
    """Read everyone as of a day (default: today in Oslo, resolved here and kept) and seal the result.

    :raises ConfigurationError: `as_of` lies in the future, or the SQL does not give what is asked for.
    :raises CountMismatch: the source's own count, taken in the same snapshot, differs.
    """
    day = resolve_as_of(world, as_of)
    with world.warehouse.agreements(day) as snapshot:
        parts, rejects = [], _Rejects()
        for batch in snapshot.batches():
            read = a.read_agreements(batch)
            rejects.keep(batch, read.reasons)
            parts.append(read)
        expected = snapshot.expected_rows
    folded = a.fold(a.concatenate(parts), day_number(day))
    if expected is not None and expected != folded.rows:
        raise CountMismatch(
            f"agreements.sql gave {folded.rows:,} rows where count_agreements.sql counted {expected:,}. "
            "Nothing was sent. Make the two agree (same tables, same conditions), or read from a source that "
            "holds still."
        )
    result = Extract(
        as_of=day,
        complete=expected is not None,
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
        },
        rejected=dict(folded.rejected_by_reason),
        worlds=_worlds(folded.active),
    )
    _write(world, name, result)
    world.place.write(f"{name}.rejects", rejects.lines())
    return result


def read(world: World, name: str = "extract") -> Extract:
    """The extract that this run made earlier."""
    facts: dict[str, Any] = world.place.read_json(f"{name}.json")
    facts["as_of"] = date.fromisoformat(facts["as_of"])
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


def ended_of(world: World, customers: Ints, as_of: date) -> Ints:
    """Ask the warehouse again about `customers`; those who have really ended, by all their agreements."""
    table = world.warehouse.agreements_of([text_of(int(c)) for c in customers])
    folded = a.fold(a.read_agreements(table), day_number(as_of))
    ended: Ints = np.setdiff1d(folded.ended, folded.tainted)
    return np.intersect1d(ended, customers)


def _worlds(active: Ints) -> dict[str, int]:
    kinds, is_2032 = classify(ids_of(active))
    found, counts = np.unique(worlds(kinds), return_counts=True)
    return {str(int(w)): int(n) for w, n in zip(found, counts, strict=True)} | {"is_2032": int(is_2032.sum())}


def _write(world: World, name: str, extract_: Extract) -> None:
    facts = asdict(extract_)
    for part in PARTS:
        world.place.write_array(f"{name}.{part}", facts.pop(part))
    world.place.write_json(f"{name}.json", {**facts, "as_of": extract_.as_of.isoformat()})


def sentence(result: Extract) -> str:
    reasons = ", ".join(f"{n:,} {reason}" for reason, n in sorted(result.rejected.items())) or "none"
    return (
        f"Extracted as of {result.as_of}: {result.rows:,} rows, {len(result.active):,} active relationships, "
        f"{result.counts['folded']:,} rows folded, {result.counts['not_active']:,} not active, "
        f"rejected: {reasons}."
    )


class _Rejects:
    """Refused rows as JSON lines, as they were read: the steward must find them in the source."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def keep(self, batch: pa.RecordBatch, reasons: Bytes) -> None:
        for position in np.flatnonzero(reasons)[: KEPT_REJECTS - len(self._lines)]:
            customer, started, ended = (batch.column(i)[int(position)].as_py() for i in range(3))
            self._lines.append(
                json.dumps(
                    {
                        "customer_id": customer,
                        "started_on": started and str(started),
                        "ended_on": ended and str(ended),
                        "reason": Reason(int(reasons[position])).label,
                    }
                )
            )

    def lines(self) -> bytes:
        return "\n".join(self._lines).encode()
