"""The onboarding guide: its tasks, who acts, and what must be done before what (ONB; docs/contract.md, section 2)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Final, Literal, get_args

State = Literal["open", "waiting", "done"]
STATES: Final = get_args(State)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A task of the guide. ``musts`` are the tasks that must be done before it, themselves and in full."""

    id: str
    title: str
    who: str
    musts: tuple[str, ...] = ()

    @property
    def phase(self) -> str:
        return self.id[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a task is, since when, and by whose word; an open one has neither date nor name."""

    state: State = "open"
    day: date | None = None
    by: str = ""


OPEN: Final = Progress()

BEFORE_B: Final = ("A-1", "A-2")
BEFORE_C: Final = ("B-1", "B-2", "B-3", "A-4", "A-5", "A-6", "A-7")
BEFORE_D: Final = ("A-8", "C-2", "C-3")

_TASKS: Final = (
    Task(id="A-1", title="Know Kontrollinformasjon", who="everyone"),
    Task(id="A-2", title="Know Kundeforholdsregisteret", who="everyone"),
    Task(id="A-3", title="Order enterprise certificates, test and production", who="business, IT"),
    Task(id="A-4", title="Know Maskinporten", who="business, IT"),
    Task(id="A-5", title="Know the integration tests", who="IT"),
    Task(id="A-6", title="Development and test environments", who="IT"),
    Task(id="A-7", title="Firewall openings, test and production", who="IT"),
    Task(id="A-8", title="Plan how the core systems keep the register right", who="everyone"),
    Task(id="B-1", title="Join Maskinporten; Bits grants access in test", who="IT, business", musts=BEFORE_B),
    Task(id="B-2", title="Send the registration form", who="business", musts=BEFORE_B),
    Task(id="B-3", title="Sign the agreement", who="business", musts=BEFORE_B),
    Task(id="C-1", title="Bits tells that the institution is in test", who="Bits", musts=BEFORE_C),
    Task(id="C-2", title="Run all integration test cases", who="IT", musts=BEFORE_C),
    Task(id="C-3", title="Mail the completed test to Bits", who="business, IT", musts=(*BEFORE_C, "C-2")),
    Task(id="D-1", title="Sign the self-declaration", who="business", musts=BEFORE_D),
    Task(id="D-2", title="Bits returns it and opens production", who="Bits", musts=(*BEFORE_D, "D-1")),
    Task(id="D-3", title="Load all relationships", who="IT", musts=(*BEFORE_D, "D-1", "D-2")),
    Task(id="D-4", title="Mail Bits that the load is done", who="IT", musts=(*BEFORE_D, "D-3")),
)
TASKS: Final[Mapping[str, Task]] = {task.id: task for task in _TASKS}
FIRST_LOAD: Final = "D-3"
PHASES: Final[Mapping[str, str]] = {
    "A": "Know it and prepare",
    "B": "Join and sign",
    "C": "Test",
    "D": "Load in production",
}


def open_musts(task_id: str, progress: Mapping[str, Progress]) -> list[Task]:
    """What must still be done before a task may begin, in the guide's order."""
    return [TASKS[must] for must in TASKS[task_id].musts if progress.get(must, OPEN).state != "done"]


def progress_as_json(progress: Mapping[str, Progress]) -> str:
    """How far every task is, for where the institution's file cannot be read: the page."""
    said = {task_id: progress.get(task_id, OPEN) for task_id in TASKS}
    return json.dumps(
        {i: {"state": p.state, "date": p.day and p.day.isoformat(), "by": p.by} for i, p in said.items()}
    )


def progress_from_json(text: str) -> dict[str, Progress]:
    return {
        task_id: Progress(
            state=said["state"], day=said["date"] and date.fromisoformat(said["date"]), by=said["by"]
        )
        for task_id, said in json.loads(text).items()
        if task_id in TASKS
    }


def contradictions(progress: Mapping[str, Progress], today: date) -> list[str]:
    """Where the states of tasks cannot all be true, each as a sentence."""
    found = []
    for task_id, own in progress.items():
        if own.day is not None and own.day > today:
            found.append(f"tasks.{task_id}: its date lies in the future; write the day on which it happened")
        if own.state != "done":
            continue
        missing = ", ".join(task.id for task in open_musts(task_id, progress))
        if missing:
            found.append(
                f"tasks.{task_id}: is done, and {missing} must be done before it; mend one of the two"
            )
        for must in TASKS[task_id].musts:
            before = progress.get(must, OPEN)
            if before.day is not None and own.day is not None and before.day > own.day:
                found.append(f"tasks.{task_id}: was done before {must}, which must come first; mend one date")
    return found
