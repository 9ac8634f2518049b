"""How long what a load no longer needs is kept, and the sweep that ends it.

A run that ends well removes its staged files itself. What a failed or killed run leaves, and what is kept for
people to read, is swept by the next run that holds the lease. The time counts from the first sweep that saw a
thing: then neither a disk's clock nor an object store's is trusted, and nothing is swept that just came.
"""

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from kfr.clock import oslo_today
from kfr.load.journal import ASKED, DELIVERED

if TYPE_CHECKING:
    from kfr.load.world import World

DAY_SECONDS = 86_400
DAYS_A_YEAR = 365.25
LEFTOVER_DAYS = 1  # what a killed writer has left, half a file or one that belongs to none
SEEN = "seen"  # in the state: what the sweep saw and when it first did, Unix seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long is kept what; the installation sets it, in section [kfr]."""

    staged_days: int = 14  # of a run that did not end well
    rejects_days: int = 30
    mirrors: int = 35  # versions, one a load that changed something
    reports_years: int = 5  # reports, and the log of what was sent


def sweep(world: "World") -> int:
    """Delete whatever is past its time, but for the own run's files; return how many files that were.

    For the run that holds the lease. Of deliveries only the daily notices go: the others are what keeps a mail
    from being sent a second time.
    """
    keep, everything, state = world.run.retention, world.staging.everything, world.state
    days = {
        "runs": keep.staged_days,
        "rejects": keep.rejects_days,
        "state/reports": keep.reports_years * DAYS_A_YEAR,
    }
    found = {name: limit for folder, limit in days.items() for name in everything.names(folder)}
    found |= dict.fromkeys([*everything.leftovers(), *_of_no_send(world)], LEFTOVER_DAYS)
    found.pop(f"runs/{world.run.key}", None)
    seen = state.read_json(SEEN) if state.exists(SEEN) else {}
    since = {name: float(seen.get(name, world.now)) for name in found}
    old = [name for name, limit in found.items() if world.now - since[name] > limit * DAY_SECONDS]
    removed = sum(everything.remove(name) for name in [*old, *_dated_before(world, keep.reports_years)])
    state.write_json(SEEN, {name: at for name, at in since.items() if name not in old})
    if removed:
        world.say(f"Swept: {removed} files whose time is over.")
    return removed


def _of_no_send(world: "World") -> list[str]:
    """Rows of files that were never sent after all, and of which nothing else is kept."""
    kept = {send.file[:40] for send in world.journal.sends()}
    names = [*world.state.names("rows"), *world.state.names("missing")]
    return [f"state/{name}" for name in names if name.partition("/")[2] not in kept]


def _dated_before(world: "World", years: int) -> list[str]:
    """Entries of the log of what was sent, by the date in their names."""
    names = {
        f"state/{name}": name.partition("/")[2]
        for folder in ("history", DELIVERED, ASKED)
        for name in world.state.names(folder)
    }
    names |= {
        f"state/{name}": name.removeprefix("deliveries/notice-")
        for name in world.state.names("deliveries")
        if name.startswith("deliveries/notice-")
    }
    today = oslo_today(world.clock)
    return [
        name
        for name, dated in names.items()
        if (today - date.fromisoformat(dated[:10])).days > years * DAYS_A_YEAR
    ]
