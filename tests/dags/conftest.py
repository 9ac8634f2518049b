"""One Airflow for all tests of Dags, and a new bank for each that asks."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import environment
from tests.conftest import ROOT

DAG_ID = "kfr_initial_load"
TASKS = (  # in the order in which they run; `test_structure` sees that none is missing
    "check_readiness",
    "acquire_register",
    "extract_relationships",
    "plan_changes",
    "approve_changes",
    "announce_volume",
    "upload_batch_file",
    "register_arrivals",
    "close_arrivals",
    "remove_ended",
    "verify_register",
    "send_confirmation",
    "record_mirror",
    "release_register",
    "remove_staged_files",
)
AIRFLOWS_OWN = ("ignore:GitWildMatchPattern", "ignore:Using `httpx` with `starlette.testclient`")  # warnings


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            for warning in AIRFLOWS_OWN:
                item.add_marker(pytest.mark.filterwarnings(warning))


@pytest.fixture(scope="session")
def dags(airflow_db: None) -> dict[str, Any]:
    """The Dags as Airflow reads them, without retries: a task that fails is seen to fail."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db
    from airflow.utils.session import create_session

    with pytest.MonkeyPatch.context() as patch:
        for name in ("retries", "arrivals_seconds", "lease_seconds", "compare_pause_seconds"):
            patch.setenv(f"AIRFLOW__KFR__{name.upper()}", "0")
        bag = BundleDagBag(dag_folder=ROOT / "dags", bundle_path=ROOT / "dags", bundle_name="dags-folder")
    with create_session() as session:
        DagBundlesManager().sync_bundles_to_db(session=session)
    sync_bag_to_db(bag, "dags-folder", None)
    return dict(bag.dags)


@pytest.fixture(scope="session")
def dag(dags: dict[str, Any]) -> Any:
    return dags[DAG_ID]


@pytest.fixture(scope="session")
def scheduler_dag(dag: Any) -> Any:
    """The Dag as the scheduler knows it."""
    from airflow.serialization.serialized_objects import DagSerialization

    return DagSerialization.deserialize_dag(DagSerialization.serialize_dag(dag))


@pytest.fixture
def bank(dag: Any, scheduler_dag: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    from tests.dags.bank import open_bank

    environment.create_pools()  # as they should be: a test may have spoilt them
    with open_bank(dag, scheduler_dag, tmp_path, monkeypatch) as bank:
        yield bank
