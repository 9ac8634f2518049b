"""One run of a Dag in this process: played to a point, cleared, marked and answered by Airflow's own code."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.sdk.definitions.dag import _run_task
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState, TaskInstanceState

if TYPE_CHECKING:
    from tests.dags.bank import Bank

MAX_TURNS = 200  # of the scheduling loop; a run takes about twenty


@dataclass
class Run:
    """One run of the Dag."""

    bank: "Bank"
    run_id: str
    errors: dict[str, str] = field(default_factory=dict)  # of each task that failed, the last one's text

    def go(self, *, until: str | None = None) -> str:
        """Play the run until it ends, a person must answer, or `until` is about to start; return its state."""
        with create_session() as session:
            run = self._read(session)
            for _ in range(MAX_TURNS):
                run.update_state(session=session)
                self._end_waits(session)
                ready = self._ready(run, session)
                if run.state != DagRunState.RUNNING:
                    return str(run.state)
                if not ready and "awaiting_input" in self.states.values():
                    return str(run.state)
                for ti in ready:
                    if ti.task_id == until:
                        return str(run.state)
                    self._play(ti)
                session.expire_all()
        raise AssertionError(f"the run does not end: {self.states}")

    def _end_waits(self, session: Any) -> None:
        """Let the wait for every retry be over."""
        waiting = session.query(TaskInstance).filter_by(run_id=self.run_id, state="up_for_retry")
        for ti in waiting:
            ti.end_date = datetime.now(UTC) - timedelta(days=1)

    def _play(self, ti: TaskInstance) -> None:
        with self.bank.trouble(ti):
            result = _run_task(ti=ti, task=self.bank.dag.task_dict[ti.task_id], run_triggerer=True)
        if result is not None and result.error is not None:
            self.errors[ti.task_id] = str(result.error)

    def _ready(self, run: DagRun, session: Any) -> list[TaskInstance]:
        """What the scheduler would start now, the mapped files first, as a busy Airflow might."""
        decision = run.task_instance_scheduling_decisions(session=session)
        for ti in decision.schedulable_tis:
            ti.try_number += ti.state != TaskInstanceState.UP_FOR_RESCHEDULE
            ti.state = TaskInstanceState.SCHEDULED
        session.commit()
        order = list(self.bank.dag.task_dict)
        ready = [
            ti for ti in run.get_task_instances(session=session) if ti.state == TaskInstanceState.SCHEDULED
        ]
        return sorted(ready, key=lambda ti: (order.index(ti.task_id), ti.map_index))

    def _read(self, session: Any) -> DagRun:
        run: DagRun = session.query(DagRun).filter_by(dag_id=self.bank.dag.dag_id, run_id=self.run_id).one()
        run.dag = self.bank.scheduler_dag
        return run

    def clear(self, *task_ids: str | tuple[str, int], downstream: bool = True) -> set[str]:
        """Clear tasks and what follows, as a person does in the UI; return the ids of all that were cleared.

        A pair is one instance of a mapped task.
        """
        from airflow.api_fastapi.core_api.datamodels.task_instances import ClearTaskInstancesBody
        from airflow.api_fastapi.core_api.routes.public.task_instances import post_clear_task_instances
        from airflow.models.dagbag import DBDagBag

        body = ClearTaskInstancesBody(
            dry_run=False,
            only_failed=False,
            dag_run_id=self.run_id,
            task_ids=list(task_ids),
            include_downstream=downstream,
        )
        with create_session() as session:
            answer = post_clear_task_instances(self.bank.dag.dag_id, DBDagBag(), body, session, None)
            self._read(session).set_state(DagRunState.RUNNING)  # the scheduler's part
            return {ti.task_id for ti in answer.task_instances}

    def mark(self, state: Literal["failed", "success"], task_id: str | None = None) -> None:
        """Mark the run, or a task of it, as a person does in the UI."""
        from airflow.api.common import mark_tasks

        dag = self.bank.scheduler_dag
        with create_session() as session:
            if task_id:
                ti = session.query(TaskInstance).filter_by(run_id=self.run_id, task_id=task_id).one()
                ti.set_state(state, session=session)
                return
            mark = {
                "failed": mark_tasks.set_dag_run_state_to_failed,
                "success": mark_tasks.set_dag_run_state_to_success,
            }[state]
            mark(dag=dag, run_id=self.run_id, commit=True, session=session)

    def lose(self, task_id: str) -> None:
        """Give a task up as the scheduler does whose worker is gone; the wait for a retry is over at once."""
        with create_session() as session:
            ti = session.query(TaskInstance).filter_by(run_id=self.run_id, task_id=task_id).one()
            ti.task = self.bank.scheduler_dag.get_task(task_id)
            ti.handle_failure(error="state mismatch", session=session)
            ti.end_date = datetime.now(UTC) - timedelta(days=1)

    def answer(self, task_id: str, option: str) -> None:
        """Answer a task that waits for a person."""
        from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
        from airflow.api_fastapi.core_api.datamodels.hitl import UpdateHITLDetailPayload
        from airflow.api_fastapi.core_api.routes.public.hitl import update_hitl_detail

        body = UpdateHITLDetailPayload(chosen_options=[option], params_input={})
        person = SimpleAuthManagerUser(username="kari", role="admin")
        with create_session() as session:
            update_hitl_detail(self.bank.dag.dag_id, self.run_id, task_id, body, person, session)

    @property
    def instances(self) -> dict[tuple[str, int], str | None]:
        """The state of each task instance, by task id and map index."""
        columns = (TaskInstance.task_id, TaskInstance.map_index, TaskInstance.state)
        with create_session() as session:
            rows = session.query(*columns).filter_by(run_id=self.run_id).all()
        return {(task_id, map_index): state for task_id, map_index, state in rows}

    @property
    def states(self) -> dict[str, str | None]:
        """The state of each task; of a mapped one the worst."""
        found: dict[str, str | None] = {}
        for (task_id, _), state in self.instances.items():
            if found.get(task_id) != "failed":
                found[task_id] = state
        return found

    def xcom(self, task_id: str, key: str = "return_value") -> Any:
        from airflow.models.xcom import XComModel

        with create_session() as session:
            rows = XComModel.get_many(
                task_ids=[task_id], key=key, run_id=self.run_id, dag_ids=[self.bank.dag.dag_id]
            )
            return [XComModel.deserialize_value(row) for row in session.scalars(rows)]
