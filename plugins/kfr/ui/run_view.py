"""One run as the page shows it: what it is at, in a sentence; its steps, its files, its figures."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

from markupsafe import Markup

from kfr.links.page import anchor, of_try
from kfr.register.errors import KfrError
from kfr.ui.figures import LoadRun, Task
from kfr.ui.file_view import CLOSED_BY, UNDER_WAY, FileLine, lines
from kfr.ui.pictures import timeline
from kfr.ui.templating import duration, figure, moment

# What the tasks of a load do, in their order; a task that is not here is shown under its own name.
WAITS_FOR = {
    "check_readiness": "looking whether everything is in place",
    "acquire_register": "waiting for its turn: another run has the register",
    "extract_relationships": "reading the warehouse",
    "compare_register": "looking customers up in the register",
    "plan_changes": "planning what has to be sent",
    "approve_changes": "asking a person to approve the plan, if one has to",
    "announce_volume": "telling Bits of the volume",
    "upload_batch_file": "waiting until the register has loaded the files",
    "register_arrivals": "registering who arrives meanwhile",
    "register_today": "registering who starts today",
    "close_arrivals": "sending who arrived, then waiting until nothing can be loading any more",
    "close_additions": "waiting until nothing can be loading any more",
    "remove_ended": "removing who has ended",
    "verify_register": "proving the load by look-ups",
    "send_confirmation": "telling Bits that it is done",
    "record_mirror": "writing down what is proven",
    "release_register": "giving the register back",
    "remove_staged_files": "removing the staged files",
}
WORST = (
    "failed", "up_for_retry", "awaiting_input", "running", "deferred", "up_for_reschedule", "queued", "scheduled",
    "upstream_failed", None, "skipped", "success",
)  # fmt: skip
KINDS = {"success": "good", "failed": "bad", "upstream_failed": "", "skipped": "", None: ""}
NEEDS_LOOKING_AFTER = {"up_for_retry": "wait", "awaiting_input": "wait"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A figure with a name, and a word below it."""

    name: str
    value: str
    below: str = ""
    kind: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What a person should know first; links are into Airflow."""

    kind: str
    what: str
    more: str = ""
    links: tuple[tuple[str, str], ...] = ()
    section: str = ""  # of the runbook

    @property
    def runbook(self) -> str:
        """Where the section is shown, beside the page."""
        return f"docs/runbook.md#{anchor(self.section)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A task of the run; of a mapped one its worst state, and how many have ended."""

    task_id: str
    kind: str
    said: str
    count: str = ""


class RunView:
    """A run for the template."""

    def __init__(self, run: LoadRun, now: datetime) -> None:
        self._run, self._now = run, now
        self.dag_id, self.run_id, self.dry_run = run.dag_id, run.run_id, run.dry_run
        self.state = "failing" if run.is_active and run.in_state("failed") else run.state
        self.address = f"../dags/{quote(run.dag_id)}/runs/{quote(run.run_id, safe='')}"
        self.title = "The load that runs" if run.is_active else "The last load"
        self._told: list[dict[str, Any]] = run.status.get("files", [])
        self.files = self._told if run.is_active else [_as_it_ended(file) for file in self._told]

    @property
    def sentence(self) -> str:
        began = f"Began {moment(self._run.began.isoformat() if self._run.began else None)}"
        if not self._run.is_active:
            only = " A dry run: nothing was sent." if self.dry_run else ""
            return f"{began}, took {duration(self._run.seconds)}.{only}"
        doing = [WAITS_FOR.get(name, name) for name in self._working()]
        idle = "about to end" if self.state == "failing" else "about to begin"
        eta = self.ends_at
        until = f" Files loaded at about {moment(eta)}, at the register's rate." if eta else ""
        if not set(CLOSED_BY).isdisjoint(self._working()) and (settled := self._settled_at()):
            until = f" That is at {moment(settled)}; no removal before, nor the proof of the load."
        return f"{began}; now {', and '.join(doing) or idle}.{until}"

    @property
    def ends_at(self) -> float | None:
        """When the last file should be loaded: by what was sent, else by the forecast; None if any is late."""
        now, found = self._now.timestamp(), self._forecast()
        late = any(f["loaded_at"] and f["loaded_at"] <= now and not f["proven_at"] for f in self.files)
        return found if found and found > now and not late else None

    def _settled_at(self) -> float | None:
        """When no copy of any file can be loading any more, if that is yet to come."""
        until: float | None = self._run.statuses[-1]["open"]["until"] if self._run.statuses else None
        return until if until and until > self._now.timestamp() else None

    def _forecast(self) -> float | None:
        plan = self._run.status.get("plan")
        if not plan or not self._run.is_active or all(f["proven_at"] for f in self.files):
            return None
        sent: list[float] = [f["loaded_at"] for f in self.files if f["loaded_at"]]
        if len(sent) == len(self.files):
            return max(sent, default=None)
        return max([datetime.fromisoformat(plan["forecast"]["ends_at"]).timestamp(), *sent])

    @property
    def steps(self) -> list[Step]:
        by_name: dict[str, list[Task]] = {}
        for task in self._run.tasks:
            by_name.setdefault(task.task_id, []).append(task)
        order = [*(n for n in WAITS_FOR if n in by_name), *(n for n in by_name if n not in WAITS_FOR)]
        return [self._step(name, by_name[name]) for name in order]

    @property
    def notes(self) -> list[Note]:
        notes = []
        if failed := self._run.in_state("failed"):
            notes.append(self._failure(failed))
        if waiting := self._run.in_state("awaiting_input"):
            findings = self._run.status.get("plan", {}).get("findings", [])
            asked = "; ".join(f["message"] for f in findings) or "the run asked for it."
            links = (("decide", f"{self._task(waiting[0])}/required_actions"),)
            notes.append(
                Note(
                    kind="wait",
                    what="A person must approve the plan.",
                    more=asked,
                    links=links,
                    section="Guards",
                )
            )
        if self._run.is_active and (told := self._run.trouble("up_for_retry")):
            notes.append(
                Note(kind="wait", what=f"Tried again by itself: {told['trouble']}", section=told["runbook"])
            )
        if self._run.is_active and self._run.cleared and not failed:
            at = moment(self._run.cleared.isoformat())
            notes.append(Note(kind="work", what=f"Cleared at {at}, running again."))
        return notes

    def _failure(self, failed: list[Task]) -> Note:
        """What has failed and is not cleared; the log that is linked is that of the try that failed."""
        told = self._run.trouble("failed")
        said = told["trouble"] if told else "see the log of the first failed task."
        more = "What is proven is in the mirror and stays. "
        more += "Other tasks are still at work: once none is, do " if self._run.is_active else "Do "
        more += "what the runbook says, then clear what has failed, "
        return Note(
            kind="bad",
            what=f"This load {'is failing' if self._run.is_active else 'has failed'}: {said}",
            more=f"{more}with its downstream tasks; nothing that is known to be there is sent twice.",
            links=tuple((f"log of {t.task_id} {t.label}".strip(), self._log(t)) for t in failed[:6]),
            section=told["runbook"] if told else KfrError.runbook,
        )

    @property
    def timeline(self) -> Markup | None:
        """None where time says nothing: no file, or a run that ended without sending one."""
        now = self._now.timestamp() if self._run.is_active else self._statuses_until()
        says = self._run.is_active or any(f["sent_at"] for f in self.files)
        return timeline(self.files, now) if self.files and says else None

    @property
    def file_lines(self) -> list[FileLine]:
        """The files of which more is to be said than the picture shows."""
        return lines(self._run, self._told, self._now.timestamp())

    @property
    def files_said(self) -> str:
        proven = sum(f["status"] == "proven" for f in self.files)
        rows = sum(f["rows"] for f in self.files if f["status"] == "proven")
        return f"{proven} of {len(self.files)} proven, {figure(rows)} rows"

    @property
    def facts(self) -> list[Fact]:
        status, facts = self._run.status, []
        rows = status.get("extract", {}).get("rows")
        if rows:
            facts.append(
                Fact(
                    name="Rows read", value=figure(rows["rows"]), below=f"{figure(rows['rejected'])} refused"
                )
            )
        if plan := status.get("plan"):
            f = plan["forecast"]
            below = f"{f['files']} files, {duration(f['hours'] * 3600)} at the register's rate"
            facts.append(Fact(name="To add", value=figure(plan["added"]), below=below))
        if "singles" in status:
            facts.append(
                Fact(
                    name="Registered singly", value=figure(status["singles"]), below="arrivals, starts today"
                )
            )
        if removals := status.get("removals"):
            below = f"{figure(removals['held_back'])} held back, {figure(removals['vanished'])} vanished"
            facts.append(Fact(name="Removed", value=figure(removals["removed"]), below=below))
        elif plan:
            below = "wait until nothing can be loading" if self._run.is_active else "not sent"
            facts.append(Fact(name="To remove", value=figure(plan["removals"]), below=below))
        if compared := status.get("reconciled"):
            kind = "bad" if compared["misses"] else "good"
            below = f"{figure(compared['misses'])} not as they should be"
            facts.append(Fact(name="Sampled", value=figure(compared["sampled"]), below=below, kind=kind))
        if proof := status.get("proof"):
            kind = "bad" if proof["misses"] else "good"
            below = f"{figure(proof['misses'])} misses"
            facts.append(
                Fact(name="Look-ups of the proof", value=figure(proof["look_ups"]), below=below, kind=kind)
            )
        if approved := status.get("approved"):
            facts.append(Fact(name="Approved by", value=approved["by"], below=moment(approved["at"])))
        return facts

    def _working(self) -> list[str]:
        names = [t.task_id for t in self._run.tasks if t.state not in (None, *KINDS, "scheduled")]
        return list(dict.fromkeys(names))

    def _step(self, name: str, tasks: list[Task]) -> Step:
        counts = Counter(t.state for t in tasks)
        worst = min(counts, key=lambda s: WORST.index(s) if s in WORST else 0)
        kind = KINDS.get(worst, NEEDS_LOOKING_AFTER.get(worst or "", "work"))
        said = ", ".join(f"{count} {state or 'not yet'}" for state, count in counts.items())
        count = f"{counts['success']}/{len(tasks)}" if len(tasks) > 1 else ""
        return Step(task_id=name, kind=kind, said=said, count=count)

    def _task(self, task: Task) -> str:
        mapped = f"/mapped/{task.map_index}" if task.map_index >= 0 else ""
        return f"{self.address}/tasks/{quote(task.task_id)}{mapped}"

    def _log(self, task: Task) -> str:
        return f"{self._task(task)}{of_try(task.try_number)}"

    def _statuses_until(self) -> float:
        return max((float(s["at"]) for s in self._run.statuses if s["run"]), default=self._now.timestamp())


def _as_it_ended(file: dict[str, Any]) -> dict[str, Any]:
    """A file of a run that is over: nobody waits for it any more."""
    return {**file, "status": "not proven"} if file["status"] in UNDER_WAY else file


def report_address(run: LoadRun) -> str:
    """Where the report of a run is shown, beside the page."""
    return f"report?{urlencode({'dag_id': run.dag_id, 'run_id': run.run_id})}"
