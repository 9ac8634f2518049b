"""Other tools for the same, in an environment of their own (`bench/peers.txt`); nothing of the package is here."""

import os
import tempfile
from collections.abc import Generator, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

SQL = "SELECT customer_id, started_on, ended_on FROM agreements"
A_FILE = 434_000  # entries: ten megabytes of 23 bytes
BATCH_ROWS = 100_000


def polars(dsn: str, folder: str) -> Generator[dict[str, Any]]:
    """polars over ADBC: reads, checks digits, folds, renders; seals nothing, counts nothing."""
    import polars as pl
    from adbc_driver_postgresql import dbapi

    connection = dbapi.connect(dsn)
    yield {}
    table = pl.read_database(SQL, connection)
    rows = len(table)
    table = table.with_columns(pl.col("customer_id").str.strip_chars()).filter(_digits_are_right(pl))
    today = pl.lit(datetime.now(ZoneInfo("Europe/Oslo")).date())
    active = (
        table.lazy()
        .filter(pl.col("started_on").is_null() | (pl.col("started_on") <= today))
        .with_columns(pl.col("ended_on").fill_null(pl.date(2200, 1, 1)))
        .sort("customer_id", "started_on", nulls_last=False)
        .with_columns(pl.col("ended_on").cum_max().over("customer_id").alias("furthest"))
        .with_columns(
            (pl.col("started_on") > pl.col("furthest").shift().over("customer_id") + pl.duration(days=1))
            .fill_null(value=False)
            .cum_sum()
            .over("customer_id")
            .alias("chain")
        )
        .group_by("customer_id", "chain")
        .agg(pl.col("started_on").min(), pl.col("ended_on").max())
        .filter(pl.col("ended_on") > today)
        .sort("customer_id")
        .select(
            pl.concat_str(
                "customer_id", pl.col("started_on").dt.strftime("#%Y-%m-%d").fill_null(""), separator=""
            ).alias("entry")
        )
        .collect()
    )
    files = 0
    for first in range(0, len(active), A_FILE):
        text = active["entry"][first : first + A_FILE].str.join(",").item()
        (Path(folder) / f"polars-{files}").write_text(text)
        files += 1
    yield {"rows": rows, "active": len(active), "files": files}


def _digits_are_right(pl: Any) -> Any:
    customer = pl.col("customer_id")

    def remainder(weights: tuple[int, ...]) -> Any:
        digits = [customer.str.slice(place, 1).cast(pl.Int32, strict=False) for place in range(len(weights))]
        return pl.sum_horizontal(d * w for d, w in zip(digits, weights, strict=True)) % 11

    person = (remainder((3, 7, 6, 1, 8, 9, 4, 5, 2, 1)) <= 3) & (
        remainder((5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1)) == 0
    )
    organisation = remainder((3, 2, 7, 6, 5, 4, 3, 2, 1)) == 0
    length = customer.str.len_bytes()
    return customer.str.contains(r"^\d+$") & (
        ((length == 11) & person) | ((length == 9) & organisation)
    ).fill_null(value=False)


def dlt(dsn: str, folder: str) -> Generator[dict[str, Any]]:
    """dlt with a custom destination: carries the rows into files; checks nothing, folds nothing."""
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    os.environ["RUNTIME__LOG_LEVEL"] = "ERROR"
    import dlt as dlt_
    import pyarrow as pa
    from adbc_driver_postgresql import dbapi

    connection = dbapi.connect(dsn)
    count = [0]

    @dlt_.destination(batch_size=0, loader_file_format="parquet", name="files", naming_convention="direct")
    def files(items: Any, table: Any) -> None:
        import pyarrow.parquet as pq

        del table
        entries = pq.read_table(items)
        with (Path(folder) / "dlt.txt").open("a") as out:
            for batch in entries.to_batches():
                pairs = zip(batch["customer_id"].to_pylist(), batch["started_on"].to_pylist(), strict=True)
                out.write(",".join(f"{c}#{d}" if d else str(c) for c, d in pairs))
        count[0] += len(entries)

    @dlt_.resource(name="agreements")
    def agreements() -> Iterator[Any]:
        with connection.cursor() as cursor:
            cursor.execute(SQL)
            for batch in cursor.fetch_record_batch():
                yield pa.Table.from_batches([batch])

    yield {}
    with tempfile.TemporaryDirectory() as work:
        dlt_.pipeline("bench", pipelines_dir=work, destination=files, dataset_name="bench").run(agreements())
    yield {"rows": count[0]}
