"""Remove customers who have ended, and nobody else.

Positive evidence only: the customer was sent by us or is proven to be registered; a complete extract says
*ended*, and the warehouse, asked again just before, still does. No removal leaves while any file may be
loading anywhere: the row would come to life after its DELETE (ONB D-3, step 3).
"""

from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

import numpy as np

from kfr.clock import OSLO, oslo_date, oslo_today
from kfr.load import extract, lease, mirror
from kfr.load.ingestion import record_proof, window
from kfr.load.journal import Witness, schedule
from kfr.load.patience import persist
from kfr.load.removal_queue import Entry, Removal, RemovalQueue
from kfr.load.world import World
from kfr.register.errors import Fatal, NotRegistered, OutcomeUnknown, Retriable
from kfr.relationships.packing import Ints, day_number, ids_of

STRETCH = 50  # removals between two looks at the lease; their intentions are written together
QUESTION = 500  # customers in one question to the warehouse


class SendsOpen(Retriable):
    """A file may still be loading, so no removal may be sent."""


class ProofContradicted(Retriable):
    """The register does not know a customer who was proven to be there: a file is open again."""


class ExtractUnfit(Fatal):
    """The extract authorises no removal: incomplete, empty or suspiciously small."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Removals:
    """What became of the removals; counts."""

    due: int
    removed: int
    held_back: int  # waiting for a person or for another day
    vanished: int  # without any agreement: never removed, a person decides


def remove_ended(world: World) -> Removals:
    """Find the removals that are due and carry them out one by one; a retry goes on where this stopped.

    :raises SendsOpen: a file may still be loading; `retry_after` says for how long.
    :raises ExtractUnfit: the extract is not fit to remove anyone by.
    :raises ProofContradicted: 404 for a customer who was proven; the file is open again, the removal kept.
    """
    lease.check(world)
    require_closed_sends(world)
    held = mirror.record(world)
    if world.run.as_of is not None and world.run.as_of < oslo_today(world.clock):
        world.say(f"As of {world.run.as_of}, a past day: no removal is authorised.")
        return Removals(due=0, removed=0, held_back=0, vanished=0)
    fresh = extract.extract(world, "removals")
    _require_fit(world, fresh)
    ours = np.union1d(ids_of(held.proven), ids_of(held.possible))
    queue = RemovalQueue.read(world.state)
    prior = set(queue.of(Removal.INTENDED).tolist())
    due = np.setdiff1d(_due(world, fresh, ours), queue.gone())
    _enqueue(world, queue, due, ids_of(fresh.active))
    _require_few(world, len(due), len(ours))
    done = _remove(world, queue, due, prior, held=ids_of(held.proven))
    seen = np.concatenate([ids_of(fresh.active), fresh.ended, fresh.waiting, fresh.tainted])
    result = Removals(
        due=len(due),
        removed=done,
        held_back=len(queue.of(Removal.DUE, Removal.HELD)),
        vanished=len(np.setdiff1d(ours, np.concatenate([seen, queue.gone()]))),
    )
    world.place.write_json("removals.json", asdict(result))
    world.say(
        f"Removals: {result.due} due, {result.removed} removed, {result.held_back} held back"
        + (
            f"; {result.vanished} customers have vanished from the warehouse: look into it"
            if result.vanished
            else ""
        )
        + "."
    )
    return result


def require_closed_sends(world: World) -> None:
    """Raise SendsOpen while rows of any send, of any run, may still be loading."""
    _close_what_shows(world)
    still_open = world.journal.open_sends(world.settings.rows_per_second, world.now)
    if not still_open:
        return
    settled = max(plan.settled_at for _, plan in still_open)
    unproven = sum(send.proven_at is None for send, _ in still_open)
    until = datetime.fromtimestamp(settled, OSLO).isoformat(timespec="seconds")
    raise SendsOpen(
        f"{len(still_open)} sends may still be loading until {until}, {unproven} of them unproven: removals "
        "wait, and none is lost. A send that stays unproven after that is closed by a person: see the "
        "runbook.",
        retry_after=max(settled - world.now, 1.0),
    )


def _close_what_shows(world: World) -> None:
    """Look for the witnesses of sends that should have loaded and are not proven."""
    today, now = oslo_today(world.clock), world.now
    sends = world.journal.sends()
    plans = schedule(sends, world.settings.rows_per_second)
    for send in sends:
        if not send.loads or send.proven_at or not send.witnesses or now < plans[send.name].loaded_at:
            continue
        if all(world.look_up(w.customer_id, *window(w, today)) for w in send.witnesses):
            record_proof(world.journal, {send.name: 0.0}, now)


def _require_fit(world: World, fresh: extract.Extract) -> None:
    before = len(extract.read(world).active)
    floor = (1 - world.run.limits.shrink_share) * before
    if not fresh.complete or len(fresh.active) == 0 or len(fresh.active) < floor:
        raise ExtractUnfit(
            f"The extract has {len(fresh.active):,} active relationships where the list had {before:,}, "
            f"complete: {'yes' if fresh.complete else 'no'}. It authorises no removal. Mend the source, then "
            "clear."
        )


def _require_few(world: World, due: int, ours: int) -> None:
    limits = world.run.limits
    if world.run.approval != "never" and due > min(limits.removals, limits.removal_share * ours):
        raise ExtractUnfit(
            f"{due:,} removals are due where {limits.removals:,} or {limits.removal_share:.0%} is the limit. "
            "They are kept. Look at the source; a person lets them go by a load that asks for approval."
        )


def _due(world: World, fresh: extract.Extract, ours: Ints) -> Ints:
    """Ours, ended, without a rejected row; not of a file that could not be proven until the day after it."""
    candidates = np.setdiff1d(np.intersect1d(fresh.ended, ours), fresh.tainted)
    today = oslo_today(world.clock)
    for send in world.journal.sends():
        waited_out = send.proven_at is None and send.loads
        if waited_out and oslo_date(datetime.fromtimestamp(send.counts_from, UTC)) == today:
            candidates = np.setdiff1d(candidates, ids_of(world.journal.rows(send)))
    parts = np.array_split(candidates, range(QUESTION, len(candidates), QUESTION)) if candidates.size else []
    asked = [extract.ended_of(world, part, today) for part in parts]
    return np.concatenate([mirror.NOTHING, *asked])


def _enqueue(world: World, queue: RemovalQueue, due: Ints, active: Ints) -> None:
    """Keep what is due; a customer who came back is not removed."""
    waiting = queue.of(Removal.DUE, Removal.INTENDED, Removal.HELD)
    queue.forget(np.intersect1d(waiting, active).tolist())
    for customer in due.tolist():
        queue.entries.setdefault(customer, Entry(state=Removal.DUE, run=world.run.key))
    queue.write()
    if due.size:
        world.say(f"Removals held back until now: {len(due)}; every file is loaded, they run.")


def _remove(world: World, queue: RemovalQueue, due: Ints, prior: set[int], *, held: Ints) -> int:
    done = 0
    for stretch in np.array_split(due, range(STRETCH, len(due), STRETCH)) if due.size else []:
        lease.check(world)
        for customer in stretch.tolist():
            queue.entries[customer].state = Removal.INTENDED
        queue.write()
        left = stretch.tolist()
        try:
            while left:
                _remove_one(world, queue.entries[left[0]], left[0], left[0] in prior, left[0] in held)
                done += 1
                left.pop(0)
        finally:
            for customer in left[1:]:  # not called yet: an intention would excuse a 404
                if customer not in prior:
                    queue.entries[customer].state = Removal.DUE
            queue.write()
    return done


def _remove_one(world: World, entry: Entry, customer: int, intended_before: bool, proven: bool) -> None:
    try:
        _delete(world, customer)
    except NotRegistered as missing:
        if proven and not intended_before:
            entry.state = Removal.HELD
            _reopen(world, customer)
            raise ProofContradicted(
                "The register does not know a customer who was proven to be there. The file is open again, "
                "the removal is kept, and no removal leaves until it is settled.",
                correlation_id=missing.correlation_id,
                operation=missing.operation,
            ) from None
    entry.state, entry.day = Removal.REMOVED, day_number(oslo_today(world.clock))


def _delete(world: World, customer: int) -> None:
    """DELETE with patience: after an unknown outcome a 404 says that it was done."""
    unknown = False

    def call() -> None:
        nonlocal unknown
        try:
            world.register.remove_one(customer)
        except OutcomeUnknown:
            unknown = True
            raise
        except NotRegistered:
            if not unknown:
                raise

    persist(world.clock, call)


def _reopen(world: World, customer: int) -> None:
    """Void the proof of the file that held this customer: it counts as sent now, the customer its witness."""
    for send in world.journal.sends():
        if send.loads and customer in ids_of(world.journal.rows(send)):
            witnesses = (*send.witnesses, Witness(customer_id=customer))
            world.journal.put(replace(send, proven_at=None, witnesses=witnesses, counts_from=world.now))
