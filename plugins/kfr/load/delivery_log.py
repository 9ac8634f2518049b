"""What is on record of a customer who is asked about, by the person or by Bits; each reading is recorded first.

The answers name no customer: they stand in the order of the questions.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

import numpy as np

from kfr.clock import OSLO, Clock
from kfr.load.journal import ASKED, UNANSWERED, Journal, Send, Single
from kfr.load.removal_queue import MEANINGS, RemovalQueue
from kfr.load.staging import Place, Staging
from kfr.relationships.packing import Ints, date_of, ids_of, starts_of, text_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One thing that is on record: when (an Oslo day, or a moment) and what."""

    when: str
    what: str


def ask(
    staging: Staging, clock: Clock, customers: Sequence[int], *, by: str, reason: str
) -> list[list[Fact]]:
    """Record the reading, then tell of each customer, in the order asked, what is known, the oldest first."""
    now = clock.now().astimezone(OSLO)
    entry = {
        "at": now.isoformat(timespec="seconds"),
        "by": by,
        "reason": reason,
        "customers": [staging.fingerprint(text_of(customer).encode()) for customer in customers],
    }
    staging.state.write_json(f"{ASKED}/{now:%Y-%m-%d-%H%M%S}-{uuid4().hex[:8]}", entry)
    facts: list[list[Fact]] = [[] for _ in customers]
    ids = np.array(customers, np.int64)
    for index, fact in _facts(staging.state, ids):
        facts[index].append(fact)
    return [sorted(found, key=lambda fact: fact.when) for found in facts]


def readings(state: Place) -> list[dict[str, Any]]:
    """Who has asked, when, why, and about how many; the oldest first."""
    found = [state.read_json(name) for name in state.names(ASKED)]
    return [{**entry, "customers": len(entry["customers"])} for entry in found]


def _facts(state: Place, ids: Ints) -> Iterator[tuple[int, Fact]]:
    journal = Journal(state)
    for name, send, rows in journal.archived():
        what = _sent(send) if send else _done(name)
        yield from _each(ids, rows, _moment(send.counts_from) if send else name[:10], what)
    for send in journal.sends():
        yield from _each(ids, journal.rows(send), _moment(send.counts_from), _sent(send))
    for run in journal.runs_with("singles"):
        for packed, state_ in journal.singles(run).tolist():
            day = str(date_of(int(starts_of(np.array([packed]))[0])))
            what = f"registered singly by {run}, {Single(state_).name.lower()}"
            yield from _each(ids, np.array([packed], np.int64), day, what)
    removals = RemovalQueue.read(state).entries
    for index, customer in enumerate(ids.tolist()):
        if entry := removals.get(customer):
            when = str(date_of(entry.day)) if entry.day else _moment(entry.since)
            yield index, Fact(when=when, what=f"removal by {entry.run}: {MEANINGS[entry.state]}")
    yield from _of_mirror(state, ids)


def _done(name: str) -> str:
    if UNANSWERED in name:
        return "sent singly, without an answer"
    return "registered singly" if "-singles-" in name else "removed, proven gone"


def _of_mirror(state: Place, ids: Ints) -> Iterator[tuple[int, Fact]]:
    if not state.exists("mirror"):
        return
    pointer = state.read_json("mirror")
    stem, when = f"mirrors/{pointer['version']:08d}", _moment(pointer["at"])
    for part, words in (("proven", "proven to be registered"), ("possible", "sent, not proven")):
        rows = state.read_array(f"{stem}.{part}")
        for index, customer in enumerate(ids.tolist()):
            for row in rows[ids_of(rows) == customer].tolist():
                since = date_of(int(starts_of(np.array([row]))[0]))
                yield index, Fact(when=when, what=f"mirror: {words}, since {since or 'an unknown day'}")


def _each(ids: Ints, rows: Ints, when: str, what: str) -> Iterator[tuple[int, Fact]]:
    for index in np.flatnonzero(np.isin(ids, ids_of(rows))).tolist():
        yield index, Fact(when=when, what=what)


def _sent(send: Send) -> str:
    proven = f"proven {_moment(send.proven_at)}" if send.proven_at else "not proven"
    closed = f", closed by a person: {send.closed_because}" if send.closed_because else ""
    return (
        f"file {send.label} of {send.run}, attempt {send.attempt}, CorrelationID {send.correlation_id or 'none'}, "
        f"{send.outcome}, {proven}{closed}"
    )


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, OSLO).isoformat(sep=" ", timespec="seconds")
