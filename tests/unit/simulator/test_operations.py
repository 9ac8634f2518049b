"""Each rule of the register's operations has a request that breaks it."""

import uuid
from datetime import UTC, datetime

import httpx
import pytest

from tests.simulator import VirtualClock
from tests.unit.simulator.caller import FID, MULTIPART, ORGANISATION, Caller, make_frame, make_simulator

OPERATIONS = ["register_one", "remove_one", "register_file", "look_up"]


def send(caller, operation, headers, institution=None, body=b""):
    """One request of an operation with given headers; the file's has a right body."""
    institution = institution or caller.institution
    if operation == "register_file":
        return caller.http.post(
            f"{institution}/batch", headers=headers | MULTIPART, content=make_frame(ORGANISATION.encode())
        )
    if operation == "look_up":
        return caller.http.get(f"{institution}/", headers=headers)
    method = "POST" if operation == "register_one" else "DELETE"
    return caller.http.request(
        method, f"{institution}/relationshipType/DSOPBANK", headers=headers, content=body
    )


def test_a_relationship_is_registered_found_and_removed(caller):
    assert [caller.register().status_code, caller.register().status_code] == [201, 200]
    assert caller.finds()
    assert caller.remove().status_code == 204
    assert not caller.finds()


def test_removing_what_is_not_there_gives_404_and_its_code(caller):
    answer = caller.remove()
    assert (answer.status_code, answer.json()["errorCode"]) == (404, "KFR-008")
    caller.register()
    assert [caller.remove().status_code, caller.remove().status_code] == [204, 404]


def test_the_bank_found_is_the_institution_and_its_account_never_active(caller):
    caller.register()
    (bank,) = caller.look_up().json()["banks"]
    assert (bank["organizationID"], bank["activeAccount"]) == (FID, False)


def test_an_error_has_code_message_and_timestamp(caller):
    body = caller.remove().json()
    assert set(body) == {"errorCode", "errorMessage", "timestamp"}
    assert datetime.fromisoformat(body["timestamp"]) == caller.simulator.clock.now()


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("authorization", [None, "Bearer", "Bearer unknown", "Basic abc", "bearer "])
def test_without_a_valid_token_nothing_is_done(caller, operation, authorization):
    answer = send(caller, operation, caller.headers(ORGANISATION, Authorization=authorization))
    code = "ERR-001" if operation == "look_up" else "KFR-001"
    assert (answer.status_code, answer.json()["errorCode"]) == (401, code)
    assert caller.simulator.relationships() == {}
    assert caller.simulator.pending_rows == 0


@pytest.mark.parametrize("operation", OPERATIONS)
def test_another_institutions_register_is_closed(caller, operation):
    institution = caller.institution.replace(FID, "298765438")
    answer = send(caller, operation, caller.headers(ORGANISATION), institution)
    code = "ERR-001" if operation == "look_up" else "KFR-003"
    assert (answer.status_code, answer.json()["errorCode"]) == (403, code)


@pytest.mark.parametrize("operation", ["register_one", "remove_one", "register_file"])
@pytest.mark.parametrize("correlation_id", [None, "", "1", str(uuid.UUID(int=1))[:-1], "g" * 32])
def test_a_write_needs_a_correlation_id_that_is_a_uuid(caller, operation, correlation_id):
    answer = send(caller, operation, caller.headers(ORGANISATION, CorrelationID=correlation_id))
    assert (answer.status_code, answer.json()["errorCode"]) == (400, "KFR-004")


def test_a_look_up_may_go_without_a_correlation_id_but_not_with_a_bad_one(caller):
    assert send(caller, "look_up", caller.headers(ORGANISATION, CorrelationID=None)).status_code == 200
    assert send(caller, "look_up", caller.headers(ORGANISATION, CorrelationID="1")).status_code == 400


@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_correlation_id_comes_back_and_stands_in_the_log(caller, operation):
    headers = caller.headers(ORGANISATION)
    answer = send(caller, operation, headers)
    assert answer.headers["CorrelationID"] == headers["CorrelationID"]
    assert caller.simulator.log[-1].correlation_id == headers["CorrelationID"]


@pytest.mark.parametrize("operation", ["register_one", "remove_one", "look_up"])
@pytest.mark.parametrize("customer_id", [None, "", "298765439", "2987654380", "29876543x"])
def test_a_customer_id_that_is_missing_or_wrong_is_refused(caller, operation, customer_id):
    answer = send(caller, operation, caller.headers(customer_id))
    missing = customer_id is None and operation != "look_up"
    code = "KFR-004" if missing else "ERR-002" if operation == "look_up" else "KFR-005"
    assert (answer.status_code, answer.json()["errorCode"]) == (400, code)


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_there_is_only_one_relationship_type(caller, method):
    url = f"{caller.institution}/relationshipType/BANK"
    answer = caller.http.request(method, url, headers=caller.headers(ORGANISATION))
    assert (answer.status_code, answer.json()["errorCode"]) == (400, "KFR-009")


def test_a_single_registration_has_no_body(caller):
    answer = send(caller, "register_one", caller.headers(ORGANISATION), body=b"{}")
    assert (answer.status_code, answer.json()["errorCode"]) == (400, "KFR-004")


def test_the_slash_belongs_to_the_look_up(caller):
    answer = caller.http.get(caller.institution, headers=caller.headers(ORGANISATION))
    assert answer.status_code == 404
    assert "errorCode" not in answer.text  # so that nobody takes it for "no relationship"


@pytest.mark.parametrize("path", ["", "/batch/", "/relationshipType/DSOPBANK/", "/relationshipType/"])
def test_other_paths_are_the_gateways_business(caller, path):
    url = f"{caller.institution}{path}" if path else f"{caller.simulator.base_url}/customers"
    answer = caller.http.post(url, headers=caller.headers(ORGANISATION))
    assert (answer.status_code, answer.headers["Content-Type"][:9]) == (404, "text/html")


@pytest.mark.parametrize(
    ("method", "path"),
    [("PUT", "/relationshipType/DSOPBANK"), ("GET", "/batch"), ("POST", "/"), ("DELETE", "/")],
)
def test_a_method_that_a_path_does_not_have_is_not_allowed(caller, method, path):
    answer = caller.http.request(method, f"{caller.institution}{path}", headers=caller.headers(ORGANISATION))
    assert answer.status_code == 405


def test_a_host_that_is_not_played_is_not_there(caller):
    with pytest.raises(httpx.ConnectError):
        caller.http.get("https://api.bits.no/kar-ws/api/v1/")


@pytest.mark.parametrize(
    "window",
    [
        {"fromDate": "2026-11-24", "toDate": "2026-11-23"},
        {"fromDate": "2026-11-24"},  # toDate is today, the 23rd
        {"fromDate": "23.11.2026"},
        {"toDate": "2026-02-30"},
        {"fromDate": "20261123"},
        {"fromDate": ""},
        {"fromDate": ["2026-11-01", "2026-11-02"]},
    ],
)
def test_a_period_that_is_none_is_refused(caller, window):
    headers = caller.headers(ORGANISATION)
    answer = caller.http.get(f"{caller.institution}/", headers=headers, params=window)
    assert (answer.status_code, answer.json()["errorCode"]) == (400, "ERR-003")


def test_a_look_up_asks_whether_the_periods_overlap(caller):
    caller.send(f"{ORGANISATION}#2020-05-10")
    caller.simulator.clock.sleep(10)
    windows = {
        ("2020-05-09", "2020-05-09"): False,
        ("2020-05-10", "2020-05-10"): True,
        ("2019-01-01", "2020-05-10"): True,
        ("2019-01-01", "2020-05-09"): False,
        ("2026-11-23", "2026-11-23"): True,
        ("2030-01-01", "2030-12-31"): True,
    }
    assert {window: caller.finds(ORGANISATION, *window) for window in windows} == windows


def test_today_is_the_day_in_oslo():
    clock = VirtualClock(datetime(2026, 11, 23, 22, 59, tzinfo=UTC))
    caller = Caller(make_simulator(clock=clock))
    clock.sleep(120)
    caller.register()
    assert caller.starts() == {ORGANISATION: "2026-11-24"}
    assert not caller.finds(ORGANISATION, "2026-11-23")


def test_the_log_keeps_the_order_and_what_was_refused(caller):
    caller.register()
    caller.register("298765439")
    caller.remove()
    caller.look_up()
    kinds = [(event.kind, event.operation, event.status) for event in caller.simulator.log]
    assert kinds == [
        ("token", "token", 200),
        ("register_one", "register_one", 201),
        ("refused", "register_one", 400),
        ("remove_one", "remove_one", 204),
        ("look_up", "look_up", 200),
    ]
    assert caller.simulator.log[-1].found is False
