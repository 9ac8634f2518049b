"""What the page shows, read from Airflow's own metadata: runs, tasks, and the counts that tasks left in XCom.

The api-server has neither the staging key nor the state folder, and needs neither.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from sqlalchemy import func, select, tuple_
from sqlalchemy.orm import Session

from kfr.load.report import XCOM_KEY as REPORT
from kfr.load.summary import XCOM_KEY as STATUS
from kfr.load.world import is_load

SHOWN_RUNS = 40
FRESH_DAYS = 1  # a register that is right as of yesterday is fresh: the periodic load runs at night
ACTIVE = ("queued", "running")


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One task of a run, or one file of a mapped one."""

    task_id: str
    map_index: int  # -1: not mapped
    label: str
    state: str | None
    began: datetime | None
    ended: datetime | None
    try_number: int = 1  # the newest, from 1; 0 before the first
    tries: int = 1  # how many there are at most; a clear gives new ones


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadRun:
    """One run: what Airflow knows of it, what its tasks said, and its signed report."""

    dag_id: str
    run_id: str
    state: str
    kind: str  # scheduled, manual, backfill, …
    began: datetime | None
    ended: datetime | None
    cleared: datetime | None = None  # the last time that a person cleared some of it
    tasks: list[Task] = field(default_factory=list)
    statuses: list[dict[str, Any]] = field(default_factory=list)  # oldest first; `task`: whose word it is
    report: dict[str, Any] | None = None

    @property
    def is_active(self) -> bool:
        return self.state in ACTIVE

    @property
    def status(self) -> dict[str, Any]:
        """What the run says of itself: the last word that still has its parts (the end removes its files)."""
        told = [s for s in self.statuses if s["run"]]
        return told[-1]["run"] if told else {}

    @property
    def dry_run(self) -> bool:
        return any(s["dry_run"] for s in self.statuses)

    def trouble(self, *states: str) -> dict[str, Any] | None:
        """The status with the first failure's own words, of tasks that are in a state now; the others say less.

        What a task said before it was cleared stays until it begins anew, and is not of now.
        """
        now = {(t.task_id, t.map_index) for t in self.in_state(*states)}
        return next((s for s in self.statuses if s["trouble"] and s["task"] in now), None)

    @property
    def seconds(self) -> float | None:
        return (self.ended - self.began).total_seconds() if self.began and self.ended else None

    def in_state(self, *states: str) -> list[Task]:
        return [t for t in self.tasks if t.state in states]


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """One institution's runs, the newest first, and the last word on its register."""

    name: str
    runs: list[LoadRun]

    @property
    def latest(self) -> dict[str, Any] | None:
        found = [s for run in self.runs for s in run.statuses]
        return max(found, key=lambda s: float(s["at"]), default=None)

    @property
    def current(self) -> LoadRun | None:
        """The run to look at: who holds the register, else who runs, else the last one."""
        holder = (self.latest or {}).get("lease") or {}
        active = [r for r in self.runs if r.is_active]
        holding = [r for r in active if (r.dag_id, r.run_id) == (holder.get("dag_id"), holder.get("run_id"))]
        return next(iter([*holding, *active, *self.runs]), None)

    def days_behind(self, today: date) -> int | None:
        """How many days ago the register was last proven to equal the warehouse."""
        register = (self.latest or {}).get("register") or {}
        return (today - date.fromisoformat(register["as_of"])).days if register.get("as_of") else None


def institution_of(dag_id: str) -> str | None:
    """The institution's name in a Dag id (empty for the first), None if it is no load."""
    return dag_id.partition("__")[2] if is_load(dag_id) else None


def overview(session: Session, dag_ids: Collection[str], name: str = "") -> Overview:
    """The last runs of an institution, of those Dags that the reader may see."""
    mine = [dag_id for dag_id in dag_ids if institution_of(dag_id) == name]
    began = func.coalesce(DagRun.start_date, DagRun.queued_at, DagRun.run_after)
    newest = select(DagRun).where(DagRun.dag_id.in_(mine)).order_by(began.desc()).limit(SHOWN_RUNS)
    return Overview(name=name, runs=_read(session, session.scalars(newest).all()))


def one_run(session: Session, dag_id: str, run_id: str) -> LoadRun | None:
    wanted = select(DagRun).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)
    return next(iter(_read(session, session.scalars(wanted).all())), None)


def kept_report(session: Session, dag_id: str, run_id: str) -> dict[str, str] | None:
    """The report of a run with its signature, as its task left it."""
    wanted = select(XComModel).where(
        XComModel.key == REPORT, XComModel.dag_id == dag_id, XComModel.run_id == run_id
    )
    found = session.scalars(wanted.order_by(XComModel.timestamp.desc())).first()
    return _value(found) if found else None


def _read(session: Session, runs: Sequence[DagRun]) -> list[LoadRun]:
    if not runs:
        return []
    keys = [(run.dag_id, run.run_id) for run in runs]
    tasks: dict[tuple[str, str], list[Task]] = {key: [] for key in keys}
    of_runs = tuple_(TaskInstance.dag_id, TaskInstance.run_id).in_(keys)
    order = (TaskInstance.start_date, TaskInstance.map_index)
    for ti in session.scalars(select(TaskInstance).where(of_runs).order_by(*order)):
        tasks[ti.dag_id, ti.run_id].append(
            Task(
                task_id=ti.task_id,
                map_index=ti.map_index,
                label=ti.rendered_map_index or (str(ti.map_index) if ti.map_index >= 0 else ""),
                state=str(ti.state) if ti.state else None,
                began=ti.start_date,
                ended=ti.end_date,
                try_number=ti.try_number,
                tries=ti.max_tries + 1,
            )
        )
    statuses: dict[tuple[str, str], list[dict[str, Any]]] = {key: [] for key in keys}
    reports: dict[tuple[str, str], dict[str, Any]] = {}
    wanted = select(XComModel).where(
        XComModel.key.in_([STATUS, REPORT]), tuple_(XComModel.dag_id, XComModel.run_id).in_(keys)
    )
    for xcom in session.scalars(wanted.order_by(XComModel.timestamp)):
        key, value = (xcom.dag_id, xcom.run_id), _value(xcom)
        if xcom.key == REPORT:
            reports[key] = json.loads(value["report"])
        else:
            statuses[key].append({**value, "task": (xcom.task_id, xcom.map_index)})
    return [
        LoadRun(
            dag_id=run.dag_id,
            run_id=run.run_id,
            state=str(run.state),
            kind=str(run.run_type),
            began=run.start_date,
            ended=run.end_date,
            cleared=run.queued_at if run.clear_number else None,
            tasks=tasks[run.dag_id, run.run_id],
            statuses=sorted(statuses[run.dag_id, run.run_id], key=lambda s: float(s["at"])),
            report=reports.get((run.dag_id, run.run_id)),
        )
        for run in runs
    ]


def _value(xcom: XComModel) -> Any:
    value = XComModel.deserialize_value(xcom)
    return json.loads(value) if isinstance(value, str) else value
