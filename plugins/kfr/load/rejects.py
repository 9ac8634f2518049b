"""Refused rows, whole, for the data steward who repairs them in the source. Nobody else needs them.

They lie sealed in `rejects/<run>/`, beside the run's own files, and outlive these: a row is repaired after the
load.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kfr.load.staging import Staging
    from kfr.load.world import World

KEPT_REJECTS = 100_000  # rows of one reading; all are counted
BY_THE_REGISTER = "refused_by_the_register"  # the reason, where ours found nothing wrong

Row = dict[str, str | None]  # customer_id, started_on, ended_on as they were read, and reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejects:
    """The refused rows of one run."""

    run: str  # its key
    written_at: str  # ISO
    rows: list[Row] = field(repr=False)


def keep(world: "World", reading: str, rows: Sequence[Row]) -> None:
    """Keep what a reading of this run refused, in place of what the same reading refused before."""
    if not rows:
        world.rejects.delete(reading)
        return
    written_at = world.clock.now().isoformat(timespec="seconds")
    world.rejects.write_json(reading, {"written_at": written_at, "rows": list(rows)})


def read(staging: "Staging") -> Iterator[Rejects]:
    """The refused rows of every run that are still kept, the latest run first, each row once."""
    found = []
    for folder in staging.everything.names("rejects"):
        readings: list[dict[str, Any]] = [
            staging.everything.read_json(name) for name in staging.everything.names(folder)
        ]
        rows = {json.dumps(row): row for reading in readings for row in reading["rows"]}
        if readings:
            written_at = max(reading["written_at"] for reading in readings)
            run = folder.removeprefix("rejects/")
            found.append(Rejects(run=run, written_at=written_at, rows=list(rows.values())))
    yield from sorted(found, key=lambda rejects: rejects.written_at, reverse=True)
