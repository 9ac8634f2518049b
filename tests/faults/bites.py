"""Hand-made bugs of the package, each of which the fault runs must find: `python -m tests.faults.bites`.

Each is what a tired person might write. A run that ends with a broken promise, or that cannot be played, has found it.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from email.utils import make_msgid
from typing import Any
from unittest import mock

import numpy as np

from kfr.clock import oslo_today
from kfr.load import (
    arrivals,
    confirmation,
    journal,
    lease,
    mirror,
    patience,
    planning,
    refusals,
    removal,
    strata,
    upload,
)
from kfr.load.journal import Outcome
from kfr.load.removal_queue import Removal
from kfr.load.staging import StateMissing
from kfr.register import limits
from kfr.register.errors import NotRegistered
from kfr.relationships import batch_file
from kfr.relationships.customers import without
from kfr.relationships.packing import day_number
from tests.faults import play
from tests.faults.campaign import play_one
from tests.faults.play import Play

MOST_SEEDS = 500


@contextmanager
def _put(*changes: tuple[Any, str, Any]) -> Iterator[None]:
    patches = [mock.patch.object(where, name, new) for where, name, new in changes]
    for patch in patches:
        patch.start()
    try:
        yield
    finally:
        for patch in patches:
            patch.stop()


_absent = upload.absent


def _present_first(world, witnesses, known):
    absent = _absent(world, witnesses, known)
    return tuple(w for w in witnesses if w not in absent) or absent


def _missing_is_done(world, entry, customer, intended_before, proven):
    with suppress(NotRegistered):
        removal._delete(world, customer)
    entry.state, entry.day = Removal.REMOVED, day_number(oslo_today(world.clock))


def _everyone_singly(world):
    planning.require_approved(world)
    arrived = arrivals._arrived(world)
    done = arrivals.register_singly(world, arrived)
    return arrivals.Pass(arrived=len(arrived), registered=done, for_the_file=0)


_may_be_due = removal._may_be_due


def _vanished_is_ended(said, ours, asked):
    vanished = without(ours, said.active, said.ended, said.waiting, said.tainted)
    return np.union1d(_may_be_due(said, ours, asked), vanished)


_record = mirror.record


def _accepted_is_proven(world):
    for send in world.journal.sends():
        if send.outcome is Outcome.ACCEPTED and send.proven_at is None:
            world.journal.put(replace(send, proven_at=world.now))
    return _record(world)


def _sends_are_closed(world):
    """No wait before the removals."""


async def _settled(*_, **__):
    """No wait in the closing task either."""


def _no_misses(world, rows, looked_up):
    return []


_missing = strata.missing


def _drawn_anew(world, rows, looked_up):
    """Whoever is missing is left out, and others are looked up instead."""
    if wrong := _missing(world, rows, looked_up):
        return _missing(world, rows, strata.sample(world, np.setdiff1d(rows, wrong), "again"))
    return []


_read = mirror.read


def _lost_is_empty(world):
    try:
        return _read(world)
    except StateMissing:
        return mirror.EMPTY


def _mail_again(world, what, mail, *, ask):
    name = f"deliveries/{what}"
    message_id = make_msgid(domain="kfr.invalid")
    world.mailer.send(to=world.mail_to, subject=mail.subject, text=mail.text, message_id=message_id)
    world.state.write_json(name, {"message_id": message_id, "sent_at": world.now})
    return message_id


_render = batch_file.render


def _undated(packed):
    return _render(packed & ~np.int64((1 << 17) - 1))


def _green_anyway(self, world):
    if lease.is_held(world):
        mirror.record(world)


_leaves = upload.leaves


def _half_is_lost(world, rows):
    pieces, refused = _leaves(world, rows)
    return pieces[:1] if len(pieces) > 1 else pieces, refused


def _not_refused_before(world, send, outcome, correlation_id):
    return replace(send, outcome=Outcome.UNKNOWN if outcome is Outcome.REFUSED and send.attempt == 1 else outcome,
                   correlation_id=correlation_id, counts_from=world.now)  # fmt: skip


BUGS: dict[str, Callable[[], Any]] = {
    "a witness that was there before counts as proof": lambda: _put((upload, "absent", _present_first)),
    "a second copy of a file is forgotten": lambda: _put(
        (journal, "SETTLING_FACTOR", 1), (journal, "SETTLING_MARGIN_SECONDS", 0.0)
    ),
    "a removal does not wait for files that load": lambda: _put(
        (removal, "require_closed_sends", _sends_are_closed), (play, "await_settling", _settled)
    ),
    "404 on removal is taken as done without intent": lambda: _put((removal, "_remove_one", _missing_is_done)),
    "a back-dated arrival is sent singly": lambda: _put((arrivals, "register_arrivals", _everyone_singly)),
    "vanished is taken as ended": lambda: _put(
        (removal, "_may_be_due", _vanished_is_ended), (removal, "_due", lambda _, candidates, __: candidates)
    ),
    "the mirror moves before proof": lambda: _put((mirror, "record", _accepted_is_proven)),
    "a miss is drawn anew": lambda: _put((strata, "missing", _drawn_anew)),
    "a lost mirror is read as empty": lambda: _put((mirror, "read", _lost_is_empty)),
    "a file of a run that died is not verified": lambda: _put((strata, "check_unverified", lambda _: None)),
    "a miss is not looked at": lambda: _put((strata, "missing", _no_misses)),
    "green though the proof failed": lambda: _put((Play, "_record", _green_anyway)),
    "a mail is sent again without asking": lambda: _put((confirmation, "deliver", _mail_again)),
    "files without dates": lambda: _put((upload, "render", _undated)),
    "a piece of a halved file is forgotten": lambda: _put((upload, "leaves", _half_is_lost)),
    "the lease is not looked at": lambda: _put((lease, "check", lambda _: None)),
    "a plan that was overtaken is carried out": lambda: _put((lease, "alone_since", lambda _: 0)),
    "requests are not paced": lambda: _put((limits.Pace, "_take_turn", lambda _: 0.0)),
    "Retry-After is not kept": lambda: _put((patience, "_pause", lambda *_: 0.0)),
    "who is refused is forgotten by the plan": lambda: _put(
        (refusals, "split", lambda world, adds: (adds[:0], adds[:1]))
    ),
}  # fmt: skip


def seeds_until_found(bug: str, most: int = MOST_SEEDS, first: int = 1) -> tuple[int, str] | None:
    """How many seeds it takes to find a bug, and what the oracle says; None if it is not found."""
    with BUGS[bug]():
        for number, seed in enumerate(range(first, first + most), 1):
            if problems := play_one(seed)["problems"]:
                return number, problems[0]
    return None


def main() -> int:
    missed = 0
    for bug in BUGS:
        found = seeds_until_found(bug)
        missed += found is None
        print(
            f"{found[0] if found else 'not found':>9}  {bug}: {found[1] if found else ''}"[:200], flush=True
        )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
