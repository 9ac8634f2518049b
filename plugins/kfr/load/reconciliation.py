"""Whether the register is what the mirror says: a sample first; everyone, when asked or when the sample says no.

Left over can be found only among those whom the warehouse, the mirror or the queue of removals knows: the
register lists nobody.
"""

from dataclasses import asdict
from typing import Any

from kfr.load import comparison, extract, last_word, lease, mirror, planning, strata
from kfr.load.mirror import Mirror
from kfr.load.strata import Stratum
from kfr.load.world import World
from kfr.register.errors import Fatal
from kfr.relationships.customers import NOTHING, among, union, without
from kfr.relationships.packing import DAY_BITS, Ints, ids_of


class NotCompared(Fatal):
    """The register was not compared to the end."""


def compare(world: World, *, full: bool, seconds: float) -> bool:
    """Compare for so many seconds; whether the comparison is over and the mirror follows it.

    Called again and again, it goes on where it was. A dry run leaves the mirror, and its plan says what would
    change.

    :param full: look everyone up even if the sample shows nothing.
    """
    if not world.run.dry_run:
        lease.check(world)
    found = extract.read(world)
    about = _about(world, found)
    lost = not mirror.is_readable(world)
    if _progress(world).get("over") == about:
        if not lost or (world.run.dry_run and comparison.is_staged(world)):
            return True
        world.place.write_json("reconciled.json", {})  # who was to be asked then may be removed by now
    if lost or world.run.dry_run:
        held = mirror.read_or_restart(world)
    else:
        strata.check_unverified(world)
        held = mirror.record(world)
    if _progress(world).get("sampled") != about:
        sampled = [] if lost else _sample(world, found, held)
        facts = {"sampled": about, "strata": [asdict(s) for s in sampled]}
        world.place.write_json("reconciled.json", facts)
    misses = sum(s["misses"] for s in _progress(world)["strata"])
    if not (full or lost or misses or len(held.possible) > planning.MOST_LOOKED_UP):
        world.place.write_json("reconciled.json", {**_progress(world), "over": about})
        return True
    if not comparison.look_up(
        world,
        _asked(world, found, held, about, lost=lost),
        held,
        starts=lost or _starts_differ(world),
        until=world.now + seconds,
    ):
        return False
    if not world.run.dry_run:
        comparison.take_over(world, held)
    world.place.write_json("reconciled.json", {**_progress(world), "over": about})
    return True


def require_over(world: World) -> None:
    """Raise NotCompared unless the comparison of this very extract has come to its end."""
    if _progress(world).get("over") != _about(world, extract.read(world)):
        raise NotCompared(
            "The comparison with the register is not over; a task that a person marks has done nothing. Nothing was "
            "planned. Clear compare_register with what follows it."
        )


def read(world: World) -> list[Stratum]:
    """What the sample showed; empty if the mirror was lost or this run reconciles nothing."""
    return [Stratum(**s) for s in _progress(world).get("strata", [])]


def _about(world: World, found: extract.Extract) -> str:
    """The fingerprint of what is compared."""
    alone = lease.alone_since(world).to_bytes(8, "big")
    return world.staging.fingerprint(found.active.tobytes(), found.ended.tobytes(), alone)


def _progress(world: World) -> dict[str, Any]:
    name = "reconciled.json"
    progress: dict[str, Any] = world.place.read_json(name) if world.place.exists(name) else {}
    return progress


def _sample(world: World, found: extract.Extract, held: Mirror) -> list[Stratum]:
    """Who should be there, as the mirror has them; and who should not, of those that the warehouse knows."""
    told = comparison.settled(world, ids_of(held.proven))
    there = held.proven[among(ids_of(held.proven), told)]
    looked_up = strata.sample(world, there, "in the register")
    missing = strata.missing(world, there, looked_up)
    other_start = [row for row in missing if strata.is_present(world, row)]
    ended = without(ids_of(found.ended), ids_of(there), ids_of(held.possible), ids_of(found.active))
    gone = comparison.settled(world, ended) << DAY_BITS
    asked = strata.sample(world, gone, "not in the register")
    left = strata.patiently(world, asked.tolist(), lambda row: strata.is_present(world, row))
    result = [
        Stratum(
            name="in the register",
            rows=len(there),
            sampled=len(looked_up),
            misses=len(missing),
            start_not_corrected=len(other_start),
        ),
        Stratum(name="not in the register", rows=len(gone), sampled=len(asked), misses=len(left)),
    ]
    world.say(_sentence(result))
    return result


def _asked(world: World, found: extract.Extract, held: Mirror, about: str, *, lost: bool) -> Ints:
    """Everyone, settled once: a new day or a new request must not throw hours of look-ups away."""
    if _progress(world).get("asked") != about:
        world.place.write_array("asked", comparison.settled(world, _everyone(world, found, held, lost=lost)))
        world.place.write_json("reconciled.json", {**_progress(world), "asked": about})
    return world.place.read_array("asked")


def _everyone(world: World, found: extract.Extract, held: Mirror, *, lost: bool) -> Ints:
    asked, _ = last_word.asked_for(world)  # of whom perhaps nobody else knows any more
    known = [found.customers, ids_of(held.proven), ids_of(held.possible), asked]
    return union(*known, mirror.salvage(world) if lost else NOTHING)


def _starts_differ(world: World) -> bool:
    return any(s.start_not_corrected for s in read(world))


def _sentence(sampled: list[Stratum]) -> str:
    rows, looked_up = sum(s.rows for s in sampled), sum(s.sampled for s in sampled)
    misses = sum(s.misses for s in sampled)
    if misses:
        return f"Sampled {looked_up:,} of {rows:,} customers: {misses:,} are not as they should be. Looking all up."
    return (
        f"Sampled {looked_up:,} of {rows:,} customers: all are as they should be. At 95 % confidence at most "
        f"{sum(s.wrong_at_most for s in sampled):,} are not."
    )
