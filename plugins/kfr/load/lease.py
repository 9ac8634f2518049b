"""One writer at a time for an institution: a lease in its state folder.

Reading, deciding and writing the lease is made one step by an Airflow pool of one slot around `acquire` and
`release`. A generation that only grows tells a writer that came back from the dead that its time is over.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from kfr.load.world import World
from kfr.register.errors import Fatal


class LeaseLost(Fatal):
    """This task writes without the lease: another run holds it, or it was taken anew since."""


class InstitutionMismatch(Fatal):
    """The state folder belongs to another institution or environment than the connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """Who writes. `held` is false between runs, when only the generation is kept."""

    dag_id: str
    run_id: str
    generation: int
    since: float  # Unix seconds
    held: bool = True
    alone_since: int = 0  # the generation from which on no other run has held it

    def __str__(self) -> str:
        since = datetime.fromtimestamp(self.since, UTC).isoformat(timespec="seconds")
        return f"held by run {self.run_id} of {self.dag_id} since {since}"


def current(world: World) -> Lease | None:
    """The lease as it stands; None before the first one."""
    if not world.state.exists("lease"):
        return None
    return Lease(**world.state.read_json("lease"))


def alone_since(world: World) -> int:
    """The generation from which on only the holder has written: what was seen before may have changed since."""
    holder = current(world)
    return holder.alone_since if holder else 0


def acquire(
    world: World, *, finished: Callable[[Lease], bool], heartbeat_seconds: float, first_load: bool
) -> Lease | None:
    """Take the lease; None while another run holds it.

    A holder that `finished` (or whose run is gone) is replaced once its tasks cannot be alive any more:
    `heartbeat_seconds` after it was first seen finished.
    """
    holder = current(world)
    ours = holder is not None and (holder.dag_id, holder.run_id) == (world.run.dag_id, world.run.run_id)
    if (
        holder is not None
        and holder.held
        and not ours
        and not _is_over(world, holder, finished, heartbeat_seconds)
    ):
        world.say(f"The register is {holder}. Waiting for it.")
        return None
    open_state(world, first_load=first_load)
    generation = (holder.generation if holder else 0) + 1
    lease = Lease(
        dag_id=world.run.dag_id,
        run_id=world.run.run_id,
        generation=generation,
        since=world.now,
        alone_since=holder.alone_since if holder and ours else generation,
    )
    world.place.write_json("lease", asdict(lease))  # first: a crash between the two leaves a lease not ours
    world.state.write_json("lease", asdict(lease))
    world.state.delete("takeover")
    return lease


def open_state(world: World, *, first_load: bool) -> None:
    """See that the state folder is this institution's; only a first load may begin one."""
    who = {"environment": world.settings.environment, "fid": world.settings.fid}
    if not world.state.exists("institution"):
        if not first_load:
            raise Fatal(
                "There is no state for this institution in the staging place. Run kfr_initial_load first; if "
                "it was run, the Variable kfr_staging points elsewhere or the state was lost: see the "
                "runbook."
            )
        world.state.write_json("institution", who)
    elif world.state.read_json("institution") != who:
        raise InstitutionMismatch(
            "The state folder was written for another institution or environment than the connection names. "
            "Give each its own `fid` and environment, and do not move state folders between them."
        )
    elif not first_load and not world.state.exists("mirrored"):
        raise Fatal(
            "Nothing was ever loaded for this institution, so there is nothing to keep right. Run kfr_initial_load "
            "first."
        )


def check(world: World) -> None:
    """Raise LeaseLost unless this run holds the lease, in the generation that it was given."""
    holder = current(world)
    own = Lease(**world.place.read_json("lease")) if world.place.exists("lease") else None
    if holder is None or holder != own or not holder.held:
        raise LeaseLost(
            f"This run does not hold the register ({holder if holder and holder.held else 'nobody does'}). "
            "Nothing was sent. To go on, clear acquire_register too."
        )


def is_held(world: World) -> bool:
    """Whether this run holds the lease."""
    try:
        check(world)
    except LeaseLost:
        return False
    return True


def release(world: World) -> bool:
    """Give the lease back; False if it was not this run's to give."""
    if not is_held(world):
        return False
    holder = current(world)
    if holder is not None:
        world.state.write_json("lease", {**asdict(holder), "held": False})
    return True


def _is_over(
    world: World, holder: Lease, finished: Callable[[Lease], bool], heartbeat_seconds: float
) -> bool:
    if not finished(holder):
        world.state.delete("takeover")
        return False
    seen = world.state.read_json("takeover") if world.state.exists("takeover") else None
    if seen is None or seen["generation"] != holder.generation:
        world.state.write_json("takeover", {"generation": holder.generation, "seen_at": world.now})
        seen = {"seen_at": world.now}
    if world.now - float(seen["seen_at"]) < heartbeat_seconds:
        world.say(f"The register is {holder}; that run is over, its tasks' heartbeats are awaited.")
        return False
    world.say(f"Taking the register over: {holder}, which is over.")
    return True
