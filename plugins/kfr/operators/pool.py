"""The pool in which the lease changes hands: seen by the scheduler, judged by `check_readiness`.

A task cannot ask for pools, and a task whose pool is missing waits for ever without a word. So the plugin listens
in the scheduler: when a run starts, it writes the pool's slots to where the run's readiness task can read them.
"""

import json
from typing import TYPE_CHECKING, Any

from airflow.listeners import hookimpl

from kfr.register.errors import ConfigurationError

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun

POOL = "kfr_register"
SEEN = "pool_slots"  # key in the task's own store
READINESS = frozenset({"KfrReadinessOperator", "KfrCheckOperator"})
LOCAL_USER = "dag_test"  # `dag.test()` names this user: it has no scheduler and minds no pool


class PoolObserver:
    """Tell a run's readiness task, at the run's start, how many slots the pool has."""

    @hookimpl
    def on_dag_run_running(self, dag_run: "DagRun", msg: str) -> None:
        del msg
        from airflow.models.pool import Pool
        from airflow.state import TaskScope, get_state_backend
        from sqlalchemy.orm import object_session

        asking = [task for task in dag_run.dag.tasks if task.task_type in READINESS] if dag_run.dag else []
        session = object_session(dag_run)  # the scheduler's own: what is written stands when the run starts
        if not asking or session is None:
            return
        pool = Pool.get_pool(POOL, session=session)
        for task in asking:
            scope = TaskScope(dag_id=dag_run.dag_id, run_id=dag_run.run_id, task_id=task.task_id)
            get_state_backend().set(scope, SEEN, json.dumps(pool.slots if pool else 0), session=session)


def require_pool(context: Any) -> None:
    """Raise ConfigurationError unless the scheduler saw the pool with exactly one slot."""
    slots = context["task_state_store"].get(SEEN)
    if slots is None and context["dag_run"].triggering_user_name == LOCAL_USER:
        return
    if slots is None:
        raise ConfigurationError(
            f"The scheduler did not say whether the pool {POOL} exists: it runs without this package's plugin. "
            "Install airflow-kfr where the scheduler runs and restart it."
        )
    if slots != 1:
        found = "is missing" if slots == 0 else f"has {slots} slots"
        raise ConfigurationError(
            f"The pool {POOL} {found}; two runs could take the register at once, or none. Give it one slot: "
            f"airflow pools set {POOL} 1 'one writer at a time'. Then clear this task."
        )
