"""What a result must look like; each way of reading has its own types, and the message names them."""

from collections.abc import Callable
from datetime import date

import pytest

from kfr.hooks.warehouse import SqlWarehouse
from kfr.register.errors import ConfigurationError
from tests.unit.hooks.conftest import AS_OF, WAYS, read_and_count

Warehouses = Callable[..., SqlWarehouse]


def refusal_of(warehouse: SqlWarehouse) -> str:
    with pytest.raises(ConfigurationError) as refused, warehouse.agreements(AS_OF) as snapshot:
        read_and_count(snapshot)
    return str(refused.value)


def selecting(customer_id: str = "'01888888888'", started_on: str = "DATE '2020-01-01'") -> str:
    return f"SELECT {customer_id} AS customer_id, {started_on} AS started_on, DATE '2021-01-01' AS ended_on"


@pytest.mark.parametrize("way", WAYS)
def test_a_missing_column_is_named_with_those_found(way: str, warehouse: Warehouses):
    sql = "SELECT '1' AS customer_id, 2 AS opened, DATE '2021-01-01' AS ended_on"
    message = refusal_of(warehouse(way, agreements=sql))
    assert "agreements.sql does not give the column started_on" in message
    assert "customer_id, opened, ended_on" in message


@pytest.mark.parametrize("way", WAYS)
def test_a_column_given_twice_is_refused(way: str, warehouse: Warehouses):
    sql = selecting().replace("SELECT", "SELECT '2' AS customer_id,")
    assert "gives more than once the column customer_id" in refusal_of(warehouse(way, agreements=sql))


def test_a_column_named_like_an_identifier_is_not_repeated(warehouse: Warehouses):
    message = refusal_of(warehouse("duckdb", agreements="SELECT '01888888888'"))
    assert "does not give the column customer_id" in message
    assert "888" not in message


@pytest.mark.parametrize("way", WAYS)
def test_a_number_as_identifier_is_told_of_its_leading_zeros(way: str, warehouse: Warehouses):
    message = refusal_of(warehouse(way, agreements=selecting(customer_id="CAST(1888888888 AS bigint)")))
    assert "agreements.sql gives the column customer_id as int" in message
    assert "lost its leading zeros" in message
    assert "888" not in message


@pytest.mark.parametrize("way", WAYS)
def test_a_decimal_as_identifier_is_refused(way: str, warehouse: Warehouses):
    message = refusal_of(warehouse(way, agreements=selecting(customer_id="CAST(1888888888 AS numeric(11))")))
    assert "gives the column customer_id as" in message
    assert "numeric" in message or "decimal" in message
    assert "888" not in message


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ("CAST('2020-01-01' AS varchar)", "string"),
        ("20200101", "int"),
        ("CAST('2020-01-01 00:00:00+01' AS timestamptz)", "tz="),
        ("CAST('2020-01-01 13:30:00' AS timestamp)", "with a time of day"),
    ],
)
def test_a_start_that_is_no_date_is_refused(way: str, expression: str, found: str, warehouse: Warehouses):
    if way == "plain" and "timestamptz" in expression:
        pytest.skip("DuckDB hands such a value to Python only where pytz is installed")
    message = refusal_of(warehouse(way, agreements=selecting(started_on=expression)))
    assert "agreements.sql gives the column started_on as" in message
    assert found in message.split(";")[0]
    assert "a date is wanted" in message


@pytest.mark.parametrize("way", WAYS)
def test_a_column_of_nothing_but_nulls_passes(way: str, warehouse: Warehouses):
    sql = selecting(started_on="CAST(NULL AS date)")
    with warehouse(way, agreements=sql).agreements(AS_OF) as snapshot:
        rows = [row for batch in snapshot.batches() for row in batch.to_pylist()]
    assert rows == [{"customer_id": "01888888888", "started_on": None, "ended_on": date(2021, 1, 1)}]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "count", ["SELECT 'many'", "SELECT 1 UNION ALL SELECT 2", "SELECT NULL", "SELECT -1"]
)
def test_a_count_that_is_no_count_is_refused(way: str, count: str, warehouse: Warehouses):
    message = refusal_of(warehouse(way, count_agreements=count))
    assert "count_agreements.sql must give one row with one whole number" in message


@pytest.mark.parametrize("way", WAYS)
def test_a_count_may_be_a_decimal(way: str, warehouse: Warehouses):
    built = warehouse(way, count_agreements="SELECT CAST(7 AS numeric(10, 0)) AS n")
    with built.agreements(AS_OF) as snapshot:
        assert snapshot.expected_rows == 7
