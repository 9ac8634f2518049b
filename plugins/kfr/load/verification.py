"""The proof of a load: a sample of each stratum is looked up, drawn once and never drawn anew to pass.

A stratum is what one cause could spoil: the additions of one file, the single additions, the removals. No
miss in 2,995 bounds the share that is wrong under 0.1 % at 95 % confidence. A miss that stays ends the claim
for its file: the file is counted fully, what is missing is sent again, and the file is sampled again.
"""

import asyncio
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

import numpy as np

from kfr.load import (
    arrivals,
    lease,
    mirror,
    planning,
    removal,
    returns,
    start_pairs,
    starts,
    strata,
    upload,
)
from kfr.load.ingestion import LookUpsUnreliable, await_loading, finds_known
from kfr.load.journal import Single
from kfr.load.removal_queue import Removal, RemovalQueue
from kfr.load.returns import Returns
from kfr.load.strata import Stratum
from kfr.load.world import World
from kfr.register.errors import Fatal
from kfr.relationships.customers import NOTHING, common, union, without
from kfr.relationships.packing import DAY_BITS, Ints, ids_of

COUNTED_AT_ONCE = 1000  # look-ups between two checkpoints of a full count


class NotEqual(Fatal):
    """The register is not what the warehouse says, or it could not be shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """The proof of a load; counts."""

    strata: list[Stratum]
    look_ups: int
    misses: int
    holds: int  # relationships that the mirror has as proven

    @property
    def wrong_at_most(self) -> int:
        return sum(s.wrong_at_most for s in self.strata)


def verify(world: World) -> Proof:
    """Look a sample of every stratum up, repair what is missing, and say what is proven.

    :raises NotEqual: something is missing after its repair, or a removal waits for a person.
    """
    planning.require_current(world)
    lease.check(world)
    if removal.is_authorised(world) and not world.place.exists("removals.json"):
        raise NotEqual(
            "The removals of this plan were not carried out to the end; a task that a person marks has done nothing. "
            "Nothing is confirmed. Clear remove_ended with what follows it."
        )
    labels = [*planning.read(world).labels, *world.place.read_json(f"{arrivals.CLOSING}.json")]
    queue = RemovalQueue.read(world.state)
    # Of these no look-up tells today, or it is open whether they were removed: none of them is a miss.
    removed = union(queue.gone(), queue.untold(world.told), queue.open())
    came_back, back = returns.verify(world, mirror.take(_returning(world, labels), removed))
    shown = [_file(world, label, removed, back) for label in labels]
    shown += [_singles(world, removed, back), came_back, starts.verify(world, removed, back.earlier)]
    shown.append(_removals(world))
    lease.check(world)
    strata.record_verified(world, _files(world, labels))
    proof = Proof(
        strata=shown,
        look_ups=sum(s.sampled for s in shown),
        misses=sum(s.misses + s.repaired for s in shown),
        holds=len(mirror.record(world).proven),
    )
    world.place.write_json("proof.json", asdict(proof))
    world.say(_sentence(proof))
    wrong = {s.name: s.misses for s in shown if s.misses}
    held = len(removal.outstanding(world))
    if wrong or held:
        remedy = "remove_ended with what follows, to carry them out" if held else "this task to look again"
        raise NotEqual(
            f"The register does not equal the warehouse: misses {wrong or 'none'}, removals that wait "
            f"{held}. Nothing is confirmed. See the report; clear {remedy}."
        )
    return proof


def read(world: World) -> Proof:
    return from_json(world.place.read_json("proof.json"))


def from_json(value: dict[str, Any]) -> Proof:
    return Proof(**{**value, "strata": [Stratum(**s) for s in value["strata"]]})


def _returning(world: World, labels: list[str]) -> Ints:
    """With which relationships, that this run has sent, somebody came back; packed and sorted."""
    files = (world.place.read_array(f"files/{label}") for label in labels)
    sent = [*files, world.journal.singles(world.run.key)[:, 0]]
    return union(*(start_pairs.came_back(world, np.sort(rows)) for rows in sent))


def _file(world: World, label: str, removed: Ints, back: Returns) -> Stratum:
    added, name, repair = _added(world, label), f"file {label}", f"repair-{label}"
    rows, drawn = mirror.take(added, removed), strata.sample(world, added, label, but=removed)
    unseen = common(back.unseen, np.sort(rows))
    looked_up = union(drawn, unseen)
    misses = strata.missing(world, rows, looked_up)
    if misses or world.place.exists(f"counted/{label}"):  # a miss that an earlier try has found stays one
        found = (
            f"{len(misses)} of {len(looked_up):,} sampled rows are wrong" if misses else "a count was begun"
        )
        world.say(f"File {label}: {found}; counting all {len(rows):,}.")
        lease.check(world)
        _begin_count(world, label, rows)
        _keep_out_of_the_mirror(world, label, rows)  # should this run end before its count does
        wrong = _count_fully(world, label, rows)
        lease.check(world)  # a count takes hours: another run may have written meanwhile
        _keep_out_of_the_mirror(world, label, union(wrong, back.earlier))
        mirror.record(world)  # who is held to be there is no witness of the repair
        _repair(world, label, wrong)
        world.place.delete(f"counted/{label}")  # what is looked up from here on is another state
    elif world.place.exists(f"files/{repair}"):  # whom an earlier try has repaired is looked up again
        wrong = mirror.take(world.place.read_array(f"files/{repair}"), removed)
    else:
        late, _ = strata.begun_earlier(world, unseen)  # who has come since
        if (earlier := union(back.earlier, late)).size:
            _keep_out_of_the_mirror(world, label, earlier)
        return Stratum(
            name=name, rows=len(rows), sampled=len(looked_up), misses=0, start_not_corrected=len(late)
        )
    still = strata.missing(world, rows, np.union1d(looked_up, wrong))
    other_start = [row for row in still if strata.is_present(world, row)]
    came_since = without(common(back.rows, np.sort(rows)), back.earlier, np.sort(np.array(still, np.int64)))
    late, _ = strata.begun_earlier(world, came_since)
    for file in (label, *([repair] if wrong.size else [])):
        _keep_out_of_the_mirror(world, file, union(np.array(still, np.int64), back.earlier, late))
    return Stratum(
        name=name,
        rows=len(rows),
        sampled=len(looked_up) + len(rows),
        misses=len(still) - len(other_start),
        repaired=len(np.setdiff1d(wrong, still)),
        start_not_corrected=len(other_start) + len(late),
    )


def _files(world: World, labels: list[str]) -> set[str]:
    """The fingerprints of this plan's files, also of those whose bytes an earlier run has sent.

    Not of a plan that this one has replaced: nobody has looked a sample of those up, so the next plan does.
    """
    own = set()
    for label in [*labels, *(f"repair-{label}" for label in labels)]:
        if world.place.exists(f"files/{label}"):
            pieces, _ = upload.leaves(world, world.place.read_array(f"files/{label}"))
            own |= {piece.fingerprint for piece in pieces}
    return own


def _singles(world: World, removed: Ints, back: Returns) -> Stratum:
    singles = world.journal.singles(world.run.key)
    uncalled = np.concatenate([removed, ids_of(singles[singles[:, 1] == Single.INTENDED, 0])])
    rows = mirror.take(np.sort(singles[:, 0]), uncalled)
    drawn = strata.sample(world, np.sort(singles[:, 0]), "singles", but=uncalled)
    unseen = common(back.unseen, rows)
    looked_up = union(drawn, unseen)
    misses = strata.missing(world, rows, looked_up)
    late, _ = strata.begun_earlier(world, without(unseen, np.sort(np.array(misses, np.int64))))
    lease.check(world)
    if not misses and len(singles):
        # Of those nothing is shown; of these it is that they have another start, or that they may.
        left = np.isin(ids_of(singles[:, 0]), uncalled) | np.isin(singles[:, 0], union(back.earlier, late))
        left |= singles[:, 1] == Single.THERE_BEFORE
        state = np.where(left, singles[:, 1], Single.PROVEN)
        world.journal.put_singles(world.run.key, np.column_stack([singles[:, 0], state]))
    return Stratum(
        name="single additions",
        rows=len(rows),
        sampled=len(looked_up),
        misses=len(misses),
        start_not_corrected=len(late),
    )


def _removals(world: World) -> Stratum:
    """Removed on an earlier day: they must not be there any more.

    Who was removed today is not looked up. The register may answer yes for the rest of the day; and whom it does not
    know may come to it once more, by a copy of a file that is late, or had not come when its answer was made.
    """
    queue = RemovalQueue.read(world.state)
    removed = queue.of(Removal.REMOVED)
    rows = without(removed, queue.untold(world.told))
    if rows.size and not finds_known(world, mirror.take(mirror.read(world).proven, rows)):
        raise LookUpsUnreliable(
            "The register finds nobody, not even who is proven to be there: nothing is proven."
        )
    looked_up = strata.sample(world, rows, "removals")
    asked = (looked_up << DAY_BITS).tolist()
    there = {
        row >> DAY_BITS for row in strata.patiently(world, asked, lambda row: strata.is_present(world, row))
    }
    lease.check(world)  # looking up takes its time: another run may have written its own queue meanwhile
    if there:  # ours again, else no removal would be due
        back = np.sort(np.array([c << DAY_BITS for c in there], np.int64))
        mirror.correct(world, mirror.read(world), present=back, absent=NOTHING)
        queue = RemovalQueue.read(world.state)
    for customer in set(looked_up.tolist()) - there:
        queue.entries[customer].state = Removal.GONE
    queue.write()  # last: a retry draws the same sample, and the mirror has who is there
    return Stratum(
        name="removals",
        rows=len(rows),
        sampled=len(looked_up),
        misses=len(there),
        pending=len(removed) - len(rows),
    )


def _added(world: World, label: str) -> Ints:
    """The additions of a file: without what was refused, or only changed."""
    rows = world.place.read_array(f"files/{label}")
    refused = world.place.read_array(f"refused/{label}")
    changed = world.journal.start_changes(world.run.key)[:, 0]
    return mirror.take(rows, np.concatenate([ids_of(refused), ids_of(changed)]))


def _begin_count(world: World, label: str, rows: Ints) -> None:
    """From now on a miss is known."""
    if not world.place.exists(f"counted/{label}"):
        world.place.write_array(f"counted/{label}", np.array([_seal(world, rows), 0], np.int64))


def _seal(world: World, rows: Ints) -> int:
    return int(world.staging.fingerprint(rows.tobytes())[:15], 16)


def _count_fully(world: World, label: str, rows: Ints) -> Ints:
    """Look every row of a file up; the wrong ones. After a crash it goes on, if the rows are the same."""
    name, seal = f"counted/{label}", _seal(world, rows)
    done, wrong = 0, NOTHING
    stored = world.place.read_array(name)
    if stored[0] == seal:
        done, wrong = int(stored[1]), stored[2:]
    while done < len(rows):
        part = rows[done : done + COUNTED_AT_ONCE]
        wrong = np.concatenate(
            [wrong, [row for row in part.tolist() if not strata.is_right(world, row)]]
        ).astype(np.int64)
        done += len(part)
        world.place.write_array(name, np.concatenate([[seal, done], wrong]).astype(np.int64))
    return wrong


def _repair(world: World, label: str, wrong: Ints) -> None:
    """Send what is missing as a file of its own and wait for it, as for any file."""
    if not wrong.size:  # it has come meanwhile
        return
    lease.check(world)
    repair = f"repair-{label}"
    world.place.delete(f"results/{repair}.json")  # of an earlier one
    world.place.write_array(f"files/{repair}", wrong)
    _load(world, repair)


def _load(world: World, repair: str) -> None:
    """Send a repair, unless it is there, and see it loaded.

    :raises NotLoaded: it is not there in time.
    """

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
        world.journal.put_missing(piece.fingerprint, np.intersect1d(piece.rows, wrong))


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
