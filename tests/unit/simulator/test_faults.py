"""Every fault shows at the call that it is planned for, and faults stop."""

import asyncio
import itertools
from email.utils import parsedate_to_datetime

import httpx
import pytest

from tests.simulator import Fault, FaultKind, Switches
from tests.unit.simulator.caller import ORGANISATION, ORGANISATIONS, Caller, make_simulator

OPERATIONS = ["register_one", "remove_one", "register_file", "look_up"]


def call(caller, operation):
    """One call of an operation, as it should be."""
    calls = {
        "register_one": caller.register,
        "remove_one": caller.remove,
        "register_file": lambda: caller.send(ORGANISATION),
        "look_up": caller.look_up,
        "token": caller.ask_token,
    }
    return calls[operation]()


def plan(caller, kind, operation="look_up", nth=1, **fields):
    caller.token()  # so that no later call is one for a token
    caller.simulator.faults.add(Fault(kind=kind, operation=operation, nth=nth, **fields))


def held(caller):
    return set(caller.starts())


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 502, 503, 504])
def test_a_status_can_be_answered_in_the_works_place(caller, operation, status):
    caller.send(ORGANISATIONS[1])
    plan(caller, "status", operation, status=status)
    pending = caller.simulator.pending_rows
    assert call(caller, operation).status_code == status
    assert caller.simulator.pending_rows == pending
    assert caller.simulator.relationships() == {}
    event = caller.simulator.log[-1]
    assert (event.kind, event.operation, event.fault) == ("fault", operation, "status")
    assert call(caller, operation).status_code != status or operation == "remove_one"


def test_a_documented_status_has_its_code_and_a_gateways_has_none(caller):
    expected = {401: "KFR-001", 500: "KFR-007", 502: None, 503: None, 504: None, 429: None}
    for status, code in expected.items():
        plan(caller, "status", "register_one", status=status)
        assert caller.register().json().get("errorCode") == code


def test_401_is_answered_although_the_token_is_fine(caller):
    plan(caller, "status", status=401)
    assert [caller.look_up().status_code, caller.look_up().status_code] == [401, 200]


def test_work_can_be_done_although_the_gateway_gives_up(caller):
    plan(caller, "status_after_work", "register_one", status=504)
    assert caller.register().status_code == 504
    assert held(caller) == {ORGANISATION}


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_comes_in_seconds_or_as_a_date(caller, status):
    plan(caller, "status", status=status, retry_after=90)
    assert caller.look_up().headers["Retry-After"] == "90"
    plan(caller, "status", status=status, retry_after=90, retry_after_as_date=True)
    moment = parsedate_to_datetime(caller.look_up().headers["Retry-After"])
    assert (moment - caller.simulator.clock.now()).total_seconds() == 90


@pytest.mark.parametrize(
    ("body", "content_type", "starts"),
    [("html", "text/html", "<html>"), ("empty", "", ""), ("wrong_type", "text/plain", '{"banks"'), ("cut", "application/json", '{"banks"')],
)  # fmt: skip
def test_the_body_of_a_right_answer_can_be_spoilt(caller, body, content_type, starts):
    caller.register()
    whole = caller.look_up().text
    plan(caller, "body", body=body)
    answer = caller.look_up()
    assert answer.status_code == 200
    assert answer.headers.get("Content-Type", "").startswith(content_type)
    assert answer.text.startswith(starts)
    assert (answer.text == whole) is (body == "wrong_type")


@pytest.mark.parametrize(("body", "text"), [("html", "<html>"), ("empty", ""), ("cut", '{"err')])
def test_the_body_of_an_error_can_be_spoilt_as_well(caller, body, text):
    plan(caller, "status", "register_one", status=500, body=body)
    answer = caller.register()
    assert (answer.status_code, answer.text[: len(text) or 1]) == (500, text)


def test_an_answer_that_may_have_no_body_gets_none(caller):
    caller.register()
    plan(caller, "body", "remove_one", body="html")
    answer = caller.remove()
    assert (answer.status_code, answer.content) == (204, b"")


@pytest.mark.parametrize(
    ("kind", "error", "done"),
    [
        ("no_connection", httpx.ConnectError, False),
        ("reset_before_work", httpx.ReadError, False),
        ("reset_after_work", httpx.ReadError, True),
        ("closed_before_work", httpx.RemoteProtocolError, False),
        ("closed_after_work", httpx.RemoteProtocolError, True),
    ],
)
def test_a_connection_breaks_before_or_after_the_work(caller, kind, error, done):
    plan(caller, kind, "register_one")
    with pytest.raises(error):
        caller.register()
    assert held(caller) == ({ORGANISATION} if done else set())
    event = caller.simulator.log[-1]
    assert (event.kind, event.fault) == ("register_one" if done else "fault", kind)


def test_a_slow_answer_comes_late_in_virtual_time(caller):
    plan(caller, "slow", seconds=4)
    before = caller.simulator.clock.monotonic()
    assert caller.look_up().status_code == 200
    assert caller.simulator.clock.monotonic() - before == 4


def test_an_answer_slower_than_the_time_out_is_given_up_although_the_work_is_done(caller):
    plan(caller, "slow", "register_one", seconds=60)
    before = caller.simulator.clock.monotonic()
    with pytest.raises(httpx.ReadTimeout):
        caller.register()
    assert caller.simulator.clock.monotonic() - before == 5  # the client's own time-out
    assert held(caller) == {ORGANISATION}


def test_a_connection_can_take_longer_than_its_time_out(caller):
    plan(caller, "no_connection", "register_one", seconds=60)
    with pytest.raises(httpx.ConnectTimeout):
        caller.register()
    assert held(caller) == set()


def test_the_asynchronous_front_breaks_and_waits_as_the_other_does(caller):
    simulator, headers = caller.simulator, caller.headers(ORGANISATION)
    for kind, seconds in (("reset_after_work", 0), ("slow", 3), ("slow", 60)):
        simulator.faults.add(Fault(kind=kind, operation="look_up", nth=1, seconds=seconds))

    async def look_up() -> list[str]:
        outcomes = []
        async with httpx.AsyncClient(transport=simulator.async_transport(), timeout=5) as http:
            for _ in range(4):
                try:
                    answer = await http.get(f"{caller.institution}/", headers=headers)
                    outcomes.append(str(answer.status_code))
                except httpx.TransportError as error:
                    outcomes.append(type(error).__name__)
        return outcomes

    before = simulator.clock.monotonic()
    assert asyncio.run(look_up()) == ["ReadError", "200", "ReadTimeout", "200"]
    assert simulator.clock.monotonic() - before == 8


def test_maskinporten_can_be_down(caller):
    plan(caller, "status", "token", status=503)
    answers = [caller.ask_token(), caller.ask_token()]
    assert [answer.status_code for answer in answers] == [503, 200]
    assert answers[0].json() == {"error": "server_error"}


@pytest.mark.parametrize(
    ("code", "error", "status"),
    [
        ("MP-121", "invalid_grant", 400),
        ("MP-200", "invalid_scope", 400),
        ("MP-250", "access_denied", 403),
        ("forbidden", "forbidden", 403),
    ],
)
def test_maskinporten_can_say_any_of_its_errors(caller, code, error, status):
    plan(caller, "maskinporten_error", "token", code=code)
    answer = caller.ask_token()
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert answer.json().get("error_uri", "").endswith(code if code.startswith("MP") else "")


def test_an_accepted_file_can_be_dropped(caller):
    plan(caller, "file_dropped", "register_file")
    assert caller.send(",".join(ORGANISATIONS)).status_code == 201
    assert caller.simulator.pending_rows == 0
    caller.simulator.clock.sleep(60)
    assert held(caller) == set()
    assert caller.send(",".join(ORGANISATIONS)).status_code == 201
    caller.simulator.clock.sleep(60)
    assert held(caller) == set(ORGANISATIONS)


@pytest.mark.parametrize(
    ("row_order", "rows"), [("file", ORGANISATIONS[:2]), ("reversed", ORGANISATIONS[1:])]
)
def test_an_accepted_file_can_be_loaded_in_part(row_order, rows):
    caller = Caller(make_simulator(switches=Switches(row_order=row_order)))
    plan(caller, "file_partly_loaded", "register_file", share=0.7)
    caller.send(",".join(ORGANISATIONS))
    caller.simulator.clock.sleep(3600)
    assert held(caller) == set(rows)
    assert {one for one in ORGANISATIONS if caller.finds(one)} == set(rows)
    (loaded,) = (event for event in caller.simulator.log if event.kind == "file_loaded")
    assert (loaded.kind, loaded.rows, loaded.fault) == ("file_loaded", 2, "file_partly_loaded")


def test_a_file_can_be_loaded_twice_the_second_time_later(caller):
    plan(caller, "file_loaded_twice", "register_file", seconds=100)
    caller.send(ORGANISATION)
    caller.simulator.clock.sleep(60)
    caller.remove()
    assert held(caller) == set()
    caller.simulator.clock.sleep(60)
    assert held(caller) == {ORGANISATION}
    loaded = [(event.kind, event.file) for event in caller.simulator.log if event.kind == "file_loaded"]
    assert loaded == [("file_loaded", 1)] * 2


def test_a_second_copy_queues_behind_the_files_accepted_before_its_time(caller):
    plan(caller, "file_loaded_twice", "register_file", seconds=2)
    caller.send(ORGANISATIONS[0])
    caller.send(",".join(ORGANISATIONS[1:]))
    caller.simulator.clock.sleep(60)
    loaded = [event.file for event in caller.simulator.log if event.kind == "file_loaded"]
    assert loaded == [1, 2, 1]


def test_loading_can_stall_for_a_while(caller):
    caller.send(",".join(ORGANISATIONS))
    caller.simulator.clock.sleep(1)
    plan(caller, "loading_stalled", seconds=600)
    caller.look_up()
    caller.simulator.clock.sleep(600)
    assert held(caller) == {ORGANISATIONS[0]}
    caller.simulator.clock.sleep(1)
    assert held(caller) == set(ORGANISATIONS[:2])


def test_a_look_up_can_lag(caller):
    caller.register()
    caller.simulator.clock.sleep(10)
    plan(caller, "look_up_lags", seconds=20, times=2)
    assert [caller.finds(), caller.finds(), caller.finds()] == [False, False, True]


def test_faults_are_planned_by_operation_and_call(caller):
    plan(caller, "status", "look_up", nth=2, times=2)
    plan(caller, "status", "register_one", nth=1, status=500)
    assert [caller.look_up().status_code for _ in range(4)] == [200, 503, 503, 200]
    assert [caller.register().status_code for _ in range(2)] == [500, 201]


def test_a_fault_at_any_operation_strikes_whichever_comes(caller):
    plan(caller, "status", "any", nth=2)
    assert caller.register().status_code == 201
    assert caller.simulator.take_mail("from@example", ["to@example"], b"Subject: no call\r\n\r\n") is None
    assert caller.look_up().status_code == 503


def outcomes(seed, calls=200):
    caller = Caller(make_simulator(seed=seed))
    caller.token()
    caller.simulator.faults.add(Fault(kind="status", operation="look_up", probability=0.3, times=10))
    headers = caller.headers(ORGANISATION)
    return [caller.http.get(f"{caller.institution}/", headers=headers).status_code for _ in range(calls)]


def test_faults_by_chance_follow_the_seed_and_stop():
    first, again, other = outcomes(1), outcomes(1), outcomes(2)
    assert first == again != other
    assert first.count(503) == other.count(503) == 10
    assert set(first[-100:]) == {200}


def test_of_two_faults_at_one_call_the_first_strikes_and_the_other_waits(caller):
    plan(caller, "status", "look_up", status=500)
    plan(caller, "status", "look_up", status=502)
    assert [caller.look_up().status_code for _ in range(3)] == [500, 502, 200]
    assert caller.simulator.faults.left == []


def test_planned_faults_can_be_taken_back(caller):
    plan(caller, "status")
    assert len(caller.simulator.faults.left) == 1
    caller.simulator.faults.clear()
    assert caller.look_up().status_code == 200


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "status"},
        {"kind": "status", "nth": 1, "probability": 0.5},
        {"kind": "status", "nth": 0},
        {"kind": "status", "nth": 1, "times": 0},
        {"kind": "file_dropped", "operation": "look_up", "nth": 1},
        {"kind": "look_up_lags", "operation": "look_up", "nth": 1},
        {"kind": "slow", "nth": 1},
        {"kind": "slow", "operation": "mail", "nth": 1, "seconds": 1},
        {"kind": "anything", "nth": 1},
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(fields):
    with pytest.raises(ValueError):
        Fault(**fields)


def test_the_same_calls_under_one_seed_give_the_same_log():
    def play() -> list[object]:
        caller = Caller(
            make_simulator(seed=7, switches=Switches(row_order="shuffled", file_order="shuffled"))
        )
        caller.token()
        for kind in (FaultKind.STATUS, FaultKind.STATUS_AFTER_WORK):
            caller.simulator.faults.add(Fault(kind=kind, probability=0.2, times=5))
        for one, operation in itertools.product(ORGANISATIONS, OPERATIONS):
            headers = caller.headers(one, CorrelationID="00000000-0000-4000-8000-000000000000")
            if operation == "look_up":
                caller.http.get(f"{caller.institution}/", headers=headers)
            elif operation == "register_file":
                caller.send(one)
            else:
                caller.http.request(
                    "POST" if operation == "register_one" else "DELETE", caller.relationship, headers=headers
                )
            caller.simulator.clock.sleep(1.5)
        return [(event.at, event.kind, event.status, event.found) for event in caller.simulator.log]

    assert play() == play()
