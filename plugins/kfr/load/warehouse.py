"""The warehouse as a load sees it: agreements in Arrow batches, out of one snapshot."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import date
from typing import TYPE_CHECKING, Protocol

from kfr.register.errors import Retriable

if TYPE_CHECKING:  # importing pyarrow costs more than a Dag file may
    import pyarrow as pa


class WarehouseError(Retriable):
    """Raised when the warehouse did not answer, or changed while it was read without a snapshot.

    ``code`` is the SQLSTATE where the driver gives one. The driver's own text is left out: it can hold
    the identifier it complains about.
    """


class Snapshot(Protocol):
    """Agreements as they stood at one moment."""

    @property
    def expected_rows(self) -> int | None:
        """What ``count_agreements.sql`` counts in the same snapshot; None for changed agreements.

        Before or after all rows are read, not in between: a connection does one thing at a time.
        """

    def batches(self) -> Iterator["pa.RecordBatch"]:
        """Give every row once: ``customer_id`` text, ``started_on`` and ``ended_on`` date32, all nullable.

        The first batch comes even when there are no rows. Raises ConfigurationError for a result with
        another shape, WarehouseError when reading breaks off.
        """


class Warehouse(Protocol):
    """Where the agreements of all customers are kept."""

    def agreements(self, as_of: date) -> AbstractContextManager[Snapshot]:
        """Open every agreement that began by a day, the ended ones too."""

    def changed_agreements(self, from_date: date, to_date: date) -> AbstractContextManager[Snapshot]:
        """Open all agreements of each customer of whom one changed between two days, both included."""

    def agreements_of(self, customer_ids: Sequence[str]) -> "pa.Table":
        """Read all agreements of some customers as they stand now, the future ones too."""

    def queued_removals(self) -> Sequence[str]:
        """Whom the institution's own systems ask to remove, as text; nobody where there is no such queue."""

    def record_removals(self, results: Sequence[tuple[str, str]]) -> None:
        """Tell the queue what became of its customers, as pairs of customer and result."""
