"""A connection to the warehouse, open for reading: agreements in Arrow, a count, errors without text.

Import it inside functions: it loads pyarrow.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from airflow.sdk import BaseHook, Connection

from kfr.hooks.agreement_columns import SCHEMA, as_agreements, pick_agreement, pick_first
from kfr.hooks.driver_errors import connecting, reading
from kfr.hooks.sessions import Session, session_on
from kfr.register.errors import ConfigurationError

if TYPE_CHECKING:
    from airflow.providers.common.sql.hooks.sql import DbApiHook


class Reader:
    """Reads while the block of ``open_reader`` lasts; leaving it ends what is still being read."""

    def __init__(self, conn_id: str, session: Session, opened: ExitStack) -> None:
        self._conn_id = conn_id
        self._session = session
        self._opened = opened
        self.one_snapshot = session.one_snapshot  # all statements see the same moment
        self.placeholders = session.placeholders

    def rows(self, file: str, sql: str, parameters: Sequence[str] = ()) -> Iterator[pa.RecordBatch]:
        """Run a statement that gives agreements; the first batch comes even when there are no rows."""
        return self._opened.enter_context(closing(self._rows(file, sql, parameters)))

    def tell_lineage(self, sql: str) -> None:
        """Tell whoever collects lineage (OpenLineage) which statement is read; nothing happens if nobody does."""
        from airflow.providers.common.sql.hooks.lineage import send_sql_hook_lineage
        from airflow.sdk.lineage import NoOpCollector, get_hook_lineage_collector

        if not isinstance(get_hook_lineage_collector(), NoOpCollector):  # a hook may load pandas
            send_sql_hook_lineage(context=BaseHook.get_connection(self._conn_id).get_hook(), sql=sql)

    def count(self, file: str, sql: str) -> int:
        """Run a statement that gives one number."""
        with reading(self._conn_id, file):
            batches = list(self._session.read(sql, file, pick_first))
        values = [value for batch in batches for value in batch.column(0).to_pylist()]
        text = str(values[0]) if len(values) == 1 else ""  # some databases count in decimals
        if not text.isdecimal():
            raise ConfigurationError(f"{file} must give one row with one whole number, the count of rows.")
        return int(text)

    def texts(self, file: str, sql: str) -> list[str]:
        """Run a statement that gives one column of text; nulls are left out."""
        with reading(self._conn_id, file):
            batches = list(self._session.read(sql, file, pick_first))
        values = [value for batch in batches for value in batch.column(0).to_pylist() if value is not None]
        if not all(isinstance(value, str) for value in values):
            raise ConfigurationError(f"{file} must give one column of text: cast it.")
        return values

    def table_of(self, batches: Iterable[pa.RecordBatch]) -> pa.Table:
        return pa.Table.from_batches(batches, schema=SCHEMA)

    def _rows(self, file: str, sql: str, parameters: Sequence[str]) -> Generator[pa.RecordBatch]:
        with closing(self._session.read(sql, file, pick_agreement, parameters)) as batches:
            while True:
                with reading(self._conn_id, file):
                    batch = next(batches, None)
                if batch is None:
                    return
                yield as_agreements(batch, file)


def write(conn_id: str, file: str, sql: str, rows: Sequence[tuple[str, str]]) -> None:
    """Run a statement with two bound parameters once for each pair, in one transaction."""
    with connecting(conn_id):
        hook = _hook_of(BaseHook.get_connection(conn_id))
        connection = hook.get_conn()
    try:
        alone = _is(hook, "DuckDBHook")  # commits each statement by itself, and its cursors are connections
        with reading(conn_id, file), closing(connection if alone else connection.cursor()) as cursor:
            if alone:
                connection.begin()
            for row in rows:
                cursor.execute(sql, row)
            connection.commit()
    finally:
        with suppress(Exception):
            connection.close()


def placeholders_of(conn_id: str) -> list[str]:
    """Two bound parameters as the connection's driver writes them."""
    with connecting(conn_id):
        hook = _hook_of(BaseHook.get_connection(conn_id))
    return ["$1", "$2"] if _is(hook, "AdbcHook") and hook.placeholder != "?" else [hook.placeholder] * 2


@contextmanager
def open_reader(conn_id: str) -> Iterator[Reader]:
    """Connect, begin a snapshot if the database has one, and give it all back at the end."""
    with ExitStack() as opened:
        with connecting(conn_id):
            session = _session_of(conn_id, opened)
        yield Reader(conn_id, session, opened)


def _session_of(conn_id: str, opened: ExitStack) -> Session:
    connection = BaseHook.get_connection(conn_id)
    if connection.conn_type == "adbc":
        from kfr.hooks.adbc import AdbcOpened, AdbcSession

        adbc = AdbcOpened(connection)
        opened.callback(_close, adbc)
        return AdbcSession(adbc.adbc_connection, numbered=connection.extra_dejson.get("placeholder") != "?")
    hook = _hook_of(connection)
    database = hook.get_conn()
    opened.callback(_close, database)
    return session_on(hook, database)


def _close(connection: Any) -> None:
    with suppress(Exception):  # nothing was written; and the first error must not be hidden by one here
        connection.close()


def _is(hook: "DbApiHook", kind: str) -> bool:
    return kind in {base.__name__ for base in type(hook).__mro__}  # the provider may not be installed


def _hook_of(connection: Connection) -> "DbApiHook":
    from airflow.providers.common.sql.hooks.sql import DbApiHook

    hook = connection.get_hook()
    if not isinstance(hook, DbApiHook):
        raise ConfigurationError(
            f"The connection {connection.conn_id} is no SQL connection (its hook is {type(hook).__name__}):"
            " choose a type whose hook is a DbApiHook, such as postgres, adbc or duckdb."
        )
    return hook
