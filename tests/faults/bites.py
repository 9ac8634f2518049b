"""Hand-made bugs of the package, each of which the fault runs must find: `make bites`.

Each is what a tired person might write. A run that ends with a broken promise, or that cannot be played, has found it.
Some are second defences, or need two things to go wrong together, which is seldom drawn: for these it is made worse
than the draws have it, and a seed counts only if the package as it is gets through it.
"""

import random
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import replace
from datetime import timedelta
from email.utils import make_msgid
from itertools import islice
from typing import Any
from unittest import mock

import numpy as np

from kfr.clock import oslo_today
from kfr.load import (
    arrivals,
    confirmation,
    extract,
    journal,
    last_word,
    lease,
    mirror,
    patience,
    planning,
    removal,
    report,
    staging,
    start_pairs,
    starts,
    strata,
    upload,
    volume,
)
from kfr.load.evidence import Files
from kfr.load.journal import StartChange, Witness
from kfr.load.removal_queue import Removal, RemovalQueue
from kfr.load.staging import StateMissing
from kfr.register import answers, limits
from kfr.register.errors import Fatal, NotRegistered
from kfr.relationships import batch_file
from kfr.relationships.customers import NOTHING, union, without
from kfr.relationships.packing import day_number, ids_of
from tests.faults import draws, play
from tests.faults.fuse import Trap
from tests.faults.play import Play
from tests.faults.scenario import play_seed
from tests.faults.warehouse import Agreement
from tests.simulator import Fault, FaultKind

MOST_SEEDS = 500


@contextmanager
def _put(*changes: tuple[Any, str, Any]) -> Iterator[None]:
    with ExitStack() as put:
        for where, name, new in changes:
            put.enter_context(mock.patch.object(where, name, new))
        yield


_absent = upload.absent


def _also_present(world, witnesses, known):
    """Two who are registered for long stand for the file; only where there is nobody it is seen to."""
    return tuple(Witness(customer_id=one) for one in ids_of(known[-2:]).tolist()) or _absent(
        world, witnesses, known
    )


_plan_faults = draws.plan_faults


def _denied_once(rng, institution, *, first):
    """The first DELETE is answered with 404, though the customer is there."""
    denial = Fault(kind=FaultKind.STATUS, operation="remove_one", status=404, nth=1, times=1, body="json")
    institution.simulator.faults.add(denial)
    return _plan_faults(rng, institution, first=first)


def _missing_is_done(world, entry, customer, intended_before, proven):
    with suppress(NotRegistered):
        removal._delete(world, customer)
    entry.state, entry.day = Removal.REMOVED, day_number(oslo_today(world.clock))


def _everyone_singly(world):
    planning.require_approved(world)
    arrived = arrivals._arrived(world)
    done = arrivals.register_singly(world, arrived)
    return arrivals.Pass(arrived=len(arrived), registered=done, for_the_file=0)


_may_be_due = last_word.may_be_due


def _vanished_is_ended(said, ours, asked):
    vanished = without(ours, said.active, said.ended, said.waiting, said.tainted)
    return np.union1d(_may_be_due(said, ours, asked), vanished)


class _Trusting(Files):
    """What was sent is there."""

    def evidence(self):
        for said in super().evidence():
            yield replace(said, there=union(said.there, said.maybe), maybe=NOTHING)


def _sends_are_closed(world):
    """No wait before the removals."""


async def _settled(*_, **__):
    """No wait in the closing task either."""


def _verified_unseen(world):
    """Its witnesses were found, so it is taken for whole."""
    strata.record_verified(world, {send.file for send in world.journal.sends()})


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


def _mail_again(world, what, mail, *, ask, lease=None):
    name = f"deliveries/{what}"
    message_id = make_msgid(domain="kfr.invalid")
    world.mailer.send(to=world.mail_to, subject=mail.subject, text=mail.text, message_id=message_id)
    world.state.write_json(name, {"message_id": message_id, "sent_at": world.now})
    return message_id


_render = batch_file.render


def _undated(packed):
    return _render(packed & ~np.int64((1 << 17) - 1))


_record = Play._record


def _green_anyway(self, world):
    """As if the task that says "not verified" at its end did not say it."""
    try:
        _record(self, world)
    except Fatal as fatal:
        if "not verified" not in str(fatal) or not lease.is_held(world):
            raise


_leaves, _pieces_to_send = upload.leaves, upload._pieces_to_send


def _first_leaf(world, rows):
    pieces, refused = _leaves(world, rows)
    return pieces[:1], refused


def _first_piece(world, label, rows, held):
    yield from islice(_pieces_to_send(world, label, rows, held), 1)


_extract_read = extract.read


def _as_of_today(world, name="extract"):
    """After midnight the list is of another day than the plan that was made of it."""
    found = _extract_read(world, name)
    today = oslo_today(world.clock)
    return found if found.as_of == today else extract.extract(world, name, days=found.days)


def _none_moved(world, changed, ours):
    return NOTHING, len(changed)


_write_array = staging.Place.write_array


def _in_clear_as_well(self, name, array):
    _write_array(self, name, array)
    (self._folder / "as-it-is").write_bytes(array.tobytes())


class _Halves:
    """numpy, but for a row that is lost where a file is halved."""

    def __getattr__(self, name):
        return getattr(np, name)

    def array_split(self, rows, parts):
        first, second = np.array_split(rows, parts)
        return [first, second[1:] if len(second) > 1 else second]


_read_code = answers.read_code


def _of_a_row(response):
    """As if the register had said that a row is wrong."""
    return _read_code(response) or ("KFR-005" if response.status_code == 400 else None)


class _KeptAtOnce:
    SENT, CORRECTED, KEPT, UNTAKEN = (
        StartChange.SENT,
        StartChange.CORRECTED,
        StartChange.KEPT,
        StartChange.KEPT,
    )


BUGS: dict[str, Callable[[], Any]] = {
    "a witness that was there before counts as proof": lambda: _put((upload, "absent", _also_present)),
    "a second copy of a file is forgotten": lambda: _put(
        (journal, "SETTLING_FACTOR", 1), (journal, "SETTLING_MARGIN_SECONDS", 0.0)
    ),
    "a removal does not wait for files that load": lambda: _put(
        (removal, "require_closed_sends", _sends_are_closed), (play, "await_settling", _settled)
    ),
    "404 on removal is taken as done without intent": lambda: _put((removal, "_remove_one", _missing_is_done)),
    "a back-dated arrival is sent singly": lambda: _put((arrivals, "register_arrivals", _everyone_singly)),
    "vanished is taken as ended": lambda: _put(
        (last_word, "may_be_due", _vanished_is_ended), (last_word, "due", lambda _, candidates, __: candidates)
    ),
    "the mirror moves before proof": lambda: _put((mirror, "Files", _Trusting)),
    "a miss is drawn anew": lambda: _put((strata, "missing", _drawn_anew)),
    "a lost mirror is read as empty": lambda: _put((mirror, "read", _lost_is_empty)),
    "a file of a run that died is not verified": lambda: _put((strata, "check_unverified", _verified_unseen)),
    "a miss is not looked at": lambda: _put((strata, "missing", _no_misses)),
    "green though a leaf failed": lambda: _put((Play, "_record", _green_anyway)),
    "a mail is sent again without asking": lambda: _put((confirmation, "deliver", _mail_again)),
    "files without dates": lambda: _put((upload, "render", _undated)),
    "a piece of a halved file is forgotten": lambda: _put(
        (upload, "leaves", _first_leaf), (upload, "_pieces_to_send", _first_piece)
    ),
    "the lease is not looked at": lambda: _put((lease, "check", lambda _: None)),
    "a plan that was overtaken is carried out": lambda: _put((lease, "alone_since", lambda _: 0)),
    "as_of is resolved anew on a retry": lambda: _put((extract, "read", _as_of_today)),
    "requests are not paced": lambda: _put((limits.Pace, "_take_turn", lambda _: 0.0)),
    "Retry-After is not kept": lambda: _put((patience, "_pause", lambda *_: 0.0)),
    "halving a refused file loses a row": lambda: _put((upload, "np", _Halves())),
    "a gateway's no is taken for the rows'": lambda: _put((answers, "read_code", _of_a_row)),
    "a start whose file was lost counts as kept": lambda: _put((starts, "StartChange", _KeptAtOnce)),
    "a look-up counts on the day of a removal": lambda: _put((RemovalQueue, "untold", lambda *_: NOTHING)),
    "nobody reads the queue of removals": lambda: _put((last_word, "asked_for", lambda _: (NOTHING, []))),
    "a start that moved is not filed": lambda: _put((start_pairs, "without_kept", _none_moved)),
    "who goes singly goes by file, too": lambda: _put((arrivals, "_unanswered", lambda _, planned: planned)),
    "D-4 says more than is there": lambda: _put((report, "spaced", lambda figure: f"{figure + 1}")),
    "no notice before many rows leave": lambda: _put((volume, "deliver", lambda *_, **__: "")),
    "a row of identifiers lies in clear": lambda: _put((staging.Place, "write_array", _in_clear_as_well)),
}  # fmt: skip


def _partly_loaded(rng, institution, *, first):
    """A part of a file is not loaded, from anywhere in it, and a worker dies."""
    own = random.Random(f"partly loaded {institution.seed}")
    institution.simulator.switches = replace(institution.simulator.switches, row_order="shuffled")
    partly = Fault(
        kind=FaultKind.FILE_PARTLY_LOADED,
        operation="register_file",
        nth=own.choice([1, 2, 3]),
        times=1,
        share=0.9,
    )
    institution.simulator.faults.add(partly)
    institution.fuse.add(Trap(kind="crash", nth=own.randrange(100, 500)))
    return _plan_faults(rng, institution, first=first)


def _overtaken(rng, institution, *, first):
    """A worker stops for hours, and another run begins."""
    own = random.Random(f"overtaken {institution.seed}")
    institution.fuse.add(Trap(kind="pause", nth=own.randrange(1, 60), when="before", point="look_up"))
    return _plan_faults(rng, institution, first=first)


def _gateway_says_no(rng, institution, *, first):
    """A gateway turns files down, for a minute."""
    no = Fault(kind=FaultKind.STATUS, operation="register_file", status=400, body="html", nth=1, times=8)
    institution.simulator.faults.add(no)
    return _plan_faults(rng, institution, first=first)


def _starts_lost(rng, institution, *, first):
    """Starts are corrected, by a register that takes them; their end of the file is not loaded."""
    simulator, own = institution.simulator, random.Random(f"starts lost {institution.seed}")
    simulator.switches = replace(
        simulator.switches,
        second_file="changes_start",
        file_after_single="changes_start",
        row_order="reversed",
    )
    lost = Fault(kind=FaultKind.FILE_PARTLY_LOADED, operation="register_file", nth=1, times=1, share=0.6)
    simulator.faults.add(lost)
    for agreement in own.sample(institution.warehouse.agreements_held, 2):
        if agreement.started and not agreement.ended:
            agreement.started -= timedelta(days=10)
    return _plan_faults(rng, institution, first=first)


def _back_dated(rng, institution, *, first):
    """While the first files load, somebody comes whose agreement began weeks ago."""
    customer, start = institution.new_customer(), oslo_today(institution.clock) - timedelta(days=20)
    held = institution.warehouse.agreements_held
    institution.warehouse.later(5.0, lambda: held.append(Agreement(customer, start)))
    return _plan_faults(rng, institution, first=first)


WORSE_REGISTER: dict[str, Callable[[], Any]] = {
    "404 on removal is taken as done without intent": lambda: _put((draws, "plan_faults", _denied_once)),
    "a back-dated arrival is sent singly": lambda: _put((draws, "plan_faults", _back_dated)),
    "a file of a run that died is not verified": lambda: _put((draws, "plan_faults", _partly_loaded)),
    "a miss is drawn anew": lambda: _put((draws, "plan_faults", _partly_loaded)),
    "a miss is not looked at": lambda: _put((draws, "plan_faults", _partly_loaded)),
    "a plan that was overtaken is carried out": lambda: _put((draws, "plan_faults", _overtaken)),
    "a gateway's no is taken for the rows'": lambda: _put((draws, "plan_faults", _gateway_says_no)),
    "a start whose file was lost counts as kept": lambda: _put((draws, "plan_faults", _starts_lost)),
}


def seeds_until_found(bug: str, most: int = MOST_SEEDS, first: int = 1) -> tuple[int, str] | None:
    """How many seeds it takes to find a bug, and what the oracle says; None if it is not found."""
    for number, seed in enumerate(range(first, first + most), 1):
        with WORSE_REGISTER.get(bug, nullcontext)():
            with BUGS[bug]():
                problems = play_seed(seed).problems  # that it cannot be played is no find
            if problems and not (bug in WORSE_REGISTER and play_seed(seed).problems):
                return number, problems[0]
    return None


def main() -> int:
    print("   seeds  bug: what the fault runs say of it", flush=True)
    missed = 0
    for bug in BUGS:
        found = seeds_until_found(bug)
        missed += found is None
        print(
            f"{found[0] if found else 'none':>8}  {bug}: {found[1] if found else 'NOT FOUND'}"[:200],
            flush=True,
        )
    print(f"{len(BUGS) - missed} of {len(BUGS)} found, within {MOST_SEEDS} seeds each.")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
