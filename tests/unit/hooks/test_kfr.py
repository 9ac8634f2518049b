import json
from pathlib import Path

import pytest

from kfr.hooks.kfr import KfrHook, NoConnection, staging_root, staging_url
from kfr.load.sealing import Seal
from kfr.load.staging import Place, StateMissing
from tests.simulator import Fault, FaultKind
from tests.unit.stand import Stand


def change(monkeypatch: pytest.MonkeyPatch, **fields: object) -> None:
    """Write the connection anew with other fields."""
    import os

    stored = json.loads(os.environ["AIRFLOW_CONN_KFR_DEFAULT"])
    stored["extra"] |= fields
    monkeypatch.setenv("AIRFLOW_CONN_KFR_DEFAULT", json.dumps(stored))


def test_a_connection_is_tested_by_certificate_token_and_a_look_up_of_the_institution_itself(stand: Stand):
    works, said = KfrHook().test_connection()
    assert works
    assert "Certificate: organisation 312345676, 7" in said
    assert (
        " days left, for test; Token: given, scope bits:kundeforhold.write; Register: http://127.0.0.1"
        in said
    )
    assert "\n" not in said
    assert [e.operation for e in stand.simulator.log] == ["token", "token", "look_up"]
    assert stand.simulator.log[-1].customer_id == int(stand.simulator.fid)


def test_a_test_that_fails_says_why(stand: Stand):
    stand.simulator.faults.add(
        Fault(kind=FaultKind.MASKINPORTEN_ERROR, operation="token", nth=1, code="MP-100")
    )
    works, why = KfrHook().test_connection()
    assert not works
    assert "MP-100" in why
    assert "Certificate: organisation" in why
    assert why.endswith("Register: not tried.")


def test_a_connection_that_is_not_there_is_named_with_the_remedy():
    with pytest.raises(NoConnection, match=r"no connection kfr_nowhere.*with the type kfr"):
        _ = KfrHook("kfr_nowhere").settings


@pytest.mark.parametrize("field", ["environment", "fid", "keystore", "staging_key"])
def test_a_field_that_is_missing_is_named(field: str, stand: Stand, monkeypatch: pytest.MonkeyPatch):
    change(monkeypatch, **{field: None})
    works, why = KfrHook().test_connection()
    assert not works
    assert field in why


def test_a_wrong_keystore_password_is_called_that(stand: Stand, monkeypatch: pytest.MonkeyPatch):
    import os

    stored = json.loads(os.environ["AIRFLOW_CONN_KFR_DEFAULT"]) | {"password": "wrong"}
    monkeypatch.setenv("AIRFLOW_CONN_KFR_DEFAULT", json.dumps(stored))
    works, why = KfrHook().test_connection()
    assert not works
    assert "password" in why.lower()


def test_a_task_that_shares_the_register_keeps_to_its_share_of_the_rate(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
):
    change(monkeypatch, requests_per_second=10)
    with KfrHook(share=0.5).get_conn() as client:
        began = stand.clock.monotonic()
        for _ in range(11):
            client.look_up(int(stand.simulator.fid), stand.today, stand.today)
    assert stand.clock.monotonic() - began == pytest.approx(2.0, abs=0.3)


def test_staging_is_under_airflow_home_unless_the_variable_says_otherwise(
    stand: Stand, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    assert staging_url() == (tmp_path / "staging").as_uri()
    monkeypatch.delenv("AIRFLOW_VAR_KFR_STAGING")
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path / "home"))
    assert staging_url() == (tmp_path / "home" / "kfr-staging").as_uri()


def test_a_local_folder_is_written_by_rename_and_anything_else_as_objects(tmp_path: Path):
    assert staging_root(tmp_path.as_uri()) == tmp_path
    assert isinstance(staging_root(tmp_path.as_uri()), Path)
    place = Place(staging_root("memory://kfr/staging"), Seal(bytes(32)), "test/312345676/state")
    place.write("sends/one", b"sealed")
    assert place.read("sends/one") == b"sealed"
    assert place.names("sends") == ["sends/one"]
    with pytest.raises(StateMissing):
        place.read("sends/two")
    assert place.remove_all() == 1
    assert not place.exists("sends/one")
