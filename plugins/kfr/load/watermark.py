"""The last day on which the register was proven to equal the warehouse, for everyone.

A load of an interval begins some days before it, and a backfill does not move it. It grows, but for one case: a load
as of a past day that sends anything takes it back to that day.
"""

from datetime import date
from typing import TYPE_CHECKING

from kfr.clock import oslo_today

if TYPE_CHECKING:
    from kfr.load.extract import Extract
    from kfr.load.staging import Place
    from kfr.load.world import World

NAME = "watermark"


def read(world: "World") -> date | None:
    """The day, or None before the first proven load."""
    return read_from(world.state)


def read_from(state: "Place") -> date | None:
    """The same for who has the state alone."""
    return date.fromisoformat(state.read_json(NAME)["as_of"]) if state.exists(NAME) else None


def go_back(world: "World", found: "Extract") -> None:
    """A load as of a past day may bring back who has ended since, or a start: the next interval reads them again."""
    before = read(world)
    if before is not None and found.as_of < before:
        world.state.write_json(NAME, {"as_of": found.as_of.isoformat(), "run": world.run.key})


def follow(world: "World", found: "Extract") -> None:
    """Move it on to the day of a proven load.

    What a load of some given days proves says nothing of the days between; one from the watermark on does. One as
    of a past day removes nobody, so who has ended is the next load's.
    """
    if world.run.as_of is not None and world.run.as_of < oslo_today(world.clock):
        return
    if found.days is not None and world.run.interval is not None:
        return
    before = read(world)
    if before is None or before < found.as_of:
        world.state.write_json(NAME, {"as_of": found.as_of.isoformat(), "run": world.run.key})
