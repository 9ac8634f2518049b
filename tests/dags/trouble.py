"""Trouble that strikes one task of a run, once: before it has done anything, or when it has done all but say so."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
from airflow.models.taskinstance import TaskInstance
from airflow.sdk import DAG

When = Literal[
    "before",  # the keystore is gone, so that nothing can be reached
    "after",  # the worker dies: the work is done (or handed to a trigger), and nobody hears of it
]


class Trouble:
    """What a bank puts around each task of its runs; `struck` says whether it has come."""

    def __init__(self, dag: DAG, keystore: Path, task: tuple[str, int], when: When) -> None:
        self._dag = dag
        self._keystore = keystore
        self._task = task
        self._when = when
        self.struck = False

    @contextmanager
    def __call__(self, ti: TaskInstance) -> Iterator[None]:
        if self.struck or (ti.task_id, ti.map_index) != self._task:
            yield
            return
        self.struck = True
        if self._when == "before":
            yield from self._without_keystore()
        else:
            yield from self._with_a_dying_worker(ti.task_id)

    def _without_keystore(self) -> Iterator[None]:
        away = self._keystore.rename(self._keystore.with_suffix(".away"))
        yield
        away.rename(self._keystore)

    def _with_a_dying_worker(self, task_id: str) -> Iterator[None]:
        task = self._dag.task_dict[task_id]
        operator = getattr(task, "operator_class", type(task))  # of a mapped task, its instances'
        execute = operator.execute

        def execute_and_die(self: Any, context: Any, **sentinel: Any) -> None:
            try:
                execute(self, context, **sentinel)
            finally:
                raise RuntimeError("the worker died")  # in place of a result, a deferral or a rescheduling

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(operator, "execute", execute_and_die)
            yield
