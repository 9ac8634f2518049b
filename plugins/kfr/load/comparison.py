"""What the register itself says of customers: each is looked up, and the mirror follows.

For backfills, which repair what a fault broke, and for reconciling. A look-up proves as much as a load's own
witnesses do, so it can also make a mirror that was lost. Goes on from its checkpoint after a crash.
"""

from dataclasses import asdict, dataclass, fields
from datetime import date, datetime

import numpy as np

from kfr.clock import OSLO, oslo_today
from kfr.load import extract, lease, mirror, returns, start_pairs, starts, strata
from kfr.load.ingestion import LookUpsUnreliable, finds_known
from kfr.load.mirror import Mirror
from kfr.load.removal_queue import Removal, RemovalQueue
from kfr.load.world import World
from kfr.relationships.customers import NOTHING, common, union, without
from kfr.relationships.packing import (
    DAY_BITS,
    DAY_MASK,
    FIRST_DATE,
    UNKNOWN_DAY,
    Ints,
    date_of,
    day_number,
    ids_of,
    lookup,
    starts_of,
)

STRETCH = 500  # customers between two checkpoints, at least
CHECKPOINTS = 500  # of one comparison, at most: each writes all that is known by then
NAME = "compared"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What looking customers up showed; counts."""

    customers: int
    present: int
    missing: int  # customers by the warehouse, and not in the register
    lost: int  # of these, proven to be there before
    left_over: int  # in the register, and no customer by the warehouse
    other_start: int  # in the register with another start than the warehouse has


def look_up(
    world: World, customers: Ints, held: Mirror, *, starts: bool = True, until: float = np.inf
) -> bool:
    """Look `customers` (sorted) up, from the checkpoint on; whether all are done at the moment `until`.

    :param starts: whether their starts are looked up too, which takes twice as many look-ups.
    :raises LookUpsUnreliable: the register finds nobody, not even one known to be there.
    """
    asked = customers
    alone = lease.alone_since(world).to_bytes(
        8, "big"
    )  # what was seen before another run wrote counts no more
    seal = world.staging.fingerprint(asked.tobytes(), bytes([starts]), alone)
    done, rows = 0, NOTHING
    if world.place.exists(f"{NAME}.json") and world.place.read_json(f"{NAME}.json")["asked"] == seal:
        rows = world.place.read_array(f"{NAME}.rows")
        done = len(rows)
    else:
        world.place.delete(f"{NAME}.json")  # of another question: its seal must not stand over our answers
    began, began_at = world.now, done
    desired = extract.read(world).active
    while done < len(asked) and world.now < until:
        part = asked[done : done + max(STRETCH, len(asked) // CHECKPOINTS)]
        wanted, known = lookup(desired, part), lookup(held.proven, part)
        today = oslo_today(world.clock)
        seen = [
            _see(world, *each, today=today, starts=starts)
            for each in zip(part.tolist(), wanted.tolist(), known.tolist(), strict=True)
        ]
        new = np.array(seen, np.int64)
        _require_reliable(world, np.concatenate([rows, new]), new, held)
        rows = np.concatenate([rows, new])
        done = len(rows)
        # In this order: if a worker dies between the two, the part is looked up again.
        world.place.write_array(f"{NAME}.customers", asked[:done])
        world.place.write_array(f"{NAME}.rows", rows)
        world.place.write_json(f"{NAME}.json", {"asked": seal})
        _say_progress(world, done, len(asked), (world.now - began) / max(done - began_at, 1))
    if not len(asked):
        world.place.write_array(f"{NAME}.rows", NOTHING)
        world.place.write_array(f"{NAME}.customers", NOTHING)
        world.place.write_json(f"{NAME}.json", {"asked": seal})
    return done >= len(asked)


def is_staged(world: World) -> bool:
    """Whether look-ups wait to be taken over by the mirror."""
    return world.place.exists(f"{NAME}.json")


def take_over(world: World, held: Mirror) -> Mirror:
    """Let the mirror follow what was looked up, and count the differences; a dry run writes no state."""
    customers, rows = world.place.read_array(f"{NAME}.customers"), world.place.read_array(f"{NAME}.rows")
    desired = extract.read(world).active
    rows = np.union1d(rows[rows >= 0], _found_after_all(world, held, customers[rows < 0], desired))
    present = _with_starts_seen_twice(world, held, rows)
    absent = without(customers, ids_of(rows))
    wanted = lookup(desired, ids_of(present))
    missing = lookup(desired, absent) >= 0
    dated = (wanted >= 0) & (starts_of(wanted) != UNKNOWN_DAY)
    result = Comparison(
        customers=len(customers),
        present=len(present),
        missing=int(missing.sum()),
        lost=int((missing & (lookup(held.proven, absent) >= 0)).sum()),
        left_over=int((wanted < 0).sum()),
        other_start=int((wanted != present)[dated].sum()),
    )
    world.place.write_json("comparison.json", asdict(result))
    world.say(_sentence(result))
    if world.run.dry_run:
        proven, possible = mirror.corrected(held, present=present, absent=absent)
        return Mirror(version=held.version, proven=proven, possible=possible)
    lease.check(world)  # looking up takes its time, and another run may have removed customers meanwhile
    extract.keep_asking(world, ids_of(present[(wanted < 0) | (wanted != present) & dated]))
    held_back = common(RemovalQueue.read(world.state).of(Removal.HELD), absent)
    returns.note_gone(world, union(held_back, without(common(absent, ids_of(held.proven)), ids_of(desired))))
    after = mirror.correct(world, held, present=present, absent=absent, sent_again=absent[missing])
    world.place.delete(f"{NAME}.json")
    return after


def _with_starts_seen_twice(world: World, held: Mirror, rows: Ints) -> Ints:
    """`rows` without the starts that a look-up of the day before would contradict, had it not been behind.

    Those of who came back, or was sent with another start of late: what is proven for good by "not found" is asked
    about once more, when no answer can be from before.
    """
    new = without(rows, held.proven)
    doubted = union(start_pairs.came_back(world, new), new[starts.other_starts_coming(world, new)])
    undated = union(*strata.begun_earlier(world, doubted[starts_of(doubted) != UNKNOWN_DAY]))
    return mirror.put(rows, ids_of(undated) << DAY_BITS)


def _found_after_all(world: World, held: Mirror, absent: Ints, desired: Ints) -> Ints:
    """The relationships of `absent` that are there, looked up with patience; packed.

    Of those of whom no other look-up would come: ours, and no customers any more. Forgotten now, they would stay in
    the register for good. Who is a customer is sent again, and stays possible until that is done.
    """
    waiting = RemovalQueue.read(world.state).of(Removal.DUE, Removal.INTENDED, Removal.HELD)
    known = union(held.proven, held.possible)
    ours = common(absent, union(ids_of(known), waiting))
    ours = without(ours, ids_of(desired))
    asked = np.where(lookup(known, ours) >= 0, lookup(known, ours), ours << DAY_BITS).tolist()
    gone = strata.patiently(world, asked, lambda row: not strata.is_present(world, row))
    return np.setdiff1d(np.array(asked, np.int64), gone)


def read(world: World) -> Comparison | None:
    """How the comparison of this run came out; None if it made none."""
    if not world.place.exists("comparison.json"):
        return None
    stored = world.place.read_json("comparison.json")
    return Comparison(**{f.name: stored[f.name] for f in fields(Comparison)})


def settled(world: World, customers: Ints) -> Ints:
    """Without those removed today, or perhaps: the register may answer yes for the rest of the day."""
    return without(customers, RemovalQueue.read(world.state).untold(world.told))


def _see(world: World, customer: int, wanted: int, held: int, *, today: date, starts: bool) -> int:
    """The relationship as far as look-ups tell, packed; -1 if there is none today.

    :param wanted: as the warehouse has it, packed; -1 if it has none.
    :param held: the same of the mirror.
    """
    if not world.finds(customer, today, today):
        return -1
    start, before = (row & DAY_MASK if row >= 0 else UNKNOWN_DAY for row in (wanted, held))
    if start == UNKNOWN_DAY or (held >= 0 and not starts):
        known = held if held >= 0 else wanted
        return known if known >= 0 else customer << DAY_BITS
    if _old_start_holds(world, customer, start, before):
        return held
    if before == UNKNOWN_DAY and world.finds(customer, _date(start - 1), _date(start - 1)):
        return customer << DAY_BITS  # it began earlier; when, no look-up of a day tells
    if world.finds(customer, _date(start), _date(start)):
        return wanted
    return customer << DAY_BITS | _first_day(world, customer, start + 1, day_number(today))


def _old_start_holds(world: World, customer: int, start: int, before: int) -> bool:
    """Whether a relationship has the start that the mirror knows, where the warehouse has another; day numbers.

    It does if anything is found before a later new one, or if nothing is before it where the new one is earlier: days
    of the new one alone do not tell, since a relationship that has ended has days, too.
    """
    if UNKNOWN_DAY < before < start:
        return world.finds(customer, _date(before), _date(start - 1))
    old, day_before = _date(before), _date(before - 1)
    return (
        start < before
        and world.finds(customer, old, old)
        and not world.finds(customer, day_before, day_before)
    )


def _first_day(world: World, customer: int, first: int, last: int) -> int:
    """The day number, from `first` to `last`, on which a relationship that holds on `last` began."""
    begin = first
    while first < last:
        middle = (first + last) // 2
        if world.finds(customer, _date(begin), _date(middle)):
            last = middle
        else:
            first = middle + 1
    return last


def _date(number: int) -> date:
    return date_of(number) or FIRST_DATE


def _require_reliable(world: World, rows: Ints, new: Ints, held: Mirror) -> None:
    """Let absence count only in a pass in which someone known to be there was found."""
    if (new >= 0).any() or not (new < 0).any():
        return
    known = rows[rows >= 0] if (rows >= 0).any() else held.proven
    if not finds_known(world, np.sort(known)):
        raise LookUpsUnreliable(
            "The register finds nobody, not even a customer who is proven to be there: its look-ups cannot be "
            "trusted now, and nothing follows from them. Try again later; if it lasts, ask DSOP@bits.no."
        )


def _say_progress(world: World, done: int, of: int, seconds_each: float) -> None:
    ends = datetime.fromtimestamp(world.now + (of - done) * seconds_each, OSLO).isoformat(timespec="minutes")
    if done < of:
        world.say(f"Compared {done:,} of {of:,} customers with the register; at this pace until {ends}.")


def _sentence(result: Comparison) -> str:
    return (
        f"Compared {result.customers:,} customers with the register: {result.present:,} are there, "
        f"{result.missing:,} are missing ({result.lost:,} of them proven before), "
        f"{result.left_over:,} are left over, {result.other_start:,} have another start."
    )
