from copy import copy
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import ParamValidationError

from kfr.onboarding.institution import Institution
from kfr.operators.params import FIRST_LOAD_PARAMS, PERIODIC_PARAMS, RECONCILE_PARAMS, params_of
from kfr.register.errors import ConfigurationError

INSTITUTION = Institution(
    key="default",
    path=Path("institution.yaml"),
    include=Path(),
    kfr_conn_id="kfr_default",
    warehouse_conn_id="kfr_warehouse",
)
ALL = {**FIRST_LOAD_PARAMS, **PERIODIC_PARAMS, **RECONCILE_PARAMS}


def resolve(name: str, *value: Any) -> Any:
    """By a copy, as a Dag has one: a Param keeps the value, and every other test would find it there."""
    return copy(ALL[name]).resolve(*value)


@pytest.mark.parametrize("name", ALL)
def test_every_param_has_a_right_default_and_explains_itself(name: str):
    resolve(name)
    assert ALL[name].schema["title"]


@pytest.mark.parametrize(
    "reason",
    [
        "312345676",
        "customer 17912345678 left",
        "17912345678901",
        "a\n123456789",
        "018190 12345 asked",
        "of 018190-12345",
        "018190.12345",
        "018190\N{NO-BREAK SPACE}12345",
        "018190 123 45",
        "born 01.81.90, 01.81.90 12345",
        "01 81 90 123 45",
        "for 987 654 321 MVA",
        "987-654-321",
        "987.654.321",
        "987\N{NO-BREAK SPACE}654\N{NO-BREAK SPACE}321",
    ],
)
def test_a_reason_with_an_identity_number_is_refused(reason: str):
    with pytest.raises(ParamValidationError):
        resolve("reason", reason)


@pytest.mark.parametrize(
    "reason",
    [
        "",
        "case 12345678",
        "two\nlines, 1234 and 5678",
        "as of 2026-11-27 04:00:11, agreed on 27.11.2026",
        "INC-1234567, and 20261127-12345",
        "call 22 33 44 55 or 987 65 432",
        "from 26.11.26 12:30 to 2026-11-27 12345 were sent, 11-27 12345 then",
        "1 234 567 of 900 000 customers, 12.5 %",
    ],
)
def test_a_reason_in_plain_words_is_taken(reason: str):
    assert resolve("reason", reason) == reason


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("approval", "sometimes"), ("as_of", "yesterday"), ("dry_run", "no"), ("scope", "some")],
)
def test_what_a_param_does_not_know_is_refused(name: str, wrong: str):
    with pytest.raises(ParamValidationError):
        resolve(name, wrong)


@pytest.mark.parametrize(("setting", "default"), [(None, None), ("everyone", None), ("interval", "interval")])
def test_whom_the_periodic_load_reads_is_what_the_installation_sets(monkeypatch, setting, default):
    """For everyone it stays empty, so that a backfill is about its own days."""
    if setting:
        monkeypatch.setenv("AIRFLOW__KFR__PERIODIC_SCOPE", setting)
    params = params_of(INSTITUTION, PERIODIC_PARAMS)
    assert params["scope"].resolve() == default
    assert params["scope"].schema == PERIODIC_PARAMS["scope"].schema
    assert params["scope"].resolve("everyone") == "everyone"
    assert "scope" not in params_of(INSTITUTION, RECONCILE_PARAMS)


def test_a_scope_that_is_none_is_told_with_what_it_may_be(monkeypatch):
    monkeypatch.setenv("AIRFLOW__KFR__PERIODIC_SCOPE", "changed")
    with pytest.raises(
        ConfigurationError, match="periodic_scope is 'changed': set it to everyone or interval"
    ):
        params_of(INSTITUTION, PERIODIC_PARAMS)
    assert params_of(INSTITUTION, RECONCILE_PARAMS)  # the other Dags go on
