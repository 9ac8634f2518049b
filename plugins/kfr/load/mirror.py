"""The mirror: what the register holds, as far as it is proven.

Two sorted arrays of packed relationships. `proven` was found in the register by the rules of proof;
`possible` was sent by us and not proven, so it may be there. Only `proven` counts when a load is planned
(what is possible is sent again); both count when a removal is due. It moves by `record` alone, from the
journal's entries, and recording twice is the same as recording once.
"""

from dataclasses import dataclass, field

import numpy as np

from kfr.load.journal import Single, is_open, schedule
from kfr.load.removal_queue import RemovalQueue
from kfr.load.staging import StateMissing
from kfr.load.world import World
from kfr.relationships.packing import Ints, ids_of

KEPT_VERSIONS = 35

NOTHING: Ints = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror:
    """One version of the mirror."""

    version: int
    proven: Ints = field(repr=False)
    possible: Ints = field(repr=False)


def read(world: World) -> Mirror:
    """The current mirror. An institution whose state exists but whose mirror does not is an error."""
    if not world.state.exists("mirror"):
        if world.state.exists("institution") and not world.state.exists("mirrored"):
            return Mirror(version=0, proven=NOTHING, possible=NOTHING)
        raise StateMissing(
            "The mirror is lost: its state says that there was one. Rebuild it by kfr_reconcile."
        )
    version = int(world.state.read_json("mirror")["version"])
    return Mirror(
        version=version,
        proven=world.state.read_array(f"mirrors/{version:08d}.proven"),
        possible=world.state.read_array(f"mirrors/{version:08d}.possible"),
    )


def record(world: World) -> Mirror:
    """Move the mirror by all that the journal proves, archive what is closed, drop old versions."""
    before = read(world)
    journal, now = world.journal, world.now
    sends = journal.sends()
    plans = schedule(sends, world.settings.rows_per_second)
    proven, possible = before.proven, before.possible
    for send in sorted((s for s in sends if s.loads), key=lambda s: s.counts_from):
        rows = journal.rows(send)
        missing = _missing(world, send.file)
        if send.proven_at is not None:
            proven = put(proven, rows[~np.isin(rows, missing)])
            possible = put(possible, missing)
        else:
            if send.closed_because is not None:  # a person closed it: those who were looked for are not there
                proven = take(proven, np.array([w.customer_id for w in send.witnesses], np.int64))
            possible = put(possible, rows)
    for run in journal.runs_with_singles():
        singles = journal.singles(run)
        proven = put(proven, singles[singles[:, 1] == Single.PROVEN, 0])
        possible = put(possible, singles[singles[:, 1] != Single.PROVEN, 0])
    gone = RemovalQueue.read(world.state).gone()
    proven, possible = take(proven, gone), take(possible, np.union1d(gone, ids_of(proven)))
    after = Mirror(version=before.version + 1, proven=proven, possible=possible)
    _write(world, after)
    for send in sends:
        if send.run != world.run.key and not is_open(send, plans.get(send.name), now):
            journal.archive(send)  # this run's own stay: a task of it may still be cleared
    for run in journal.runs_with_singles():
        if run != world.run.key:
            journal.drop_singles(run)
    return after


def put(population: Ints, rows: Ints) -> Ints:
    """The population with `rows` in it, theirs in place of what it held for the same customers."""
    if rows.size == 0:
        return population
    merged: Ints = np.sort(np.concatenate([take(population, ids_of(rows)), np.unique(rows)]))
    return merged


def take(population: Ints, ids: Ints) -> Ints:
    """The population without the customers `ids`."""
    if ids.size == 0 or population.size == 0:
        return population
    kept: Ints = population[~np.isin(ids_of(population), ids)]
    return kept


def _missing(world: World, file: str) -> Ints:
    name = f"missing/{file[:40]}"
    return world.state.read_array(name) if world.state.exists(name) else NOTHING


def _write(world: World, mirror: Mirror) -> None:
    stem = f"mirrors/{mirror.version:08d}"
    world.state.write_array(f"{stem}.proven", mirror.proven)
    world.state.write_array(f"{stem}.possible", mirror.possible)
    world.state.write_json("mirrored", True)  # from now on a missing pointer is a loss
    world.state.write_json(
        "mirror",
        {
            "version": mirror.version,
            "run": world.run.key,
            "at": world.now,
            "proven": len(mirror.proven),
            "possible": len(mirror.possible),
            "fingerprint": world.staging.fingerprint(mirror.proven.tobytes()),
        },
    )
    for name in world.state.names("mirrors"):
        if int(name.removeprefix("mirrors/")[:8]) <= mirror.version - KEPT_VERSIONS:
            world.state.delete(name)
