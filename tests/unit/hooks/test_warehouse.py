import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import date, timedelta

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from kfr.hooks.warehouse import MAX_PARAMETERS, SqlWarehouse
from kfr.load.warehouse import Snapshot, WarehouseError
from kfr.register.errors import ConfigurationError
from tests.unit.hooks.conftest import AS_OF, POSTGRES, WAYS
from tests.warehouse.generator import Generated

Warehouses = Callable[..., SqlWarehouse]
ORDER = [("customer_id", "ascending"), ("started_on", "ascending"), ("ended_on", "ascending")]
SCHEMA = pa.schema({"customer_id": pa.string(), "started_on": pa.date32(), "ended_on": pa.date32()})
INSERT = "INSERT INTO agreements (customer_id, started_on) VALUES ('{added}', DATE '2020-01-01')"


def read(snapshot: Snapshot) -> pa.Table:
    return pa.Table.from_batches(snapshot.batches())


def begun(generated: Generated) -> pa.Table:
    starts = generated.agreements["started_on"]
    return generated.agreements.filter(pc.or_kleene(pc.less_equal(starts, AS_OF), pc.is_null(starts)))


@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_reading_gives_the_same_rows(way: str, warehouse: Warehouses, generated: Generated):
    with warehouse(way).agreements(AS_OF) as snapshot:
        rows = read(snapshot)
        assert snapshot.expected_rows == len(rows) == generated.truth.rows
    assert rows.schema.equals(SCHEMA)
    assert rows.sort_by(ORDER).equals(begun(generated).sort_by(ORDER))


@pytest.mark.parametrize("way", WAYS)
def test_changed_agreements_are_all_those_of_each_customer_with_a_change(
    way: str, warehouse: Warehouses, generated: Generated
):
    first, last = AS_OF - timedelta(days=60), AS_OF - timedelta(days=30)
    every = generated.agreements.to_pylist()
    changed = {
        row["customer_id"].strip()
        for row in every
        if row["customer_id"]
        and any(day and first <= day <= last for day in (row["started_on"], row["ended_on"]))
    }
    expected = [row for row in every if row["customer_id"] and row["customer_id"].strip() in changed]

    with warehouse(way).changed_agreements(first, last) as snapshot:
        rows = read(snapshot)
        assert snapshot.expected_rows is None
    assert rows.sort_by(ORDER).equals(pa.Table.from_pylist(expected, schema=SCHEMA).sort_by(ORDER))
    assert len(changed) < len(expected)  # or the test shows nothing


@pytest.mark.parametrize("way", WAYS)
def test_agreements_of_finds_those_of_more_customers_than_a_statement_binds(
    way: str, warehouse: Warehouses, generated: Generated
):
    asked = generated.truth.register["customer_id"].to_pylist()[: MAX_PARAMETERS + 500]
    texts = pc.utf8_trim_whitespace(generated.agreements["customer_id"])
    expected = generated.agreements.filter(pc.is_in(texts, pa.array(asked)))

    found = warehouse(way).agreements_of(asked)

    assert found.sort_by(ORDER).equals(expected.sort_by(ORDER))
    assert pc.any(pc.greater(found["started_on"], AS_OF)).as_py()  # agreements to come keep a customer
    assert pc.any(pc.starts_with(found["customer_id"], " ")).as_py()  # blanks do not hide one


BLANKS = {"tab": "chr(9)", "line": "chr(13) || chr(10)", "page": "chr(11) || chr(12)", "space": "' '"}


@pytest.mark.parametrize("blanks", BLANKS.values(), ids=BLANKS.keys())
@pytest.mark.parametrize("way", WAYS)
def test_the_two_queries_trim_what_the_extract_trims(
    way: str, blanks: str, warehouse: Warehouses, execute: Callable[[str, str], None]
):
    """Else an agreement that keeps a customer is not found when it is asked for, and the customer is removed."""
    for customer in (f"{blanks} || '{{added}}'", f"'{{added}}' || {blanks}"):
        execute(way, f"INSERT INTO agreements VALUES ({customer}, DATE '2026-02-02', NULL)")
    added = "11111111111"
    assert len(warehouse(way).agreements_of([added])) == 2
    with warehouse(way).changed_agreements(date(2026, 2, 2), date(2026, 2, 2)) as snapshot:
        found = read(snapshot)["customer_id"]
    assert len([text for text in found.to_pylist() if text and text.strip() == added]) == 2


@pytest.mark.parametrize("way", WAYS)
def test_agreements_of_nobody_are_none(way: str, warehouse: Warehouses):
    assert warehouse(way).agreements_of([]).equals(SCHEMA.empty_table())


@pytest.mark.parametrize("way", WAYS)
def test_a_result_without_rows_still_has_its_columns(way: str, warehouse: Warehouses):
    with warehouse(way).agreements(date(1700, 1, 1)) as snapshot:
        batches = list(snapshot.batches())
    assert [batch.schema for batch in batches[:1]] == [SCHEMA]


@pytest.mark.parametrize("counted_first", [False, True])
@pytest.mark.parametrize("way", ["adbc", "duckdb", "postgres", "psycopg2"])
def test_rows_written_while_reading_are_in_neither_count_nor_rows(
    way: str,
    counted_first: bool,
    warehouse: Warehouses,
    execute: Callable[[str, str], None],
    generated: Generated,
):
    with warehouse(way).agreements(AS_OF) as snapshot:
        if counted_first:
            assert snapshot.expected_rows == generated.truth.rows
            execute(way, INSERT)  # between the count and the rows
        batches = snapshot.batches()
        rows = next(batches).num_rows
        execute(way, INSERT)  # between two batches
        rows += sum(batch.num_rows for batch in batches)
        execute(way, INSERT)  # between the rows and the count
        assert rows == snapshot.expected_rows == generated.truth.rows
    with warehouse(way).agreements(AS_OF) as snapshot:
        assert snapshot.expected_rows == generated.truth.rows + 2 + counted_first


def test_without_snapshots_a_change_while_reading_is_told(
    warehouse: Warehouses, execute: Callable[[str, str], None]
):
    with warehouse("plain").agreements(AS_OF) as snapshot:
        execute("plain", INSERT)
        with pytest.raises(WarehouseError, match="changed while they were read"):
            read(snapshot)


@pytest.mark.parametrize("way", WAYS)
def test_columns_may_stand_in_any_order_and_case_beside_others(way: str, warehouse: Warehouses):
    sql = """
        SELECT ['a', 'b'] AS more, CAST('2020-01-02 00:00' AS timestamp) AS STARTED_ON, 7 AS branch,
            CAST(NULL AS date) AS "Ended_On", '01888888888' AS "CUSTOMER_ID", CAST(3.5 AS numeric(5, 2)) AS x;
    """
    sql = sql.replace("['a', 'b']", "ARRAY['a', 'b']" if way in POSTGRES else "['a', 'b']")
    with warehouse(way, agreements=sql).agreements(AS_OF) as snapshot:
        assert read(snapshot).to_pylist() == [
            {"customer_id": "01888888888", "started_on": date(2020, 1, 2), "ended_on": None}
        ]


@pytest.mark.parametrize("way", WAYS)
def test_a_remark_may_end_the_file(way: str, warehouse: Warehouses, generated: Generated):
    count = "SELECT count(*) FROM agreements -- all of them"
    with warehouse(way, count_agreements=count).agreements(AS_OF) as snapshot:
        assert snapshot.expected_rows == len(generated.agreements)


@pytest.mark.parametrize("cursor", ["dictcursor", "namedtuplecursor", "realdictcursor"])
def test_a_connection_with_a_special_cursor_reads_the_same(
    cursor: str, warehouse: Warehouses, generated: Generated, monkeypatch: pytest.MonkeyPatch
):
    import json
    import os

    built = warehouse("psycopg2")
    connection = json.loads(os.environ["AIRFLOW_CONN_WAREHOUSE_PSYCOPG2"]) | {"extra": {"cursor": cursor}}
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE_PSYCOPG2", json.dumps(connection))
    with built.agreements(AS_OF) as snapshot:
        assert read(snapshot).sort_by(ORDER).equals(begun(generated).sort_by(ORDER))


def test_leaving_early_ends_the_query_and_the_thread(warehouse: Warehouses):
    slow = """
        SELECT '01888888888' AS customer_id, DATE '2020-01-01' AS started_on, NULL::date AS ended_on
        FROM generate_series(1, 200002) AS g WHERE g <= 200000 OR pg_sleep(30) IS NOT NULL
    """
    began = time.monotonic()
    with warehouse("adbc", agreements=slow).agreements(AS_OF) as snapshot:
        batches = snapshot.batches()
        while next(batches).num_rows == 0:
            pass
    assert time.monotonic() - began < 20
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("kfr-warehouse")]


@pytest.mark.parametrize("way", ["adbc", "duckdb", "postgres"])
def test_a_consumer_that_fails_is_not_hidden_by_the_closing(way: str, warehouse: Warehouses):
    with pytest.raises(ZeroDivisionError), warehouse(way).agreements(AS_OF) as snapshot:  # noqa: PT012
        for batch in snapshot.batches():
            assert batch.num_rows // 0


# removals that the institution's own systems ask for

ASKED = "SELECT customer_id FROM removals_asked WHERE result IS NULL OR result = 'waits' ORDER BY asked_on"
TOLD = "UPDATE removals_asked SET result = {{ result }} WHERE customer_id = {{ customer_id }}"


@pytest.fixture
def queue(execute: Callable[[str, str], None]) -> Iterator[None]:
    """A queue with four requests, in both databases; one of them has been answered."""
    for way in ("postgres", "duckdb"):
        execute(way, "CREATE TABLE removals_asked (customer_id text, asked_on date, result text)")
        for number, customer in enumerate(["'01888888888'", "'017'", "NULL", "'01777777777'"], start=1):
            answered = "'removed'" if number == 4 else "NULL"
            execute(
                way, f"INSERT INTO removals_asked VALUES ({customer}, DATE '2026-01-0{number}', {answered})"
            )
    yield
    for way in ("postgres", "duckdb"):
        execute(way, "DROP TABLE removals_asked")


@pytest.mark.parametrize("way", WAYS)
def test_as_delivered_there_is_no_queue_and_nobody_is_asked(way: str, warehouse: Warehouses):
    delivered = warehouse(way)
    assert delivered.queued_removals() == []
    delivered.record_removals([("01888888888", "removed")])  # and nobody wants to know


@pytest.mark.parametrize("way", WAYS)
def test_a_queue_gives_its_requests_and_is_told_what_became_of_them(
    way: str, warehouse: Warehouses, queue: None
):
    built = warehouse(way, queued_removals=ASKED, removal_results=TOLD)
    assert built.queued_removals() == ["01888888888", "017"]
    built.record_removals([("01888888888", "removed"), ("017", "not_valid"), ("01999999999", "not_ours")])
    assert built.queued_removals() == []
    built.record_removals([("017", "waits")])
    assert built.queued_removals() == ["017"]


@pytest.mark.parametrize("way", ["adbc", "duckdb", "postgres"])
def test_an_answer_that_fails_half_way_leaves_the_queue_as_it_was(
    way: str, warehouse: Warehouses, queue: None, execute: Callable[[str, str], None]
):
    execute(way, "CREATE UNIQUE INDEX one_each ON removals_asked (result)")
    built = warehouse(way, queued_removals=ASKED, removal_results=TOLD)
    with pytest.raises(WarehouseError) as told:
        built.record_removals([("01888888888", "customer"), ("017", "customer")])
    assert "01888888888" not in str(told.value)
    assert built.queued_removals() == ["01888888888", "017"]
    assert told.value.__cause__ is None  # the driver's own words may hold a customer


@pytest.mark.parametrize("way", WAYS)
def test_a_queue_that_gives_no_text_is_refused(way: str, warehouse: Warehouses):
    with pytest.raises(
        ConfigurationError, match=r"queued_removals.sql must give one column of text: cast it"
    ):
        warehouse(way, queued_removals="SELECT 17").queued_removals()


def test_the_results_of_nobody_are_not_written(warehouse: Warehouses):
    warehouse("duckdb", removal_results="UPDATE no_such_table SET x = {{ result }}").record_removals([])


def test_importing_the_hook_loads_neither_pandas_nor_pyarrow_nor_a_driver():
    code = (
        "import sys, kfr.hooks.warehouse, kfr.load.warehouse\n"
        "heavy = {'pandas', 'pyarrow', 'numpy', 'duckdb', 'psycopg', 'adbc_driver_manager'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "agreements.sql is not in the folder"),
        ("SELECT '{{ day }}'", "'day' is undefined"),
        ("SELECT 1\nFROM {% if %}", "agreements.sql, line 2, does not render"),
        ("{% include 'more.sql' %}", "more.sql is not in the folder"),
        ("SELECT {{ as_of - 1 }}", "TypeError"),
    ],
)
def test_a_file_that_does_not_render_is_named(text: str | None, told: str, warehouse: Warehouses):
    with pytest.raises(ConfigurationError) as refused, warehouse("duckdb", agreements=text).agreements(AS_OF):
        pass
    assert told in str(refused.value)
    assert text is None or "include" in text or "It may use: as_of" in str(refused.value)


@pytest.mark.parametrize("way", WAYS)
def test_the_delivered_files_are_right_and_their_check_reads_no_row(way: str, warehouse: Warehouses):
    assert {flaw for _, flaw in warehouse(way).check(AS_OF)} == {None}


@pytest.mark.parametrize("way", WAYS)
def test_the_check_names_the_file_and_the_column_that_is_wrong(way: str, warehouse: Warehouses):
    missing = "SELECT customer_id, began_on AS started_on, ended_on FROM agreements"
    unnamed = "SELECT customer_id, started_on FROM agreements WHERE trim(customer_id) IN ({{ customer_ids }})"
    found = dict(warehouse(way, agreements=missing, agreements_of=unnamed).check(AS_OF))
    assert "began_on" in found["agreements.sql"]
    assert "does not give the column ended_on" in found["agreements_of.sql"]
    assert found["count_agreements.sql"] is None
