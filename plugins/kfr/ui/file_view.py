"""What is to be said of a file that needs looking after: which try it is, until when it is looked up, what then."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kfr.ui.figures import LoadRun, Task
from kfr.ui.templating import clock

SENT_BY = "upload_batch_file"
CLOSED_BY = ("close_arrivals", "close_additions")
REPAIRED_BY = "verify_register"
UNDER_WAY = ("loading", "no answer")
AT_WORK = ("running", "deferred")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileLine:
    """One such file."""

    label: str
    kind: str
    said: str
    sent: Sequence[dict[str, Any]]  # each time that it went, oldest first, as `load.summary` gives it


def lines(run: LoadRun, files: Sequence[dict[str, Any]], now: float) -> list[FileLine]:
    """The files that are late, or were sent or tried more than once, and are not proven; `now` is Unix seconds."""
    tasks = _by_file(run)
    found = []
    for file in files:
        task = tasks.get(file["label"]) or _other(run, file["label"])
        if task is None or file["status"] not in UNDER_WAY or not file["sent"]:
            continue
        if now <= file["loaded_at"] and task.try_number <= 1 and task.state in AT_WORK:
            continue  # all is as it should be, and the picture says it
        kind, said = _said(file, task, now)
        found.append(FileLine(label=file["label"], kind=kind, said=said, sent=file["sent"]))
    return found


def _said(file: dict[str, Any], task: Task, now: float) -> tuple[str, str]:
    attempt = f"try {task.try_number} of {task.tries}"
    until = file["looked_up_until"]
    then = "sent again" if task.try_number < task.tries else "red"
    if task.state == "failed":
        return "bad", f"not loaded, {attempt} has failed"
    if task.state == "up_for_retry":
        return "wait", f"{attempt} has failed, tried again by itself"
    if task.state not in AT_WORK:  # cleared, or about to begin its next try
        first = f"looked up until {clock(until)}, then" if now < until else "about to be"
        return "work", f"tried again: {first} sent again"
    if now <= file["loaded_at"]:
        return "work", f"{attempt}, should be loaded by {clock(file['loaded_at'])}"
    if now < until:
        return "wait", f"{attempt}, looked up until {clock(until)}, then {then}"
    # It has just begun or just ends: what it did it says when it waits.
    return "wait", f"{attempt} is at work"


def _by_file(run: LoadRun) -> dict[str, Task]:
    """The mapped task of each planned file: they are mapped over the plan's own list."""
    labels = run.status.get("plan", {}).get("labels", [])
    mapped = [t for t in run.tasks if t.task_id == SENT_BY and 0 <= t.map_index < len(labels)]
    return {labels[t.map_index]: t for t in mapped}


def _other(run: LoadRun, label: str) -> Task | None:
    """The task of a file that came after the plan."""
    names = (REPAIRED_BY,) if label.startswith("repair-") else CLOSED_BY
    return next((t for t in run.tasks if t.task_id in names), None)
