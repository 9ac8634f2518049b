"""Where an identifier must not be found: every table of Airflow's database, its files, what was printed, the mails."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import duckdb
from airflow.utils.session import create_session
from sqlalchemy import MetaData, select


def identifiers_of(warehouse: Path) -> set[str]:
    """Every identifier in a warehouse as it is written there, the refused ones too; blanks around are cut off."""
    with duckdb.connect(str(warehouse)) as database:
        rows = database.sql(
            "SELECT DISTINCT trim(customer_id) FROM agreements WHERE length(customer_id) >= 9"
        )
        return {row[0] for row in rows.fetchall()}


def metadata_tables() -> Iterator[tuple[str, str]]:
    """The name and the whole content of each table of the metadata database."""
    tables = MetaData()
    with create_session() as session:
        tables.reflect(session.get_bind())
        for name, table in tables.tables.items():
            yield name, "\n".join(str(dict(row)) for row in session.execute(select(table)).mappings())


def files_below(folder: Path) -> Iterator[tuple[str, str]]:
    """Name and content of every file, the name among the content."""
    for path in folder.rglob("*"):
        if path.is_file():
            yield str(path), f"{path}\n{path.read_bytes().decode(errors='replace')}"


def leaks(identifiers: Iterable[str], texts: Iterable[tuple[str, str]]) -> dict[str, int]:
    """How many of the identifiers stand in each of the texts, by name; those without any are left out."""
    wanted = list(identifiers)
    counts = {name: sum(one in text for one in wanted) for name, text in texts}
    return {name: count for name, count in counts.items() if count}
