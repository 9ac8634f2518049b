"""Run `equality.sql` over the warehouse's file and the register's state."""

from datetime import date
from pathlib import Path

import duckdb

QUERY = Path(__file__).with_name("equality.sql")


def compare(warehouse: Path, state: Path, as_of: date) -> dict[str, int]:
    """Return the figures of the comparison by name; `equal` is 1 or 0."""
    with duckdb.connect() as database:
        database.execute("SET enable_progress_bar = false")
        database.execute(f"ATTACH '{warehouse}' AS warehouse (READ_ONLY)")
        database.execute("CREATE VIEW agreements AS FROM warehouse.agreements")
        database.execute(
            f"CREATE VIEW register AS FROM read_csv('{state}', header = true, columns ="
            " {customer_id: 'VARCHAR', started_on: 'DATE', ended_on: 'DATE'})"
        )
        database.execute(f"SET VARIABLE as_of = DATE '{as_of}'")
        found = database.execute(QUERY.read_text())
        names = [column[0] for column in found.description or ()]
        return dict(zip(names, (int(value) for value in found.fetchall()[0]), strict=True))
