"""The demo's warehouse: a DuckDB file that changes while others read it, and the changes of the day."""

import shutil
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import duckdb

from tests.warehouse.churn import Change, ChangeKind, Churn
from tests.warehouse.generator import Generated
from tests.warehouse.loading import into_duckdb

SEED = 1
LEAVE, LEAVE_AT_THE_END = 45, 15  # the latter from the last rows of the last file
ARRIVE, ARRIVE_BACK_DATED, COME_BACK = 40, 30, 10
LAST_ROWS = 100
WAVES = 3

WORDS = {
    ChangeKind.LEAVES: "leave",
    ChangeKind.ARRIVES: "arrive",
    ChangeKind.ARRIVES_BACK_DATED: "arrive back-dated",
    ChangeKind.COMES_BACK: "come back",
}


class Warehouse:
    """A database file that takes changes at any time.

    DuckDB lets one process write a file, and refuses to open it to any other meanwhile: a task that came at
    that moment would fail and be tried again. So a change is made in a copy, which then takes the file's
    place by one rename. Who has the old file open reads it to the end; who opens it later reads the new one.
    """

    def __init__(self, path: Path, generated: Generated) -> None:
        self.path = path
        into_duckdb(generated.agreements, path)

    def apply(self, changes: Sequence[Change]) -> None:
        """Make some changes, all of them at one moment."""
        copy = self.path.with_suffix(".new")
        shutil.copy(self.path, copy)
        with duckdb.connect(copy) as database:
            database.begin()
            for change in changes:
                database.execute(change.statement)
            database.commit()
        copy.replace(self.path)


def day_of_changes(generated: Generated, today: date) -> list[list[Change]]:
    """What happens in the warehouse during the load, in waves; each has a part of everything.

    The batch files are in the order of the identifiers, so the last rows of the last file are the highest.
    """
    churn = Churn(generated, SEED, today)
    customers = sorted((str(text) for text in generated.truth.register["customer_id"].to_pylist()), key=int)
    changes = [
        *churn.leave(LEAVE_AT_THE_END, among=customers[-LAST_ROWS:]),
        *churn.leave(LEAVE),
        *churn.arrive(ARRIVE),
        *churn.arrive_back_dated(ARRIVE_BACK_DATED),
        *churn.come_back(COME_BACK),
    ]
    return [changes[first::WAVES] for first in range(WAVES)]


def sentence(changes: Sequence[Change]) -> str:
    """Say how many do what."""
    counts = {words: sum(c.kind is kind for c in changes) for kind, words in WORDS.items()}
    return ", ".join(f"{count} {words}" for words, count in counts.items() if count)
