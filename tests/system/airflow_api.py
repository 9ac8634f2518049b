"""The REST API of a running Airflow, as the system tests and `make ui` use it."""

import json
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Self, TypeVar
from urllib.parse import quote

import httpx

POLL_SECONDS = 0.5
PAGE_ROWS = 100  # Airflow answers no more than this at a time
END_STATES = frozenset({"success", "failed"})

Found = TypeVar("Found")
TaskKey = tuple[str, int]  # task id and map index, -1 where the task is not mapped


def wait_until(what: str, look: Callable[[], Found | None], within: float) -> Found:
    """Return the first value of `look` that is not None; TimeoutError after `within` seconds."""
    deadline = time.monotonic() + within
    while (value := look()) is None:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {within:.0f} s")
        time.sleep(POLL_SECONDS)
    return value


class AirflowApi:
    """Call Airflow's API as one user.

    A refusal is an `httpx.HTTPStatusError` whose text holds Airflow's own explanation. Every wait is bounded;
    the `TimeoutError` that ends it lists what the tasks were doing.
    """

    def __init__(self, url: str, user: str, password: str, *, check: Callable[[], None]) -> None:
        """`check` runs at each poll of a wait and raises when waiting is pointless: a process has died."""
        self._http = httpx.Client(base_url=url, timeout=30, trust_env=False)
        self._login = {"username": user, "password": password}
        self._check = check

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def call(self, method: str, path: str, **content: Any) -> Any:
        """Return the JSON of one call below `/api/v2`, None for an empty answer."""
        if "Authorization" not in self._http.headers:
            self._log_in()
        answer = self._http.request(method, f"/api/v2{path}", **content)
        if answer.is_error:
            text = f"{method} {path}: {answer.status_code} {answer.text[:2000]}"
            raise httpx.HTTPStatusError(text, request=answer.request, response=answer)
        return answer.json() if answer.content else None

    def page(self, path: str) -> bytes | None:
        """The body of any page, API or UI, at a full path; None where there is none.

        Airflow 3.3 breaks off instead of answering where it fails itself: its calendar on a run without a date.
        """
        if "Authorization" not in self._http.headers:
            self._log_in()
        try:
            answer = self._http.get(path)
        except httpx.TransportError:
            return None
        return None if answer.is_error else answer.content

    def _log_in(self) -> None:
        answer = self._http.post("/auth/token", json=self._login)
        answer.raise_for_status()
        self._http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def _rows(self, path: str, key: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        while True:
            page = self.call("GET", path, params={"limit": PAGE_ROWS, "offset": len(rows)})
            rows += page[key]
            if not page[key] or len(rows) >= page["total_entries"]:
                return rows

    # The whole of Airflow

    def health(self) -> dict[str, str | None]:
        """Return the status of each component: `healthy`, `unhealthy`, or None where it never reported."""
        answer = self._http.get("/api/v2/monitor/health")
        answer.raise_for_status()
        return {part: state["status"] for part, state in answer.json().items()}

    def import_errors(self) -> dict[str, str]:
        """Return the trace of every Dag file that cannot be read, by file name."""
        return {row["filename"]: row["stack_trace"] for row in self._rows("/importErrors", "import_errors")}

    def set_pool(self, name: str, slots: int) -> None:
        self.call("POST", "/pools", json={"name": name, "slots": slots})

    def wait_for_dag(self, dag_id: str, within: float = 60) -> None:
        """Wait until the Dag processor has stored the Dag; an import error ends the wait at once."""

        def look() -> bool | None:
            self._check()
            known = self.call("GET", "/dags", params={"dag_id_pattern": dag_id, "limit": PAGE_ROWS})
            if any(dag["dag_id"] == dag_id for dag in known["dags"]):
                return True
            if errors := self.import_errors():
                raise RuntimeError(f"Dag files that cannot be read: {errors}")
            return None

        wait_until(f"Dag {dag_id}", look, within)

    def unpause(self, dag_id: str) -> None:
        self.call("PATCH", f"/dags/{dag_id}", json={"is_paused": False})

    # Runs

    def trigger(
        self,
        dag_id: str,
        conf: Mapping[str, Any] | None = None,
        *,
        run_id: str | None = None,
        logical_date: datetime | None = None,
    ) -> str:
        """Start a run (a paused Dag's run stays queued) and return its id.

        Without a logical date the run has no data interval, as when a person triggers it by REST.
        """
        moment = logical_date.isoformat() if logical_date else None
        body = {"logical_date": moment, "conf": dict(conf or {}), "dag_run_id": run_id}
        return str(self.call("POST", f"/dags/{dag_id}/dagRuns", json=body)["dag_run_id"])

    def run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        return dict(self.call("GET", _run_path(dag_id, run_id)))

    def runs(self, dag_id: str) -> list[dict[str, Any]]:
        return self._rows(f"/dags/{dag_id}/dagRuns", "dag_runs")

    def wait_for_run(self, dag_id: str, run_id: str, within: float) -> str:
        """Return how the run ended, `success` or `failed`."""

        def look() -> str | None:
            self._check()
            state = self.run(dag_id, run_id)["state"]
            return state if state in END_STATES else None

        try:
            return wait_until(f"run {run_id} of {dag_id}", look, within)
        except TimeoutError as late:
            raise TimeoutError(f"{late}; tasks: {self.task_states(dag_id, run_id)}") from None

    # Tasks

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        return self._rows(f"{_run_path(dag_id, run_id)}/taskInstances", "task_instances")

    def task_states(self, dag_id: str, run_id: str) -> dict[TaskKey, str | None]:
        rows = self.task_instances(dag_id, run_id)
        return {(row["task_id"], row["map_index"]): row["state"] for row in rows}

    def wait_for_task(
        self,
        dag_id: str,
        run_id: str,
        task_id: str,
        states: Iterable[str],
        within: float,
        *,
        map_index: int = -1,
    ) -> str:
        """Return the first of `states` that the task is seen in; RuntimeError if the run ends before."""
        wanted = set(states)

        def look() -> str | None:
            self._check()
            ended = self.run(dag_id, run_id)["state"] in END_STATES
            state = self.task_states(dag_id, run_id).get((task_id, map_index))
            if state in wanted:
                return state
            if ended:
                raise RuntimeError(f"the run ended while {task_id} was {state}, not one of {sorted(wanted)}")
            return None

        return wait_until(f"{task_id} in {sorted(wanted)}", look, within)

    def clear(
        self, dag_id: str, run_id: str, task_ids: Iterable[str | TaskKey] | None = None, **choices: bool
    ) -> list[str]:
        """Clear tasks of a run (None: all of them) and return the ids of those that were cleared.

        `choices` are Airflow's own (`only_failed`, `include_downstream`, …); unlike in the API,
        `only_failed` is false unless asked for.
        """
        named = None if task_ids is None else [t if isinstance(t, str) else list(t) for t in task_ids]
        body = {"dry_run": False, "only_failed": False, "dag_run_id": run_id, "task_ids": named, **choices}
        cleared = self.call("POST", f"/dags/{dag_id}/clearTaskInstances", json=body)
        return [row["task_id"] for row in cleared["task_instances"]]

    def answer(self, dag_id: str, run_id: str, task_id: str, *options: str, **params: Any) -> None:
        """Answer a task that waits for a person."""
        body = {"chosen_options": list(options), "params_input": params}
        self.call("PATCH", f"{_task_path(dag_id, run_id, task_id)}/-1/hitlDetails", json=body)

    def log(self, dag_id: str, run_id: str, task_id: str, *, map_index: int = -1, try_number: int = 1) -> str:
        """Return everything that Airflow keeps of one try's log, a JSON object a line."""
        path = f"{_task_path(dag_id, run_id, task_id)}/logs/{try_number}"
        rows = self.call("GET", path, params={"map_index": map_index, "full_content": True})["content"]
        return "\n".join(json.dumps(row) for row in rows)

    def xcoms(self, dag_id: str, run_id: str, task_id: str, *, map_index: int = -1) -> dict[str, Any]:
        """Return everything that the task left in XCom, by key."""
        path = f"{_task_path(dag_id, run_id, task_id)}/xcomEntries"
        keys = [row["key"] for row in self._rows(path, "xcom_entries") if row["map_index"] == map_index]
        params = {"map_index": map_index}
        return {key: self.call("GET", f"{path}/{quote(key)}", params=params)["value"] for key in keys}

    # Backfills

    def backfill(self, dag_id: str, first: datetime, last: datetime, **choices: Any) -> int:
        """Create a backfill and return its id; `choices` as in the API (`max_active_runs`, …)."""
        body = {"dag_id": dag_id, "from_date": first.isoformat(), "to_date": last.isoformat(), **choices}
        return int(self.call("POST", "/backfills", json=body)["id"])

    def wait_for_backfill(self, backfill_id: int, within: float) -> None:
        def look() -> bool | None:
            self._check()
            return True if self.call("GET", f"/backfills/{backfill_id}")["completed_at"] else None

        wait_until(f"backfill {backfill_id}", look, within)


def _run_path(dag_id: str, run_id: str) -> str:
    return f"/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}"  # run ids hold ':' and '+'


def _task_path(dag_id: str, run_id: str, task_id: str) -> str:
    return f"{_run_path(dag_id, run_id)}/taskInstances/{quote(task_id, safe='')}"
