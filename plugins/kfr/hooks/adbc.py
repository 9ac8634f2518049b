"""A connection of type ``adbc``, opened by the driver manager itself and read as Arrow.

``AdbcHook`` is not used: with the DB-API layer that it stands on come pandas and more, a second and 90 MB in
every task that reads. What the connection's fields mean is the same. Import it inside functions: it loads pyarrow.
"""

import sys
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow as pa
from adbc_driver_manager import AdbcConnection, AdbcDatabase, AdbcStatement
from airflow.sdk import Connection

from kfr.hooks.agreement_columns import Pick, nothing_of

BATCH_BYTES = 4 << 20  # the driver's 16 MB leave nothing to fetch ahead, and cost four times the memory
BATCHES_AHEAD = 3

# PostgreSQL: first in a transaction.
SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"


class AdbcOpened:
    """An open connection; ``adbc_connection`` as the DB-API's own connection has it."""

    def __init__(self, connection: Connection) -> None:
        extra = {name.lower(): value for name, value in connection.extra_dejson.items()}
        dialect = extra.get("dialect", "default")
        options = {
            "driver": _library_of(extra.get("driver") or f"adbc_driver_{dialect}"),
            "uri": _uri_of(connection, dialect),
            **({"entrypoint": extra["entrypoint"]} if extra.get("entrypoint") else {}),
            **extra.get("db_kwargs", {}),
        }
        self._database = AdbcDatabase(**options)
        try:
            self.adbc_connection = AdbcConnection(self._database, **extra.get("conn_kwargs", {}))
            self.adbc_connection.set_autocommit(False)
        except BaseException:
            self._database.close()
            raise

    def close(self) -> None:
        with closing(self._database):
            self.adbc_connection.close()


class AdbcSession:
    """Arrow batches straight from the wire, fetched in a thread while the last ones are worked on."""

    def __init__(self, connection: AdbcConnection, *, numbered: bool) -> None:
        self._connection = connection
        self._numbered = numbered  # parameters are written $1, $2 and not ?
        self.one_snapshot = _is_postgresql(connection)
        if self.one_snapshot:
            with closing(AdbcStatement(connection)) as statement:
                statement.set_sql_query(SNAPSHOT)
                statement.execute_update()

    def placeholders(self, count: int) -> str:
        return ", ".join(f"${number}" if self._numbered else "?" for number in range(1, count + 1))

    def read(
        self, sql: str, file: str, pick: Pick, parameters: Sequence[str] = ()
    ) -> Generator[pa.RecordBatch]:
        with closing(AdbcStatement(self._connection)) as statement:
            if self.one_snapshot:
                statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": BATCH_BYTES})
            statement.set_sql_query(sql)
            if parameters:
                statement.prepare()
                names = [str(number) for number in range(len(parameters))]
                statement.bind(pa.RecordBatch.from_arrays([pa.array([p]) for p in parameters], names=names))
            handle, _ = statement.execute_query()
            with closing(pa.RecordBatchReader.from_stream(handle)) as reader:
                positions = pick(reader.schema.names, file)
                yield nothing_of(reader.schema).select(positions)
                with closing(_read_ahead(reader, statement.cancel)) as batches:
                    for batch in batches:
                        yield batch.select(positions)


def _library_of(driver: str) -> str:
    """Where the driver lies, as ``AdbcHook`` looks for it: in its wheel, in the environment, else by its name."""
    spec = find_spec(driver) if driver.isidentifier() else None
    folders = [Path(folder) for folder in (spec.submodule_search_locations or ())] if spec else []
    candidates = [folder / f"lib{driver}.so" for folder in folders]
    candidates += [Path(sys.prefix) / "lib" / f"lib{driver}{ending}" for ending in (".so", ".dylib")]
    candidates += [Path(sys.prefix) / "bin" / f"{driver}.dll"]
    return next((str(path) for path in candidates if path.is_file()), driver)


def _uri_of(connection: Connection, dialect: str) -> str:
    if "::" in str(connection.host):
        return str(connection.host)
    return str(connection.get_uri()).replace("adbc://", f"{dialect.lower().replace('_', '-')}://")


def _is_postgresql(connection: AdbcConnection) -> bool:
    with closing(
        pa.RecordBatchReader.from_stream(connection.get_info([0]))
    ) as reader:  # 0: the vendor's name
        names = [info["info_value"] for info in reader.read_all().to_pylist()]
    return names == ["PostgreSQL"]


def _read_ahead(reader: pa.RecordBatchReader, cancel: Callable[[], None]) -> Generator[pa.RecordBatch]:
    """Fetch in one thread, a few batches ahead; tell the server when the rest is not wanted."""
    with ThreadPoolExecutor(1, thread_name_prefix="kfr-warehouse") as thread:
        ahead: deque[Any] = deque(thread.submit(next, reader, None) for _ in range(BATCHES_AHEAD))
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
