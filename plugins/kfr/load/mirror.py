"""The mirror: what the register holds, as far as it is proven.

Two sorted arrays of packed relationships. `proven` was found in the register by the rules of proof;
`possible` was sent by us and not proven, so it may be there. Only `proven` counts when a load is planned
(what is possible is sent again); both count when a removal is due. It moves by proof alone: by `record` from
the journal's entries, by `correct` from look-ups. Recording twice is the same as recording once.

A run leaves one version behind, so old versions are old loads.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from kfr.load import refusals, start_pairs
from kfr.load.evidence import Files
from kfr.load.journal import Single, StartChange, is_doubtful, is_open, schedule
from kfr.load.lease import LeaseLost
from kfr.load.removal_queue import Removal, RemovalQueue
from kfr.load.sealing import StateDamaged
from kfr.load.staging import Place, StateMissing
from kfr.load.world import World
from kfr.relationships.customers import NOTHING, among, common, distinct, union, without
from kfr.relationships.packing import (
    DAY_BITS,
    Ints,
    date_of,
    ids_of,
    lookup,
    pack,
    starts_of,
    text_of,
)

if TYPE_CHECKING:  # only the auditor needs it
    import pyarrow as pa


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror:
    """One version of the mirror."""

    version: int
    proven: Ints = field(repr=False)
    possible: Ints = field(repr=False)


EMPTY = Mirror(version=0, proven=NOTHING, possible=NOTHING)


def read(world: World) -> Mirror:
    """The current mirror. An institution whose state exists but whose mirror does not is an error."""
    if not world.state.exists("mirror"):
        if world.state.exists("institution") and not world.state.exists("mirrored"):
            return EMPTY
        raise StateMissing(
            "The mirror is lost: its state says that there was one. Run kfr_reconcile: it rebuilds the mirror by "
            "looking everyone up."
        )
    return _version(world.state, int(world.state.read_json("mirror")["version"]))


def table(state: Place, version: int | None = None) -> "pa.Table":
    """A version of the mirror (the current one) as customer_id, started_on, proven: for an auditor with the key."""
    import pyarrow as pa

    number = int(state.read_json("mirror")["version"]) if version is None else version
    held = _version(state, number)
    rows = np.concatenate([held.proven, held.possible])
    rows, proven = np.sort(rows), np.isin(np.sort(rows), held.proven)
    return pa.table(
        {
            "customer_id": [text_of(customer) for customer in ids_of(rows).tolist()],
            "started_on": pa.array([date_of(day) for day in starts_of(rows).tolist()], pa.date32()),
            "proven": pa.array(proven),
        }
    )


def record(world: World) -> Mirror:
    """Move the mirror by all that the journal proves, archive what is closed, drop old versions."""
    before = read(world)
    journal, now = world.journal, world.now
    files = Files(world, journal.sends())
    files.show()
    plans = schedule(files.sends, world.settings.rows_per_second)
    proven, possible = before.proven, before.possible
    for said in files.evidence():
        # A start that is known stays: another one in a file is older, or was filed again and is looked up.
        proven = put(said.there, take(proven, said.absent))
        possible = put(possible, said.maybe)
    for run in journal.runs_with("singles"):
        singles = journal.singles(run)
        proven = put(proven, singles[singles[:, 1] == Single.PROVEN, 0])
        possible = put(possible, singles[singles[:, 1] != Single.PROVEN, 0])
    undated = common(files.with_two_starts(), ids_of(proven))
    sent = sorted([*files.sends, *files.archived], key=lambda s: s.counts_from)
    last = {send.run: send.counts_from for send in sent}
    runs = sorted(journal.runs_with("starts"), key=lambda run: last.get(run, now))  # the latest start counts
    changes = [journal.start_changes(run) for run in runs]
    proven = _with_starts(put(proven, undated << DAY_BITS), changes, files.filed_again)
    queue = RemovalQueue.read(world.state)
    proven = take(proven, queue.gone())
    # Until a look-up of a later day tells: no file and no answer does.
    unsure = union(queue.returned(), queue.open())
    possible = put(possible, proven[among(ids_of(proven), unsure)])
    proven = take(proven, unsure)
    possible = take(take(possible, queue.gone()), ids_of(proven))
    # Which start they have is open, as with one that was filed again and not looked up.
    start_pairs.add(world.state, start_pairs.OPEN, np.column_stack([undated << DAY_BITS] * 2))
    after = _move(world, before, proven, possible)
    for send in files.sends:
        if send.run == world.run.key and files.is_planned:
            continue  # a task of it may still be cleared
        if is_open(send, plans.get(send.name), now):
            continue
        if send.proven_at is not None and not send.verified:
            continue  # the next plan looks a sample of it up
        if not is_doubtful(send, now):  # `removal` looks for those
            journal.archive(send)
    _close_other_runs(world, after, queue)
    refusals.merge(world.state)
    return after


def _with_starts(proven: Ints, changes: Iterable[Ints], sent: Ints) -> Ints:
    """The proven rows with the starts that were filed again, as far as they are known.

    :param sent: what of them is in a file that may have been loaded.
    """
    for entries in changes:
        filed, before, state = entries.T
        # Not known until it is looked up, whatever the mirror had before: by whichever run.
        unsettled = (state == StartChange.UNTAKEN) | (state == StartChange.SENT) & among(filed, sent)
        open_ = distinct(ids_of(filed[unsettled]))
        proven = put(proven, _undated(proven[among(ids_of(proven), open_)]))
        kept = before[state == StartChange.KEPT]
        proven = put(proven, kept[among(_undated(kept), proven)])
        corrected = filed[state == StartChange.CORRECTED]
        proven = put(proven, corrected[among(ids_of(corrected), ids_of(proven))])
    return proven


def _undated(rows: Ints) -> Ints:
    """The same relationships with a start that is not known."""
    return ids_of(rows) << DAY_BITS


def correct(world: World, held: Mirror, *, present: Ints, absent: Ints, sent_again: Ints = NOTHING) -> Mirror:
    """Let the mirror follow look-ups: `present` (packed) is there, `absent` (customers) is not.

    What proved an absent customer to be there proves nothing any more: the entry is archived, so that the same
    bytes are sent anew. Who is in a file of which rows may come yet stays possible.

    :param sent_again: of `absent`, who are customers, looked up without patience. The look-up may have been behind,
        and the plan that sends them need not be carried out: so whoever was sent before stays possible.
    """
    queue = RemovalQueue.read(world.state)
    removed = union(queue.gone(), without(queue.of(Removal.INTENDED), queue.untold(world.told)))
    if asked_again := queue.revive(common(removed, ids_of(present)).tolist()):
        world.warehouse.record_removals(asked_again)
    begun = common(queue.of(Removal.INTENDED), absent)  # carried out, as it turns out
    _archive_removals(world, queue, begun)
    waiting = queue.of(Removal.DUE, Removal.INTENDED, Removal.HELD)
    queue.forget(common(waiting, absent).tolist())  # there is nothing left to remove
    spoken_for = void(world, absent)
    kept = start_pairs.kept(world)
    if kept.size and (taken := lookup(present, ids_of(kept[:, 0])) == kept[:, 0]).any():
        world.state.write_array(start_pairs.KEPT, kept[~taken])  # the register has the filed start after all
    proven, possible = corrected(held, present=present, absent=absent)
    coming = NOTHING
    if absent.size:
        coming = union(world.journal.doubtful(world.now), world.journal.singles_behind(world.now))
        coming = coming[among(ids_of(coming), absent)]
        ours = (rows[among(ids_of(rows), sent_again)] for rows in (held.proven, held.possible, spoken_for))
        coming = union(coming, *ours)
    once = np.unique(ids_of(coming), return_index=True)[1]  # of one in two files, either start
    after = _move(world, held, proven, put(possible, coming[once]))
    told = without(queue.of(Removal.RETURNED), queue.untold(world.told))
    queue.forget(common(told, union(ids_of(present), absent)).tolist())
    queue.write()  # last: as long as it has them, they are looked up once more
    return after


def corrected(held: Mirror, *, present: Ints, absent: Ints) -> tuple[Ints, Ints]:
    """What `correct` makes of a mirror, without writing it: proven and possible."""
    return put(take(held.proven, absent), present), take(take(held.possible, absent), ids_of(present))


def doubt(world: World, rows: Ints) -> None:
    """Let `rows` be possible only: the file that proved them to be there is open again."""
    held, rows = read(world), np.sort(rows)
    _move(world, held, take(held.proven, ids_of(rows)), put(held.possible, rows))


def void(world: World, customers: Ints) -> Ints:
    """Let no send or single addition speak for `customers` (sorted) any more: their proof is from before.

    The entry of a closed send is archived; one that is open stays, and proves nobody of them.

    :returns: the rows of theirs that spoke for them, packed.
    """
    if not customers.size:
        return NOTHING
    journal, now = world.journal, world.now
    # Of others, too: a lost mirror has not recorded them.
    found = [journal.void_singles(run, customers) for run in journal.runs_with("singles")]
    sends = journal.sends()
    plans = schedule(sends, world.settings.rows_per_second)
    for send in sends:
        rows = journal.rows(send)
        theirs: Ints = rows[among(ids_of(rows), customers)]
        if not theirs.size:
            continue
        found.append(theirs)
        journal.put_missing(send.file, union(journal.missing(send.file), theirs))
        if not is_open(send, plans.get(send.name), now):
            journal.archive(send)
    return union(*found)


def welcome_back(world: World, customers: Ints) -> None:
    """Customers are registered anew: no removal waits for them, and nothing sent before proves them present.

    Nor does it tell which start they have; that one was kept, or not taken, is of an earlier relationship.
    """
    for name in (start_pairs.KEPT, start_pairs.UNTAKEN):
        start_pairs.forget(world.state, name, customers)
    queue = RemovalQueue.read(world.state)
    returning = without(common(queue.of(*Removal), customers), queue.of(Removal.RETURNED))
    if returning.size:
        void(world, returning)
        told = without(common(queue.gone(), returning), queue.untold(world.told))
        _archive_removals(world, queue, told)  # which the queue forgets
        queue.come_back(returning.tolist(), world.day, world.told)
        queue.write()


def leave_open(world: World, held: Mirror, customers: Ints) -> Mirror:
    """Let `customers` (sorted) be possible only: they are back, and it is open whether they were removed."""
    queue = RemovalQueue.read(world.state)
    queue.come_back(customers.tolist(), world.day, world.told)
    void(world, customers)
    rows = held.proven[among(ids_of(held.proven), customers)]
    after = _move(world, held, take(held.proven, customers), put(held.possible, rows))
    queue.write()  # last: as long as the removal is open, this is done again
    return after


def salvage(world: World) -> Ints:
    """The customers of every version that can still be read, for rebuilding a mirror that cannot."""
    found = []
    for name in world.state.names("mirrors"):
        try:
            found.append(ids_of(world.state.read_array(name)))
        except (StateDamaged, ValueError):
            continue
    return union(*found)


def is_readable(world: World) -> bool:
    """Whether there is a mirror that opens."""
    try:
        read(world)
    except (StateMissing, StateDamaged):
        return False
    return True


def read_or_restart(world: World) -> Mirror:
    """The mirror, or a new one in place of one that is lost or damaged; versions go on after the highest.

    It has only those whose removal waits, was begun or taken back, and who was registered singly of late: they may be
    there, and one look-up, which may be behind, is no reason to forget them.
    Its own version was never written, so that the next move writes one even if nobody is in the register.
    """
    try:
        return read(world)
    except (StateMissing, StateDamaged):
        world.say("The mirror is lost or damaged: it is made anew from what the register answers.")
    versions = [int(found[1]) for n in world.state.names("mirrors") if (found := re.search(r"/(\d{8})\.", n))]
    queue = RemovalQueue.read(world.state)
    waiting = queue.of(Removal.DUE, Removal.INTENDED, Removal.HELD, Removal.RETURNED)
    singles = union(*(world.journal.singles(run)[:, 0] for run in world.journal.runs_with("singles")))
    singles = singles[np.unique(ids_of(singles), return_index=True)[1]]
    possible = put(take(singles, queue.gone()), waiting << DAY_BITS)
    return Mirror(version=max(versions, default=0) + 1, proven=NOTHING, possible=possible)


def put(population: Ints, rows: Ints) -> Ints:
    """The population with `rows` in it, theirs in place of what it held for the same customers."""
    if rows.size == 0:
        return population
    return union(take(population, ids_of(rows)), rows)


def take(population: Ints, ids: Ints) -> Ints:
    """The population without the customers `ids`."""
    if ids.size == 0 or population.size == 0:
        return population
    kept: Ints = population[~among(ids_of(population), distinct(ids))]
    return kept


def _version(state: Place, version: int) -> Mirror:
    return Mirror(
        version=version,
        proven=state.read_array(f"mirrors/{version:08d}.proven"),
        possible=state.read_array(f"mirrors/{version:08d}.possible"),
    )


def _pointer(state: Place) -> dict[str, Any]:
    """What the pointer says; nothing if it is lost or damaged, as while the mirror is made anew."""
    try:
        pointer: dict[str, Any] = state.read_json("mirror")
    except (StateMissing, StateDamaged):
        return {}
    return pointer


def _close_other_runs(world: World, held: Mirror, queue: RemovalQueue) -> None:
    """What the mirror holds now need not be kept by the entries of runs that are over."""
    journal, run = world.journal, world.run.key
    for other in journal.runs_with("singles"):
        if other != run:
            journal.drop_singles(other)
    files_of = {
        send.run for send in [*journal.sends(), *(s for s, _ in journal.archived_doubtful(world.now))]
    }
    known, corrected = [], []
    for other in journal.runs_with("starts"):
        if other == run:
            continue
        entries = journal.start_changes(other)
        states = entries[:, 2]
        start_pairs.add(world.state, start_pairs.KEPT, entries[states == StartChange.KEPT, :2])
        if other not in files_of:  # else they may still be merged, and need to know what was only filed again
            start_pairs.add(world.state, start_pairs.UNTAKEN, entries[states == StartChange.UNTAKEN, :2])
            start_pairs.add(world.state, start_pairs.OPEN, entries[states == StartChange.SENT, :2])
            known.append(ids_of(entries[np.isin(states, (StartChange.KEPT, StartChange.CORRECTED)), 0]))
            corrected.append(ids_of(entries[states == StartChange.CORRECTED, 0]))
            journal.drop_start_changes(other)
    start_pairs.forget(world.state, start_pairs.UNTAKEN, union(*known))
    start_pairs.forget(world.state, start_pairs.KEPT, union(*corrected))
    start_pairs.settle(world.state, held.proven)
    # Their removal may be this run's own, and its single addition would bring them back with the next merge.
    gone = without(queue.gone_before(run), distinct(ids_of(journal.singles(run)[:, 0])))
    for send in journal.sends() if gone.size else []:  # whose next merge would bring them back, too
        gone = without(gone, distinct(ids_of(journal.rows(send))))
    if gone.size:
        _archive_removals(world, queue, gone)
        queue.forget(gone.tolist())
        queue.write()


def _archive_removals(world: World, queue: RemovalQueue, customers: Ints) -> None:
    days = np.array([queue.entries[customer].day for customer in customers.tolist()], np.int64)
    world.journal.archive_removals(world.run.key, pack(customers, days))


def _move(world: World, before: Mirror, proven: Ints, possible: Ints) -> Mirror:
    """Write the next version, unless nothing moved; of one run only the last version stays."""
    pointer = _pointer(world.state)
    if pointer and not world.state.exists("mirrored"):
        world.state.write_json("mirrored", True)  # a worker died between the two
    unmoved = np.array_equal(proven, before.proven) and np.array_equal(possible, before.possible)
    if unmoved and pointer.get("version") == before.version:
        return before
    if pointer.get("version", 0) > before.version:
        raise LeaseLost(
            "Another run has moved the mirror since this task read it, so this one's is not written. Clear "
            "acquire_register too."
        )
    after = Mirror(version=before.version + 1, proven=proven, possible=possible)
    stem = f"mirrors/{after.version:08d}"
    world.state.write_array(f"{stem}.proven", proven)
    world.state.write_array(f"{stem}.possible", possible)
    facts = {
        "version": after.version,
        "run": world.run.key,
        "at": world.now,
        "proven": len(proven),
        "possible": len(possible),
        "fingerprint": world.staging.fingerprint(proven.tobytes()),
    }
    world.state.write_json("mirror", facts)
    world.state.write_json("mirrored", True)  # from now on a missing pointer is a loss
    superseded = before.version if pointer.get("run") == world.run.key else 0
    for name in world.state.names("mirrors"):
        version = int(name.removeprefix("mirrors/")[:8])
        if version == superseded or version <= after.version - world.run.retention.mirrors:
            world.state.delete(name)
    return after
