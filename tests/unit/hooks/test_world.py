from datetime import UTC, date, datetime

import pytest

from kfr.hooks.world import run_of, world_of
from kfr.load.deliveries import BITS
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


MIDNIGHTS = (datetime(2026, 3, 1, 23, tzinfo=UTC), datetime(2026, 3, 2, 23, tzinfo=UTC))  # of Oslo
DAYS = (date(2026, 3, 2), date(2026, 3, 3))


def run_of_type(stand: Stand, run_type: str, interval=MIDNIGHTS, **params: object):
    context = stand.context(**params)
    context["dag_run"].run_type = run_type
    context["dag_run"].data_interval_start, context["dag_run"].data_interval_end = interval
    return run_of(context)


def test_a_scheduled_run_is_about_everyone_and_trusts_the_mirror(stand):
    run = run_of_type(stand, "scheduled")
    assert (run.scope, run.compare_with, run.interval) == ("everyone", "mirror", None)


def test_a_backfill_is_about_its_interval_and_asks_the_register(stand):
    run = run_of_type(stand, "backfill")
    assert (run.scope, run.compare_with, run.interval) == ("interval", "register", DAYS)


def test_a_scheduled_run_of_intervals_begins_at_the_watermark_and_not_at_its_own(stand):
    """Days on which no load was proven would fall out between two intervals."""
    run = run_of_type(stand, "scheduled", scope="interval")
    assert (run.scope, run.compare_with, run.interval) == ("interval", "mirror", None)


def test_a_manual_run_of_an_interval_is_about_the_interval_that_it_has(stand):
    assert run_of_type(stand, "manual", scope="interval").interval == DAYS


@pytest.mark.parametrize("run_type", ["manual", "asset_triggered"])
def test_a_run_without_an_interval_begins_at_the_watermark(stand, run_type):
    """Triggered over REST without a logical date, or by an asset."""
    run = run_of_type(stand, run_type, (None, None), scope="interval")
    assert (run.scope, run.interval) == ("interval", None)
    assert run_of_type(stand, run_type, (None, None)).scope == "everyone"


def test_a_person_may_ask_a_backfill_otherwise(stand):
    run = run_of_type(stand, "backfill", scope="everyone", compare_with="mirror")
    assert (run.scope, run.compare_with, run.interval) == ("everyone", "mirror", None)


def test_the_days_of_an_interval_are_those_of_oslo(stand):
    """04:00 in Norway, in summer: two days, although it is the evening before in many places."""
    interval = (datetime(2026, 7, 1, 2, tzinfo=UTC), datetime(2026, 7, 2, 2, tzinfo=UTC))
    assert run_of_type(stand, "backfill", interval).interval == (date(2026, 7, 1), date(2026, 7, 2))
    late = (datetime(2026, 7, 1, 22, 30, tzinfo=UTC), datetime(2026, 7, 2, 22, 30, tzinfo=UTC))
    assert run_of_type(stand, "backfill", late).interval == (date(2026, 7, 2), date(2026, 7, 3))
