"""The agreements that are measured: as messy as the tests' generator makes them, kept between runs."""

from pathlib import Path
from typing import TYPE_CHECKING

from kfr.clock import SystemClock, oslo_today

if TYPE_CHECKING:
    import pyarrow as pa

CACHE = Path(__file__).resolve().parent.parent / ".bench"  # git-ignored
SEED = 1
ROWS_A_RELATIONSHIP = 1.3505  # of the generator: what ended, was folded or refused comes on top


def arrow_file(rows: int) -> Path:
    """A file of about so many agreements, made when it is not there; other processes read it from there."""
    import pyarrow as pa

    path = CACHE / f"agreements-{rows}.arrow"
    if not path.exists():
        from tests.warehouse.generator import generate

        CACHE.mkdir(exist_ok=True)
        relationships = round(rows / ROWS_A_RELATIONSHIP)
        made = generate(relationships, SEED, oslo_today(SystemClock())).agreements
        half = path.with_suffix(".tmp")
        with pa.OSFile(str(half), "wb") as file, pa.ipc.new_file(file, made.schema) as writer:
            writer.write_table(made, max_chunksize=100_000)
        half.rename(path)
    return path


def read(rows: int) -> "pa.Table":
    import pyarrow as pa

    return pa.ipc.open_file(pa.memory_map(str(arrow_file(rows)))).read_all()


def duckdb_file(rows: int) -> Path:
    path = CACHE / f"agreements-{rows}.duckdb"
    if not path.exists():
        from tests.warehouse.loading import into_duckdb

        half = path.with_suffix(".tmp")
        half.unlink(missing_ok=True)
        into_duckdb(read(rows), half)
        half.rename(path)
    return path


def into_postgres(rows: int, dsn: str) -> None:
    from tests import warehouse

    del warehouse
    from tests.warehouse.loading import into_postgres as load

    load(read(rows), dsn)
