"""When is a file really loaded? The register acknowledges first and has no status endpoint (ONB D-3).

A file's *witnesses* are customers of it who are absent before it is sent. Found afterwards, they prove it.
The wait is a look-up loop that runs in a trigger, without a worker, and writes nothing: a trigger may start
over.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date, datetime

from kfr.clock import OSLO, Clock, oslo_today
from kfr.load.journal import Journal, Outcome, Schedule, Send, Witness, schedule
from kfr.load.removal_queue import RemovalQueue
from kfr.load.sampling import draw
from kfr.load.world import World
from kfr.register.errors import InvalidIdentifier, Retriable
from kfr.relationships.customers import among
from kfr.relationships.packing import Ints, ids_of, lookup

LAST_WITNESSES = 3  # the end of a file loads last, if files load in order (not documented)
WITNESS_BLOCKS = 16  # one at random in each equal block, for a file that loads in any other order
POLLS_PER_FILE = 20
SHORTEST_POLL_SECONDS, LONGEST_POLL_SECONDS = 1.0, 60.0

SAID_EVERY_SECONDS = 60.0  # a line of progress; often enough to see that it lives, seldom enough to be read

AsyncLookUp = Callable[[int, date, date], Awaitable[bool]]
Say = Callable[[str], None]
# When every witness of a send was found, and when one was last missing (0: never seen so); Unix seconds.
Seen = tuple[float, float]


class LookUpsUnreliable(Retriable):
    """The register finds nobody, not even a customer who is proven to be there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loading:
    """How waiting for some files ended; names of sends and fingerprints of files, no identifiers."""

    proven: dict[str, Seen]  # sends of which every witness was found
    late: tuple[str, ...]  # files whose deadline passed without proof


def candidates(rows: Ints, held: Ints, seed: str) -> list[Witness]:
    """The customers of a file who could prove it, the last row first.

    :param rows: the file, packed, in its order.
    :param held: packed relationships that are proven; a customer among them is filed again for another start,
        which the register need not take (not documented), so nothing follows from it.
    """
    positions = {
        0,
        *range(max(0, len(rows) - LAST_WITNESSES), len(rows)),
        *draw(len(rows), WITNESS_BLOCKS, seed).tolist(),
    }
    chosen = ids_of(rows[sorted(positions, reverse=True)])
    new = chosen[lookup(held, chosen) < 0]
    if not new.size:  # mostly starts that are filed again: whoever else is in it
        everyone = ids_of(rows)
        new = everyone[lookup(held, everyone) < 0][::-1][:LAST_WITNESSES]
    return [Witness(customer_id=customer) for customer in new.tolist()]


def absent(world: World, witnesses: Sequence[Witness], known: Ints) -> tuple[Witness, ...]:
    """Those of `witnesses` whom the register does not find now.

    "Not found" counts only in a pass in which someone known to be there (`known`, packed) was found. A number
    that the register refuses to look up proves nothing: the file's own refusal will tell of it.

    :raises LookUpsUnreliable: nobody was found, not even one who is proven to be there.
    """
    today = oslo_today(world.clock)
    missing: list[Witness] = []
    found_one = False
    for witness in witnesses:
        with suppress(InvalidIdentifier):
            if world.look_up(witness.customer_id, today, today):
                found_one = True
            else:
                missing.append(witness)
    if missing and not found_one and not finds_known(world, known):
        raise LookUpsUnreliable(
            "The register finds nobody, not even a customer who is proven to be there: its look-ups cannot "
            "be trusted now. Nothing was sent. Try again later; if it lasts, ask DSOP@bits.no."
        )
    return tuple(missing)


def finds_known(world: World, known: Ints) -> bool:
    """Whether a customer known to be registered is found; true when none is known.

    Whom we have removed, or may have, is not: the mirror knows them until it moves.
    """
    known = known[~among(ids_of(known), RemovalQueue.read(world.state).begun())]
    if known.size == 0:
        return True
    today = oslo_today(world.clock)
    positions = draw(len(known), 3, world.staging.fingerprint(world.run.key.encode()))
    return any(world.look_up(int(c), today, today) for c in ids_of(known[positions]))


async def await_loading(
    journal: Journal,
    files: Sequence[str],
    *,
    clock: Clock,
    look_up: AsyncLookUp,
    rows_per_second: float,
    grace: float,
    say: Say = lambda _: None,
) -> Loading:
    """Wait until each file is proven, waited out, or `grace` seconds late.

    `say` gets a line a minute: how far the file should be, until when it will take, what is waited for.
    """
    proven: dict[str, Seen] = {}
    found: set[Witness] = set()
    late = []
    progress = Progress(clock=clock, say=say)
    for file in files:
        missing_until = 0.0
        while True:
            sends = [s for s in journal.of_file(file) if s.loads]
            plans = schedule(journal.sends(), rows_per_second)
            if not sends or any(s.proven_at for s in sends):
                break
            now = clock.now().timestamp()
            first_look = min(plans[s.name].loaded_at for s in sends)
            while now < first_look:
                progress.tell(sends, plans, found, grace)
                await clock.asleep(min(first_look - now, SAID_EVERY_SECONDS))
                now = clock.now().timestamp()
            await _look(sends, found, look_up, oslo_today(clock))
            seen = (clock.now().timestamp(), missing_until)
            proven |= {s.name: seen for s in sends if s.witnesses and found >= set(s.witnesses)}
            if any(s.name in proven for s in sends):
                break
            now, deadline = clock.now().timestamp(), give_up_at(sends, plans, grace)
            missing_until = now
            progress.tell(sends, plans, found, grace)
            if now >= deadline:
                late += [file] if any(s.witnesses for s in sends) else []
                break
            await clock.asleep(min(_poll_seconds(sends, rows_per_second), max(deadline - now, 0.1)))
    return Loading(proven=proven, late=tuple(late))


@dataclass(slots=True, kw_only=True)
class Progress:
    """Say how far a file is, a line a minute at most."""

    clock: Clock
    say: Say
    said_at: float = field(default=-SAID_EVERY_SECONDS)

    def tell(
        self, sends: Sequence[Send], plans: dict[str, Schedule], found: set[Witness], grace: float
    ) -> None:
        if self.clock.monotonic() < self.said_at + SAID_EVERY_SECONDS:
            return
        self.said_at = self.clock.monotonic()
        now, send = self.clock.now().timestamp(), sends[-1]
        rows, due = send.rows, min(plans[s.name].loaded_at for s in sends)
        witnesses = {w for s in sends for w in s.witnesses}
        seen = f"{len(witnesses & found)} of {len(witnesses)} witnesses found"
        if now < due:
            share = (now - send.counts_from) / max(due - send.counts_from, 1.0)
            self.say(
                f"File {send.label}: {share:.0%} of its time has passed. Its {rows:,} rows should be loaded by "
                f"{_clock_time(due)}, at the register's rate; that is waited for. {seen}."
            )
        else:
            self.say(
                f"File {send.label}: should be loaded since {_clock_time(due)}; {seen}, the others are looked up "
                f"again and again until {_clock_time(give_up_at(sends, plans, grace))} and if they are not there "
                "by then the file is late, and this try ends."
            )


def _clock_time(moment: float) -> str:
    at = datetime.fromtimestamp(moment, OSLO)
    return f"{at:%H:%M:%S}, {at.day}.{at.month}."


def give_up_at(sends: Sequence[Send], plans: dict[str, Schedule], grace: float) -> float:
    """When waiting for a file ends: `grace` after it is late, or settled if there are no witnesses to wait for."""
    return max(plans[s.name].late_at + grace if s.witnesses else plans[s.name].settled_at for s in sends)


def record_proof(journal: Journal, proven: Mapping[str, Seen]) -> None:
    """Write down which sends are proven, and what was seen of each."""
    for send in journal.sends():
        if send.name in proven and send.proven_at is None:
            journal.put(_proven(send, proven[send.name]))


def _proven(send: Send, seen: Seen) -> Send:
    found_at, missing_until = seen
    return replace(send, proven_at=found_at, missing_until=missing_until or None)


def revisit(world: World) -> None:
    """Look for the witnesses of earlier runs' unproven sends: they may have loaded since."""
    today = oslo_today(world.clock)
    for send in world.journal.sends():
        if send.run == world.run.key or send.proven_at or not send.witnesses or not send.loads:
            continue
        if all(world.look_up(w.customer_id, today, today) for w in send.witnesses):
            record_proof(world.journal, {send.name: (world.now, 0.0)})


async def _look(sends: Sequence[Send], found: set[Witness], look_up: AsyncLookUp, today: date) -> None:
    """Look witnesses up until one is missing: while the last row is not there, the others can wait."""
    for witness in dict.fromkeys(w for s in sends for w in s.witnesses):
        if witness in found:
            continue
        if not await look_up(witness.customer_id, today, today):
            return
        found.add(witness)


def _poll_seconds(sends: Sequence[Send], rows_per_second: float) -> float:
    seconds = sends[-1].rows / rows_per_second / POLLS_PER_FILE
    return min(max(seconds, SHORTEST_POLL_SECONDS), LONGEST_POLL_SECONDS)


def accepted(sends: Sequence[Send]) -> list[Send]:
    return [s for s in sends if s.outcome is Outcome.ACCEPTED]


async def await_settling(
    journal: Journal,
    proven: Mapping[str, Seen],
    *,
    clock: Clock,
    rows_per_second: float,
    say: Say = lambda _: None,
) -> None:
    """Wait until no send of any run can still be loading; `proven` is not written down yet."""
    while True:
        sends = [_proven(s, proven[s.name]) if s.name in proven else s for s in journal.sends()]
        plans = schedule(sends, rows_per_second)
        settled_at = max(
            (plans[s.name].settled_at for s in sends if s.loads and not s.closed_because), default=0.0
        )
        if (left := settled_at - clock.now().timestamp()) <= 0:
            return
        say(f"Waiting until {_clock_time(settled_at)}: until then a second copy of a file may be loading.")
        await clock.asleep(left)


def longest_wait(journal: Journal, rows_per_second: float, grace: float, now: float) -> float:
    """Seconds until the last deadline of all sends; an absolute one, so that it is stable over deferrals."""
    plans = schedule(journal.sends(), rows_per_second)
    return max((p.settled_at + grace - now for p in plans.values()), default=grace)
