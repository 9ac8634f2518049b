from datetime import timedelta

import pytest
from airflow.providers.standard.exceptions import HITLRejectException, HITLTimeoutError
from airflow.sdk import RetryAction

from kfr.operators.approval import KfrAnswerStandsPolicy
from kfr.operators.step import FILES_AT_ONCE, SHARE_WHILE_LOADING, KfrRetryPolicy, retrying
from kfr.register.errors import ConfigurationError, Fatal, InvalidIdentifier, OutcomeUnknown, Retriable

POLICY = KfrRetryPolicy(timedelta(seconds=60))


@pytest.mark.parametrize("error", [Fatal("x"), ConfigurationError("x"), InvalidIdentifier("x")])
def test_what_another_try_does_not_cure_fails_at_once(error: Exception):
    assert POLICY.evaluate(error, 1, 5).action is RetryAction.FAIL


@pytest.mark.parametrize("error", [Retriable("x"), OutcomeUnknown("x"), OSError("x")])
def test_what_another_try_may_cure_is_tried_as_airflow_does(error: Exception):
    assert POLICY.evaluate(error, 1, 5).action is RetryAction.DEFAULT


@pytest.mark.parametrize("answer", [HITLRejectException("no"), HITLTimeoutError("nobody")])
def test_an_answer_stands_and_what_keeps_a_question_from_being_asked_is_tried_again(answer: Exception):
    """Else a second without the state or the database would end a load of the night, and call somebody."""
    policy = KfrAnswerStandsPolicy(timedelta(seconds=60))
    assert policy.evaluate(answer, 1, 5).action is RetryAction.FAIL
    assert policy.evaluate(Fatal("the plan changed"), 1, 5).action is RetryAction.FAIL
    for error in (Retriable("x"), OSError("x")):
        assert policy.evaluate(error, 1, 5).action is RetryAction.DEFAULT


def test_an_error_that_says_when_to_ask_again_is_tried_then_and_not_earlier():
    decision = POLICY.evaluate(Retriable("x", retry_after=900), 1, 5)
    assert (decision.action, decision.retry_delay) == (RetryAction.RETRY, timedelta(seconds=900))
    sooner = POLICY.evaluate(Retriable("x", retry_after=100), 2, 5)  # the task itself waits 120 s by now
    assert sooner.action is RetryAction.DEFAULT


def test_an_installation_sets_how_often_and_how_soon_a_task_tries_again(monkeypatch: pytest.MonkeyPatch):
    assert retrying()["retries"] == 5
    monkeypatch.setenv("AIRFLOW__KFR__RETRIES", "2")
    monkeypatch.setenv("AIRFLOW__KFR__RETRY_SECONDS", "7")
    found = retrying()
    assert (found["retries"], found["retry_delay"]) == (2, timedelta(seconds=7))
    assert found["retry_policy"].delay == timedelta(seconds=7)


def test_all_who_look_up_while_files_load_stay_within_the_connection_s_rate_together():
    arrivals = 1
    assert (FILES_AT_ONCE + arrivals) * SHARE_WHILE_LOADING <= 1.0
