"""What a seed draws: the institution, the undocumented behaviour of the register, and everything that goes wrong."""

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from tests.faults.fuse import Trap
from tests.faults.institution import Institution
from tests.simulator import Fault, FaultKind, Switches

ROW_BYTES = len("01234567890#2026-11-23,")
MOST_FAULTS = 5
A_LOAD = 400  # touches, about
GATEWAY_SAYS_NO = (400, 403, 415)  # without a code of the register

# What nobody has to do anything about: a retry, or waiting, is enough.
PASSING = {
    "answer", "connection", "file", "look-ups", "stall", "disk", "warehouse", "small clock error",
}  # fmt: skip

ANSWERS = (FaultKind.STATUS, FaultKind.STATUS_AFTER_WORK, FaultKind.BODY, FaultKind.SLOW)
BREAKS = (
    FaultKind.NO_CONNECTION, FaultKind.RESET_BEFORE_WORK, FaultKind.RESET_AFTER_WORK,
    FaultKind.CLOSED_BEFORE_WORK, FaultKind.CLOSED_AFTER_WORK,
)  # fmt: skip
FILES = (FaultKind.FILE_DROPPED, FaultKind.FILE_PARTLY_LOADED, FaultKind.FILE_LOADED_TWICE)
OPERATIONS = ("token", "register_one", "remove_one", "register_file", "look_up")
POINTS = (
    *OPERATIONS, "mail", "write state mirror", "write state sends", "write state rows", "write state singles",
    "write state removals", "write state lease", "write state deliveries", "write state watermark",
    "write state reports", "write state starts", "write state institution", "write run extract",
    "write run plan", "write run files", "write run approved", "write run proof", "write run results",
    "delete state", "delete run",
)  # fmt: skip


def start(rng: random.Random, now: datetime) -> datetime:
    """Any time of day; now and then just before midnight in Oslo, or the night when the clocks change."""
    if rng.random() < 0.1:
        return datetime(2027, 3, 27, 22, 59, 30, tzinfo=UTC)
    if rng.random() < 0.15:
        return now.replace(hour=22, minute=59, second=rng.randrange(60))
    return now + timedelta(seconds=rng.randrange(12 * 3600))


def switches(rng: random.Random) -> Switches:
    """Everything that is not documented, but for a register that never takes anyone back."""
    return Switches(
        no_relationship=rng.choice(["empty_banks", "no_banks", "not_found_kfr", "not_found_err"]),
        other_bank=rng.random() < 0.5,
        removal=rng.choice(["ends_yesterday", "ends_today_inclusive", "ends_today_exclusive", "erases"]),
        re_registration=rng.choice(["revives", "new_start", "no_effect_that_day"]),
        second_file=rng.choice(["keeps_start", "changes_start"]),
        file_after_single=rng.choice(["keeps_start", "changes_start"]),
        single=rng.choice(["at_once", "after_files"]),
        file_order=rng.choice(["fifo", "parallel", "newest_first", "shuffled"]),
        row_order=rng.choice(["file", "reversed", "shuffled"]),
        look_up_lag=rng.choice([0.0, 0.0, 5.0, 40.0]),
    )


def batch_bytes(rng: random.Random, customers: int) -> int:
    """So that a load is one file, or three and more."""
    if rng.random() < 0.4:
        return 10_000_000
    return 310 + ROW_BYTES * max(2, customers // rng.choice([3, 4, 6]))


def plan_faults(rng: random.Random, institution: Institution, *, first: bool) -> list[str]:
    """Plan what goes wrong, from nothing at all to five things; a word for each."""
    draws: list[tuple[int, Callable[[random.Random, Institution], str]]] = [
        (14, _answer), (8, _break), (12, _file), (3, _look_ups), (4, _stall), (3, _disk), (22, _crash),
        (6, _warehouse), (5, _clock), (3, _certificate), (5, _mail), (3, _refused_row), (4, _pause),
    ]  # fmt: skip
    weights, drawers = zip(*draws, strict=True)
    count = rng.choice([0, 1, 1, 2, 2, 3, 4, MOST_FAULTS])
    words = [draw(rng, institution) for draw in rng.choices(drawers, weights, k=count)]
    if not first and rng.random() < 0.05:
        institution.warehouse.fail("returns half and counts half", nth=2)
        words.append("half")
    return words


def _when(rng: random.Random) -> dict[str, int]:
    return {"nth": rng.choice([1, 1, 2, 3, 5, 8, 13, 30]), "times": rng.choice([1, 1, 1, 2, 5, 8])}


def _answer(rng: random.Random, institution: Institution) -> str:
    kind, operation = rng.choice(ANSWERS), rng.choice(OPERATIONS)
    status = rng.choice([500, 502, 503, 504, 429, 429, 401, 403, 400, 415])
    if kind is FaultKind.STATUS_AFTER_WORK:
        status = rng.choice([500, 502, 504])  # a gateway that did not wait; it cannot say no after the work
    institution.simulator.faults.add(
        Fault(
            kind=kind, operation=operation, **_when(rng), status=status,
            body="html" if status in GATEWAY_SAYS_NO else rng.choice(["json", "html", "empty", "wrong_type", "cut"]),
            retry_after=rng.choice([None, None, 5, 90, 300]) if status in (429, 503) else None,
            seconds=rng.choice([5.0, 90.0]) if kind is FaultKind.SLOW else 0.0,
        )
    )  # fmt: skip
    refusal = kind is FaultKind.STATUS and status in (401, *GATEWAY_SAYS_NO)
    return "refusal" if refusal else "answer"


def _break(rng: random.Random, institution: Institution) -> str:
    kind, operation = rng.choice(BREAKS), rng.choice(OPERATIONS)
    institution.simulator.faults.add(
        Fault(kind=kind, operation=operation, **_when(rng), seconds=rng.choice([0.0, 0.0, 30.0]))
    )
    return "connection"


def _file(rng: random.Random, institution: Institution) -> str:
    kind = rng.choice(FILES)
    if kind is FaultKind.FILE_PARTLY_LOADED and institution.sample_size < 100:
        kind = FaultKind.FILE_DROPPED  # a small sample may miss a miss, and says so: no promise is broken
    institution.simulator.faults.add(
        Fault(
            kind=kind, operation="register_file", nth=rng.choice([1, 1, 2, 3]), times=rng.choice([1, 1, 2]),
            share=rng.choice([0.1, 0.5, 0.9, 0.98]),
        )
    )  # fmt: skip
    return "file"


def _look_ups(rng: random.Random, institution: Institution) -> str:
    institution.simulator.faults.add(
        Fault(
            kind=FaultKind.LOOK_UP_LAGS,
            operation="look_up",
            **_when(rng),
            seconds=rng.choice([5.0, 60.0, 300.0]),
        )
    )
    return "look-ups"


def _stall(rng: random.Random, institution: Institution) -> str:
    institution.simulator.faults.add(
        Fault(
            kind=FaultKind.LOADING_STALLED, operation=rng.choice(["register_file", "look_up"]),
            nth=rng.choice([1, 2, 3]), seconds=rng.choice([5.0, 40.0, 900.0]),
        )
    )  # fmt: skip
    return "stall"


def _disk(rng: random.Random, institution: Institution) -> str:
    kind = rng.choice(["full disk", "short write"])
    point = rng.choice(["write", *(p for p in POINTS if p.startswith("write"))])
    times = rng.choice([1, 1, 3])
    institution.fuse.add(
        Trap(kind=kind, nth=rng.choice([1, 2, 5, 20]), when="before", point=point, times=times)
    )
    return "disk"


def _crash(rng: random.Random, institution: Institution) -> str:
    if rng.random() < 0.5:
        trap = Trap(kind="crash", nth=rng.randrange(1, A_LOAD))
    else:
        when = rng.choice(["before", "after"])
        trap = Trap(kind="crash", nth=rng.choice([1, 1, 2, 3, 8]), when=when, point=rng.choice(POINTS))
    institution.fuse.add(trap)
    return "crash"


def _warehouse(rng: random.Random, institution: Institution) -> str:
    flaw = rng.choice(["dies mid-cursor", "changes while read", "returns half", "is down"])
    institution.warehouse.fail(flaw, nth=rng.choice([1, 2, 2, 3]), times=rng.choice([1, 1, 2]))
    return "warehouse"


def _clock(rng: random.Random, institution: Institution) -> str:
    off = rng.choice([-1, 1]) * rng.choice([5, 8, 30, 300])
    institution.own_clock.set_off(off)
    return "small clock error" if abs(off) < 10 else "clock error"


def _certificate(rng: random.Random, institution: Institution) -> str:
    institution.expire_certificate(rng.choice([1.0, 20.0, 60.0, 130.0]))
    return "certificate"


def _mail(rng: random.Random, institution: Institution) -> str:
    kind = rng.choice([FaultKind.STATUS, FaultKind.CLOSED_BEFORE_WORK, FaultKind.CLOSED_AFTER_WORK])
    institution.simulator.faults.add(Fault(kind=kind, operation="mail", nth=1, times=rng.choice([1, 2])))
    return "mail"


def _refused_row(rng: random.Random, institution: Institution) -> str:
    """The register refuses some whom it does not know yet, though their numbers are right."""
    new = sorted({int(c) for c in institution.desired()} - institution.simulator.relationships().keys())
    institution.simulator.refuses.update(rng.sample(new, min(len(new), rng.choice([1, 1, 2]))))
    return "refused row"


def _pause(rng: random.Random, institution: Institution) -> str:
    """A worker stops for hours at a call, and another run begins meanwhile."""
    point = "look_up"  # one that stops within a write stops the network, too: its request is lost
    institution.fuse.add(
        Trap(kind="pause", nth=rng.choice([1, 2, 5, 13, 30, 60]), when="before", point=point)
    )
    return "pause"
