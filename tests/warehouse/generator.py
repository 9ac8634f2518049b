"""A table of agreements as a warehouse has it: any number per customer, and everything that goes wrong."""

from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tests.warehouse.flaws import REASONS, flawed
from tests.warehouse.numbers import Ints, draw, text_of
from tests.warehouse.patterns import ACTIVE, NOT_ACTIVE, Agreements, Pattern, still_open
from tests.warehouse.truth import Truth, truth_of

FLAWED_SHARE = 0.003  # of the relationships: rows that are refused for their identifier, all reasons together
BLANKS_SHARE = 0.003  # of the rows: right, but with blanks around


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated:
    """A warehouse: ``agreements`` has the columns of `include/sql/agreements.sql`, in no order.

    ``planted`` counts the customers of each pattern, and the rows of each reason by its name; for a small
    warehouse every pattern and every reason is there at least once.
    """

    as_of: date
    agreements: pa.Table
    truth: Truth
    planted: dict[str, int]


def generate(relationships: int, seed: int, as_of: date) -> Generated:
    """Make a warehouse of which the register must hold exactly so many relationships on a day."""
    rng = np.random.default_rng(seed)
    day = np.datetime64(as_of)
    counts = _customers_by_pattern(relationships)
    ids = draw(rng, sum(counts.values()))

    parts: list[Agreements] = []
    first = 0
    for pattern, count in counts.items():
        which, starts, ends = pattern(rng, count, day)
        parts.append((which + first, starts, ends))
        first += count
    which, starts, ends = (np.concatenate(column) for column in zip(*parts, strict=True))

    sound = pa.table(
        {"customer_id": text_of(ids).take(pa.array(which)), "started_on": starts, "ended_on": ends}
    )
    refused, reasons = _refused_rows(rng, relationships, ids, day)
    agreements = pa.concat_tables([_with_blanks(rng, sound), refused])
    agreements = agreements.take(pa.array(rng.permutation(len(agreements)))).combine_chunks()
    planted = {pattern.__name__: count for pattern, count in counts.items()} | reasons
    return Generated(as_of=as_of, agreements=agreements, truth=truth_of(agreements, as_of), planted=planted)


def _customers_by_pattern(relationships: int) -> dict[Pattern, int]:
    """How many customers have each pattern; the active ones add up to the relationships."""
    least = 1 if relationships >= len(ACTIVE) else 0
    active = {pattern: max(least, round(relationships * share)) for pattern, share in ACTIVE.items()}
    others = {pattern: max(least, round(relationships * share)) for pattern, share in NOT_ACTIVE.items()}
    return {still_open: relationships - sum(active.values())} | active | others


def _refused_rows(
    rng: np.random.Generator, relationships: int, ids: Ints, day: np.datetime64
) -> tuple[pa.Table, dict[str, int]]:
    """Rows without a right identifier, and how many of them by reason."""
    persons = ids[ids >= 10**9]
    each = max(1, round(relationships * FLAWED_SHARE / len(REASONS)))
    texts = [text for reason in REASONS for text in flawed(rng, reason, rng.choice(persons, each))]
    starts = day - rng.integers(0, 4000, len(texts))
    table = pa.table(
        {
            "customer_id": pa.array(texts, pa.string()),
            "started_on": starts,
            "ended_on": np.full(len(texts), "NaT", "M8[D]"),
        }
    )
    return table, dict.fromkeys(REASONS, each)


def _with_blanks(rng: np.random.Generator, agreements: pa.Table) -> pa.Table:
    texts = agreements["customer_id"].combine_chunks()
    some = pa.array(rng.random(len(texts)) < BLANKS_SHARE)
    before, after = (pa.scalar(blanks) for blanks in (" ", "   "))
    padded = pc.binary_join_element_wise(before, texts, after, "")
    return agreements.set_column(0, "customer_id", pc.if_else(some, padded, texts))
