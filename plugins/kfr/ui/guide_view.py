"""The way in as the page shows it: the guide's four phases, what is done, what is next, and who must act.

The institution's file lies with the Dags, which the api-server need not have: so the states are taken from the Dag
`kfr_readiness` as Airflow keeps it, and follow the file within the Dag processor's interval.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from airflow.models.serialized_dag import SerializedDagModel
from sqlalchemy.orm import Session

from kfr.onboarding.guide import OPEN, PHASES, TASKS, Progress, Task, open_musts, progress_from_json
from kfr.ui.figures import FRESH_DAYS, LoadRun, Overview
from kfr.ui.run_view import Fact, report_address
from kfr.ui.templating import figure, moment

READINESS, FIRST_LOAD, RECONCILE = "kfr_readiness", "kfr_initial_load", "kfr_reconcile"
HOLDS_STATES = "report_readiness"  # its task that carries them
# The Dag that does a task's work, or a part of it.
DAGS: Mapping[str, str] = {
    **dict.fromkeys(("A-3", "A-4", "A-5", "A-6", "A-7", "B-1"), READINESS),
    "B-2": "kfr_registration",
    **dict.fromkeys(("C-2", "C-3"), "kfr_integration_test"),
    **dict.fromkeys(("D-3", "D-4"), FIRST_LOAD),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One task of the guide; ``kind`` colours its state, ``said`` is when and by whom, or what it waits for."""

    task: Task
    state: str
    kind: str
    said: str
    dag_id: str  # empty: nothing that Airflow does


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A phase of the guide with its tasks in order."""

    id: str
    title: str
    lines: list[Line]

    @property
    def done(self) -> int:
        return sum(line.state == "done" for line in self.lines)


def read_progress(session: Session, name: str) -> dict[str, Progress] | None:
    """How far an institution says that it is; None before Airflow has read its Dags."""
    kept = SerializedDagModel.get(_suffixed(READINESS, name), session=session)
    said = kept.dag.get_task(HOLDS_STATES).doc_json if kept else None
    return progress_from_json(said) if said else None


def guide_values(progress: Mapping[str, Progress] | None, found: Overview, today: date) -> dict[str, Any]:
    """What the guide's template needs."""
    if progress is None:
        return {"phases": [], "next": [], "evidence": []}
    lines = [_line(task, progress, found.name) for task in TASKS.values()]
    return {
        "phases": [
            Phase(id=id_, title=title, lines=[line for line in lines if line.task.phase == id_])
            for id_, title in PHASES.items()
        ],
        "next": [line for line in lines if line.state in ("next", "waiting")],
        "evidence": _evidence(found, today),
    }


def _line(task: Task, progress: Mapping[str, Progress], name: str) -> Line:
    own, missing = progress.get(task.id, OPEN), open_musts(task.id, progress)
    since = f"{own.day}, {own.by}" if own.day else ""
    state, kind, said = {
        "done": ("done", "good", since),
        "waiting": ("waiting", "wait", f"since {since}"),
        "open": ("next", "work", f"{task.who} may begin"),
    }[own.state]
    if own.state == "open" and missing:
        state, kind, said = "later", "", f"waits for {', '.join(must.id for must in missing)}"
    dag_id = DAGS.get(task.id, "")
    return Line(task=task, state=state, kind=kind, said=said, dag_id=dag_id and _suffixed(dag_id, name))


def _evidence(found: Overview, today: date) -> list[Fact]:
    """What can be shown for the self-declaration: all active relationships and their history are registered."""
    proven = [run for run in found.runs if (run.report or {}).get("outcome") == "proven"]
    facts = []
    if proven:
        proof = (proven[0].report or {}).get("proof", {})
        facts.append(Fact(name="Last proof", value=_when(proven[0]), below=proven[0].dag_id, kind="good"))
        facts.append(
            Fact(
                name="Looked up for it",
                value=figure(proof.get("look_ups")),
                below=f"{figure(proof.get('misses'))} misses",
            )
        )
    behind = found.days_behind(today)
    if behind is not None:
        as_of = str((found.latest or {})["register"]["as_of"])
        kind = "good" if behind <= FRESH_DAYS else "bad"
        facts.append(Fact(name="Right as of", value=as_of, below=f"{behind} days ago", kind=kind))
    compared = [run for run in proven if run.dag_id.partition("__")[0] == RECONCILE]
    if compared:
        facts.append(Fact(name="Compared with the register", value=_when(compared[0]), below=RECONCILE))
    return facts


def proof_report(found: Overview) -> str | None:
    """The address of the last proven load's signed report."""
    return next(
        (report_address(run) for run in found.runs if (run.report or {}).get("outcome") == "proven"), None
    )


def _when(run: LoadRun) -> str:
    return moment(run.ended.isoformat() if run.ended else None)[:10]


def _suffixed(dag_id: str, name: str) -> str:
    return f"{dag_id}__{name}" if name else dag_id
