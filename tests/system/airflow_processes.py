"""A whole Airflow as real processes: api-server, scheduler, dag-processor and triggerer on PostgreSQL."""

import json
import os
import secrets
import subprocess
import sys
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import httpx

from tests.postgres import free_port
from tests.system.airflow_api import AirflowApi, wait_until
from tests.system.guard import Guard

USER = "admin"
COMPONENTS = ("api-server", "scheduler", "dag-processor", "triggerer")
ARGUMENTS = {
    "scheduler": ["--skip-serve-logs"],
    "triggerer": ["--skip-serve-logs"],
}  # one file system: no log ports
MIGRATE_SECONDS = 120
HEALTHY_SECONDS = 180  # 11 to 23 on two idle cores
LIFETIME_SECONDS = 1800  # a backstop; a test ends its Airflow itself
LOG_TAIL_LINES = 30
# For a sensor's poke_interval here. No interval is long enough on every machine: see `wait_for_worker_end`.
SHORTEST_RESCHEDULE_SECONDS = 5


class RealAirflow:
    """Start Airflow's processes on entry, end them on exit; `api` calls the running Airflow.

    `home` must be an empty folder of its own; logs are `home/<component>.log` and `home/logs`. `database` is
    the SQLAlchemy URL of an empty PostgreSQL database. `env` adds to the environment of all processes:
    connections, variables, Airflow's own settings. Dags start paused, as on a real installation.
    """

    api: AirflowApi

    def __init__(
        self,
        *,
        home: Path,
        dags: Path,
        database: str,
        plugins: Path | None = None,
        env: Mapping[str, str] | None = None,
        pools: Mapping[str, int] | None = None,
        port: int | None = None,
        lifetime: float = LIFETIME_SECONDS,
    ) -> None:
        self.home = home
        self.password = secrets.token_urlsafe(12)
        self.url = f"http://127.0.0.1:{port or free_port()}"
        self._pools = dict(pools or {})
        self._lifetime = lifetime
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        own = _settings(home, dags, plugins or home / "plugins", database, self.url)
        self.env = {**_clean_environment(), **own, **(env or {})}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    def start(self) -> None:
        """Migrate the database, start the processes and wait until all of them report healthy."""
        self.home.mkdir(parents=True, exist_ok=True)
        (self.home / "plugins").mkdir(exist_ok=True)
        (self.home / "passwords.json").write_text(json.dumps({USER: self.password}))
        self.api = AirflowApi(self.url, USER, self.password, check=self.check)
        self._guard = Guard(self._lifetime)
        try:
            self._migrate()
            for component in COMPONENTS:
                self.start_component(component)
            wait_until("a healthy Airflow", self._all_healthy, HEALTHY_SECONDS)
            for name, slots in self._pools.items():
                self.api.set_pool(name, slots)
        except BaseException as failure:
            failure.add_note(self.log_tails())
            self.stop()
            raise

    def stop(self) -> None:
        """End every process that was started, with its children; safe to call twice."""
        for component in reversed(list(self._processes)):  # without the api-server the others wait for it
            self.end_component(component)
        self.api.close()
        self._guard.close()

    def start_component(self, component: str) -> None:
        """Start one of COMPONENTS; its output goes on at the end of `home/<component>.log`."""
        command = [sys.executable, "-m", "airflow", component, *ARGUMENTS.get(component, [])]
        with self.log_file(component).open("ab") as log:
            self._processes[component] = self._guard.start(
                command, env=self.env, cwd=self.home, stdout=log, stderr=log
            )

    def end_component(self, component: str, *, hard: bool = False) -> None:
        """End a component and its children (the scheduler's are the tasks); `hard` kills them at once."""
        self._guard.end(self._processes.pop(component), hard=hard)

    def wait_for_worker_end(self, dag_id: str, run_id: str, task_id: str, within: float = 60) -> None:
        """Wait until the scheduler has heard that the worker of a task, which waits for a person, has ended.

        Whoever answers before is too quick for Airflow 3.3: the task is queued again under the same key, the
        scheduler takes the first worker's end for the second's, and fails the task ("state attribute is
        queued"; apache/airflow#71172 is the same for sensors). A retry survives it, where there is one.
        """
        ended = f"TaskInstance Finished: dag_id={dag_id}, task_id={task_id}, run_id={run_id},"

        def look() -> bool | None:
            self.check()
            return True if ended in self.log_file("scheduler").read_text(errors="replace") else None

        wait_until(f"the end of {task_id}'s worker", look, within)

    def revive(self) -> list[str]:
        """Start again what has ended by itself, as a supervisor of processes would; return the names."""
        ended = [name for name, process in self._processes.items() if process.poll() is not None]
        for component in ended:
            self.end_component(component, hard=True)  # its children, too
            self.start_component(component)
        return ended

    def check(self) -> None:
        """Raise RuntimeError, with the end of its log, when a process has ended by itself."""
        ended = [name for name, process in self._processes.items() if process.poll() is not None]
        if ended:
            raise RuntimeError(f"ended by itself: {', '.join(ended)}\n{self.log_tails(ended)}")

    def log_file(self, component: str) -> Path:
        return self.home / f"{component}.log"

    def log_tails(self, components: list[str] | None = None) -> str:
        """Return the last lines of the processes' own logs."""
        tails = []
        for component in components or ["migrate", *COMPONENTS]:
            if self.log_file(component).exists():
                lines = self.log_file(component).read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
                tails.append(f"--- {component}\n" + "\n".join(lines))
        return "\n".join(tails)

    def _migrate(self) -> None:
        with self.log_file("migrate").open("wb") as log:
            subprocess.run(
                [sys.executable, "-m", "airflow", "db", "migrate"],
                env=self.env,
                cwd=self.home,
                stdout=log,
                stderr=log,
                check=True,
                timeout=MIGRATE_SECONDS,
            )

    def _all_healthy(self) -> bool | None:
        self.check()
        try:
            statuses = self.api.health()
        except httpx.HTTPError:
            return None
        return True if set(statuses.values()) == {"healthy"} else None


def _clean_environment() -> dict[str, str]:
    """The environment without another Airflow's settings, which would otherwise reach this one."""
    return {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}


def _settings(home: Path, dags: Path, plugins: Path, database: str, url: str) -> dict[str, str]:
    """Airflow's settings: short intervals, so that a test waits for its tasks and not for the scheduler."""
    return {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(plugins),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__CORE__FERNET_KEY": urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / "passwords.json"),
        "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database,
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": url.rpartition(":")[2],
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API__SECRET_KEY": secrets.token_urlsafe(32),
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_urlsafe(32),
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
        "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
        # How late a worker may notice that its task has ended, which must not be after the task has come back:
        # see `RealAirflow.wait_for_worker_end`.
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
        "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "30",  # tests share few cores
        "PYTHONUNBUFFERED": "1",
    }
