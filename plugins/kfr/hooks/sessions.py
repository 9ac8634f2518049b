"""An open connection to a warehouse, read into Arrow: by ADBC, by DuckDB, or by any DB-API cursor.

``DbApiHook.run`` and its relatives are not used: they log the bound parameters. Import it inside
functions: it loads pyarrow.
"""

from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from typing import Any, Protocol

import pyarrow as pa
from airflow.providers.common.sql.hooks.sql import DbApiHook

from kfr.hooks.agreement_columns import from_values
from kfr.register.errors import ConfigurationError

ROWS_A_FETCH = 20_000  # some 4 MB as Python objects
ADBC_BATCH_BYTES = 4 << 20  # the driver's 16 MB leave nothing to fetch ahead, and cost four times the memory
BATCHES_AHEAD = 3
DUCKDB_BATCH_ROWS = 131_072

_SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"  # PostgreSQL: first in a transaction

Pick = Callable[[Sequence[str], str], list[int]]


class Session(Protocol):
    """What the warehouse is read through. ``one_snapshot``: all statements see the same moment."""

    one_snapshot: bool

    def placeholders(self, count: int) -> str:
        """Write as many bound parameters as the driver wants them, for an IN list."""

    def read(
        self, sql: str, file: str, pick: Pick, parameters: Sequence[str] = ()
    ) -> Generator[pa.RecordBatch]:
        """Run a statement and give its picked columns; the first batch comes even when there are no rows."""


def session_on(hook: DbApiHook, connection: Any) -> Session:
    """Begin to read on a connection of a hook, by the fastest way that its driver has."""
    kinds = {base.__name__ for base in type(hook).__mro__}  # the providers may not be installed
    if "AdbcHook" in kinds:
        return AdbcSession(hook, connection)
    if "DuckDBHook" in kinds:
        return DuckDbSession(connection)
    return CursorSession(hook, connection)


class AdbcSession:
    """Arrow batches straight from the wire, fetched in a thread while the last ones are worked on."""

    def __init__(self, hook: DbApiHook, connection: Any) -> None:
        self._connection = connection
        self._numbered = hook.placeholder != "?"  # AdbcHook itself writes $1, $2 unless told otherwise
        self.one_snapshot = connection.adbc_get_info().get("vendor_name") == "PostgreSQL"
        self._options = (
            {"adbc.postgresql.batch_size_hint_bytes": ADBC_BATCH_BYTES} if self.one_snapshot else None
        )
        if self.one_snapshot:
            with connection.cursor() as cursor:
                cursor.execute(_SNAPSHOT)

    def placeholders(self, count: int) -> str:
        return ", ".join(f"${number}" if self._numbered else "?" for number in range(1, count + 1))

    def read(
        self, sql: str, file: str, pick: Pick, parameters: Sequence[str] = ()
    ) -> Generator[pa.RecordBatch]:
        with self._connection.cursor(adbc_stmt_kwargs=self._options) as cursor:
            cursor.execute(sql, list(parameters) or None)
            reader = cursor.fetch_record_batch()
            positions = pick(reader.schema.names, file)
            yield _nothing_of(reader.schema).select(positions)
            with closing(_read_ahead(reader, cursor.adbc_cancel)) as batches:
                for batch in batches:
                    yield batch.select(positions)


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
            yield _nothing_of(reader.schema).select(positions)
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

    def __init__(self, hook: DbApiHook, connection: Any) -> None:
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


def _read_ahead(reader: pa.RecordBatchReader, cancel: Callable[[], None]) -> Generator[pa.RecordBatch]:
    """Fetch in one thread, a few batches ahead; tell the server when the rest is not wanted."""
    with ThreadPoolExecutor(1, thread_name_prefix="kfr-warehouse") as thread:
        ahead = deque(thread.submit(next, reader, None) for _ in range(BATCHES_AHEAD))
        try:
            while (batch := ahead.popleft().result()) is not None:
                ahead.append(thread.submit(next, reader, None))
                yield batch
        except BaseException:
            for fetch in ahead:
                fetch.cancel()
            with suppress(Exception):
                cancel()  # or leaving would wait until the next batch has come
            raise


def _batch_of(
    rows: Sequence[Any], names: Sequence[str], positions: Sequence[int], file: str
) -> pa.RecordBatch:
    if rows and isinstance(rows[0], Mapping):  # a connection with a cursor of dictionaries
        rows = [tuple(row.values()) for row in rows]
    columns = [from_values([row[at] for row in rows], names[at], file) for at in positions]
    return pa.RecordBatch.from_arrays(columns, names=[names[at] for at in positions])


def _nothing_of(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.nulls(0, field.type) for field in schema], schema=schema)


def _no_rows(file: str) -> ConfigurationError:
    return ConfigurationError(f"{file} gives no rows: it must be one SELECT.")
