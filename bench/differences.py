"""Difference of two populations, both on disk: 0.5 % added, as many removed, as many with another start."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

KEY = bytes(range(32))


def _populations(size: int) -> tuple[Any, Any]:
    import numpy as np

    rng = np.random.default_rng(7)
    ids = np.sort(rng.choice(10**10, round(size * 1.005), replace=False)) + 10**10
    everyone = ids << 17 | rng.integers(60_000, 99_000, len(ids))
    held, wanted = (everyone[rng.random(len(everyone)) > 0.005] for _ in range(2))
    moved = rng.random(len(wanted)) < 0.005
    return wanted - moved, held


def prepare(size: int, folder: str) -> Generator[dict[str, Any]]:
    """Write them sealed, as sorted text, and as tables."""
    yield {}
    import duckdb
    import pyarrow as pa

    from kfr.load.sealing import Seal
    from kfr.load.staging import Place
    from kfr.relationships.batch_file import render

    place = Place(Path(folder), Seal(KEY), "difference")
    with duckdb.connect(f"{folder}/difference.duckdb") as database:
        for name, population in zip(("desired", "mirror"), _populations(size), strict=True):
            place.write_array(name, population)
            (Path(folder) / f"{name}.txt").write_bytes(render(population).replace(b",", b"\n") + b"\n")
            database.register("made", pa.table({"customer": population >> 17, "start": population & 0x1FFFF}))
            database.execute(f"CREATE TABLE {name} AS SELECT * FROM made")
    yield {}


def ours(folder: str) -> Generator[dict[str, Any]]:
    """Open both sealed files, compare, and seal the result."""
    from kfr.load.sealing import Seal
    from kfr.load.staging import Place
    from kfr.relationships.plan import difference

    place = Place(Path(folder), Seal(KEY), "difference")
    yield {}
    found = difference(place.read_array("desired"), place.read_array("mirror"))
    for name in ("add", "remove", "start_changed"):
        place.write_array(name, getattr(found, name))
    yield {"found": [len(found.add), len(found.remove), len(found.start_changed)]}


def duckdb(folder: str) -> Generator[dict[str, Any]]:
    """Three joins in DuckDB, results as Arrow."""
    import duckdb as duckdb_

    with duckdb_.connect(f"{folder}/difference.duckdb", read_only=True) as database:
        yield {}
        found = [
            len(database.sql(sql).to_arrow_table())
            for sql in (
                "SELECT * FROM desired ANTI JOIN mirror USING (customer)",
                "SELECT * FROM mirror ANTI JOIN desired USING (customer)",
                "SELECT d.* FROM desired d JOIN mirror m USING (customer) WHERE d.start <> m.start",
            )
        ]
    yield {"found": found}
