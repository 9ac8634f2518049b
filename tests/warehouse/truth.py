"""What the register must hold, worked out from the table alone by SQL in DuckDB.

It is the judge of the package, so it shares nothing with it: identifiers are checked and agreements folded
here once more, in another language, from section 5 of the contract and the rules of the domain.
"""

from dataclasses import dataclass
from datetime import date
from typing import Any

import duckdb
import pyarrow as pa


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What follows from a table of agreements on a day.

    ``register`` has one row a customer, ``customer_id`` and ``started_on`` (null where not known), sorted by
    customer. ``ended`` and ``tainted`` are sorted texts: customers with agreements that had begun, none of
    which is active, and customers with a row that is refused although its identifier is right.
    """

    rows: int  # that `agreements.sql` reads
    register: pa.Table
    rejected: dict[str, int]  # rows by reason
    ended: "pa.Array[Any]"
    tainted: "pa.Array[Any]"


def truth_of(agreements: pa.Table, as_of: date) -> Truth:
    """Judge a table with the columns customer_id, started_on, ended_on."""
    with duckdb.connect() as database:
        database.execute("SET enable_progress_bar = false")
        database.register("agreements", agreements)
        database.execute(_MACROS)
        database.execute(_JUDGED.format(as_of=as_of))
        database.execute(_RELATIONSHIPS.format(as_of=as_of))
        reasons = (
            "SELECT reason, count(*) FROM judged WHERE reason IS NOT NULL GROUP BY reason ORDER BY reason"
        )
        tainted = "SELECT DISTINCT customer_id FROM judged WHERE reason = 'ended_before_started' ORDER BY 1"
        return Truth(
            rows=len(database.sql("FROM judged")),
            register=_table(
                database, "SELECT customer_id, started_on FROM relationships WHERE active ORDER BY 1"
            ),
            rejected=dict(database.sql(reasons).fetchall()),
            ended=_texts(database, "SELECT customer_id FROM relationships WHERE NOT active ORDER BY 1"),
            tainted=_texts(database, tainted),
        )


def _table(database: duckdb.DuckDBPyConnection, query: str) -> pa.Table:
    return database.sql(query).to_arrow_table()


def _texts(database: duckdb.DuckDBPyConnection, query: str) -> "pa.Array[Any]":
    return _table(database, query).column(0).combine_chunks()


def _weighted(weights: str, lowest: int) -> str:
    """SQL for the weighted sum of the digits of n; the last weight belongs to the digit at 10**lowest."""
    places = range(lowest + len(weights.split()) - 1, lowest - 1, -1)
    terms = (
        f"{weight} * (n // {10**place} % 10)" for weight, place in zip(weights.split(), places, strict=True)
    )
    return " + ".join(terms)


_MACROS = f"""
CREATE MACRO is_organisation(n) AS n > 0 AND ({_weighted("3 2 7 6 5 4 3 2 1", 0)}) % 11 = 0;
CREATE MACRO has_check_digits(n) AS
    -- k1 leaves 0, or 1, 2 or 3 in the numbers of 2032
    ({_weighted("3 7 6 1 8 9 4 5 2 1", 1)}) % 11 <= 3 AND ({_weighted("5 4 3 2 7 6 5 4 3 2 1", 0)}) % 11 = 0;
CREATE MACRO days_in(month, year) AS CASE
    WHEN month NOT BETWEEN 1 AND 12 THEN 0
    WHEN month = 2 THEN CASE WHEN year % 4 = 0 THEN 29 ELSE 28 END
    WHEN month IN (4, 6, 9, 11) THEN 30
    ELSE 31 END;
-- the months of real persons, NPID, NAV, synthetic NPID, Norsk Helsenett and Skatteetaten
CREATE MACRO is_day(day, month, year) AS day > 0 AND day <= greatest(
    days_in(month, year), days_in(month - 20, year), days_in(month - 40, year),
    days_in(month - 60, year), days_in(month - 65, year), days_in(month - 80, year));
CREATE MACRO without_40(day) AS CASE WHEN day > 40 THEN day - 40 ELSE day END;
CREATE MACRO has_date(n) AS is_day(without_40(n // 1000000000), n // 10000000 % 100, n // 100000 % 100);
"""

_JUDGED = """
CREATE TABLE judged AS
WITH trimmed AS (
    SELECT trim(customer_id, ' ' || chr(9) || chr(10) || chr(11) || chr(12) || chr(13)) AS customer_id,
        CASE WHEN started_on >= DATE '1753-01-01' THEN started_on END AS started_on, ended_on
    FROM agreements WHERE started_on <= DATE '{as_of}' OR started_on IS NULL
), numbered AS (
    SELECT *, try_cast(CASE WHEN regexp_full_match(customer_id, '[0-9]+') THEN customer_id END AS BIGINT) AS n,
        length(customer_id) AS width
    FROM trimmed
)
SELECT customer_id, n, started_on, ended_on, CASE
    WHEN customer_id IS NULL OR customer_id = '' THEN 'missing'
    WHEN n IS NULL THEN 'not_digits'
    WHEN width NOT IN (9, 11) THEN 'wrong_length'
    WHEN NOT CASE width WHEN 9 THEN is_organisation(n) ELSE has_check_digits(n) END THEN 'check_digit'
    WHEN width = 11 AND NOT has_date(n) THEN 'impossible_date'
    WHEN ended_on < started_on THEN 'ended_before_started'
    END AS reason
FROM numbered
"""

_RELATIONSHIPS = """
CREATE TABLE relationships AS
WITH sound AS (
    SELECT n, customer_id, started_on, coalesce(ended_on, DATE '9999-12-31') AS ended_on
    FROM judged WHERE reason IS NULL
), followed AS (
    SELECT *, max(ended_on) OVER (earlier ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS furthest
    FROM sound WINDOW earlier AS (PARTITION BY n ORDER BY started_on NULLS FIRST)
), numbered AS (
    SELECT *, count(*) FILTER (started_on > furthest + 1) OVER (earlier ROWS UNBOUNDED PRECEDING) AS chain
    FROM followed WINDOW earlier AS (PARTITION BY n ORDER BY started_on NULLS FIRST)
), chains AS (
    SELECT n, chain, any_value(customer_id) AS customer_id, min(started_on) AS started_on, max(ended_on) AS ended_on
    FROM numbered GROUP BY n, chain
)
SELECT any_value(customer_id) AS customer_id, arg_max_null(started_on, chain) AS started_on,
    max(ended_on) > DATE '{as_of}' AS active
FROM chains GROUP BY n
"""
