"""Put a generated warehouse into a database, as the table that the delivered SQL reads."""

from pathlib import Path

import duckdb
import pyarrow as pa

TABLE = "CREATE TABLE agreements (customer_id text, started_on date, ended_on date)"


def into_duckdb(agreements: pa.Table, path: Path) -> None:
    """Make the table in a database file, in place of one that was there."""
    with duckdb.connect(str(path)) as database:
        database.register("generated", agreements)
        database.execute(TABLE.replace("CREATE", "CREATE OR REPLACE"))
        database.execute("INSERT INTO agreements SELECT customer_id, started_on, ended_on FROM generated")


def into_postgres(agreements: pa.Table, dsn: str) -> None:
    """Make the table in a PostgreSQL database by COPY, in place of one that was there."""
    from adbc_driver_postgresql import dbapi

    with dbapi.connect(dsn) as connection:
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE IF EXISTS agreements")
            cursor.execute(TABLE)
            cursor.adbc_ingest("agreements", agreements, mode="append")
        connection.commit()
