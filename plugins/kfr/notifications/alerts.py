"""What an alert says: what happened, what it means for the register now, what to do, where to look."""

import re
from dataclasses import dataclass
from enum import StrEnum

from kfr.clock import Clock, oslo_today
from kfr.links.page import runbook_url
from kfr.load import watermark
from kfr.load.journal import Journal
from kfr.load.staging import Place


class Severity(StrEnum):
    """Two, so that nobody has to think: get up, or look at it in the morning."""

    ACT = "act now"
    MORNING = "can wait until morning"


URGENCY = {
    Severity.ACT: "act now, at night too. The register is behind or wrong until a person does something.",
    Severity.MORNING: "this can wait until the morning. Nothing gets worse or is lost until then.",
}


CLOCK_TIME = re.compile(r"\b\d\d:\d\d\b")


class Topic(StrEnum):
    """What has a state: at most one alert is open for each."""

    LOAD = "load"
    LATE = "late"
    REJECTS = "rejects"
    REMOVALS = "removals"
    CERTIFICATE = "certificate"
    DISAGREES = "disagrees"
    APPROVAL = "approval"
    NOTICE = "notice"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One alert. No text of it may come from anything but our own figures and errors: it leaves the house."""

    topic: Topic
    cause: str  # another cause in another run is another state
    severity: Severity
    what: str  # one sentence
    means: str
    do: str
    section: str  # heading of the runbook
    links: tuple[tuple[str, str], ...] = ()
    follows: bool = False  # from a failure that was told of: it makes nothing more urgent
    ended: bool = True  # nothing of it goes on by itself: to come to that is a change of state
    clears: int = 0  # how often a person has cleared some of the run: to fail again after that is one, too

    def subject(self, institution: str) -> str:
        return f"[KFR, {self.severity}] {self.what.split('. ')[0].rstrip('.')} ({institution})"

    def text(self) -> str:
        parts = [self.what, f"How urgent: {URGENCY[self.severity]}"]
        parts += [f"For the register this means: {self.means}", f"What to do: {self.do}"]
        parts.append(f'Runbook, section "{self.section}": {runbook_url(self.section)}')
        if CLOCK_TIME.search(" ".join(parts)):
            parts.append("Clock times are Norwegian time.")
        parts += [f"{name}: {address}" for name, address in self.links]
        return "\n\n".join(parts) + "\n"


def standing(state: Place, clock: Clock) -> str:
    """How the register stands now, as far as is proven; one or two sentences."""
    as_of = watermark.read_from(state)
    if as_of is None or not state.exists("mirror"):
        held = state.read_json("mirror")["proven"] if state.exists("mirror") else 0
        return f"no load has been proven yet. {_proven_so_far(state, held)}"
    days = (oslo_today(clock) - as_of).days
    proven = state.read_json("mirror")["proven"]
    late = "that is today" if days <= 0 else f"that is {days} day{'s' if days > 1 else ''} ago"
    return (
        f"it was last proven to be right as of {as_of} ({late}), with {proven:,} relationships. That stays; what has "
        "changed in the warehouse since then may not be in it yet."
    )


def _proven_so_far(state: Place, held: int) -> str:
    """What look-ups have shown before any load was proven as a whole."""
    if held:
        return f"{held:,} relationships are proven to be registered."
    files = {
        send.file: send.rows for send in Journal(state).sends() if send.proven_at
    }  # however often each was sent
    if files:
        return f"Proven to be loaded so far: {sum(files.values()):,} relationships, in files."
    return "No file is proven to be loaded either."
