import json
from datetime import UTC, datetime

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kfr.register.answers import Call, explain, failed, read_code, read_found
from kfr.register.errors import (
    AccessRefused,
    ConfigurationError,
    Fatal,
    InvalidDate,
    InvalidIdentifier,
    InvalidRequest,
    KfrError,
    NotRegistered,
    OutcomeUnknown,
    Retriable,
)

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
FID = "312345676"
WRITES = ("register_one", "remove_one", "send_file")
OPERATIONS = (*WRITES, "look_up")


def call(operation):
    method = {"look_up": "GET", "remove_one": "DELETE"}.get(operation, "POST")
    return Call(
        operation=operation,
        method=method,
        path="/x",
        correlation_id="the-correlation-id",
        headers={"CustomerID": "01010112345"},
        content=[b"01010112345"],
    )


def error(operation, status, code=None, *, body=None, headers=None):
    if code:
        body = {
            "errorCode": code,
            "errorMessage": "refused: 01010112345",
            "timestamp": "2026-11-23T09:00:00Z",
        }
    content = {"json": body} if body is not None else {"text": "<html>no</html>"}
    return explain(call(operation), httpx.Response(status, headers=headers, **content), NOW)


def found(status=200, body=None, *, text=None):
    response = httpx.Response(status, json=body) if text is None else httpx.Response(status, text=text)
    return read_found(call("look_up"), response, FID, NOW)


# The codes of the contract


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (401, "KFR-001", AccessRefused),
        (403, "KFR-002", AccessRefused),
        (403, "KFR-003", AccessRefused),
        (400, "KFR-004", InvalidRequest),
        (400, "KFR-005", InvalidIdentifier),
        (400, "KFR-009", InvalidRequest),
    ],
)
@pytest.mark.parametrize("operation", WRITES)
def test_a_code_of_a_write_becomes_its_error(operation, status, code, kind):
    caught = error(operation, status, code)
    assert type(caught) is kind
    assert (caught.status, caught.code, caught.operation) == (status, code, operation)


def test_a_bad_date_in_a_file_is_told_from_a_bad_identifier():
    assert type(error("send_file", 400, "KFR-010")) is InvalidDate


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "ERR-002", InvalidIdentifier),
        (400, "ERR-003", InvalidDate),
        (401, "ERR-001", AccessRefused),
        (403, "ERR-001", AccessRefused),
    ],
)
def test_a_code_of_a_look_up_becomes_its_error(status, code, kind):
    assert type(error("look_up", status, code)) is kind


def test_only_404_with_kfr_008_means_that_there_is_nothing_to_remove():
    assert type(error("remove_one", 404, "KFR-008")) is NotRegistered
    assert type(error("remove_one", 404)) is ConfigurationError
    assert type(error("remove_one", 404, "KFR-999")) is InvalidRequest
    assert type(error("remove_one", 400, "KFR-008")) is InvalidRequest
    assert type(error("remove_one", 500, "KFR-008")) is OutcomeUnknown


def test_the_code_is_read_before_a_403_of_a_file_is_called_an_access_problem():
    assert type(error("send_file", 403, "KFR-005")) is InvalidIdentifier
    assert type(error("send_file", 403, "KFR-002")) is AccessRefused
    without = error("send_file", 403)
    assert type(without) is Fatal
    assert "malformed multipart boundary or a gateway" in str(without)


# What is not documented


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408, 202, 205])
def test_a_write_without_a_clear_answer_may_have_been_done_and_a_look_up_may_be_sent_again(status):
    for operation in WRITES:
        assert type(error(operation, status)) is OutcomeUnknown
    assert type(error("look_up", status)) is Retriable


def test_an_internal_error_leaves_a_write_open_whatever_its_status():
    for status in (400, 500):
        assert type(error("send_file", status, "KFR-007")) is OutcomeUnknown
        assert type(error("look_up", status, "KFR-007")) is Retriable


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("status", [409, 429])
def test_a_call_that_was_put_off_was_not_done(operation, status):
    assert type(error(operation, status)) is Retriable


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (301, ConfigurationError),
        (307, ConfigurationError),
        (400, InvalidRequest),
        (401, AccessRefused),
        (404, ConfigurationError),
        (405, InvalidRequest),
        (413, InvalidRequest),
        (415, InvalidRequest),
        (418, InvalidRequest),
    ],
)
def test_a_refusal_without_a_code_is_judged_by_its_status(operation, status, kind):
    assert type(error(operation, status)) is kind


@pytest.mark.parametrize("operation", ["register_one", "remove_one", "look_up"])
def test_a_403_without_a_code_points_to_the_way_as_well(operation):
    assert "firewall" in str(error(operation, 403))


@pytest.mark.parametrize("status", [429, 503, 409])
@pytest.mark.parametrize(("text", "seconds"), [("30", 30), ("Mon, 23 Nov 2026 09:01:00 GMT", 60)])
def test_the_wait_that_was_asked_for_is_passed_on(status, text, seconds):
    assert error("send_file", status, headers={"Retry-After": text}).retry_after == seconds


@pytest.mark.parametrize(
    "body",
    [
        [],
        5,
        "KFR-005",
        None,
        {},
        {"errorCode": 5},
        {"errorCode": "KFR-5"},
        {"errorCode": "KFR-005 01010112345"},
    ],
)
def test_a_code_of_another_form_is_no_code(body):
    assert read_code(httpx.Response(400, json=body)) is None


@given(st.integers(200, 599), st.binary(max_size=60), st.sampled_from(OPERATIONS))
def test_no_answer_whatsoever_breaks_the_reading(status, content, operation):
    caught = explain(call(operation), httpx.Response(status, content=content), NOW)
    assert isinstance(caught, KfrError)
    assert caught.correlation_id == "the-correlation-id"


# No answer


@pytest.mark.parametrize("failure", [httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_what_never_left_may_be_sent_again(operation, failure):
    assert type(failed(call(operation), failure("x"))) is Retriable


@pytest.mark.parametrize(
    "failure",
    [httpx.ReadTimeout, httpx.WriteTimeout, httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError],
)
def test_a_write_that_left_may_have_been_done_and_a_look_up_changes_nothing(failure):
    for operation in WRITES:
        caught = failed(call(operation), failure("x"))
        assert type(caught) is OutcomeUnknown
        assert (caught.operation, caught.correlation_id) == (operation, "the-correlation-id")
    assert type(failed(call("look_up"), failure("x"))) is Retriable


# Found


def bank(number, **more):
    return {"organizationID": number, "bankName": "Eksempelbanken", "activeAccount": False, **more}


@pytest.mark.parametrize("active", [True, False, None])
def test_found_means_our_own_number_whatever_the_account_says(active):
    assert found(body={"banks": [bank("212345679"), bank(FID, activeAccount=active)]}) is True


def test_a_number_without_quotes_is_our_number_too():
    assert found(body={"banks": [{"organizationID": int(FID)}]}) is True


@pytest.mark.parametrize(
    "body", [{"banks": []}, {"banks": None}, {}, {"banks": [bank("212345679", activeAccount=True)]}]
)
def test_a_well_formed_answer_without_us_is_not_found(body):
    assert found(body=body) is False


@pytest.mark.parametrize("code", ["KFR-008", "ERR-002", "ERR-404"])
def test_a_404_with_a_code_is_not_found(code):
    assert found(404, {"errorCode": code}) is False


@pytest.mark.parametrize("text", ["", "<html>not found</html>", "{}", '{"errorCode": "no"}'])
def test_a_404_of_a_gateway_is_never_not_found(text):
    with pytest.raises(ConfigurationError):
        found(404, text=text)


@pytest.mark.parametrize(
    "text",
    ["", "<html>", "[]", "null", '{"banks": ', '{"banks": ""}', '{"banks": 0}', '{"banks": {}}', '{"banks": ["x"]}', '{"banks": [{}]}', '{"banks": [{"organizationID": null}]}', '{"errorCode": "KFR-007"}', "[" * 100_000],
)  # fmt: skip
def test_a_200_that_is_not_well_formed_is_never_not_found(text):
    with pytest.raises(Retriable):
        found(200, text=text)


@pytest.mark.parametrize("status", [201, 204, 206])
def test_another_success_is_never_an_answer(status):
    with pytest.raises(Retriable):
        found(status, {"banks": []})


# What must not be seen


@given(
    st.integers(200, 599),
    st.sampled_from(OPERATIONS),
    st.sampled_from(["KFR-005", "KFR-008", "ERR-002", "?"]),
)
def test_no_error_repeats_the_identifier_that_a_refusal_quotes(status, operation, code):
    caught = error(operation, status, code)
    assert "01010112345" not in str(caught) + repr(caught) + json.dumps(vars(caught))


def test_a_call_that_is_printed_shows_no_identifier():
    assert "01010112345" not in repr(call("register_one"))
