"""Removals that wait, are under way, or were made and await their proof; kept in the state folder.

An entry outlives the run that made it: a removal that may not run yet is run by the next run that may, and
one that was made is looked up by a later run, since the register may answer yes for the rest of the day.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum

import numpy as np

from kfr.load.staging import Place
from kfr.relationships.packing import Ints, text_of


class Removal(StrEnum):
    DUE = "due"  # the warehouse says ended; not sent yet
    INTENDED = "intended"  # written before the DELETE; a 404 after it means done
    REMOVED = "removed"  # 204, or 404 after an intention; proof pending
    GONE = "gone"  # looked up on a later day, and not found
    HELD = "held"  # a person must look: the register contradicts what was proven
    RETURNED = "returned"  # a customer again, on the very day of the removal


MEANINGS = {
    Removal.DUE: "waits until nothing can be loading, then runs",
    Removal.INTENDED: "was being sent when its task stopped; the next run sends it again",
    Removal.HELD: "the register did not know a customer who was proven to be there; see the last failed run",
    Removal.REMOVED: "answered; looked up again on a later day",
    Removal.GONE: "proven to be gone",
    Removal.RETURNED: "a customer again on the day of the removal; looked up on a later day",
}


@dataclass(slots=True, kw_only=True)
class Entry:
    """One removal. `day` is the Oslo day number on which the DELETE was sent, and answered, at the latest.

    It is 0 before. `since` is when it was first found to be due, in Unix seconds; 0 if that is not known. `asked` is
    whether the institution's own queue asked for it, so that it must be told if the removal did not work. `wanted` is
    whether it was still due when a run last asked.
    """

    state: Removal
    run: str
    day: int = 0
    since: float = 0.0
    asked: bool = False
    wanted: bool = True


@dataclass(slots=True)
class RemovalQueue:
    """All removals of an institution, by customer."""

    _state: Place
    entries: dict[int, Entry] = field(default_factory=dict, repr=False)

    @classmethod
    def read(cls, state: Place) -> "RemovalQueue":
        stored = state.read_json("removals") if state.exists("removals") else {}
        for entry in stored.values():  # of an earlier version, which took some for gone on the day itself
            if entry.pop("known", None) is not None and entry["state"] == Removal.GONE:
                entry["state"] = Removal.REMOVED
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

    def returned(self) -> Ints:
        """Who came back on the day of a removal, sorted; also if they have left again since."""
        entries = self.entries.items()
        again = (Removal.RETURNED, Removal.DUE)  # of one that is due for the first time there is no day
        return np.array(sorted(c for c, e in entries if e.state in again and e.day), dtype=np.int64)

    def open(self) -> Ints:
        """Whose removal was begun and is not wanted any more, sorted: whether they are registered is open."""
        return np.array(sorted(c for c, entry in self.entries.items() if not entry.wanted), dtype=np.int64)

    def begun(self) -> Ints:
        """Whom the register was asked to remove, or may have been, sorted; not of whom it did not work."""
        entries = self.entries.items()
        return np.array(sorted(c for c, e in entries if e.day or e.state is not Removal.DUE), dtype=np.int64)

    def gone(self) -> Ints:
        """Customers that the register answered as removed, proven or not."""
        return self.of(Removal.REMOVED, Removal.GONE)

    def want(self, found: Ints) -> None:
        """Note whether the removals that were begun are still due: their customers are among `found`."""
        wanted = set(found.tolist())
        for customer, entry in self.entries.items():
            entry.wanted = entry.state not in (Removal.INTENDED, Removal.HELD) or customer in wanted

    def revive(self, customers: Iterable[int]) -> list[tuple[str, str]]:
        """Look-ups found customers who were answered as removed: their removal is due again.

        What to tell the institution's queue, which was told "removed" and would not ask again.
        """
        told = []
        for customer in map(int, customers):
            entry = replace(self.entries[customer], state=Removal.DUE, day=0, wanted=True)
            self.entries[customer] = entry
            told += [(text_of(customer), "waits")] if entry.asked else []
        return told

    def come_back(self, customers: Iterable[int], today: int, told: int) -> None:
        """Customers are to be registered anew.

        The register may answer yes for the rest of the day of a removal, or take nobody back on it (not documented),
        so until it is over no look-up tells whether they will be there: that outlives the plan that would send them.
        `today` and `told` are day numbers: the latter of the earliest day of which a look-up of now may speak.
        """
        for customer in map(int, customers):
            entry = self.entries[customer]
            if entry.state in (Removal.INTENDED, Removal.HELD) and (not entry.day or entry.day >= told - 1):
                # A DELETE is tried for minutes: it may have been carried out after midnight.
                entry.day = today
            if entry.day >= told:
                entry.state, entry.wanted = Removal.RETURNED, True
            else:
                del self.entries[customer]

    def untold(self, told: int) -> Ints:
        """Of whom no look-up tells whether they are registered, that may speak of the day `told` (a number); sorted.

        Not even after a look-up that no longer knew them: it may have been behind, from before they were added.
        """
        night = told - 1  # of a DELETE that may have gone out: see `come_back`
        entries = self.entries.items()
        found = (c for c, e in entries if e.day >= (night if e.state is Removal.INTENDED else told))
        return np.array(sorted(found), dtype=np.int64)

    def gone_before(self, run: str) -> Ints:
        """Whose removal is proven and was made by another run than `run`, sorted."""
        entries = self.entries.items()
        found = sorted(c for c, e in entries if e.state is Removal.GONE and e.run != run)
        return np.array(found, dtype=np.int64)

    def forget(self, customers: Iterable[int]) -> None:
        """Drop entries: the customers are registered anew, or their removal is proven and recorded."""
        for customer in customers:
            self.entries.pop(int(customer), None)
