"""A project of Dags as Airflow reads them, for tests that need another than the one of `conftest.py`."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests import environment
from tests.dags.bank import Bank, open_bank


def read_dags(folder: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Read a folder of Dags without retries, and make them known to the metadata database."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db
    from airflow.utils.session import create_session

    for name in ("retries", "arrivals_seconds", "lease_seconds"):
        patch.setenv(f"AIRFLOW__KFR__{name.upper()}", "0")
    bag = BundleDagBag(dag_folder=folder, bundle_path=folder, bundle_name="dags-folder")
    assert not bag.import_errors
    with create_session() as session:
        DagBundlesManager().sync_bundles_to_db(session=session)
    sync_bag_to_db(bag, "dags-folder", None)
    environment.create_pools()
    return dict(bag.dags)


def scheduled(dag: Any) -> Any:
    """A Dag as the scheduler knows it, from the metadata database."""
    from airflow.models.dagbag import DBDagBag
    from airflow.utils.session import create_session

    with create_session() as session:
        return DBDagBag().get_latest_version_of_dag(dag.dag_id, session=session)


def bank_of(dag: Any, folder: Path, patch: pytest.MonkeyPatch) -> AbstractContextManager[Bank]:
    """A bank whose runs are this Dag's."""
    return open_bank(dag, scheduled(dag), folder, patch)
