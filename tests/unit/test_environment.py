"""The environment of demo, UI and system tests is one that the package accepts."""

import json
from pathlib import Path

import httpx
import pytest

from kfr.register.settings import Settings
from tests import environment as world


@pytest.fixture(scope="module")
def stand(tmp_path_factory):
    with world.simulator(tmp_path_factory.mktemp("stand"), rows_per_second=5000, max_seconds=60) as running:
        yield running


def made(stand, **more) -> dict[str, str]:
    return world.environment(stand=stand, warehouse=world.duckdb_warehouse(Path("w.duckdb")), **more)


def test_the_connection_to_the_register_is_one_that_the_package_accepts(stand, tmp_path):
    connection = json.loads(made(stand, staging=tmp_path)["AIRFLOW_CONN_KFR_DEFAULT"])
    assert connection["conn_type"] == "kfr"
    settings = Settings.from_fields(
        host=connection["host"],
        login=connection["login"],
        password=connection["password"],
        extra=connection["extra"],
    )
    assert settings.environment == "test"
    assert (settings.base_url, settings.rows_per_second) == (stand.base_url, 5000)


def test_the_simulator_answers_at_the_stand_and_ends_with_it(tmp_path):
    with world.simulator(tmp_path, rows_per_second=250, max_seconds=60) as stand:
        status = httpx.get(f"{stand.url}/simulator/", trust_env=False).json()
        assert (status["fid"], status["base_url"]) == (stand.fid, stand.base_url)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{stand.url}/simulator/", trust_env=False)


def test_mail_goes_to_nobody_real_and_every_secret_field_is_masked(stand, tmp_path):
    found = made(stand, staging=tmp_path)
    assert found["AIRFLOW_VAR_KFR_MAIL_TO"].endswith(".example")
    assert found["AIRFLOW_VAR_KFR_ONCALL_MAIL"].endswith(".example")
    assert found["AIRFLOW_VAR_KFR_STAGING"] == tmp_path.as_uri()
    assert set(found["AIRFLOW__CORE__SENSITIVE_VAR_CONN_NAMES"].split(",")) == {"keystore", "staging_key"}


def test_fields_and_options_reach_the_connection_and_the_section_kfr(stand, tmp_path):
    found = made(stand, staging=tmp_path, fields={"sample_size": 50}, options={"max_batch_bytes": 100_000})
    assert json.loads(found["AIRFLOW_CONN_KFR_DEFAULT"])["extra"]["sample_size"] == 50
    assert found["AIRFLOW__KFR__MAX_BATCH_BYTES"] == "100000"


def test_the_keystore_password_is_in_no_representation_of_the_stand(stand):
    assert stand.keystore_password
    assert stand.keystore_password not in repr(stand)


def test_a_database_uri_becomes_a_connection_with_the_password_as_it_was():
    made = world.adbc_warehouse("postgresql://user:p%40ss@127.0.0.1:5433/warehouse")
    assert (made["conn_type"], made["login"], made["password"]) == ("adbc", "user", "p@ss")
    assert (made["host"], made["port"], made["schema"]) == ("127.0.0.1", 5433, "warehouse")
