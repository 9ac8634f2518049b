"""`make ui`: Airflow in the browser, with warehouse, simulator and mails in place, until Ctrl-C or `make ui-stop`."""

import argparse
import json
import os
import shlex
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from kfr.clock import SystemClock, oslo_today
from tests import environment, postgres
from tests.system.airflow_api import AirflowApi, wait_until
from tests.system.airflow_processes import USER, RealAirflow
from tests.warehouse.generator import generate
from tests.warehouse.loading import into_postgres

RELATIONSHIPS = 20_000
ROWS_PER_SECOND = 500  # twice the real register's rate: fast enough to watch, slow enough to see
SEED = 1
PORT = 8080
LIFETIME_SECONDS = 12 * 3600.0
STOP_SECONDS = 90
RUNNING = environment.ROOT / ".kfr" / "ui.json"  # which process it is, for `make ui-stop`
OPTIONS = {  # of Airflow's section [kfr]: what waits minutes on a real load waits seconds here
    "max_batch_bytes": 150_000,  # three files
    "lease_seconds": 10,
    "arrivals_seconds": 15,
    "retry_seconds": 10,
    "retries": 2,
    "loading_grace": 20,
}

GUIDE = """
Airflow is ready: {url}   user {user}   password {password}

  1. Admin > Connections > kfr_default: the form; its button Test gets a token and reaches the register.
  2. Dags > "KFR: first load (D-3, D-4)": Trigger, which switches it on, too. *Dry run* for the first time: it plans
     and forecasts and sends nothing. Trigger again without it and watch the files being sent, proven and verified.
  3. A task's Logs say what it does; the XCom tab has counts and labels, never a customer's number.
  4. The stand-in of the register:  {simulator}/simulator/log    what was asked and answered, in order
                                    {simulator}/simulator/state  what it holds
                                    {simulator}/simulator/mailbox  the mails: to Bits, D-4 among them, alerts to on-call
  5. The warehouse is yours to change while a load runs (all of it is synthetic):
     psql {warehouse} -c "UPDATE agreements SET ended_on = CURRENT_DATE WHERE ended_on IS NULL AND random() < 0.001"
     Then switch "KFR: periodic load (A-8)" on: that starts the day's run, which brings the register up to date. It
     waits while a first load has the register. The page KFR shows it all.
  6. See it fail. Before a load: the next file is acknowledged and never loaded. After a minute or two an alert goes to
     on-call; read it among the mails, click on its section of the runbook, and follow it. The second try loads the file.
     curl -X POST {simulator}/simulator/faults -H 'Content-Type: application/json' \\
       -d '{{"kind": "file_dropped", "operation": "register_file", "nth": 1}}'
     With "times": 12 every try of every file is lost: in some ten minutes the load is red, a second alert says so, and
     it has to be cleared. What follows then, and until when, the page KFR says of each file; green it is in half an hour.
     What is still planned to fail, and how often: curl {simulator}/simulator/faults; curl -X DELETE on the same
     address ends it.
  7. What the runbook does by hand, in another shell, in this folder:
     (. {env}; {python} -m kfr sends)

The runbook: {url}/kfr/docs/runbook.md
Ctrl-C, or `make ui-stop` elsewhere, ends everything. Airflow's own logs until then: {logs}
"""


@contextmanager
def installation(
    folder: Path, relationships: int, port: int, env_file: Path
) -> Iterator[tuple[RealAirflow, str]]:
    """Run everything in `folder`; gives the running Airflow and the guide to it."""
    with (
        postgres.running() as server,
        environment.simulator(
            folder / "stand", rows_per_second=ROWS_PER_SECOND, max_seconds=LIFETIME_SECONDS
        ) as stand,
    ):
        warehouse = server.create_database("warehouse")
        into_postgres(generate(relationships, SEED, oslo_today(SystemClock())).agreements, warehouse)
        found = environment.environment(
            stand=stand,
            warehouse=environment.postgres_warehouse(warehouse),
            staging=folder / "staging",
            options=OPTIONS,
        )
        kept, env = apart(found)
        with RealAirflow(
            home=folder / "airflow",
            dags=environment.ROOT / "dags",
            plugins=environment.ROOT / "plugins",
            database=server.create_database("airflow"),
            env=env,
            pools=environment.POOLS,
            port=port,
            lifetime=LIFETIME_SECONDS,
        ) as airflow:
            store(airflow.api, kept)
            write_env(env_file, airflow.env)
            yield (
                airflow,
                GUIDE.format(
                    url=airflow.url,
                    user=USER,
                    password=airflow.password,
                    simulator=stand.url,
                    warehouse=warehouse,
                    logs=airflow.home,
                    env=shlex.quote(short(env_file)),
                    python=shlex.quote(short(Path(sys.executable))),
                ),
            )


def write_env(file: Path, env: Mapping[str, str]) -> None:
    """What a shell needs to reach this Airflow, to be sourced; secrets are in it, and it goes when all ends."""
    file.touch(mode=0o600)
    ours = sorted(name for name in env if name.startswith("AIRFLOW"))
    file.write_text("".join(f"export {name}={shlex.quote(env[name])}\n" for name in ours))


def short(path: Path) -> str:
    """As it is called from the project's folder."""
    return f"./{path.relative_to(environment.ROOT)}" if path.is_relative_to(environment.ROOT) else str(path)


def apart(found: dict[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Connections and variables, and the rest: Airflow does not show what it has from its environment."""
    kept = {
        name: value for name, value in found.items() if name.startswith(("AIRFLOW_CONN_", "AIRFLOW_VAR_"))
    }
    return kept, {name: value for name, value in found.items() if name not in kept}


def store(api: AirflowApi, kept: dict[str, str]) -> None:
    """Put connections and variables where a person sees and changes them."""
    for name, value in kept.items():
        if name.startswith("AIRFLOW_VAR_"):
            key = name.removeprefix("AIRFLOW_VAR_").lower()
            api.call("POST", "/variables", json={"key": key, "value": value})
            continue
        fields = json.loads(value)
        fields["extra"] = json.dumps(fields.get("extra", {}))
        conn_id = name.removeprefix("AIRFLOW_CONN_").lower()
        api.call("POST", "/connections", json={"connection_id": conn_id, **fields})


@contextmanager
def told_in(file: Path) -> Iterator[None]:
    """Say in a file, for as long as it runs, which process this is."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"pid": os.getpid(), "began": psutil.Process().create_time()}))
    try:
        yield
    finally:
        file.unlink(missing_ok=True)
        file.with_suffix(".env").unlink(missing_ok=True)


def process_of(file: Path) -> psutil.Process | None:
    """The process that a file names, if it is still that one: numbers are given out again."""
    try:
        said = json.loads(file.read_text())
        process = psutil.Process(said["pid"])
    except (FileNotFoundError, psutil.NoSuchProcess):
        return None
    return process if process.create_time() == said["began"] else None


def stop(file: Path) -> str:
    """End what `make ui` has started, and say what became of it."""
    process = process_of(file)
    if process is None:
        return "Nothing runs."
    process.terminate()  # not SIGINT, which a shell's background job ignores
    wait_until("the end of make ui", lambda: True if has_ended(process) else None, STOP_SECONDS)
    return "Ended."


def has_ended(process: psutil.Process) -> bool:
    """Also true of one whose parent has not asked yet how it ended."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def require_free(port: int) -> None:
    """End with the remedy if somebody else listens there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what has just ended is no hindrance
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise SystemExit(
                f"Port {port} is taken by another program. `make ui PORT={port + 1}` takes another one."
            ) from None


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.system.ui", description=__doc__)
    parser.add_argument("--relationships", type=int, default=RELATIONSHIPS, help="in the warehouse")
    parser.add_argument("--port", type=int, default=PORT, help="of Airflow; 0 takes a free one")
    parser.add_argument("--running", type=Path, default=RUNNING, help="file that says which process it is")
    parser.add_argument("--stop", action="store_true", help="end the one that runs")
    options = parser.parse_args(arguments)
    if options.stop:
        print(stop(options.running))
        return
    if process_of(options.running):
        raise SystemExit("It runs already; `make ui-stop` ends it.")
    require_free(options.port)
    for number in (signal.SIGTERM, signal.SIGINT):  # a shell's background job has SIGINT ignored
        signal.signal(number, signal.default_int_handler)
    print("Starting PostgreSQL, the simulator and Airflow: about a minute.", flush=True)
    with tempfile.TemporaryDirectory(prefix="kfr-ui-") as folder, told_in(options.running):
        try:
            env_file = options.running.with_suffix(".env")
            with installation(Path(folder), options.relationships, options.port, env_file) as (
                airflow,
                guide,
            ):
                print(guide, flush=True)
                while True:
                    airflow.check()
                    time.sleep(1)
        except KeyboardInterrupt:
            print("\nEnded.", flush=True)


if __name__ == "__main__":
    main()
