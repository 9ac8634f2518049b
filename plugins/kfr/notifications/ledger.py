"""Which alerts are open: one file a topic in the state folder, so that a change of state is told once.

Twelve files that fail three times each are one failed load. What is over is told once, too.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from kfr.clock import Clock
from kfr.hooks.telemetry import count_alert
from kfr.load.sealing import StateDamaged
from kfr.load.staging import Place
from kfr.load.summary import ALERTS as FOLDER
from kfr.load.world import World
from kfr.notifications.alerts import Alert, Severity, Topic, standing
from kfr.notifications.channel import send

OWN = float("-inf")  # for `Ledger.over`: of what is open, only what this run opened


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """The alerts of an institution, as a run sees them."""

    state: Place
    clock: Clock
    institution: str  # for the subject
    run: str
    say: Callable[[str], None]

    @classmethod
    def of(cls, world: World) -> "Ledger":
        who = f"{world.settings.fid}, {world.settings.environment}"
        return cls(state=world.state, clock=world.clock, institution=who, run=world.run.key, say=world.say)

    @property
    def standing(self) -> str:
        return standing(self.state, self.clock)

    def open(self, alert: Alert) -> bool:
        """Tell of a new state; whether it was told."""
        if told := self.enter(alert):
            self.send(alert)
        return told

    def enter(self, alert: Alert) -> bool:
        """Keep that it is told of, before it is; False if it was already, or need not be.

        A later failure of the same run, and the same cause, are not, unless someone has to get up for it only now, or
        what went on by itself has ended, or it was cleared in between. A plan of another run, or one that was planned
        anew, is another question: its answer counts for no other.
        """
        name = f"{FOLDER}/{alert.topic}.json"
        entry = {
            "cause": alert.cause,
            "run": self.run,
            "since": self.clock.now().timestamp(),
            "what": alert.what,
            "severity": alert.severity,
            "ended": alert.ended,
            "clears": alert.clears,
        }
        if not self.state.create_json(name, entry):
            before = self._read(name)
            same = (self.run == before.get("run"), alert.cause == before.get("cause"))
            known = all(same) if alert.topic is Topic.APPROVAL else any(same)
            known |= alert.follows and self.run == before.get("again_in")
            worse = (before.get("severity"), alert.severity) == (Severity.MORNING, Severity.ACT)
            ends = alert.ended and not before.get("ended", True)
            ends |= alert.ended and before.get("run") == self.run and alert.clears > before.get("clears", 0)
            if known and (alert.follows or not (worse or ends)):
                if before["run"] != self.run:  # what follows in this run is known, too
                    self.state.write_json(name, before | {"again_in": self.run})
                return False
            self.state.write_json(name, entry)
        return True

    def send(self, alert: Alert) -> None:
        """Tell of what was entered."""
        try:
            send(alert.subject(self.institution), alert.text(), alert.severity)
        except BaseException:
            # Nobody was told: the next one that sees it tells.
            self.state.delete(f"{FOLDER}/{alert.topic}.json")
            raise
        count_alert(alert.topic)
        self.say(f"Alert sent ({alert.severity}): {alert.what}")

    def tell(self, alert: Alert) -> None:
        """Tell of something that has no end."""
        send(alert.subject(self.institution), alert.text(), alert.severity)
        count_alert(alert.topic)

    def over(
        self,
        topics: Iterable[Topic],
        why: str,
        links: tuple[tuple[str, str], ...] = (),
        until: float = float("inf"),
    ) -> bool:
        """Tell, in one message, that what was open of `topics` is over; whether anything was.

        :param until: what was opened later (Unix seconds), and by another run, is not over.
        """
        names = [f"{FOLDER}/{topic}.json" for topic in topics]
        found = {name: self._read(name) for name in names if self.state.exists(name)}
        found = {n: e for n, e in found.items() if e.get("run") == self.run or e.get("since", 0.0) <= until}
        if not found:
            return False
        was = "\n".join(f"- {_what(entry)}" for entry in found.values())
        parts = [f"{why} What was told before is over:\n{was}"]
        others = [
            n for topic in Topic if (n := f"{FOLDER}/{topic}.json") not in found and self.state.exists(n)
        ]
        if still := "".join(f"\n- {_what(self._read(name))}" for name in others):
            parts.append(f"Not over:{still}")
        parts.append(f"For the register this means: {self.standing}")
        text = "\n\n".join([*parts, *(f"{name}: {address}" for name, address in links)]) + "\n"
        send(f"[KFR, over] {why.rstrip('.')} ({self.institution})", text, None)
        for name in found:
            self.state.delete(name)
        return True

    def is_open(self, topic: Topic, run: str | None = None) -> bool:
        """Whether an alert of this topic is open, opened by `run` if that is given."""
        name = f"{FOLDER}/{topic}.json"
        return self.state.exists(name) and run in (None, self._read(name).get("run"))

    def _read(self, name: str) -> dict[str, Any]:
        """An entry; nothing of one that does not open, as when it was written with a wrong staging key."""
        try:
            entry: dict[str, Any] = self.state.read_json(name)
        except StateDamaged:
            return {}
        return entry


def _what(entry: dict[str, Any]) -> str:
    return str(entry.get("what", "an alert that cannot be read"))
