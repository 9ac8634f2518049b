"""A stratum of a load's proof, and how its sample is looked up: drawn once, with patience, nothing drawn anew."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date

import numpy as np

from kfr.clock import oslo_today
from kfr.load import lease, mirror, start_pairs
from kfr.load.ingestion import LookUpsUnreliable, finds_known
from kfr.load.removal_queue import RemovalQueue
from kfr.load.sampling import draw
from kfr.load.world import LOOK_UPS_LAG_SECONDS, World
from kfr.relationships.customers import NOTHING, among, distinct, union, without
from kfr.relationships.packing import DAY_BITS, DAY_MASK, Ints, date_of, ids_of

CONFIDENCE = 0.95
MISS_PATIENCE_SECONDS = LOOK_UPS_LAG_SECONDS  # how long a miss is looked up again
MISS_PAUSE_SECONDS = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Stratum:
    """What looking up showed for one stratum; counts."""

    name: str
    rows: int
    sampled: int
    misses: int  # of the sample, after the last look
    repaired: int = 0  # found missing by a full count and sent again
    start_not_corrected: int = 0  # registered, with another start than was filed
    pending: int = 0  # removals of today, besides `rows`: looked up on a later day

    @property
    def wrong_at_most(self) -> int:
        """Customers that may be wrong at 95 % confidence, when there was no miss; 0 if all were looked up."""
        if self.sampled >= self.rows:
            return 0
        share = 1 - (1 - CONFIDENCE) ** (1 / self.sampled)
        return math.ceil(self.rows * float(share))


def sample(world: World, rows: Ints, name: str, *, but: Ints = NOTHING) -> Ints:
    """The rows of a stratum that are looked up; a retry draws the same ones.

    :param but: customers who are not looked up (they are removed by now). In the place of each stands the next
        one, so that whoever was drawn before stays drawn.
    """
    seed = world.staging.fingerprint(rows.tobytes(), name.encode())
    drawn = draw(len(rows), world.settings.sample_size, seed)
    left = np.flatnonzero(~among(ids_of(rows), distinct(but)))
    return (
        rows[distinct(left[np.minimum(np.searchsorted(left, drawn), len(left) - 1)])]
        if left.size
        else NOTHING
    )


def patiently(world: World, rows: list[int], is_wrong: Callable[[int], bool]) -> list[int]:
    """Those of `rows` (packed) that are wrong, looked up again until they are right or patience ends."""
    wrong = [row for row in rows if is_wrong(row)]
    until = world.now + MISS_PATIENCE_SECONDS
    while wrong and world.now < until:
        world.clock.sleep(MISS_PAUSE_SECONDS)
        wrong = [row for row in wrong if is_wrong(row)]
    return wrong


def missing(world: World, rows: Ints, looked_up: Ints) -> list[int]:
    """Those of `looked_up` that are not in the register as filed.

    :param rows: all of the stratum: "not found" counts only if another of them is found.
    :raises LookUpsUnreliable: nobody is found.
    """
    wrong = patiently(world, looked_up.tolist(), lambda row: not is_right(world, row))
    if wrong and not finds_known(world, mirror.take(rows, ids_of(np.array(wrong, np.int64)))):
        raise LookUpsUnreliable("The register finds nobody of this stratum: nothing is shown by it.")
    return wrong


def check_unverified(world: World) -> None:
    """Look a sample up of files whose witnesses were found and whose run ended before it looked at more.

    Witnesses are few, so a file of which only a part was loaded can have all of them. A miss takes the whole file
    out of the mirror: who is in it is looked up or sent again, and counted by the load that does it.

    :raises LookUpsUnreliable: nobody is found, not even one who is known to be there.
    """
    journal = world.journal
    unverified = {s.file: s for s in journal.sends() if s.proven_at is not None and not s.verified}
    for file, send in unverified.items():
        changed = [journal.start_changes(run)[:, 0] for run in journal.runs_with("starts")]
        missing_by_now = ids_of(journal.missing(file))
        queue = RemovalQueue.read(world.state)
        gone = union(queue.gone(), queue.untold(world.told))
        known = np.concatenate([gone, missing_by_now, *map(ids_of, changed)])
        rows = np.sort(journal.rows(send))
        back = mirror.take(start_pairs.came_back(world, rows), known)
        looked_up = union(sample(world, rows, send.label, but=known), back).tolist()
        wrong = patiently(world, looked_up, lambda row: not is_right(world, row))
        lease.check(world)  # looking up takes its time: another run may have changed what is there
        if wrong:
            held = mirror.read(world).proven
            if not finds_known(world, mirror.take(held, ids_of(rows))):
                raise LookUpsUnreliable("The register finds nobody: nothing is shown by it. Try again later.")
            journal.put_missing(file, journal.rows(send))
        elif (not_as_filed := union(*begun_earlier(world, back))).size:
            journal.put_missing(file, union(journal.missing(file), not_as_filed))
        world.say(
            f"File {send.label} of {send.run} was loaded and never verified: {len(wrong)} of {len(looked_up):,} "
            f"sampled rows are wrong{', so all of it is sent or looked up again' if wrong else ''}."
        )
        record_verified(world, {file})


def record_verified(world: World, files: set[str]) -> None:
    """Record that a sample of files was looked up, and what was missing kept out of the mirror."""
    for send in world.journal.sends():
        if send.proven_at is not None and not send.verified and send.file in files:
            world.journal.put(replace(send, verified=True))


def begun_earlier(world: World, rows: Ints) -> tuple[Ints, Ints]:
    """Those of `rows` (packed, sorted, with starts) whom the register has on the day before their start.

    First each is waited for: a look-up from before they were there finds nothing on that day either. So may the next
    one, if it is behind where the first was not: who is not found on that day is asked for once more when no answer
    can be from before. The second of the two are those who were waited for in vain.
    """
    unseen = np.array(patiently(world, rows.tolist(), lambda row: not is_right(world, row)), np.int64)
    seen = without(rows, unseen)
    found = _found_before(world, seen)
    if len(found) < len(seen):
        world.clock.sleep(LOOK_UPS_LAG_SECONDS)
        found = union(found, _found_before(world, without(seen, found)))
    return found, unseen


def _found_before(world: World, rows: Ints) -> Ints:
    """Those of `rows` whom the register has on the day before their start."""
    found = []
    for row in rows.tolist():
        before = date_of((row & DAY_MASK) - 1)
        if before and is_found(world, row, before, before):
            found.append(row)
    return np.array(found, np.int64)


def is_right(world: World, row: int) -> bool:
    """Registered today, and, if a start was filed, on that day too."""
    start = date_of(row & DAY_MASK)
    return is_present(world, row) and (start is None or is_found(world, row, start, start))


def is_present(world: World, row: int) -> bool:
    today = oslo_today(world.clock)
    return is_found(world, row, today, today)


def is_found(world: World, row: int, first: date, last: date) -> bool:
    return world.finds(row >> DAY_BITS, first, last)
