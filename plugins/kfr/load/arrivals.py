"""Additions that go one by one: who arrives while a first load is under way, and who starts on its day.

ONB D-3, step 2. A single POST carries no date: it registers from the day of the call. So it serves only a
relationship that starts today, and not around midnight, when "today" could change under way. The others wait
for the closing file.
"""

from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from kfr.clock import OSLO, oslo_today
from kfr.load import extract, lease, mirror, planning, returns
from kfr.load.journal import Single
from kfr.load.volume import announce_before
from kfr.load.world import World
from kfr.register.errors import Refused
from kfr.relationships.batch_file import cut
from kfr.relationships.customers import NOTHING
from kfr.relationships.packing import Ints, day_number, ids_of, starts_of

STRETCH = 50  # writes between two looks at the lease
MIDNIGHT_MARGIN = timedelta(minutes=10)
CLOSING = "closing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """One look at those who arrived after the list was made; counts."""

    arrived: int
    registered: int
    for_the_file: int


def register_today(world: World) -> Pass:
    """Register the plan's single additions; who could not go is left to the closing file."""
    planned = world.place.read_array("singly")
    today = day_number(
        oslo_today(world.clock)
    )  # of the plan, or a later one: then the closing file has them all
    done = register_singly(world, _unanswered(world, planned[starts_of(planned) == today]))
    if planned.size:
        world.say(f"Single additions: {done:,} of {len(planned):,} registered.")
    return Pass(arrived=len(planned), registered=done, for_the_file=len(_unanswered(world, planned)))


def register_arrivals(world: World) -> Pass:
    """One pass: register singly who may go singly; count who must wait for the closing file."""
    planning.require_approved(world)
    arrived = _arrived(world)
    today = world.day
    singly = arrived[starts_of(arrived) == today] if not around_midnight(world) else NOTHING
    done = register_singly(world, singly)
    result = Pass(arrived=len(arrived), registered=done, for_the_file=len(arrived) - done)
    if done:
        world.say(
            f"Arrivals: {result.registered} registered singly, "
            f"{result.for_the_file} wait for the closing file."
        )
    return result


def close_arrivals(world: World, *, arrivals: bool = True) -> list[str]:
    """Stage the closing files for all who were to go singly and did not; return the files' labels.

    Staged once: a retry goes on with the same bytes.

    :param arrivals: whether those who arrived since the list was made go too (ONB D-3); a periodic load leaves
        them to the next one.
    """
    # A plan that is over welcomes nobody back: another run may have removed them.
    planning.require_approved(world)
    place = world.place
    if not place.exists(f"{CLOSING}.json"):
        planned = _unanswered(world, place.read_array("singly"))
        left = _arrived(world) if arrivals else planned
        lease.check(world)
        mirror.welcome_back(world, ids_of(left))
        files = cut(left, world.run.max_batch_bytes)
        labels = [f"{CLOSING}-{number}" for number in range(1, len(files) + 1)]
        for label, rows in zip(labels, files, strict=True):
            place.write_array(f"files/{label}", rows)
        place.write_json(f"{CLOSING}.json", labels)
        if files:
            world.say(f"Closing file: {sum(len(f) for f in files):,} additions that may not go singly.")
    labels_: list[str] = place.read_json(f"{CLOSING}.json")
    return labels_


def around_midnight(world: World) -> bool:
    """Whether the date in Oslo could change while a call is under way."""
    now = world.clock.now()
    return len({(now + shift).astimezone(OSLO).date() for shift in (-MIDNIGHT_MARGIN, MIDNIGHT_MARGIN)}) > 1


def register_singly(world: World, rows: Ints) -> int:
    """POST each of `rows` (packed) by itself, the intention written before; return how many were answered."""
    planning.require_approved(world)
    journal, run = world.journal, world.run.key
    done = 0
    for stretch in np.array_split(rows, range(STRETCH, len(rows), STRETCH)) if len(rows) else []:
        lease.check(world)
        announce_before(world, len(stretch))
        mirror.welcome_back(world, ids_of(stretch))
        singles = journal.singles(run)
        again = np.isin(singles[:, 0], stretch)
        singles, before = singles[~again], singles[again]
        entries = np.column_stack([stretch, np.full(len(stretch), Single.INTENDED)])
        journal.put_singles(run, np.concatenate([singles, entries]))
        called = 0
        try:
            for entry in entries:
                if around_midnight(world):
                    break
                called += 1
                entry[1] = _register(world, int(ids_of(entry[0])))
                done += int(entry[1] != Single.INTENDED)
        finally:  # who was not called goes by file, and has not come singly, but perhaps by an earlier try
            left = before[np.isin(before[:, 0], stretch[called:])]
            journal.put_singles(run, np.concatenate([singles, left, entries[:called]]))
    return done


def _register(world: World, customer_id: int) -> Single:
    try:
        is_new = world.register.register_one(customer_id)
    except Refused as refusal:
        world.say(
            f"An arrival was refused ({refusal.code}, CorrelationID {refusal.correlation_id}); "
            "it is tried by file."
        )
        return Single.INTENDED
    return Single.ANSWERED if is_new else Single.THERE_BEFORE


def _arrived(world: World) -> Ints:
    """Who is a customer now and was not in the plan, nor proven before, nor registered singly since."""
    if world.run.as_of is not None and world.run.as_of < oslo_today(world.clock):
        return NOTHING  # a load as of a past day claims nothing about those who came later
    found = extract.extract(world, "arrivals")
    planning.require_one_world(world, found)
    now = found.active
    known = [ids_of(extract.read(world).active), ids_of(mirror.read(world).proven)]
    arrived = _unanswered(world, mirror.take(now, np.concatenate(known)))
    limits = world.run.limits
    if len(arrived) > max(limits.removals, limits.removal_share * len(known[0])):
        raise planning.GuardStopped(
            f"many_arrivals: {len(arrived):,} customers have arrived since the list of {len(known[0]):,} was made, "
            "which no person has approved. They are not sent. Look at the source; if it is right, clear plan_changes "
            "with what follows."
        )
    lease.check(world)  # reading takes its time: another run may have taken over
    returns.note(world, arrived)
    return arrived


def _unanswered(world: World, rows: Ints) -> Ints:
    """Those of `rows` whom the register has not answered for when they were sent singly."""
    singles = world.journal.singles(world.run.key)
    return mirror.take(rows, ids_of(singles[singles[:, 1] != Single.INTENDED, 0]))
