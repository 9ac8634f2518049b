"""What can go wrong on purpose: planned by operation and nth call, or by chance from the seed.

Every fault strikes a bounded number of times, so that faults stop and the promises can be checked afterwards.
"""

import random
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

Operation = Literal["token", "register_one", "remove_one", "register_file", "look_up", "mail", "any"]
Body = Literal["json", "html", "empty", "wrong_type", "cut"]


class FaultKind(StrEnum):
    """What happens at the call that a fault strikes."""

    STATUS = "status"  # answers with `status`; 401 is said although the token is fine
    STATUS_AFTER_WORK = "status_after_work"  # the same, but the work is done (a gateway gave up waiting)
    BODY = "body"  # the work is done and the status right, but the body is spoilt
    NO_CONNECTION = "no_connection"  # nothing is sent (over HTTP: the connection is reset before the work)
    RESET_BEFORE_WORK = "reset_before_work"
    RESET_AFTER_WORK = "reset_after_work"
    CLOSED_BEFORE_WORK = "closed_before_work"  # as a kept-alive connection that has just been given up
    CLOSED_AFTER_WORK = "closed_after_work"
    SLOW = "slow"  # the work is done, the answer comes after `seconds`
    MASKINPORTEN_ERROR = "maskinporten_error"  # refuses with `code`, an MP code
    FILE_DROPPED = "file_dropped"  # accepted, never loaded
    FILE_PARTLY_LOADED = "file_partly_loaded"  # accepted; loading ends after `share` of the rows
    FILE_LOADED_TWICE = "file_loaded_twice"  # a second copy is queued `seconds` after the first
    LOADING_STALLED = "loading_stalled"  # nothing is loaded for `seconds` from this call on
    LOOK_UP_LAGS = "look_up_lags"  # answers as of `seconds` ago


ONLY_AT: dict[FaultKind, Operation] = {
    FaultKind.MASKINPORTEN_ERROR: "token",
    FaultKind.FILE_DROPPED: "register_file",
    FaultKind.FILE_PARTLY_LOADED: "register_file",
    FaultKind.FILE_LOADED_TWICE: "register_file",
    FaultKind.LOOK_UP_LAGS: "look_up",
}
NEEDS_SECONDS = {FaultKind.SLOW, FaultKind.LOADING_STALLED, FaultKind.LOOK_UP_LAGS}
MAIL_KINDS = {FaultKind.STATUS, FaultKind.CLOSED_BEFORE_WORK, FaultKind.CLOSED_AFTER_WORK}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One planned fault; ValueError when the plan makes no sense.

    Either `nth` (from 1, counting the operation's calls since the fault was added; `times` calls in a row) or
    `probability` (each call, until it has struck `times` times).
    """

    kind: FaultKind
    operation: Operation = "any"
    nth: int | None = None
    probability: float | None = None
    times: int = 1
    status: int = 503
    body: Body = "json"
    retry_after: float | None = None  # seconds, as the header of that name
    retry_after_as_date: bool = False
    code: str = "MP-130"
    seconds: float = 0.0
    share: float = 0.5

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", FaultKind(self.kind))
        if (self.nth is None) == (self.probability is None):
            raise ValueError("a fault is planned by nth or by probability")
        if self.times < 1 or (self.nth is not None and self.nth < 1):
            raise ValueError("nth and times count from 1")
        if ONLY_AT.get(self.kind, self.operation) != self.operation:
            raise ValueError(f"{self.kind} strikes only at {ONLY_AT[self.kind]}")
        if self.operation == "mail" and self.kind not in MAIL_KINDS:
            raise ValueError(f"{self.kind} does not happen to a mail")
        if self.kind in NEEDS_SECONDS and self.seconds <= 0:
            raise ValueError(f"{self.kind} needs seconds")


@dataclass(slots=True)
class _Planned:
    fault: Fault
    calls: int = 0
    struck: int = 0


@dataclass(slots=True)
class FaultPlan:
    """The faults that are still to come, in the order in which they were added."""

    rng: random.Random
    _planned: list[_Planned] = field(default_factory=list)

    def add(self, fault: Fault) -> None:
        self._planned.append(_Planned(fault))

    def clear(self) -> None:
        self._planned.clear()

    @property
    def left(self) -> list[tuple[Fault, int]]:
        """The faults that can still strike, and how many times each."""
        return [(planned.fault, planned.fault.times - planned.struck) for planned in self._planned]

    def strike(self, operation: str) -> Fault | None:
        """Count a call of an operation; return the fault that strikes it, the first if several would."""
        struck = None
        for planned in self._planned:
            fault = planned.fault
            if fault.operation != operation and (fault.operation != "any" or operation == "mail"):
                continue
            planned.calls += 1
            if struck is None and self._strikes(planned):
                struck = fault
                planned.struck += 1
        if struck is not None:
            self._planned = [planned for planned in self._planned if planned.struck < planned.fault.times]
        return struck

    def _strikes(self, planned: _Planned) -> bool:
        fault = planned.fault
        if fault.nth is not None:
            return planned.calls >= fault.nth
        return self.rng.random() < (fault.probability or 0.0)
