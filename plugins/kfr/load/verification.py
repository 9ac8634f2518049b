"""The proof of a load: a sample of each stratum is looked up, drawn once and never drawn anew to pass.

A stratum is what one cause could spoil: the additions of one file, the single additions, the removals. No
miss in 2,995 bounds the share that is wrong under 0.1 % at 95 % confidence. A miss that stays ends the claim
for its file: the file is counted fully, what is missing is sent again, and the file is sampled again.
"""

import asyncio
import math
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

import numpy as np

from kfr.clock import oslo_today
from kfr.load import arrivals, lease, mirror, planning, upload
from kfr.load.ingestion import LookUpsUnreliable, await_loading, finds_known
from kfr.load.journal import Single
from kfr.load.removal_queue import Removal, RemovalQueue
from kfr.load.sampling import draw
from kfr.load.world import World
from kfr.register.errors import Fatal, InvalidIdentifier
from kfr.relationships.packing import DAY_BITS, DAY_MASK, Ints, date_of, day_number, ids_of

CONFIDENCE = 0.95
MISS_PATIENCE_SECONDS = 600  # how long a miss is looked up again: look-ups may lag (not documented)
MISS_PAUSE_SECONDS = 15
COUNTED_AT_ONCE = 1000  # look-ups between two checkpoints of a full count


class NotEqual(Fatal):
    """The register is not what the warehouse says, or it could not be shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stratum:
    """What looking up showed for one stratum; counts."""

    name: str
    rows: int
    sampled: int
    misses: int  # of the sample, after the last look
    repaired: int = 0  # found missing by a full count and sent again
    start_not_corrected: int = 0  # registered, with another start than was filed
    pending: int = 0  # removals that the register may still answer for today

    @property
    def wrong_at_most(self) -> int:
        """Customers that may be wrong at 95 % confidence, when there was no miss; 0 if all were looked up."""
        if self.sampled >= self.rows:
            return 0
        share = 1 - (1 - CONFIDENCE) ** (1 / self.sampled)
        return math.ceil(self.rows * float(share))


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """The proof of a load; counts."""

    strata: list[Stratum]
    look_ups: int
    misses: int

    @property
    def wrong_at_most(self) -> int:
        return sum(s.wrong_at_most for s in self.strata)


def verify(world: World) -> Proof:
    """Look a sample of every stratum up, repair what is missing, and say what is proven.

    :raises NotEqual: something is missing after its repair, or a removal waits for a person.
    """
    lease.check(world)
    labels = [*planning.read(world).labels, *world.place.read_json(f"{arrivals.CLOSING}.json")]
    removed = RemovalQueue.read(world.state).gone()
    strata = [_file(world, label, removed) for label in labels]
    strata += [_singles(world, removed), _removals(world)]
    proof = Proof(
        strata=strata,
        look_ups=sum(s.sampled for s in strata),
        misses=sum(s.misses + s.repaired for s in strata),
    )
    world.place.write_json("proof.json", asdict(proof))
    world.say(_sentence(proof))
    wrong = {s.name: s.misses for s in strata if s.misses}
    held = len(RemovalQueue.read(world.state).of(Removal.DUE, Removal.INTENDED, Removal.HELD))
    if wrong or held:
        raise NotEqual(
            f"The register does not equal the warehouse: misses {wrong or 'none'}, removals that wait "
            f"{held}. Nothing is confirmed. See the report; clear this task to look again."
        )
    return proof


def read(world: World) -> Proof:
    return from_json(world.place.read_json("proof.json"))


def from_json(value: dict[str, Any]) -> Proof:
    return Proof(**{**value, "strata": [Stratum(**s) for s in value["strata"]]})


def _file(world: World, label: str, removed: Ints) -> Stratum:
    rows = _rows_of(world, label, removed)
    misses = _misses(world, rows, label)
    if misses == 0:
        return Stratum(name=f"file {label}", rows=len(rows), sampled=_size(world, rows), misses=0)
    world.say(
        f"File {label}: {misses} of {_size(world, rows):,} sampled rows are wrong; "
        f"counting all {len(rows):,}."
    )
    wrong = _count_fully(world, label, rows)
    _keep_out_of_the_mirror(world, label, wrong)
    _repair(world, label, wrong)
    left = _misses(world, rows, label)
    still = [row for row in wrong.tolist() if not _is_right(world, row)]
    other_start = [row for row in still if _is_present(world, row)]
    if not still:
        _keep_out_of_the_mirror(world, label, mirror.NOTHING)
    return Stratum(
        name=f"file {label}",
        rows=len(rows),
        sampled=_size(world, rows) + len(rows),
        misses=max(left, len(still)) - len(other_start) if len(still) > len(other_start) else 0,
        repaired=len(wrong) - len(still),
        start_not_corrected=len(other_start),
    )


def _singles(world: World, removed: Ints) -> Stratum:
    singles = world.journal.singles(world.run.key)
    rows = mirror.take(np.sort(singles[singles[:, 1] != Single.INTENDED, 0]), removed)
    misses = _misses(world, rows, "singles")
    if misses == 0 and len(singles):
        proven = np.where(singles[:, 1] == Single.INTENDED, Single.INTENDED, Single.PROVEN)
        world.journal.put_singles(world.run.key, np.column_stack([singles[:, 0], proven]))
    return Stratum(name="single additions", rows=len(rows), sampled=_size(world, rows), misses=misses)


def _removals(world: World) -> Stratum:
    """Removed today: the register may answer yes for the rest of the day. Removed before: it must not."""
    queue, today = RemovalQueue.read(world.state), oslo_today(world.clock)
    rows = queue.of(Removal.REMOVED)
    if rows.size and not finds_known(world, mirror.take(mirror.read(world).proven, rows)):
        raise LookUpsUnreliable(
            "The register finds nobody, not even who is proven to be there: nothing is proven."
        )
    sample = rows[draw(len(rows), world.settings.sample_size, _seed(world, "removals"))]
    pending = misses = 0
    for customer in sample.tolist():
        entry = queue.entries[customer]
        if not world.look_up(customer, today, today):
            entry.state = Removal.GONE
        elif entry.day == day_number(today):
            pending += 1
        else:
            entry.state, misses = Removal.DUE, misses + 1
    queue.write()
    return Stratum(name="removals", rows=len(rows), sampled=len(sample), misses=misses, pending=pending)


def _rows_of(world: World, label: str, removed: Ints) -> Ints:
    rows = world.place.read_array(f"files/{label}")
    refused = world.place.read_array(f"refused/{label}")
    return mirror.take(rows, np.concatenate([ids_of(refused), removed]))


def _misses(world: World, rows: Ints, name: str) -> int:
    """How many of the sample are not as filed, each looked up again until patience ends."""
    wrong = [
        row
        for row in rows[draw(len(rows), world.settings.sample_size, _seed(world, name))].tolist()
        if not _is_right(world, row)
    ]
    until = world.now + MISS_PATIENCE_SECONDS
    while wrong and world.now < until:
        world.clock.sleep(MISS_PAUSE_SECONDS)
        wrong = [row for row in wrong if not _is_right(world, row)]
    if wrong and not finds_known(world, mirror.take(rows, ids_of(np.array(wrong, np.int64)))):
        raise LookUpsUnreliable(
            "The register finds nobody of this file, proven ones included: nothing is shown."
        )
    return len(wrong)


def _is_right(world: World, row: int) -> bool:
    """Registered today, and, if a start was filed, on that day too."""
    start = date_of(row & DAY_MASK)
    return _is_present(world, row) and (start is None or _found(world, row, start))


def _is_present(world: World, row: int) -> bool:
    return _found(world, row, oslo_today(world.clock))


def _found(world: World, row: int, day: date) -> bool:
    try:
        return world.look_up(row >> DAY_BITS, day, day)
    except InvalidIdentifier:
        return False


def _count_fully(world: World, label: str, rows: Ints) -> Ints:
    """Look every row of a file up; the wrong ones. Goes on from its checkpoint after a crash."""
    name = f"counted/{label}"
    done, wrong = 0, mirror.NOTHING
    if world.place.exists(name):
        done, wrong = int((stored := world.place.read_array(name))[0]), stored[1:]
    while done < len(rows):
        part = rows[done : done + COUNTED_AT_ONCE]
        wrong = np.concatenate([wrong, [row for row in part.tolist() if not _is_right(world, row)]]).astype(
            np.int64
        )
        done += len(part)
        world.place.write_array(name, np.concatenate([[done], wrong]).astype(np.int64))
    return wrong


def _repair(world: World, label: str, wrong: Ints) -> None:
    """Send what is missing as a file of its own and wait for it, as for any file."""
    lease.check(world)
    repair = f"repair-{label}"
    world.place.write_array(f"files/{repair}", wrong)

    async def look_up(customer: int, first: date, last: date) -> bool:
        return world.look_up(customer, first, last)

    files = upload.upload(world, repair)
    loading = asyncio.run(
        await_loading(
            world.journal,
            files,
            clock=world.clock,
            look_up=look_up,
            rows_per_second=world.settings.rows_per_second,
            grace=world.run.loading_grace,
        )
    )
    upload.finish(world, repair, loading.proven, loading.late)


def _keep_out_of_the_mirror(world: World, label: str, wrong: Ints) -> None:
    """A file that is proven as a whole may still lack rows: the mirror must not take them over."""
    pieces, _ = upload.leaves(world, world.place.read_array(f"files/{label}"))
    for piece in pieces:
        world.state.write_array(f"missing/{piece.fingerprint[:40]}", np.intersect1d(piece.rows, wrong))


def _size(world: World, rows: Ints) -> int:
    return min(len(rows), world.settings.sample_size)


def _seed(world: World, name: str) -> str:
    return world.staging.fingerprint(planning.read(world).fingerprint.encode(), name.encode())


def _sentence(proof: Proof) -> str:
    sampled = sum(s.sampled for s in proof.strata)
    rows = sum(s.rows for s in proof.strata)
    return (
        f"Proof: {sampled:,} look-ups over {rows:,} changes in {len(proof.strata)} strata, "
        f"{proof.misses} misses; at 95 % confidence at most {proof.wrong_at_most:,} customers are wrong"
        + (
            f"; {pending} removals are looked up again tomorrow"
            if (pending := sum(s.pending for s in proof.strata))
            else ""
        )
        + "."
    )
