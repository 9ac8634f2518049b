"""The warehouse behind an Airflow connection: the institution's own SQL, read as Arrow from one snapshot."""

import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateNotFound

from kfr.load.warehouse import Snapshot, WarehouseError
from kfr.register.errors import ConfigurationError, KfrError

if TYPE_CHECKING:  # importing these costs more than a Dag file may
    import pyarrow as pa

    from kfr.hooks.reader import Reader

AGREEMENTS = "agreements.sql"
COUNT_AGREEMENTS = "count_agreements.sql"
CHANGED_AGREEMENTS = "changed_agreements.sql"
AGREEMENTS_OF = "agreements_of.sql"
QUEUED_REMOVALS = "queued_removals.sql"
REMOVAL_RESULTS = "removal_results.sql"

NOBODY = "00000000000"  # no customer has it
MAX_PARAMETERS = 1_000  # Oracle's longest IN list; SQL Server binds 2,100, PostgreSQL 65,535


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlSnapshot:
    """Agreements that can be read inside the ``with`` that gave them."""

    expected_rows: int | None
    batches: Callable[[], Iterator["pa.RecordBatch"]]


class CountedLast:
    """The same where all statements see one moment: the rows are counted when the last of them has come.

    In a thread, so that the database counts while the rows are folded. Who asks for the count first, gets it first.
    """

    def __init__(self, reader: "Reader", sql: str, count_sql: str, thread: Executor) -> None:
        self._reader = reader
        self._sql = sql
        self._count_sql = count_sql
        self._thread = thread
        self._counted: Future[int] | None = None

    @property
    def expected_rows(self) -> int:
        return self._count().result()

    def batches(self) -> Iterator["pa.RecordBatch"]:
        yield from self._reader.rows(AGREEMENTS, self._sql)
        self._count()

    def _count(self) -> "Future[int]":
        if self._counted is None:
            self._counted = self._thread.submit(self._reader.count, COUNT_AGREEMENTS, self._count_sql)
        return self._counted


class SqlWarehouse:
    """Read agreements through any connection whose hook is a ``DbApiHook``.

    :param conn_id: the Airflow connection; ``adbc`` and ``duckdb`` are the fast paths.
    :param sql_folder: the folder of the four SQL files, Jinja templates that the institution edits.
    """

    def __init__(self, conn_id: str, sql_folder: str | Path) -> None:
        self._conn_id = conn_id
        self._folder = Path(sql_folder)

    @contextmanager
    def agreements(self, as_of: date) -> Iterator[Snapshot]:
        """Open every agreement that began by a day, with the count that they must equal."""
        sql = self._render(AGREEMENTS, as_of=as_of)
        count_sql = self._render(COUNT_AGREEMENTS, as_of=as_of)
        with self._reader() as reader, ThreadPoolExecutor(1, thread_name_prefix="kfr-count") as thread:
            reader.tell_lineage(sql)
            if reader.one_snapshot:
                yield CountedLast(reader, sql, count_sql, thread)
                return
            expected = reader.count(COUNT_AGREEMENTS, count_sql)

            def batches() -> Iterator["pa.RecordBatch"]:
                yield from reader.rows(AGREEMENTS, sql)
                if reader.count(COUNT_AGREEMENTS, count_sql) != expected:
                    raise WarehouseError(
                        f"The agreements in {self._conn_id} changed while they were read, and its database"
                        " gives no snapshot. Try again, at an hour when the warehouse is not being loaded."
                    )

            yield SqlSnapshot(expected_rows=expected, batches=batches)

    @contextmanager
    def changed_agreements(self, from_date: date, to_date: date) -> Iterator[Snapshot]:
        """Open all agreements of each customer of whom one changed between two days, both included."""
        sql = self._render(CHANGED_AGREEMENTS, from_date=from_date, to_date=to_date)
        with self._reader() as reader:
            reader.tell_lineage(sql)
            yield SqlSnapshot(expected_rows=None, batches=lambda: reader.rows(CHANGED_AGREEMENTS, sql))

    def agreements_of(self, customer_ids: Sequence[str]) -> "pa.Table":
        """Read all agreements of some customers; the identifiers are bound, never written into the SQL."""
        with self._reader() as reader:
            batches: list[pa.RecordBatch] = []
            for first in range(0, len(customer_ids), MAX_PARAMETERS):
                ids = customer_ids[first : first + MAX_PARAMETERS]
                sql = self._render(AGREEMENTS_OF, customer_ids=reader.placeholders(len(ids)))
                batches += reader.rows(AGREEMENTS_OF, sql, ids)
            return reader.table_of(batches)

    def queued_removals(self) -> Sequence[str]:
        """Read whom the institution's systems ask to remove; an empty file means that there is no queue."""
        sql = self._render(QUEUED_REMOVALS)
        if not sql.strip():
            return []
        with self._reader() as reader:
            return reader.texts(QUEUED_REMOVALS, sql)

    def record_removals(self, results: Sequence[tuple[str, str]]) -> None:
        """Write results back to the queue; an empty file means that it does not want them."""
        from kfr.hooks.reader import placeholders_of, write

        result, customer_id = placeholders_of(self._conn_id)
        sql = self._render(REMOVAL_RESULTS, result=result, customer_id=customer_id)
        if sql.strip():
            write(self._conn_id, REMOVAL_RESULTS, sql, [(said, customer) for customer, said in results])

    def check(self, day: date) -> Iterator[tuple[str, str | None]]:
        """Run each statement so that it gives no row; for each file what is wrong with it, or None.

        Shown to the person who edits the files, so the database's own words are told: with no row read, they can
        quote nothing but the statement. What looks like an identifier is left out all the same.
        """
        days = {"as_of": day, "from_date": day, "to_date": day}
        for file in (AGREEMENTS, COUNT_AGREEMENTS, CHANGED_AGREEMENTS, AGREEMENTS_OF, QUEUED_REMOVALS):
            try:
                self._check(file, days)
            except KfrError as error:
                words = str(error.__context__).strip().splitlines() if error.__context__ else []
                quoted = f" The database says: {words[0]}" if words else ""
                yield file, re.sub(r"\d{6,}", "…", f"{error.args[0]}{quoted}")
            else:
                yield file, None

    def _check(self, file: str, days: dict[str, date]) -> None:
        with self._reader() as reader:
            wanted = days if file != AGREEMENTS_OF else {"customer_ids": reader.placeholders(1)}
            sql = self._render(file, **wanted)
            if file == QUEUED_REMOVALS and not sql.strip():
                return
            nothing = f"SELECT * FROM (\n{sql}) kfr_check WHERE 1 = 0"  # noqa: S608 - the institution's own file
            if file in (COUNT_AGREEMENTS, QUEUED_REMOVALS):
                reader.texts(file, nothing)
            else:
                next(reader.rows(file, nothing, [NOBODY] if file == AGREEMENTS_OF else ()))

    def _reader(self) -> "AbstractContextManager[Reader]":
        from kfr.hooks.reader import open_reader

        return open_reader(self._conn_id)

    def _render(self, file: str, **values: Any) -> str:
        """Fill a template in and take its last semicolon away, which not every driver accepts."""
        loader = FileSystemLoader(self._folder)
        # No HTML: only dates and placeholders are filled in.
        templates = Environment(loader=loader, undefined=StrictUndefined, autoescape=False)  # noqa: S701
        try:
            sql = templates.get_template(file).render(values)
        except TemplateNotFound as error:
            raise ConfigurationError(
                f"{error.name} is not in the folder {self._folder} of SQL files."
            ) from None
        except Exception as error:  # noqa: BLE001 - a template is code: anything may go wrong in it
            line = getattr(error, "lineno", None)
            where = f"{file}, line {line}," if line else file
            raise ConfigurationError(
                f"{where} does not render as a Jinja template ({type(error).__name__}: {error})."
                f" It may use: {', '.join(values)}."
            ) from None
        # The line break ends a comment in the last line, for drivers that put the statement in brackets.
        return sql.strip().rstrip(";").rstrip() + "\n"
