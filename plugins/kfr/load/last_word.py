"""What the warehouse says, asked again just before customers are removed.

A removal needs positive evidence: the warehouse says *ended*, or the institution's queue asks for it and the
warehouse does not say *customer*. What it does not say at all, or says with a rejected row, is none.
"""

from dataclasses import dataclass, field
from datetime import date

import numpy as np
import pyarrow as pa

from kfr.clock import oslo_today
from kfr.load import extract
from kfr.load.world import World
from kfr.register.errors import Fatal
from kfr.relationships.agreements import Folded
from kfr.relationships.customers import NOTHING, common, distinct, union, without
from kfr.relationships.identifiers import check
from kfr.relationships.packing import Ints, ids_of


class ExtractUnfit(Fatal):
    """The extract authorises no removal: empty or suspiciously small."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What the warehouse says of customers now; sorted identifiers."""

    active: Ints = field(repr=False)
    ended: Ints = field(repr=False)
    waiting: Ints = field(repr=False)
    tainted: Ints = field(repr=False)


def asked_for(world: World) -> tuple[Ints, list[tuple[str, str]]]:
    """Whom the institution's queue asks to remove, and the answer to those requests that name nobody."""
    texts = world.warehouse.queued_removals()
    if not texts:
        return NOTHING, []
    ids = check(pa.array(texts, pa.string())).ids
    return distinct(ids[ids != 0]), [(t, "not_valid") for t, i in zip(texts, ids, strict=True) if i == 0]


def read_again(world: World, ours: Ints, more: Ints) -> Said:
    """Everyone anew; or the customers of the interval, and `more`, who wait from before or are asked for."""
    planned = extract.read(world)
    if planned.days is None:
        fresh = extract.extract(world, "extract_again")
        _require_fit(world, fresh, planned)
        return Said(
            active=ids_of(fresh.active),
            ended=ids_of(fresh.ended),
            waiting=fresh.waiting,
            tainted=fresh.tainted,
        )
    customers, today = common(ours, union(planned.customers, more)), oslo_today(world.clock)
    found = [
        _ask(world, part, common(part, ids_of(planned.ended)), today)
        for part in parts(customers, extract.QUESTION)
    ]
    return Said(
        active=union(*(ids_of(f.active) for f in found)),
        ended=union(*(ids_of(f.ended) for f in found)),
        waiting=union(*(f.waiting for f in found)),
        tainted=union(planned.tainted, *(f.tainted for f in found)),
    )


def _require_fit(world: World, fresh: extract.Extract, planned: extract.Extract) -> None:
    before = len(planned.active)
    floor = (1 - world.run.limits.shrink_share) * before
    if len(fresh.active) == 0 or len(fresh.active) < floor:
        raise ExtractUnfit(
            f"The extract has {len(fresh.active):,} active relationships where the plan's had {before:,}. It "
            "authorises no removal. Mend the source, then clear. If it is right, clear extract_relationships with "
            "what follows it: the plan is judged anew."
        )


def may_be_due(said: Said, ours: Ints, asked: Ints) -> Ints:
    """Ours, ended or asked for, without a rejected row."""
    gone = without(asked, said.active, said.waiting)
    return without(common(union(said.ended, gone), ours), said.tainted)


def due(world: World, candidates: Ints, asked: Ints) -> Ints:
    """Those of whom the warehouse, asked again just before, still says that they have ended."""
    due = [NOTHING]
    for part in parts(candidates, extract.QUESTION):
        now = _ask(world, part, without(part, asked), oslo_today(world.clock))
        ended = common(union(ids_of(now.ended), common(part, asked)), part)
        due.append(without(ended, ids_of(now.active), now.waiting, now.tainted))
    return np.concatenate(due)


def _ask(world: World, customers: Ints, ended: Ints, today: date) -> Folded:
    """What the warehouse says of `customers` now, of whom `ended` have ended by the extract.

    :raises HalfCustomers: it says nothing of some of those: its two queries do not find the same rows.
    """
    found = extract.fold_again(world, customers, today)
    silent = without(ended, ids_of(found.ended), ids_of(found.active), found.waiting, found.tainted)
    if silent.size:
        raise extract.HalfCustomers(
            f"agreements_of.sql gives no agreement of {len(silent):,} customers who have ended by the extract, so "
            "nobody is removed. It must find whoever has blanks around the identifier in some row, too. If the "
            "warehouse was being loaded, the retry will see it settled; if rows were deleted, clear "
            "extract_relationships with what follows it."
        )
    return found


def parts(customers: Ints, size: int) -> list[Ints]:
    """Customers, `size` at a time; nothing of nobody."""
    return np.array_split(customers, range(size, len(customers), size)) if customers.size else []
