import pickle
import subprocess
import sys

import pytest

from kfr.register import errors
from kfr.register.errors import (
    AccessRefused,
    CertificateError,
    ConfigurationError,
    Fatal,
    InvalidDate,
    InvalidIdentifier,
    InvalidRequest,
    MaskinportenRefused,
    NotRegistered,
    OutcomeUnknown,
    Refused,
    Retriable,
)

ANSWERS = (Fatal, Retriable, OutcomeUnknown, Refused)  # to the question: may it be sent again?


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (ConfigurationError, Fatal),
        (CertificateError, Fatal),
        (AccessRefused, Fatal),
        (MaskinportenRefused, Fatal),
        (Retriable, Retriable),
        (OutcomeUnknown, OutcomeUnknown),
        (InvalidIdentifier, Refused),
        (InvalidDate, Refused),
        (InvalidRequest, Refused),
        (NotRegistered, Refused),
    ],
)
def test_every_error_gives_exactly_one_answer_to_may_it_be_sent_again(error, answer):
    assert [kind for kind in ANSWERS if issubclass(error, kind)] == [answer]


def test_the_tree_in_the_docstring_names_every_error():
    kinds = {name for name, kind in vars(errors).items() if isinstance(kind, type)}
    assert kinds == {name for name in kinds if f" {name}" in errors.__doc__}


def test_a_message_carries_what_a_support_case_needs():
    error = Retriable("try again", operation="look_up", status=503, code="KFR-007", correlation_id="abc")
    assert str(error) == "try again (operation look_up, status 503, code KFR-007, CorrelationID abc)"


def test_a_message_without_facts_stands_alone():
    assert str(ConfigurationError("fid: is missing; give it")) == "fid: is missing; give it"


def test_an_error_reaches_another_process_whole():
    error = OutcomeUnknown(
        "x", operation="send_file", status=503, code="KFR-007", correlation_id="abc", retry_after=3.5
    )
    arrived = pickle.loads(pickle.dumps(error))
    assert type(arrived) is OutcomeUnknown
    assert vars(arrived) == vars(error)
    assert str(arrived) == str(error)


def test_importing_the_errors_costs_a_dag_file_nothing():
    heavy = {"httpx", "cryptography", "jwt", "numpy", "airflow"}
    script = f"import sys, kfr.register.errors; print(*(set(sys.modules) & {heavy}))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == []
