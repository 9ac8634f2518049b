"""The same warehouse gives the same files, to the byte: by any way of reading, in any order, cut anywhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from kfr.hooks import adbc, sessions
from kfr.hooks.warehouse import SqlWarehouse
from kfr.load import extract, planning
from kfr.load.world import Run, World
from kfr.relationships.batch_file import render
from kfr.relationships.guards import Limits
from tests.faults.institution import Institution
from tests.unit.hooks.conftest import AS_OF, DELIVERED, WAYS
from tests.warehouse.generator import Generated, generate

LENIENT = Limits(reject_share=1.0)
FILE_BYTES = 4_000  # so that there are several files


@dataclass
class TableWarehouse:
    """Agreements in memory, given in batches of any sizes."""

    table: pa.Table
    sizes: list[int]

    @contextmanager
    def agreements(self, as_of: date) -> Iterator["TableWarehouse"]:
        assert as_of == AS_OF
        yield self

    @property
    def expected_rows(self) -> int:
        return len(self.table)

    def batches(self) -> Iterator[pa.RecordBatch]:
        first, turn = 0, 0
        while first < len(self.table):
            size = self.sizes[turn % len(self.sizes)]
            yield from self.table.slice(first, size).combine_chunks().to_batches() or []
            first, turn = first + size, turn + 1


def staged(institution: Institution, warehouse: Any, run_id: str) -> dict[str, bytes | str]:
    """What a run of extraction and plan leaves behind: what was read, the bytes of each file, the fingerprint."""
    institution.warehouse = warehouse
    run = Run(
        dag_id="same", run_id=run_id, as_of=AS_OF, dry_run=True, max_batch_bytes=FILE_BYTES, limits=LENIENT
    )
    world: World = institution.world(run)
    extract.extract_relationships(world)
    plan = planning.plan(world, first_load=True)
    parts = {part: world.place.read(f"extract.{part}") for part in extract.PARTS}
    files = {label: render(world.place.read_array(f"files/{label}")) for label in plan.labels}
    assert len(files) > 3  # or the test shows nothing of how they are cut
    return {**parts, **files, "plan": plan.fingerprint}


@pytest.fixture(scope="module")
def institution(tmp_path_factory: pytest.TempPathFactory) -> Institution:
    return Institution(folder=tmp_path_factory.mktemp("same"), sample_size=3)


ANY_ORDER = "{delivered}\nORDER BY md5(concat(customer_id, started_on, ended_on, '{seed}'))"


@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_reading_in_any_order_and_chunks_leads_to_the_same_files(
    way: str,
    institution: Institution,
    warehouse: Callable[..., SqlWarehouse],
    generated: Generated,
    monkeypatch: pytest.MonkeyPatch,
):
    starts = generated.agreements["started_on"]
    begun = generated.agreements.filter(
        pa.compute.or_kleene(pa.compute.less_equal(starts, AS_OF), starts.is_null())
    )
    expected = staged(institution, TableWarehouse(begun, [len(begun)]), "in one piece")
    delivered = (DELIVERED / "agreements.sql").read_text()

    @given(st.integers(0, 10**6), st.integers(1, 3_000))
    @settings(max_examples=5, deadline=None, phases=[Phase.explicit, Phase.generate])
    def read(seed: int, chunk: int) -> None:
        monkeypatch.setattr(sessions, "ROWS_A_FETCH", chunk)
        monkeypatch.setattr(sessions, "DUCKDB_BATCH_ROWS", chunk)
        monkeypatch.setattr(adbc, "BATCH_BYTES", chunk * 20)  # some 20 bytes a row
        in_some_order = warehouse(way, agreements=ANY_ORDER.format(delivered=delivered, seed=seed))
        assert staged(institution, in_some_order, way) == expected

    assert staged(institution, warehouse(way), way) == expected
    read()


SMALL = generate(700, seed=5, as_of=AS_OF).agreements


@given(st.permutations(range(len(SMALL))), st.lists(st.integers(1, 900), min_size=1, max_size=5))
# Not made smaller when it fails: that takes minutes, and an order of a thousand rows tells no more in short.
@settings(max_examples=15, deadline=None, phases=[Phase.generate])
def test_neither_the_order_of_the_rows_nor_the_sizes_of_the_batches_change_a_byte(
    institution: Institution, order: list[int], sizes: list[int]
):
    expected = staged(institution, TableWarehouse(SMALL, [len(SMALL)]), "as generated")
    shuffled = SMALL.take(pa.array(order))
    assert staged(institution, TableWarehouse(shuffled, sizes), "another order") == expected


def test_another_agreement_does_change_the_files(institution: Institution):
    # Or the tests above would pass for a plan that reads nothing.
    fewer = SMALL.slice(0, len(SMALL) - 200)
    whole = staged(institution, TableWarehouse(SMALL, [500]), "whole")
    assert staged(institution, TableWarehouse(fewer, [500]), "fewer")["plan"] != whole["plan"]
