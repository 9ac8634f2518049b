"""Whatever goes wrong in a database: the class says what may be done, and nothing quotes an identifier."""

import json
import logging
import traceback
from collections.abc import Callable

import adbc_driver_manager
import duckdb
import psycopg
import psycopg2
import pytest
from airflow.sdk import BaseHook

from kfr.hooks.warehouse import SqlWarehouse
from kfr.load.warehouse import WarehouseError
from kfr.register.errors import ConfigurationError, KfrError
from tests.postgres import free_port
from tests.unit.hooks.conftest import AS_OF, DELIVERED, POSTGRES, WAYS, read_and_count
from tests.warehouse.generator import Generated

Warehouses = Callable[..., SqlWarehouse]
IDENTIFIER = "01888888888"


def failure_of(warehouse: SqlWarehouse) -> KfrError:
    with pytest.raises(KfrError) as failed, warehouse.agreements(AS_OF) as snapshot:
        read_and_count(snapshot)
    return failed.value


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("sql", "sqlstate"),
    [("SELEC 1", "42601"), ("SELECT * FROM nowhere", "42P01"), ("SELECT nothing FROM agreements", "42703")],
)
def test_sql_that_does_not_run_is_a_matter_of_configuration(
    way: str, sql: str, sqlstate: str, warehouse: Warehouses
):
    error = failure_of(warehouse(way, agreements=sql))
    assert type(error) is ConfigurationError
    assert "does not run agreements.sql" in str(error)
    assert error.code == (sqlstate if way in POSTGRES else None)


@pytest.mark.parametrize("way", WAYS)
def test_the_file_that_does_not_run_is_the_one_named(way: str, warehouse: Warehouses):
    assert "count_agreements.sql" in str(failure_of(warehouse(way, count_agreements="SELEC 1")))


@pytest.mark.parametrize("way", ["duckdb", "postgres", "psycopg2", "plain"])
def test_a_file_that_is_no_select_is_refused(way: str, warehouse: Warehouses):
    error = failure_of(
        warehouse(way, agreements="SET search_path = ''" if way in POSTGRES else "SET threads = 1")
    )
    assert type(error) is ConfigurationError


@pytest.mark.parametrize("way", ["adbc", "duckdb", "postgres", "psycopg2"])
def test_a_file_that_would_write_changes_nothing(way: str, warehouse: Warehouses, generated: Generated):
    failure_of(warehouse(way, agreements="DELETE FROM agreements"))
    with warehouse(way).agreements(AS_OF) as snapshot:
        assert snapshot.expected_rows == generated.truth.rows


_CAST = f"SELECT CAST(customer_id AS date) AS customer_id FROM (VALUES ('{IDENTIFIER}')) AS t (customer_id)"


def test_the_drivers_do_quote_what_they_stumble_over(dsn: str):
    # Or the next test shows nothing.
    for connect, error in (
        (lambda: psycopg.connect(dsn), psycopg.Error),
        (lambda: psycopg2.connect(dsn), psycopg2.Error),
        (duckdb.connect, duckdb.Error),
    ):
        connection = connect()
        with pytest.raises(error, match=IDENTIFIER):
            connection.cursor().execute(_CAST)
        connection.close()


@pytest.mark.parametrize("way", WAYS)
def test_no_identifier_gets_into_an_error_or_a_log(
    way: str, warehouse: Warehouses, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
):
    caplog.set_level(logging.DEBUG)
    built = warehouse(
        way,
        agreements=_CAST,
        agreements_of=_CAST.replace(f"'{IDENTIFIER}'", "{{ customer_ids }}").replace("AS date", "AS int"),
    )
    errors = [failure_of(built)]
    no_number = f"{IDENTIFIER}x"
    with pytest.raises(KfrError) as failed:
        built.agreements_of([no_number])
    errors.append(failed.value)

    told = "".join("".join(traceback.format_exception(error)) for error in errors)
    assert "agreements.sql" in told
    assert "agreements_of.sql" in told
    assert IDENTIFIER not in told + caplog.text + "".join(capfd.readouterr())


def test_reading_customers_logs_no_identifier_where_the_ordinary_way_does(
    warehouse: Warehouses, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
):
    built = warehouse("postgres")
    caplog.set_level(logging.DEBUG)
    built.agreements_of([IDENTIFIER])
    assert IDENTIFIER not in caplog.text + "".join(capfd.readouterr())

    ordinary = BaseHook.get_connection("warehouse_postgres").get_hook()
    ordinary.get_records("SELECT CAST(%s AS text)", parameters=(IDENTIFIER,))
    assert IDENTIFIER in caplog.text + "".join(capfd.readouterr())


# --- connections --------------------------------------------------------------------------------


def test_a_connection_that_is_not_there_is_named():
    error = failure_of(SqlWarehouse("kfr_warehouse", DELIVERED))
    assert isinstance(error, ConfigurationError)
    assert "connection kfr_warehouse" in str(error)


@pytest.mark.parametrize("kind", ["smtp", "nonsense"])
def test_a_connection_that_is_not_for_sql_is_refused(kind: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AIRFLOW_CONN_KFR_WAREHOUSE", json.dumps({"conn_type": kind, "host": "localhost"}))
    error = failure_of(SqlWarehouse("kfr_warehouse", DELIVERED))
    assert isinstance(error, ConfigurationError)
    assert "kfr_warehouse" in str(error)


@pytest.mark.parametrize("way", ["adbc", "postgres", "psycopg2"])
def test_a_server_that_is_down_may_be_tried_again(
    way: str, use: Callable[[str], str], dsn: str, monkeypatch: pytest.MonkeyPatch
):
    conn_id, port = use(way), dsn.rpartition(":")[2].split("/")[0]
    name = f"AIRFLOW_CONN_{conn_id.upper()}"
    monkeypatch.setenv(name, _environment(name).replace(port, str(free_port())))
    error = failure_of(SqlWarehouse(conn_id, DELIVERED))
    assert isinstance(error, WarehouseError)
    assert f"connection {conn_id} to the warehouse could not be opened" in str(error)


@pytest.mark.parametrize("way", ["adbc", "postgres", "psycopg2"])
def test_no_password_gets_into_an_error(
    way: str, use: Callable[[str], str], dsn: str, monkeypatch: pytest.MonkeyPatch
):
    conn_id, password = use(way), dsn.split(":")[2].split("@", maxsplit=1)[0]
    name = f"AIRFLOW_CONN_{conn_id.upper()}"
    monkeypatch.setenv(name, _environment(name).replace(password, "not-the-password"))
    error = failure_of(SqlWarehouse(conn_id, DELIVERED))
    assert "not-the-password" not in "".join(traceback.format_exception(error))


def test_a_connection_with_an_unknown_extra_is_a_matter_of_configuration(
    use: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
):
    conn_id = use("postgres")
    name = f"AIRFLOW_CONN_{conn_id.upper()}"
    monkeypatch.setenv(name, json.dumps(json.loads(_environment(name)) | {"extra": {"colour": "red"}}))
    assert type(failure_of(SqlWarehouse(conn_id, DELIVERED))) is ConfigurationError


@pytest.mark.parametrize("way", ["adbc", "postgres", "psycopg2"])
def test_a_server_that_ends_the_connection_may_be_tried_again(way: str, warehouse: Warehouses, dsn: str):
    slow = """
        SELECT '01888888888' AS customer_id, DATE '2020-01-01' AS started_on, CAST(NULL AS date) AS ended_on
        FROM generate_series(1, 3000000)
    """
    with warehouse(way, agreements=slow).agreements(AS_OF) as snapshot:
        batches = snapshot.batches()
        while next(batches).num_rows == 0:
            pass
        with psycopg.connect(dsn, autocommit=True) as other:
            other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        with pytest.raises(WarehouseError):
            list(batches)


def test_a_sqlstate_is_passed_on_only_if_it_is_one(warehouse: Warehouses, monkeypatch: pytest.MonkeyPatch):
    class Broken(adbc_driver_manager.AdbcStatement):
        def execute_query(self) -> None:
            raise adbc_driver_manager.OperationalError("IO", status_code=10, sqlstate=IDENTIFIER)

    monkeypatch.setattr("kfr.hooks.adbc.AdbcStatement", Broken)
    error = failure_of(warehouse("adbc"))
    assert isinstance(error, WarehouseError)
    assert error.code is None


def _environment(name: str) -> str:
    import os

    return os.environ[name]
