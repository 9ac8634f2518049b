"""What the tasks of a run say, as Airflow writes it down: a file a try, a JSON object a line."""

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

OURS = ".kfr."  # in the name of a logger of this package
OF_AIRFLOW = "Success criteria met"  # what Airflow's own sensor says under our name
OF_A_TASK = "dag_id=*/run_id=*/task_id=*/**/attempt=*.log"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One sentence of a task."""

    at: datetime
    task: str
    text: str


class TaskLogs:
    """Reads on in all logs below a folder; `spans` is when each task began, and when it last said something."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[Path, int] = {}
        self._said: set[tuple[str, str]] = set()
        self.spans: dict[str, tuple[datetime, datetime]] = {}

    def new_lines(self) -> list[Line]:
        """Give what the steps said since the last call, each sentence once, and what went wrong."""
        found = []
        for path in self._folder.glob(OF_A_TASK):
            task = _task_of(path)
            for row in self._new_rows(path):
                at = datetime.fromisoformat(row["timestamp"])
                self.spans[task] = (min(at, self.spans.get(task, (at,))[0]), at)
                if (text := _sentence_of(row)) and (task, text) not in self._said:
                    self._said.add((task, text))
                    found.append(Line(at=at, task=task, text=text))
        return sorted(found, key=lambda line: line.at)

    def _new_rows(self, path: Path) -> list[dict[str, Any]]:
        with path.open("rb") as file:
            file.seek(self._read.get(path, 0))
            whole = file.read().rpartition(b"\n")[0]  # the last line may still be under way
        self._read[path] = self._read.get(path, 0) + (len(whole) + 1 if whole else 0)
        return [json.loads(line) for line in whole.splitlines()]


def _task_of(path: Path) -> str:
    """`task_id`, with the index of a mapped one."""
    named = dict(part.split("=", 1) for part in path.parts if "=" in part and not part.startswith("attempt"))
    index = named.get("map_index")
    return named["task_id"] if index is None else f"{named['task_id']} {int(index) + 1}"


def _sentence_of(row: dict[str, Any]) -> str:
    if row["level"] == "error":
        details = [f"{d['exc_type']}: {d['exc_value']}" for d in row.get("error_detail", [])]
        return " ".join([str(row["event"]), *details])
    ours = OURS in row.get("logger", "") and not row["event"].startswith(OF_AIRFLOW)
    return str(row["event"]) if ours else ""
