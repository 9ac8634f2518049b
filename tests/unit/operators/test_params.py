from copy import copy
from typing import Any

import pytest
from airflow.sdk.exceptions import ParamValidationError

from kfr.operators.params import FIRST_LOAD_PARAMS, PERIODIC_PARAMS, RECONCILE_PARAMS

ALL = {**FIRST_LOAD_PARAMS, **PERIODIC_PARAMS, **RECONCILE_PARAMS}


def resolve(name: str, *value: Any) -> Any:
    """By a copy, as a Dag has one: a Param keeps the value, and every other test would find it there."""
    return copy(ALL[name]).resolve(*value)


@pytest.mark.parametrize("name", ALL)
def test_every_param_has_a_right_default_and_explains_itself(name: str):
    resolve(name)
    assert ALL[name].schema["title"]


@pytest.mark.parametrize(
    "reason", ["312345676", "customer 17912345678 left", "17912345678901", "a\n123456789"]
)
def test_a_reason_with_an_identity_number_is_refused(reason: str):
    with pytest.raises(ParamValidationError):
        resolve("reason", reason)


@pytest.mark.parametrize("reason", ["", "case 12345678", "two\nlines, 1234 and 5678"])
def test_a_reason_in_plain_words_is_taken(reason: str):
    assert resolve("reason", reason) == reason


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("approval", "sometimes"), ("as_of", "yesterday"), ("dry_run", "no"), ("scope", "some")],
)
def test_what_a_param_does_not_know_is_refused(name: str, wrong: str):
    with pytest.raises(ParamValidationError):
        resolve(name, wrong)
