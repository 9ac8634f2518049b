"""Millions are worked on in blocks: nothing may change where one ends and the next begins."""

import numpy as np
import pytest

from kfr.relationships import agreements, plan
from kfr.relationships.agreements import Agreements, fold, fold_parts
from kfr.relationships.identifiers import Reason
from kfr.relationships.packing import LAST_DAY, UNKNOWN_DAY, ids_of, starts_of
from tests.unit.relationships import reference
from tests.unit.relationships.reference import Row

AS_OF = 60


def make_rows(customers: int, seed: int) -> Agreements:
    """Neighbouring numbers with one to six agreements each, so that any border falls within a customer's rows."""
    rng = np.random.default_rng(seed)
    ids = rng.permutation(np.repeat(np.arange(1, customers + 1) + 10**10, rng.integers(1, 7, customers)))
    starts = rng.integers(0, 70, len(ids)).astype(np.int32)  # 0 is UNKNOWN_DAY; after 60 it is in the future
    ends = np.where(rng.random(len(ids)) < 0.4, LAST_DAY, starts + rng.integers(1, 30, len(ids))).astype(
        np.int32
    )
    reasons = np.where(rng.random(len(ids)) < 0.01, Reason.ENDED_BEFORE_STARTED, Reason.ACCEPTED)
    return Agreements(ids=ids, starts=starts, ends=ends, reasons=reasons.astype(np.uint8))


@pytest.fixture(scope="module")
def rows() -> Agreements:
    made = make_rows(60_000, seed=3)
    assert len(made.ids) > 3 * agreements.BLOCK_ROWS
    return made


def test_customers_at_the_border_of_two_blocks_are_folded_by_the_rules(rows: Agreements):
    folded = fold(rows, AS_OF)
    columns = zip(
        rows.ids.tolist(), rows.starts.tolist(), rows.ends.tolist(), rows.reasons.tolist(), strict=True
    )
    expected = reference.fold(
        [
            Row(id_, start or None, None if end == LAST_DAY else end, Reason(reason).label)
            for id_, start, end, reason in columns
        ],
        AS_OF,
    )
    active = dict(zip(ids_of(folded.active).tolist(), starts_of(folded.active).tolist(), strict=True))
    assert active == {customer: start or UNKNOWN_DAY for customer, start in expected.active.items()}
    assert ids_of(folded.ended).tolist() == sorted(expected.ended)
    assert folded.waiting.tolist() == sorted(expected.waiting)
    assert folded.tainted.tolist() == sorted(expected.tainted)
    assert (folded.rows_folded, folded.rows_not_active) == (expected.folded, expected.not_active)
    assert folded.without_start == expected.without_start
    assert folded.rows == len(rows.ids)


@pytest.mark.parametrize("size", [997, 65_536, 10**9])
def test_any_cut_into_parts_folds_to_the_same(rows: Agreements, size: int):
    parts = (
        Agreements(
            ids=rows.ids[at : at + size],
            starts=rows.starts[at : at + size],
            ends=rows.ends[at : at + size],
            reasons=rows.reasons[at : at + size],
        )
        for at in range(0, len(rows.ids), size)
    )
    whole, again = fold(rows, AS_OF), fold_parts(parts, AS_OF)
    for name in ("active", "ended", "waiting", "tainted"):
        assert getattr(whole, name).tobytes() == getattr(again, name).tobytes()
    assert whole.rejected_by_reason == again.rejected_by_reason


def test_populations_of_several_blocks_are_compared_customer_by_customer():
    rng = np.random.default_rng(5)
    everyone = _population(rng, 6 * plan.BLOCK_ROWS)
    mirror, desired = (everyone[rng.random(len(everyone)) < 0.8] for _ in range(2))
    desired = ids_of(desired) << 17 | np.where(
        rng.random(len(desired)) < 0.1, rng.integers(0, 4), starts_of(desired)
    )
    held = dict(zip(ids_of(mirror).tolist(), starts_of(mirror).tolist(), strict=True))
    wanted = dict(zip(ids_of(desired).tolist(), starts_of(desired).tolist(), strict=True))

    found = plan.difference(desired, mirror)

    assert ids_of(found.add).tolist() == sorted(wanted.keys() - held.keys())
    assert ids_of(found.remove).tolist() == sorted(held.keys() - wanted.keys())
    changed = sorted(c for c in wanted.keys() & held.keys() if wanted[c] and wanted[c] != held[c])
    assert ids_of(found.start_changed).tolist() == changed
    assert found.unchanged == len(wanted.keys() & held.keys()) - len(changed)
    assert (
        min(len(found.add), len(found.remove), len(changed), found.unchanged) > 0
    )  # or the test shows nothing


def _population(rng: np.random.Generator, size: int) -> np.ndarray:
    ids = np.unique(rng.integers(10**10, 10**10 + 3 * size, size))
    return ids << 17 | rng.integers(0, 4, len(ids))
