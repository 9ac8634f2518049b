"""`make ui`: Airflow in the browser, with warehouse, simulator and mails in place, until Ctrl-C."""

import argparse
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from kfr.clock import SystemClock, oslo_today
from tests import environment, postgres
from tests.system.airflow_processes import USER, RealAirflow
from tests.warehouse.generator import generate
from tests.warehouse.loading import into_postgres

RELATIONSHIPS = 20_000
ROWS_PER_SECOND = 500  # twice the real register's rate: fast enough to watch, slow enough to see
SEED = 1
PORT = 8080
LIFETIME_SECONDS = 12 * 3600.0
OPTIONS = {  # of Airflow's section [kfr]: what waits minutes on a real load waits seconds here
    "max_batch_bytes": 150_000,  # three files
    "lease_seconds": 10,
    "arrivals_seconds": 15,
    "retry_seconds": 10,
}

GUIDE = """
Airflow is ready: {url}   user {user}   password {password}

  1. Admin > Connections > kfr_default: the form; its button Test gets a token and reaches the register.
  2. Dags > "KFR: first load (D-3, D-4)": switch it on, then Trigger. Tick `dry_run` for the first time: it plans
     and forecasts and sends nothing. Trigger again without it and watch the files being sent, proven and verified.
  3. A task's Logs say what it does; the XCom tab has counts and labels, never a customer's number.
  4. The stand-in of the register:  {simulator}/simulator/log    what was asked and answered, in order
                                    {simulator}/simulator/state  what it holds
                                    {simulator}/simulator/mails  the mails, D-4 among them
  5. The warehouse is yours to change while a load runs (all of it is synthetic):
     psql {warehouse}

Ctrl-C ends everything. Airflow's own logs until then: {logs}
"""


@contextmanager
def installation(folder: Path, relationships: int, port: int) -> Iterator[tuple[RealAirflow, str]]:
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
        with RealAirflow(
            home=folder / "airflow",
            dags=environment.ROOT / "dags",
            plugins=environment.ROOT / "plugins",
            database=server.create_database("airflow"),
            env=found,
            pools=environment.POOLS,
            port=port,
            lifetime=LIFETIME_SECONDS,
        ) as airflow:
            yield (
                airflow,
                GUIDE.format(
                    url=airflow.url,
                    user=USER,
                    password=airflow.password,
                    simulator=stand.url,
                    warehouse=warehouse,
                    logs=airflow.home,
                ),
            )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.system.ui", description=__doc__)
    parser.add_argument("--relationships", type=int, default=RELATIONSHIPS, help="in the warehouse")
    parser.add_argument("--port", type=int, default=PORT, help="of Airflow; 0 takes a free one")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    print("Starting PostgreSQL, the simulator and Airflow: about a minute.", flush=True)
    with tempfile.TemporaryDirectory(prefix="kfr-ui-") as folder:
        try:
            with installation(Path(folder), options.relationships, options.port) as (airflow, guide):
                print(guide, flush=True)
                while True:
                    airflow.check()
                    time.sleep(1)
        except KeyboardInterrupt:
            print("\nEnded.", flush=True)


if __name__ == "__main__":
    main()
