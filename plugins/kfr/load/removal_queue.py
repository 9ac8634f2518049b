"""Removals that wait, are under way, or were made and await their proof; kept in the state folder.

An entry outlives the run that made it: a removal that may not run yet is run by the next run that may, and
one that was made is looked up by a later run, since the register may answer yes for the rest of the day.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from enum import StrEnum

import numpy as np

from kfr.load.staging import Place
from kfr.relationships.packing import Ints


class Removal(StrEnum):
    DUE = "due"  # the warehouse says ended; not sent yet
    INTENDED = "intended"  # written before the DELETE; a 404 after it means done
    REMOVED = "removed"  # 204, or 404 after an intention; proof pending
    GONE = "gone"  # looked up and not found
    HELD = "held"  # a person must look: the register contradicts what was proven


@dataclass(slots=True, kw_only=True)
class Entry:
    """One removal. `day` is the Oslo day number on which the DELETE was answered, 0 before."""

    state: Removal
    run: str
    day: int = 0


@dataclass(slots=True)
class RemovalQueue:
    """All removals of an institution, by customer."""

    _state: Place
    entries: dict[int, Entry] = field(default_factory=dict, repr=False)

    @classmethod
    def read(cls, state: Place) -> "RemovalQueue":
        stored = state.read_json("removals") if state.exists("removals") else {}
        entries = {
            int(customer): Entry(**{**entry, "state": Removal(entry["state"])})
            for customer, entry in stored.items()
        }
        return cls(state, entries)

    def write(self) -> None:
        self._state.write_json("removals", {str(customer): asdict(e) for customer, e in self.entries.items()})

    def of(self, *states: Removal) -> Ints:
        """The customers whose removal stands in one of `states`, sorted."""
        found = sorted(c for c, entry in self.entries.items() if entry.state in states)
        return np.array(found, dtype=np.int64)

    def gone(self) -> Ints:
        """Customers that the register answered as removed, proven or not."""
        return self.of(Removal.REMOVED, Removal.GONE)

    def forget(self, customers: Iterable[int]) -> None:
        """Drop entries: the customers are registered anew, or their removal is proven and recorded."""
        for customer in customers:
            self.entries.pop(int(customer), None)


def welcome_back(state: Place, customers: Ints) -> None:
    """Forget the removals of customers who are registered anew: none is waiting for them any more."""
    queue = RemovalQueue.read(state)
    returning = np.intersect1d(customers, queue.of(*Removal))
    if returning.size:
        queue.forget(returning.tolist())
        queue.write()
