"""Watching a run: what its tasks say is printed as it comes, and the warehouse changes under way."""

import textwrap
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from tests.demo.register import Register
from tests.demo.task_logs import TaskLogs
from tests.demo.warehouse import Warehouse, sentence
from tests.system.airflow_api import END_STATES
from tests.system.airflow_processes import RealAirflow
from tests.warehouse.churn import Change, ChangeKind

DAG = "kfr_initial_load"
LOOK_SECONDS = 0.4
LOOKS_A_QUESTION = 5  # to Airflow, which works for two cores already: the logs are files
RUN_SECONDS = 1200.0  # a backstop
WIDTH, INDENT = 118, 31


@dataclass(frozen=True, slots=True)
class Story:
    """Prints what happens, with the seconds since it began."""

    began: float = field(default_factory=time.time)

    def tell(self, who: str, text: str, at: datetime | None = None) -> None:
        seconds = (at.timestamp() if at else time.time()) - self.began
        head = f"{seconds:6.1f} s  {who:<21} "
        print(textwrap.fill(text, WIDTH, initial_indent=head, subsequent_indent=" " * INDENT), flush=True)


class Watch:
    """Follows a run to its end, while the warehouse changes in waves.

    Each wave comes when the register has accepted some files more, so all of them after the list was made.
    """

    def __init__(
        self,
        *,
        airflow: RealAirflow,
        register: Register,
        warehouse: Warehouse,
        waves: Sequence[Sequence[Change]],
        story: Story,
    ) -> None:
        self._airflow = airflow
        self._register = register
        self._warehouse = warehouse
        self._waves = waves
        self._story = story
        self._done = 0
        self._files = 0
        self._changed_at = datetime.min.replace(tzinfo=UTC)
        self._held_back = False
        self.logs = TaskLogs(airflow.home / "logs")

    def follow(self, run_id: str) -> str:
        """Return how the run ended.

        TimeoutError if it does not end, RuntimeError if the demo's own changes came later than its promise.
        """
        deadline = time.monotonic() + RUN_SECONDS
        while time.monotonic() < deadline:
            self._airflow.check()
            state = str(self._airflow.api.run(DAG, run_id)["state"])
            for _ in range(LOOKS_A_QUESTION):
                self._look(run_id)
                if state in END_STATES:
                    return state
                time.sleep(LOOK_SECONDS)
        raise TimeoutError(f"the run did not end within {RUN_SECONDS:.0f} s")

    def _look(self, run_id: str) -> None:
        self._register.read_on()
        for line in self.logs.new_lines():
            self._story.tell(line.task, line.text, line.at)
        self._change(run_id)
        self._say_what_waits()

    def _change(self, run_id: str) -> None:
        accepted = self._register.count("file_accepted")
        if accepted and not self._files:
            xcoms = self._airflow.api.xcoms(DAG, run_id, "plan_changes")
            self._files = len(xcoms["return_value"])
        while self._done < len(self._waves) and accepted > self._done * (self._files - 1) // len(self._waves):
            wave = self._waves[self._done]
            self._warehouse.apply(wave)
            self._done += 1
            self._changed_at = datetime.now(UTC)
            self._story.tell("(warehouse)", f"Meanwhile: {sentence(wave)}.")

    def _say_what_waits(self) -> None:
        """Once, when all files are proven: those who left are still registered."""
        if self._held_back or "close_arrivals" not in self.logs.spans:
            return
        self._held_back = True
        if self._changed_at > self.logs.spans["close_arrivals"][0]:
            raise RuntimeError(
                "This machine was too slow: the load had closed before the last changes came. Try again."
            )
        left = sum(change.kind is ChangeKind.LEAVES for wave in self._waves for change in wave)
        removed = self._register.count("remove_one")
        self._story.tell(
            "(register)", f"{left} customers have left by now, and {removed} removals have come: they wait."
        )
