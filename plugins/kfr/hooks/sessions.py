"""An open connection to a warehouse, read into Arrow: by DuckDB or by any DB-API cursor (ADBC: ``adbc``).

``DbApiHook.run`` and its relatives are not used: they log the bound parameters. Import it inside
functions: it loads pyarrow.
"""

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

from kfr.hooks.agreement_columns import Pick, from_values, nothing_of
from kfr.register.errors import ConfigurationError

if TYPE_CHECKING:
    from airflow.providers.common.sql.hooks.sql import DbApiHook

ROWS_A_FETCH = 20_000  # some 4 MB as Python objects
DUCKDB_BATCH_ROWS = 131_072

_SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"  # PostgreSQL: first in a transaction


class Session(Protocol):
    """What the warehouse is read through. ``one_snapshot``: all statements see the same moment."""

    one_snapshot: bool

    def placeholders(self, count: int) -> str:
        """Write as many bound parameters as the driver wants them, for an IN list."""

    def read(
        self, sql: str, file: str, pick: Pick, parameters: Sequence[str] = ()
    ) -> Generator[pa.RecordBatch]:
        """Run a statement and give its picked columns; the first batch comes even when there are no rows."""


def session_on(hook: "DbApiHook", connection: Any) -> Session:
    """Begin to read on a connection of a hook, by the fastest way that its driver has."""
    kinds = {base.__name__ for base in type(hook).__mro__}  # the providers may not be installed
    if "AdbcHook" in kinds:
        from kfr.hooks.adbc import AdbcSession

        return AdbcSession(connection.adbc_connection, numbered=hook.placeholder != "?")
    if "DuckDBHook" in kinds:
        return DuckDbSession(connection)
    return CursorSession(hook, connection)


class DuckDbSession:
    """Arrow batches as DuckDB computes them, in one transaction."""

    one_snapshot = True

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        connection.execute("SET enable_progress_bar = false")  # it would be printed into the task's log
        connection.begin()

    def placeholders(self, count: int) -> str:
        return ", ".join("?" * count)

    def read(
        self, sql: str, file: str, pick: Pick, parameters: Sequence[str] = ()
    ) -> Generator[pa.RecordBatch]:
        with self._reader_of(sql, file, parameters) as reader:
            positions = pick(reader.schema.names, file)
            yield nothing_of(reader.schema).select(positions)
            for batch in reader:
                yield batch.select(positions)

    def _reader_of(self, sql: str, file: str, parameters: Sequence[str]) -> pa.RecordBatchReader:
        relation = self._connection.sql(sql, params=list(parameters) or None)
        if relation is None:
            raise _no_rows(file)
        try:
            reader: pa.RecordBatchReader = relation.to_arrow_reader(DUCKDB_BATCH_ROWS)
        finally:
            # Held by the traceback of an error it would hold the database, too; the next connection to
            # that file in this process, with other settings, would wait for it without end.
            del relation
        return reader


class CursorSession:
    """Rows of any DB-API cursor, turned into Arrow a fetch at a time.

    Straight from the rows: through pandas a nullable integer would come out as a float, and the complaint
    about it would name a type that the warehouse does not have.
    """

    def __init__(self, hook: "DbApiHook", connection: Any) -> None:
        self._connection = connection
        self._placeholder = hook.placeholder
        # Without a name psycopg (2 and 3) takes the whole result into memory.
        self._named = type(connection).__module__.startswith("psycopg")
        self.one_snapshot = hook.dialect_name == "postgresql" and self._begins_snapshot()

    def placeholders(self, count: int) -> str:
        return ", ".join([self._placeholder] * count)

    def read(
        self, sql: str, file: str, pick: Pick, parameters: Sequence[str] = ()
    ) -> Generator[pa.RecordBatch]:
        with closing(self._cursor()) as cursor:
            with suppress(AttributeError):
                cursor.arraysize = ROWS_A_FETCH  # how many some drivers get from the server at a time
            cursor.execute(sql, tuple(parameters)) if parameters else cursor.execute(sql)
            if cursor.description is None and not self._named:
                raise _no_rows(file)
            rows = cursor.fetchmany(ROWS_A_FETCH)
            names = [column[0] for column in cursor.description]  # psycopg2 knows them after the first fetch
            positions = pick(names, file)
            while True:
                yield _batch_of(rows, names, positions, file)
                if not (rows := cursor.fetchmany(ROWS_A_FETCH)):
                    return

    def _cursor(self) -> Any:
        return self._connection.cursor(name="kfr") if self._named else self._connection.cursor()

    def _begins_snapshot(self) -> bool:
        try:
            with closing(self._connection.cursor()) as cursor:
                cursor.execute(_SNAPSHOT)
        except Exception:  # noqa: BLE001 - a database that only speaks PostgreSQL's protocol; it is counted twice
            self._connection.rollback()
            return False
        return True


def _batch_of(
    rows: Sequence[Any], names: Sequence[str], positions: Sequence[int], file: str
) -> pa.RecordBatch:
    if rows and isinstance(rows[0], Mapping):  # a connection with a cursor of dictionaries
        rows = [tuple(row.values()) for row in rows]
    columns = [from_values([row[at] for row in rows], names[at], file) for at in positions]
    return pa.RecordBatch.from_arrays(columns, names=[names[at] for at in positions])


def _no_rows(file: str) -> ConfigurationError:
    return ConfigurationError(f"{file} gives no rows: it must be one SELECT.")
