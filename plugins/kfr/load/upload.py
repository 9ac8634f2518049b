"""Send one batch file, and only once as far as can be known.

A file is known by the fingerprint of its bytes. What happened to it stands in the journal, so a retry, a
clear or a crash finds out where it stopped: proven, still loading, unknown, or never sent.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from itertools import chain

import numpy as np

from kfr.load import lease, mirror, planning, refusals, rejects
from kfr.load.evidence import replaced
from kfr.load.ingestion import Seen, absent, accepted, candidates, give_up_at, record_proof
from kfr.load.journal import OF_A_ROW, Outcome, Schedule, Send, schedule
from kfr.load.removal_queue import RemovalQueue
from kfr.load.volume import announce_before
from kfr.load.world import World
from kfr.register.errors import (
    Fatal,
    InvalidDate,
    InvalidIdentifier,
    InvalidRequest,
    OutcomeUnknown,
    Retriable,
)
from kfr.relationships.batch_file import FRAME_BYTES, render
from kfr.relationships.customers import NOTHING, common, distinct, union, without
from kfr.relationships.packing import DAY_BITS, DAY_MASK, Ints, date_of, text_of

SEND_TIMEOUT_SECONDS = 600  # the longest that a POST of a file can take before our own time-outs end it
MAX_REFUSED_ROWS = refusals.MOST_IN_A_FILE
TOO_LARGE = 413
ASKED_AGAIN_AFTER_SECONDS = 600.0  # an answer that comes and goes should have gone by then
LOOKED_INTO = "looked-into"  # folder: of each file, the rows that were refused without any being named


class NotLoaded(Retriable):
    """The register acknowledged the file, and it did not appear in time.

    Of the run's ``files`` so many are ``late`` now, and ``done``: proven or waited out. The CorrelationID is that of
    the last send of the file ``label``.
    """

    runbook = "A send that never loads"

    def __init__(
        self, label: str, *, late: int, done: int, files: int, correlation_id: str | None = None
    ) -> None:
        super().__init__(
            f"Batch file {label} was acknowledged and is not loaded in time. Sending the same bytes again is safe, "
            "and no removal is sent meanwhile.",
            correlation_id=correlation_id,
        )
        self.label, self.late, self.done, self.files = label, late, done, files


class FileRefused(Fatal):
    """So many rows of a file are refused, or in such a way, that the cause cannot be the rows."""


class TurnedDown(Retriable):
    """A file, or a row of it, is turned down by an answer that does not speak of it, as a gateway's."""


class Status(StrEnum):
    UNSENT = "unsent"
    UNKNOWN = "unknown"  # sent, no answer
    LOADING = "loading"
    LATE = "late"  # acknowledged, and past every deadline
    PROVEN = "proven"
    WAITED_OUT = "waited out"  # nothing in it could prove it; the time for it has passed


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """What is sent as one file: a batch file, or a part of one whose whole was refused."""

    rows: Ints = field(repr=False)
    fingerprint: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FileResult:
    """How a batch file ended."""

    label: str
    rows: int
    size: int
    sends: int
    refused: int
    status: str


def upload(world: World, label: str) -> list[str]:
    """Send what of the batch file `label` was not sent yet; return the fingerprints to wait for.

    :raises OutcomeUnknown: sent without an answer; calling again looks before it sends again.
    :raises Retriable: not sent; call again.
    :raises FileRefused: the register refuses the file for something that is not a row of it.
    :raises TurnedDown: the same for the moment: not sent, or rows of it are to be asked again; call again.
    :raises NotApproved: somebody of the file was removed since the plan was made.
    """
    planning.require_approved(world)
    rows = world.place.read_array(f"files/{label}")
    held = mirror.read(world).proven
    pieces = list(_pieces_to_send(world, label, rows, held))
    _require_asked_twice(world, label, rows, pieces)
    return [piece.fingerprint for piece in pieces if _status(world, piece) is Status.LOADING]


def finish(world: World, label: str, proven: Mapping[str, Seen], late: Sequence[str]) -> FileResult:
    """Record what waiting showed, and say how the file ended.

    :raises NotLoaded: a piece did not appear in time; calling `upload` again sends it again.
    """
    record_proof(world.journal, proven)
    rows = world.place.read_array(f"files/{label}")
    pieces, refused = leaves(world, rows)
    statuses = {p.fingerprint: _status(world, p) for p in pieces}
    unfinished = [s for s in statuses.values() if s not in (Status.PROVEN, Status.WAITED_OUT)]
    if unfinished or late:
        raise _not_loaded(world, label)
    result = FileResult(
        label=label,
        rows=len(rows),
        size=sum(p.size for p in pieces),
        sends=sum(len(world.journal.of_file(p.fingerprint)) for p in pieces),
        refused=len(refused),
        status=Status.WAITED_OUT if Status.WAITED_OUT in statuses.values() else Status.PROVEN,
    )
    refusals.record(world, label, rows, refused)
    world.place.write_array(f"refused/{label}", refused)
    rejects.keep(world, f"file-{label}", [_reject(row) for row in refused.tolist()])
    world.place.write_json(f"results/{label}.json", asdict(result))
    world.say(
        f"File {label}: {result.status}, {result.rows - result.refused:,} rows loaded"
        + (f", {result.refused} refused by the register" if result.refused else "")
        + "."
    )
    return result


def _not_loaded(world: World, label: str) -> NotLoaded:
    """What is to be said of a file that is late, and of the others of its run."""
    sends = [s for s in world.journal.sends() if s.loads]
    plans = schedule(sends, world.settings.rows_per_second)
    labels = {*planning.read(world).labels, label}
    by_label = {name: [s for s in sends if (s.run, s.label) == (world.run.key, name)] for name in labels}
    stands = {
        name: status(of_it, plans, world.now, world.run.loading_grace) for name, of_it in by_label.items()
    } | {label: Status.LATE}
    late = sum(s is Status.LATE for s in stands.values())
    done = sum(s in (Status.PROVEN, Status.WAITED_OUT) for s in stands.values())
    last = max(by_label[label], key=lambda s: s.counts_from, default=None)
    return NotLoaded(
        label,
        late=late,
        done=done,
        files=len(labels),
        correlation_id=last.correlation_id if last else None,
    )


def _reject(row: int) -> rejects.Row:
    start = date_of(row & DAY_MASK)
    return {
        "customer_id": text_of(row >> DAY_BITS),
        "started_on": str(start) if start else None,
        "ended_on": None,
        "reason": rejects.BY_THE_REGISTER,
    }


def leaves(world: World, rows: Ints) -> tuple[list[Piece], Ints]:
    """The pieces that a batch file is sent as, and the rows that the register refuses, by the journal."""
    piece = _piece(world, rows)
    if not _is_refused(world, piece):
        return [piece], NOTHING
    if len(rows) == 1:
        return [], rows
    halves = [leaves(world, half) for half in np.array_split(rows, 2)]
    return [p for pieces, _ in halves for p in pieces], np.concatenate([r for _, r in halves])


def _pieces_to_send(world: World, label: str, rows: Ints, held: Ints) -> Iterator[Piece]:
    """Send each piece that needs it, halving what is refused until the bad rows stand alone.

    For k bad rows in n that is at most 1 + 2 k log2(n) requests, the logarithm rounded up: only a piece with a bad
    row is halved, each bad row is in one piece of each size, and nobody is asked twice.
    """
    pending, refused, whole = [rows], 0, rows
    while pending:
        rows = pending.pop()
        piece = _piece(world, rows)
        if not _is_refused(world, piece):
            if _status(world, piece) not in (Status.UNSENT, Status.UNKNOWN, Status.LATE):
                yield piece
                continue
            if _send(world, label, piece, held):
                yield piece
                continue
        if len(rows) == 1:
            refused += 1
        else:
            pending.extend(reversed(np.array_split(rows, 2)))
        if refused > MAX_REFUSED_ROWS:
            raise _file_refused(
                world, whole, f"The register refuses more than {MAX_REFUSED_ROWS} single rows of file {label}"
            )


def _file_refused(world: World, rows: Ints, what: str) -> FileRefused:
    """The error; and the refusals are taken back, so that a clear asks again."""
    last = None
    for send in _refusals(world, rows):
        world.journal.withdraw(send)
        last = send.correlation_id
    return FileRefused(
        f"{what}: the cause is hardly the rows. None of them counts as refused. Compare the CorrelationIDs with "
        "DSOP@bits.no, then clear this task with what follows it: it asks again.",
        correlation_id=last,
    )


def _require_asked_twice(world: World, label: str, rows: Ints, pieces: Sequence[Piece]) -> None:
    """A row that stands refused with a code that need not be about it must have had the same answer before.

    The code may be the interface's, or come and go in a minute. So such a row is asked again: by the task's next try
    if the register has taken something of this run, else by a person's clear. Rows that were refused on an earlier
    day count at once, unless a person has them sent again.
    """
    asked = f"{LOOKED_INTO}/{label}"
    before = world.place.read_array(asked) if world.place.exists(asked) else NOTHING
    refused_before = refusals.read(world.state)
    known = union(before, refused_before[refused_before[:, 1] > refusals.LONG_AGO, 0])
    unclear: dict[int, list[Send]] = {}
    for row in without(distinct(leaves(world, rows)[1]), known).tolist():
        sends = list(_refusals(world, np.array([row], np.int64)))
        if sends and not {send.code for send in sends} & OF_A_ROW:
            unclear[row] = sends
    if not unclear:
        return
    codes = ", ".join(sorted({str(send.code) for sends in unclear.values() for send in sends}))
    before_plan = set(replaced(world))  # what was taken then says nothing of the interface by now
    own = [s for s in world.journal.sends() if s.run == world.run.key and s.name not in before_plan]
    others = [send for send in own if send.label != label]
    error: FileRefused | TurnedDown
    if pieces or any(s.outcome is Outcome.ACCEPTED for s in others):
        for send in chain.from_iterable(unclear.values()) if pieces else _refusals(world, rows):
            world.journal.withdraw(send)
        error = TurnedDown(
            f"{len(unclear):,} rows of file {label} were refused with {codes}, which names none of them. They count "
            "as refused only if the next try has the same answer.",
            retry_after=ASKED_AGAIN_AFTER_SECONDS,
            correlation_id=next(iter(unclear.values()))[-1].correlation_id,
        )
    else:
        error = _file_refused(
            world,
            rows,
            f"The register takes no row of file {label} and answers with {codes}, which names none (after a clear "
            "the same answer counts as theirs)",
        )
    # Last: a worker that dies before it says so has asked for nothing.
    world.place.write_array(asked, union(before, np.array(list(unclear), np.int64)))
    raise error


def _refusals(world: World, rows: Ints) -> Iterator[Send]:
    """The refusals of a batch file and of its parts, by the journal."""
    own = [s for s in world.journal.of_file(_piece(world, rows).fingerprint) if s.outcome is Outcome.REFUSED]
    # One without a code got no answer, and counts as refused like the others: it may have been taken.
    yield from (send for send in own if send.code)
    if own and len(rows) > 1:
        for half in np.array_split(rows, 2):
            yield from _refusals(world, half)


def _send(world: World, label: str, piece: Piece, held: Ints) -> bool:
    """Send a piece, unless it turns out to be there; False if the register refuses it as a whole."""
    journal = world.journal
    earlier = journal.of_file(piece.fingerprint)
    untold = RemovalQueue.read(world.state).untold(world.told)  # they witness nothing today
    asked = candidates(piece.rows, mirror.put(held, untold << DAY_BITS), piece.fingerprint)
    asked += [witness for send in earlier for witness in send.witnesses]
    witnesses = absent(world, list(dict.fromkeys(asked)), held)
    lease.check(world)  # only now: looking witnesses up takes its time, and another run may have taken over
    _require_nobody_removed(world, label, piece)
    if loaded := [s for s in earlier if s.witnesses and not set(s.witnesses) & set(witnesses)]:
        record_proof(journal, {s.name: (world.now, 0.0) for s in loaded})  # after all
        return True
    send = Send(
        file=piece.fingerprint,
        attempt=max((s.attempt for s in earlier), default=0) + 1,  # an earlier one may be archived
        run=world.run.key,
        label=label,
        rows=len(piece.rows),
        size=piece.size,
        counts_from=world.now + SEND_TIMEOUT_SECONDS,
        witnesses=witnesses,
    )
    announce_before(world, len(piece.rows))
    journal.intend(send, piece.rows)
    try:
        correlation_id = world.register.send_file(render(piece.rows))
    except (InvalidIdentifier, InvalidDate, InvalidRequest) as refusal:
        if refusal.code is None and (refusal.status != TOO_LARGE or len(piece.rows) == 1):
            journal.withdraw(send)
            raise TurnedDown(
                f"File {label} was turned down with {refusal.status} and without a code of the register, most likely "
                "by a gateway on the way. Nothing of it was sent on.",
                correlation_id=refusal.correlation_id,
            ) from None
        answered = _answered(world, send, Outcome.REFUSED, refusal.correlation_id)
        journal.put(replace(answered, code=refusal.code or str(refusal.status)))
        world.say(
            f"File {label}: the register refuses {send.rows:,} rows as a whole with {refusal.code or refusal.status} "
            f"(CorrelationID {refusal.correlation_id})" + ("; halving them." if send.rows > 1 else ".")
        )
        return False
    except OutcomeUnknown as unknown:
        journal.put(_answered(world, send, Outcome.UNKNOWN, unknown.correlation_id))
        raise
    except (Fatal, Retriable):
        journal.withdraw(send)
        raise
    journal.put(_answered(world, send, Outcome.ACCEPTED, correlation_id))
    world.say(
        f"File {label}: sent, {send.rows:,} rows, {send.size:,} bytes, {len(witnesses)} witnesses"
        + (f", attempt {send.attempt}" if send.attempt > 1 else "")
        + f" (CorrelationID {correlation_id})."
    )
    return True


def _require_nobody_removed(world: World, label: str, piece: Piece) -> None:
    """A file that is sent again after removals would bring them back; who is a customer again is in a new plan."""
    removed = common(RemovalQueue.read(world.state).gone(), np.sort(piece.rows >> DAY_BITS))
    if removed.size:
        raise planning.NotApproved(
            f"{len(removed):,} customers of file {label} were removed since it was planned, so it is not sent again. "
            "Clear extract_relationships with what follows it."
        )


def _answered(world: World, send: Send, outcome: Outcome, correlation_id: str | None) -> Send:
    return replace(send, outcome=outcome, correlation_id=correlation_id, counts_from=world.now)


def _piece(world: World, rows: Ints) -> Piece:
    customers = render(rows)
    return Piece(
        rows=rows, fingerprint=world.staging.fingerprint(customers), size=len(customers) + FRAME_BYTES
    )


def _is_refused(world: World, piece: Piece) -> bool:
    return any(s.outcome is Outcome.REFUSED for s in world.journal.of_file(piece.fingerprint))


def _status(world: World, piece: Piece) -> Status:
    """Where a piece stands.

    What another run sent without a witness says nothing of it: a start that it filed may have been filed anew since.
    """
    sends = [
        s
        for s in world.journal.of_file(piece.fingerprint)
        if s.loads and (s.witnesses or s.run == world.run.key)
    ]
    return status(
        sends,
        schedule(world.journal.sends(), world.settings.rows_per_second),
        world.now,
        world.run.loading_grace,
    )


def status(sends: Sequence[Send], plans: dict[str, Schedule], now: float, grace: float) -> Status:
    """Where a file stands, by its sends that were not refused."""
    if any(s.proven_at is not None for s in sends):
        return Status.PROVEN
    if not sends:
        return Status.UNSENT
    if not accepted(sends):
        return Status.UNKNOWN
    if any(not s.witnesses and now >= plans[s.name].settled_at for s in accepted(sends)):
        return Status.WAITED_OUT
    return Status.LOADING if now < give_up_at(sends, plans, grace) else Status.LATE
