from datetime import UTC, date, datetime

import pytest

from kfr.hooks.world import run_of, world_of
from kfr.load.confirmation import BITS
from kfr.register.errors import ConfigurationError
from tests.unit.stand import SQL_FOLDER, Stand


def world(stand: Stand, **params: object):
    return world_of(stand.context(**params), sql_folder=SQL_FOLDER, say=lambda _: None)


def test_a_task_s_world_is_of_the_connections_and_variables(stand: Stand):
    stand.join("17912345678")
    with world(stand) as found:
        assert found.settings.fid == stand.simulator.fid
        assert found.mail_to == "dsop@bits.example"
        assert not found.look_up(int(stand.simulator.fid), stand.today, stand.today)
        found.state.write("probe", b"x")
        with found.warehouse.agreements(stand.today) as snapshot:
            assert snapshot.expected_rows == 1
    assert stand.staging.state.read("probe") == b"x"


def test_outside_production_nobody_is_mailed_whom_the_variable_does_not_name(stand, monkeypatch):
    monkeypatch.delenv("AIRFLOW_VAR_KFR_MAIL_TO")
    with pytest.raises(ConfigurationError, match=r"kfr_mail_to is not set.*Set it"), world(stand):
        pass


def test_in_production_bits_is_mailed_whatever_the_variable_says(stand):
    from kfr.hooks.world import mail_to

    assert mail_to("production") == BITS == "DSOP@bits.no"


def test_a_run_is_what_its_params_and_the_installation_ask_for(stand, monkeypatch):
    monkeypatch.setenv("AIRFLOW__KFR__MAX_BATCH_BYTES", "5000")
    monkeypatch.setenv("AIRFLOW__KFR__REMOVAL_PERCENT", "5")
    run = run_of(stand.context(as_of="2026-01-02", dry_run=True, approval="always", reason="why"))
    assert (run.dag_id, run.run_id) == ("kfr_initial_load", "manual__1")
    assert (run.as_of, run.dry_run, run.approval, run.reason) == (date(2026, 1, 2), True, "always", "why")
    assert (run.max_batch_bytes, run.loading_grace) == (5000, 3600)
    assert (run.limits.removal_share, run.limits.removals) == (0.05, 500)
    assert (run.scope, run.compare_with, run.interval) == ("everyone", "mirror", None)


def test_a_backfill_is_about_its_interval_and_asks_the_register(stand):
    context = stand.context()
    context["dag_run"].run_type = "backfill"
    context["dag_run"].data_interval_start = datetime(2026, 3, 1, 23, tzinfo=UTC)  # midnight in Oslo
    context["dag_run"].data_interval_end = datetime(2026, 3, 2, 23, tzinfo=UTC)
    run = run_of(context)
    assert (run.scope, run.compare_with) == ("interval", "register")
    assert run.interval == (date(2026, 3, 2), date(2026, 3, 3))
