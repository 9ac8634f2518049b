"""One generated warehouse in every database there is here, and every way to read it."""

import json
import shutil
from collections.abc import Callable, Iterator
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest
from airflow.providers.common.sql.hooks.sql import DbApiHook
from airflow.providers.duckdb.hooks.duckdb import DuckDBHook
from airflow.providers.postgres.hooks import postgres as postgres_hook
from airflow.sdk import Connection

from kfr.hooks.warehouse import SqlWarehouse
from kfr.load.warehouse import Snapshot
from tests.conftest import ROOT
from tests.postgres import Server
from tests.warehouse.generator import Generated, generate
from tests.warehouse.loading import into_duckdb, into_postgres

AS_OF = date(2026, 3, 1)
DELIVERED = ROOT / "include" / "sql"

FAST = ("adbc", "duckdb")
POSTGRES = ("adbc", "postgres", "psycopg2")  # all on PostgreSQL
WAYS = ("adbc", "duckdb", "postgres", "psycopg2", "plain")


class PlainHook(DbApiHook):
    """Any other database: a driver of which nothing is known, and no snapshot."""

    conn_name_attr = "plain_conn_id"
    conn_type = "plain"
    _placeholder = "?"

    def get_conn(self) -> Any:
        return duckdb.connect(self.connection.host)


@pytest.fixture(scope="session")
def generated() -> Generated:
    return generate(2_000, seed=11, as_of=AS_OF)


@pytest.fixture(scope="session")
def dsn(postgres_server: Server, generated: Generated) -> str:
    """A PostgreSQL database with the generated warehouse."""
    address = postgres_server.create_database("warehouse")
    into_postgres(generated.agreements, address)
    return address


@pytest.fixture(scope="session")
def database_file(tmp_path_factory: pytest.TempPathFactory, generated: Generated) -> Path:
    """A DuckDB database with the generated warehouse."""
    path = tmp_path_factory.mktemp("warehouse") / "warehouse.duckdb"
    into_duckdb(generated.agreements, path)
    return path


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Callable[[str], str]:
    """Set up the connection for a way of reading, and give its id."""

    def use(way: str) -> str:
        if way == "psycopg2":
            monkeypatch.setattr(postgres_hook, "USE_PSYCOPG3", False)
        if way == "plain":
            monkeypatch.setattr(Connection, "get_hook", lambda self: PlainHook(plain_conn_id=self.conn_id))
        name = f"warehouse_{way}"
        monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(_connection(way, request)))
        return name

    return use


def _connection(way: str, request: pytest.FixtureRequest) -> dict[str, Any]:
    if way in ("duckdb", "plain"):
        return {"conn_type": way, "host": str(request.getfixturevalue("database_file"))}
    dsn = request.getfixturevalue("dsn")
    if way == "adbc":
        return {"conn_type": "adbc", "extra": {"driver": "adbc_driver_postgresql", "db_kwargs": {"uri": dsn}}}
    parts = psycopg.conninfo.conninfo_to_dict(dsn)
    return {
        "conn_type": "postgres",
        "host": parts["host"],
        "port": int(parts["port"]),
        "login": parts["user"],
        "password": parts["password"],
        "schema": parts["dbname"],
    }


@pytest.fixture
def warehouse(use: Callable[[str], str], tmp_path: Path) -> Callable[..., SqlWarehouse]:
    """A warehouse read in one way, with the delivered SQL, or with some of its files written anew."""

    def warehouse(way: str, **files: str | None) -> SqlWarehouse:
        folder = tmp_path / "sql"
        shutil.copytree(DELIVERED, folder, dirs_exist_ok=True)
        for name, text in files.items():
            (folder / f"{name}.sql").write_text(text) if text is not None else (
                folder / f"{name}.sql"
            ).unlink()
        return SqlWarehouse(use(way), folder)

    return warehouse


@pytest.fixture
def execute(dsn: str, database_file: Path) -> Iterator[Callable[[str, str], None]]:
    """Change the warehouse beside the reader, in a connection of its own, and undo it at the end."""
    added = "11111111111"

    def execute(way: str, statement: str) -> None:
        if way in POSTGRES:
            connect: Any = partial(psycopg.connect, dsn, autocommit=True)
        elif way == "duckdb":
            connect = DuckDBHook(database=str(database_file)).get_conn  # one configuration in one process
        else:
            connect = partial(duckdb.connect, str(database_file))
        with connect() as connection:
            connection.execute(statement.format(added=added))

    yield execute
    for way in ("adbc", "duckdb"):
        execute(way, "DELETE FROM agreements WHERE customer_id LIKE '%{added}%'")


def read_and_count(snapshot: Snapshot) -> int | None:
    """Read all rows, then ask how many there must be, as an extract does."""
    list(snapshot.batches())
    return snapshot.expected_rows
