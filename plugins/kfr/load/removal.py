"""Remove customers who have ended, and nobody else.

Positive evidence only: the customer was sent by us or is proven to be registered; the warehouse says *ended*
(or the institution's queue asks, and the warehouse does not say *customer*), and asked again just before it
still does. No removal leaves while any file may be loading anywhere: the row would come to life after its
DELETE (ONB D-3, step 3).
"""

from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta

import numpy as np

from kfr.clock import OSLO, oslo_date, oslo_today
from kfr.load import extract, last_word, lease, mirror, planning, strata
from kfr.load.ingestion import LookUpsUnreliable, finds_known, record_proof
from kfr.load.journal import Witness, schedule
from kfr.load.mirror import Mirror
from kfr.load.patience import persist
from kfr.load.removal_queue import Entry, Removal, RemovalQueue
from kfr.load.world import World
from kfr.register.errors import Fatal, InvalidIdentifier, NotRegistered, OutcomeUnknown, Retriable
from kfr.relationships.customers import NOTHING, among, common, distinct, union, without
from kfr.relationships.packing import DAY_BITS, Ints, day_number, ids_of, text_of

WAITING = (Removal.DUE, Removal.INTENDED, Removal.HELD)
STRETCH = 50  # removals between two looks at the lease; their intentions are written together
DUE = "due"  # those whom the run has found to be removed
TOMORROW = "tomorrow"  # those who would be, if their file did not have to be given the day
REGISTER_AHEAD_SECONDS = 10.0  # Maskinporten gives no token to a clock that is further off (DIG, MP-130)


class SendsOpen(Retriable):
    """A file may still be loading, so no removal may be sent."""


class ProofContradicted(Retriable):
    """The register does not know a customer who was proven to be there: a file is open again."""


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
    :raises Fatal: 404 for customers who were proven by files that are closed long since; the others are removed.
    """
    planning.require_approved(world)
    lease.check(world)
    require_closed_sends(world)
    held = mirror.record(world)
    if not is_authorised(world):
        queue = RemovalQueue.read(world.state)
        queue.want(NOTHING)  # of one that was begun it stays open whether it was carried out
        queue.write()
        world.say(f"As of {world.run.as_of}, a past day: no removal is authorised.")
        return Removals(due=0, removed=0, held_back=0, vanished=0)
    asked, invalid = last_word.asked_for(world)
    held = _with_strangers(world, held, asked)
    queue = RemovalQueue.read(world.state)
    # Without those who are gone; with those who wait or came back, should the mirror not have them.
    ours = union(ids_of(held.proven), ids_of(held.possible), queue.of(*WAITING, Removal.RETURNED))
    said = last_word.read_again(world, ours, union(asked, queue.of(*WAITING)))
    prior = set(queue.of(Removal.INTENDED, Removal.HELD).tolist())
    planned = extract.read(world)
    may_be_due = last_word.may_be_due(said, ours, asked)
    if planned.days is not None:  # both answers must say it: who has ended since the plan is the next load's
        may_be_due = without(may_be_due, ids_of(planned.active), planned.waiting)
    # None of a file that nothing shows to be loaded; a row of it that comes late would bring them back.
    behind = mirror.take(world.journal.singles_behind(world.now), ids_of(held.proven))
    tomorrow = common(may_be_due, distinct(ids_of(union(world.journal.doubtful(world.now), behind))))
    due = last_word.due(world, without(may_be_due, tomorrow), asked)
    world.place.write_array(DUE, due)
    world.place.write_array(TOMORROW, tomorrow)
    _enqueue(world, queue, due, tomorrow, asked)
    _require_few(world, due, len(ours))
    done, unknown = _remove(world, queue, due, prior, held=ids_of(held.proven))
    world.warehouse.record_removals([*_results(world, asked, said, ours, queue), *invalid])
    vanished = without(ours, said.active, said.ended, said.waiting, said.tainted, asked)
    result = Removals(
        due=len(due),
        removed=done,
        held_back=len(union(queue.of(Removal.DUE, Removal.HELD), tomorrow)),
        vanished=len(vanished) if world.run.scope == "everyone" else 0,
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
    if unknown:
        raise Fatal(
            f"The register does not know {len(unknown)} of the {result.due} customers to remove, though they were "
            "proven to be there, by files whose entries are closed long since. Their removals are kept. Run "
            "kfr_reconcile to see whether more are missing; then clear this task: it takes them for done.",
            correlation_id=unknown[0].correlation_id,
            operation=unknown[0].operation,
        )
    return result


def _with_strangers(world: World, held: Mirror, asked: Ints) -> Mirror:
    """The mirror with those of `asked` in it whom we do not know and the register has, under our own number.

    A state was lost, or another system has registered them. Told that they are not ours, nobody would ask again.
    """
    known = (ids_of(held.proven), ids_of(held.possible), RemovalQueue.read(world.state).of(*Removal))
    strangers = (without(asked, *known) << DAY_BITS).tolist()
    there = np.array([row for row in strangers if strata.is_present(world, row)], np.int64)
    if not there.size:
        if strangers and not finds_known(world, held.proven):
            raise LookUpsUnreliable("The register finds nobody, not even who is proven to be there.")
        return held
    lease.check(world)  # looking up takes its time
    world.say(f"{there.size} customers are to be removed whom only the register knew: they are ours.")
    return mirror.correct(world, held, present=there, absent=NOTHING)


def outstanding(world: World) -> Ints:
    """Whose removal was due to this run and is not answered, sorted.

    Not who waits from before and of whom the evidence is gone by now (vanished, or a row refused): no run can
    carry that out, and a person is told that it waits. Nor whose turn is the next day's.
    """
    if not is_authorised(world):
        return NOTHING
    queue = RemovalQueue.read(world.state)
    waits = queue.of(*WAITING)
    found = world.place.read_array(DUE) if world.place.exists(DUE) else NOTHING
    waits = waits[np.isin(waits, np.concatenate([queue.of(Removal.DUE), found]))]
    return without(waits, world.place.read_array(TOMORROW)) if world.place.exists(TOMORROW) else waits


def is_authorised(world: World) -> bool:
    """Whether the run may remove anyone: what was true on a past day is no evidence."""
    return world.run.as_of is None or world.run.as_of >= oslo_today(world.clock)


def _results(
    world: World, asked: Ints, said: last_word.Said, ours: Ints, queue: RemovalQueue
) -> list[tuple[str, str]]:
    """What is told to the institution's queue, by customer."""
    results = np.full(len(asked), "not_ours", "U8")
    # By an earlier run that died before it told, so that only the delivery log has it by now.
    results[among(asked, ids_of(world.journal.removals_of(without(asked, ours))))] = "removed"
    results[among(asked, ours)] = "waits"
    results[among(asked, said.active) | among(asked, said.waiting)] = "customer"
    results[among(asked, queue.gone())] = "removed"
    return list(zip(map(text_of, asked.tolist()), results.tolist(), strict=True))


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
        if all(world.look_up(w.customer_id, today, today) for w in send.witnesses):
            record_proof(world.journal, {send.name: (world.now, 0.0)})


def _require_few(world: World, due: Ints, ours: int) -> None:
    """Those of the plan were judged with it; what has come since is judged here."""
    limits = world.run.limits
    since = len(without(due, world.place.read_array("removals")))
    if world.run.approval != "never" and since > min(limits.removals, limits.removal_share * ours):
        raise last_word.ExtractUnfit(
            f"{since:,} removals are due that the plan did not have, where {limits.removals:,} or "
            f"{limits.removal_share:.0%} is the limit. They are kept. Look at the source; if it is right, clear "
            "extract_relationships with what follows: a person is asked then."
        )


def _enqueue(world: World, queue: RemovalQueue, due: Ints, tomorrow: Ints, asked: Ints) -> None:
    """Keep what is due, and nothing that is not any more: who came back, or of whom the evidence is gone.

    What was begun stays in any case: it may have been carried out, and the next plan has to know. Who has to wait for
    `tomorrow` is kept as well: a load of an interval asks for nobody else of whom nothing has changed since. And of
    whom the institution's queue is told "removed", it is kept that it has asked.
    """
    found = union(due, tomorrow)
    queue.want(found)
    for customer in common(queue.gone(), asked).tolist():
        queue.entries[customer].asked = True
    queue.come_back(without(queue.of(Removal.DUE), found).tolist(), world.day, world.told)
    for customer, is_asked in zip(found.tolist(), among(found, asked).tolist(), strict=True):
        entry = queue.entries.setdefault(
            customer, Entry(state=Removal.DUE, run=world.run.key, since=world.now)
        )
        if entry.state is Removal.RETURNED:  # and has left once more, on the same day
            entry.state = Removal.DUE
        entry.asked = is_asked
    queue.write()
    if due.size:
        world.say(f"Removals held back until now: {len(due)}; every file is loaded, they run.")


def _remove(
    world: World, queue: RemovalQueue, due: Ints, prior: set[int], *, held: Ints
) -> tuple[int, list[NotRegistered]]:
    """Remove one after another; how many answered, and what was answered for those that a person must look at."""
    done, proven = 0, set(common(due, held).tolist())
    unknown: list[NotRegistered] = []
    for stretch in last_word.parts(due, STRETCH):
        lease.check(world)
        before = {customer: queue.entries[customer].day for customer in stretch.tolist()}
        for customer in before:
            queue.entries[customer].state, queue.entries[customer].day = Removal.INTENDED, _day(world)
        queue.write()
        left = stretch.tolist()
        try:
            while left:
                entry, one = queue.entries[left[0]], left[0]
                if missing := _remove_one(world, entry, one, one in prior, one in proven):
                    unknown.append(missing)
                else:
                    done += entry.state is Removal.REMOVED  # else it takes the number for wrong
                left.pop(0)
        finally:
            for customer in left[1:]:  # not called yet: an intention would excuse a 404
                if customer not in prior:
                    queue.entries[customer].state, queue.entries[customer].day = Removal.DUE, before[customer]
            if lease.is_held(world):  # else the queue is another run's by now
                queue.write()
    return done, unknown


def _remove_one(
    world: World, entry: Entry, customer: int, intended_before: bool, proven: bool
) -> NotRegistered | None:
    """Remove a customer; the answer if the register does not know them, and no file is left that could prove it."""
    try:
        _delete(world, customer)
    except InvalidIdentifier:
        # A number that it takes for wrong, it does not hold; but if it was proven to, a person must look.
        if proven:
            entry.state = Removal.HELD
            return None
    except NotRegistered as missing:
        if proven and not intended_before:
            entry.state = Removal.HELD
            if not _reopen(world, customer):
                return missing
            raise ProofContradicted(
                "The register does not know a customer who was proven to be there. The file is open again, "
                "the removal is kept, and no removal leaves until it is settled.",
                correlation_id=missing.correlation_id,
                operation=missing.operation,
            ) from None
    entry.state, entry.day = Removal.REMOVED, _day(world)
    return None


def _day(world: World) -> int:
    """The number of the day that it is by the register's clock, at the latest."""
    return day_number(oslo_date(world.clock.now() + timedelta(seconds=REGISTER_AHEAD_SECONDS)))


def _delete(world: World, customer: int) -> None:
    """DELETE with patience: after an unknown outcome a 404 says that it was done."""
    unknown = False

    def call() -> None:
        nonlocal unknown
        lease.check(world)  # also after a pause: the register may have asked for minutes
        try:
            world.register.remove_one(customer)
        except OutcomeUnknown:
            unknown = True
            raise
        except NotRegistered:
            if not unknown:
                raise

    persist(world.clock, call)


def _reopen(world: World, customer: int) -> bool:
    """Void the proof of the file that held this customer: it counts as sent now, the customer its witness.

    What it alone had proven is not proven any more. False if no entry is left of such a file.
    """
    reopened = False
    for send in world.journal.sends():
        rows = world.journal.rows(send)
        rows = rows[
            ~among(rows, distinct(world.journal.start_changes(send.run)[:, 0]))
        ]  # there before, by another file
        if send.loads and customer in ids_of(rows):
            mirror.doubt(world, rows)
            witnesses = (*send.witnesses, Witness(customer_id=customer))
            world.journal.put(
                replace(send, proven_at=None, shown=False, witnesses=witnesses, counts_from=world.now)
            )
            reopened = True
    return reopened
