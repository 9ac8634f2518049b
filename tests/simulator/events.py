"""The event log: what happened, in order, one event a call and two a file, never one a row."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tests.simulator.identifiers import text_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened.

    `kind` is the operation where the register did the work (`token`, `register_one`, `remove_one`, `file_accepted`,
    `look_up`), `refused` where the request was at fault, `fault` where a planned fault stood in its way, or one of
    `file_load_started`, `file_loaded`, `defect`, `mail`. A look-up that finds nothing is a `look_up`, whatever its status.
    `fault` names the fault that struck, also where the work was done.
    """

    at: datetime
    kind: str
    operation: str = ""
    status: int = 0
    code: str = ""
    correlation_id: str = ""
    customer_id: int | None = None
    file: int | None = None  # from 1, in the order of acceptance
    rows: int = 0
    found: bool | None = None
    fault: str = ""

    def as_json(self, number: int) -> dict[str, Any]:
        """The event as the admin endpoint gives it, with its place in the log: what is empty is left out."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        kept = {name: value for name, value in fields.items() if value not in (None, "")}
        kept |= {"number": number, "at": self.at.isoformat()}
        if self.customer_id is not None:
            kept["customer_id"] = text_of(self.customer_id)
        return kept
