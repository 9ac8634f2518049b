"""A first load, from an empty folder to the proof: `python -m tests.demo`, or `make demo`.

Starts PostgreSQL (Airflow's own database), a simulated register with Maskinporten and a mail server, and
Airflow's four processes, all on loopback and in a temporary folder; ends them all, also on Ctrl-C.

Real processes and not `dag.test()`: that one runs branches one after another and waits in line for triggers,
so nobody could arrive while a file is loading.
"""

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from kfr.clock import OSLO, SystemClock, oslo_date, oslo_today
from tests import environment, postgres
from tests.demo import closing, equality
from tests.demo.register import Register
from tests.demo.warehouse import Warehouse, day_of_changes
from tests.demo.watch import DAG, Story, Watch
from tests.system.airflow_processes import SHORTEST_RESCHEDULE_SECONDS, RealAirflow
from tests.warehouse.generator import generate

RELATIONSHIPS = 250_000  # more than the 100,000 a day of which Bits wants to be told first
FEWEST = 5_000  # of fewer, those who leave would be more than the 2 % that a guard lets go
FILE_BYTES_A_RELATIONSHIP = 4  # makes six files, however many relationships there are
SEED = 1
REAL_ROWS_PER_SECOND = 250
TIMES_AS_FAST = 100
ROWS_PER_SECOND = REAL_ROWS_PER_SECOND * TIMES_AS_FAST
FIELDS = {  # of the connection to the register
    "sample_size": 1000,  # 2,995 by default, which would take a minute more: every look-up is a real request
    "requests_per_second": 3000,
}
OPTIONS = {  # of Airflow's section [kfr]: what waits minutes on a real load waits seconds here
    "lease_seconds": SHORTEST_RESCHEDULE_SECONDS,
    "arrivals_seconds": SHORTEST_RESCHEDULE_SECONDS,
    "retry_seconds": 5,
}
LONGEST_RUN = timedelta(minutes=5)  # none across midnight: a new day would change who is a customer
INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Phases:
    """How long each phase of the demo took, in seconds."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - began


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """What is running while the demo plays."""

    airflow: RealAirflow
    register: Register
    env: Mapping[str, str]
    staging: Path


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    with tempfile.TemporaryDirectory(prefix="kfr-demo-") as folder:
        try:
            _wait_for_a_whole_day()
            return play(Path(folder), options)
        except KeyboardInterrupt:
            print("\nInterrupted; everything that was started is ended.")
            return INTERRUPTED


def play(folder: Path, options: argparse.Namespace) -> int:
    """Play the demo and return the exit status: 0 when it showed what it was asked to show."""
    today, story, phases = oslo_today(SystemClock()), Story(), Phases()
    story.tell("(demo)", opening(options.relationships))
    with phases.phase("building the warehouse"):
        generated = generate(options.relationships, SEED, today)
        warehouse = Warehouse(folder / "warehouse.duckdb", generated)
        waves = day_of_changes(generated, today)
    with installation(folder, warehouse, options.max_batch_bytes, phases) as running:
        airflow, register = running.airflow, running.register
        story.tell("(demo)", f"Everything is up. Triggering {DAG}.")
        watch = Watch(airflow=airflow, register=register, warehouse=warehouse, waves=waves, story=story)
        with phases.phase("the load"):
            run_id = airflow.api.trigger(DAG)
            state = watch.follow(run_id)
        story.tell("(demo)", f"The run has ended: {state}.")
        if state != "success":
            return 1
        mails = register.mails()
        report = closing.read_report(running.env, running.staging, DAG, run_id)
        if options.defect:
            register.spoil()
        with phases.phase("comparing"):
            register.save_state(folder / "state.csv")
            found = equality.compare(warehouse.path, folder / "state.csv", today)
    closing.print_mails(mails)
    closing.print_times(watch.logs.spans, phases.seconds)
    sound = closing.print_report(report, register, generated.truth)
    closing.print_equality(found, defect=options.defect)
    return 0 if sound and bool(found["equal"]) is not options.defect else 1


def opening(relationships: int) -> str:
    return (
        f"Building a DuckDB warehouse of {relationships:,} relationships, and starting a real Airflow and a simulator "
        f"of register, Maskinporten and mail server. It loads {ROWS_PER_SECOND:,} rows a second, {TIMES_AS_FAST} times "
        f"as fast as the real one's {REAL_ROWS_PER_SECOND}, which would take "
        f"{relationships / REAL_ROWS_PER_SECOND / 60:.1f} minutes."
    )


@contextmanager
def installation(
    folder: Path,
    warehouse: Warehouse,
    max_batch_bytes: int,
    phases: Phases,
    rows_per_second: float = ROWS_PER_SECOND,
) -> Iterator[Installation]:
    """Run PostgreSQL, simulator and Airflow, the Dag unpaused; end them all."""
    staging = folder / "staging"
    with ExitStack() as running:
        with phases.phase("starting PostgreSQL, simulator and Airflow"):
            server = running.enter_context(postgres.running())
            stand = running.enter_context(
                environment.simulator(folder / "stand", rows_per_second=rows_per_second)
            )
            env = environment.environment(
                stand=stand,
                warehouse={**environment.duckdb_warehouse(warehouse.path), "extra": {"read_only": True}},
                staging=staging,
                fields=FIELDS,
                options={**OPTIONS, "max_batch_bytes": max_batch_bytes},
            )
            airflow = running.enter_context(
                RealAirflow(
                    home=folder / "airflow",
                    dags=environment.ROOT / "dags",
                    plugins=environment.ROOT / "plugins",
                    database=server.create_database("airflow"),
                    env=env,
                    pools=environment.POOLS,
                )
            )
            airflow.api.wait_for_dag(DAG)
            airflow.api.unpause(DAG)
            register = running.enter_context(Register(stand.url))
        yield Installation(airflow=airflow, register=register, env=env, staging=staging)
        with phases.phase("ending everything"):
            running.close()


def _wait_for_a_whole_day() -> None:
    """Wait for the new day when it is a few minutes away: it would change who is a customer."""
    now = SystemClock().now()
    if oslo_date(now) == oslo_date(now + LONGEST_RUN):
        return
    midnight = (now + LONGEST_RUN).astimezone(OSLO).replace(hour=0, minute=0, second=0, microsecond=0)
    print(
        "It is nearly midnight in Oslo. Waiting for the new day, which changes who is a customer.", flush=True
    )
    time.sleep((midnight - now).total_seconds() + 1)


def _interrupt(*_: object) -> None:
    """End the demo; a second Ctrl-C must not break off the ending of what was started."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.demo", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--relationships",
        "--rows",
        type=int,
        default=RELATIONSHIPS,
        help=f"in the warehouse, at least {FEWEST:,}",
    )
    parser.add_argument(
        "--max-batch-bytes", type=int, help="largest batch file; as delivered, six files are sent"
    )
    parser.add_argument(
        "--defect", action="store_true", help="spoil the register afterwards: the answer must be no"
    )
    options = parser.parse_args(arguments)
    if options.relationships < FEWEST:
        parser.error(f"at least {FEWEST:,} relationships")
    options.max_batch_bytes = options.max_batch_bytes or FILE_BYTES_A_RELATIONSHIP * options.relationships
    return options


if __name__ == "__main__":
    sys.exit(main())
