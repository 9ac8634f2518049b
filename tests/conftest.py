"""What every test stands on: an Airflow of its own in a temporary folder, and databases for those that ask.

Nothing is started or created unless a test asks for it: a test without Airflow does not even import it.
"""

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import postgres

ROOT = Path(__file__).parents[1]


def _isolate_airflow() -> None:
    """Point Airflow to a folder of this run, before anything imports it: it reads its settings only then.

    What the developer has set for Airflow does not count here, least of all connections.
    """
    for name in [name for name in os.environ if name.startswith(("AIRFLOW_", "_AIRFLOW_"))]:
        del os.environ[name]
    home = tempfile.mkdtemp(prefix="kfr-airflow-")
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    os.environ |= {
        "AIRFLOW_HOME": home,
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW__LOGGING__COLORED_CONSOLE_LOG": "False",
    }


_isolate_airflow()


@pytest.fixture(scope="session")
def airflow_db() -> None:
    """Give Airflow its metadata database, empty (about two seconds)."""
    from airflow.utils.db import initdb

    initdb()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[postgres.Server]:
    """Start a real PostgreSQL for the session (about a second); make a database of your own in it."""
    with postgres.running() as server:
        yield server
