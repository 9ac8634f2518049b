"""What happens in a warehouse while a load runs: customers leave, arrive and come back, from one seed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tests.warehouse.generator import Generated
from tests.warehouse.numbers import draw, text_of

LONGEST_BACK_DATING = 400  # days


class ChangeKind(StrEnum):
    LEAVES = "leaves"
    ARRIVES = "arrives"
    ARRIVES_BACK_DATED = "arrives_back_dated"  # started earlier, and was recorded only now
    COMES_BACK = "comes_back"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change of one customer; the statement runs in DuckDB and in PostgreSQL."""

    kind: ChangeKind
    customer_id: str
    statement: str


class Churn:
    """Changes to a generated warehouse on a day. Each customer is chosen once; an arrival is a new number.

    None is chosen whose leaving would not be an end: with a refused row, or with another agreement to come.
    """

    def __init__(self, generated: Generated, seed: int, today: date) -> None:
        self._rng = np.random.default_rng(seed)
        self._today = today
        rows, truth = generated.agreements, generated.truth
        texts = pc.utf8_trim(rows["customer_id"], characters=" ")
        to_come = texts.filter(pc.fill_null(pc.greater(rows["started_on"], generated.as_of), False))
        undecided = set(to_come.to_pylist()) | set(truth.tainted.to_pylist())
        self._active = _Pool(truth.register["customer_id"], undecided, self._rng)
        self._gone = _Pool(truth.ended, undecided, self._rng)
        seen = pc.filter(texts, pc.fill_null(pc.match_substring_regex(texts, "^[0-9]{9,11}$"), False))
        self._taken = np.unique(seen.cast(pa.int64()).to_numpy())

    def leave(self, count: int, among: Sequence[str] | None = None) -> list[Change]:
        """End all agreements of some active customers today, of those given if any are."""
        chosen = self._active.take(count, among)
        self._gone.add(chosen)
        return [self._change(ChangeKind.LEAVES, text, self._end(text)) for text in chosen]

    def arrive(self, count: int) -> list[Change]:
        """New customers whose agreement starts today."""
        return [self._change(ChangeKind.ARRIVES, text, self._begin(text, 0)) for text in self._new(count)]

    def arrive_back_dated(self, count: int) -> list[Change]:
        """New customers whose agreement started before today."""
        days = self._rng.integers(1, LONGEST_BACK_DATING, count).tolist()
        return [
            self._change(ChangeKind.ARRIVES_BACK_DATED, text, self._begin(text, ago))
            for text, ago in zip(self._new(count), days, strict=True)
        ]

    def come_back(self, count: int, among: Sequence[str] | None = None) -> list[Change]:
        """New agreements from today of customers who had ended, or have left in this churn."""
        chosen = self._gone.take(count, among)
        return [self._change(ChangeKind.COMES_BACK, text, self._begin(text, 0)) for text in chosen]

    def _change(self, kind: ChangeKind, customer_id: str, statement: str) -> Change:
        return Change(kind=kind, customer_id=customer_id, statement=statement)

    def _new(self, count: int) -> list[str]:
        ids = draw(self._rng, count, taken=self._taken)
        self._taken = np.union1d(self._taken, ids)
        return text_of(ids).to_pylist()

    def _begin(self, text: str, days_ago: int) -> str:
        start = self._today - timedelta(days=days_ago)
        return f"INSERT INTO agreements (customer_id, started_on) VALUES ('{text}', DATE '{start}')"

    def _end(self, text: str) -> str:
        return (
            f"UPDATE agreements SET ended_on = DATE '{self._today}' WHERE trim(customer_id) = '{text}'"
            f" AND coalesce(ended_on > DATE '{self._today}', true)"
        )


class _Pool:
    """Customers who may still be chosen."""

    def __init__(
        self, texts: "pa.Array | pa.ChunkedArray", without: set[str], rng: np.random.Generator
    ) -> None:
        self._rng = rng
        self._left = dict.fromkeys(text for text in texts.to_pylist() if text not in without)

    def take(self, count: int, among: Sequence[str] | None) -> list[str]:
        open_ones = list(self._left) if among is None else [text for text in among if text in self._left]
        if len(open_ones) < count:
            raise ValueError(f"only {len(open_ones)} customers of {count} can be chosen")
        chosen = [open_ones[at] for at in self._rng.choice(len(open_ones), count, replace=False)]
        for text in chosen:
            del self._left[text]
        return chosen

    def add(self, texts: Sequence[str]) -> None:
        self._left |= dict.fromkeys(texts)
