"""The same stand-in over real sockets: HTTP, SMTP, the admin endpoints, and a process of its own."""

import base64
import json
import os
import re
import signal
import smtplib
import subprocess
import sys
import time
from email.message import EmailMessage
from pathlib import Path

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, pkcs12

from kfr.clock import SystemClock
from tests.simulator import Fault
from tests.simulator.http_front import HttpFront
from tests.unit.simulator.caller import (
    FID,
    GRANT_TYPE,
    MULTIPART,
    ORGANISATION,
    ORGANISATIONS,
    SCOPE,
    Caller,
    make_frame,
    make_simulator,
)

ROOT = Path(__file__).parents[3]


@pytest.fixture
def served():
    """A simulator on loopback, in real time, at a thousand rows a second."""
    simulator = make_simulator(clock=SystemClock(), rate=1000)
    with HttpFront(simulator) as front, httpx.Client(timeout=5.0, trust_env=False) as http:
        yield front, Caller(simulator, http)


@pytest.fixture
def front(served):
    return served[0]


@pytest.fixture
def caller(served):
    return served[1]


def wait_for(condition):
    give_up = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.01)


def test_all_operations_go_over_http(caller):
    assert caller.register().status_code == 201
    assert caller.finds()
    assert caller.send(",".join(ORGANISATIONS)).status_code == 201
    wait_for(lambda: caller.simulator.pending_rows == 0)
    assert set(caller.starts()) == set(ORGANISATIONS)
    assert caller.remove().status_code == 204
    assert caller.remove().json()["errorCode"] == "KFR-008"


def test_the_rules_are_those_of_the_core(caller):
    assert caller.http.get(caller.institution, headers=caller.headers(ORGANISATION)).status_code == 404
    quoted = {"Content-Type": 'multipart/form-data; boundary="xyz"'}
    assert caller.post_file(make_frame(b"298765438"), **quoted).status_code == 403
    assert caller.send("298765439").json()["errorCode"] == "KFR-005"
    assert caller.http.get(f"{caller.institution}/").json()["errorCode"] == "ERR-001"
    assert caller.ask_token(caller.claims(aud="https://test.maskinporten.no/")).status_code == 400
    assert caller.http.get(caller.simulator.base_url.replace("kar-ws", "kfr")).status_code == 404


def test_a_small_answer_does_not_wait_for_an_acknowledgement(caller):
    caller.look_up()
    headers, began = caller.headers(ORGANISATION), time.perf_counter()
    for _ in range(20):
        caller.http.get(f"{caller.institution}/", headers=headers)
    assert time.perf_counter() - began < 0.6  # 0.02 s here; 0.8 s if Nagle's algorithm is on


@pytest.mark.parametrize(
    ("kind", "error", "done"),
    [
        ("no_connection", httpx.ReadError, False),
        ("reset_before_work", httpx.ReadError, False),
        ("reset_after_work", httpx.ReadError, True),
        ("closed_before_work", httpx.RemoteProtocolError, False),
        ("closed_after_work", httpx.RemoteProtocolError, True),
    ],
)
def test_a_connection_really_breaks(caller, kind, error, done):
    caller.token()
    caller.simulator.faults.add(Fault(kind=kind, operation="register_one", nth=1))
    with pytest.raises(error):
        caller.register()
    assert bool(caller.simulator.relationships()) is done
    assert caller.register().status_code == (200 if done else 201)


def test_a_slow_answer_really_takes_its_time(caller):
    caller.token()
    caller.simulator.faults.add(Fault(kind="slow", operation="look_up", nth=1, seconds=0.3))
    with pytest.raises(httpx.ReadTimeout):
        caller.http.get(f"{caller.institution}/", headers=caller.headers(ORGANISATION), timeout=0.1)
    assert caller.look_up().status_code == 200


def test_answers_with_planned_statuses_and_bodies_go_over_http(caller):
    caller.token()
    for body in ("html", "empty"):
        fault = Fault(kind="status", operation="look_up", nth=1, status=429, body=body, retry_after=7)
        caller.simulator.faults.add(fault)
    answers = [caller.look_up(), caller.look_up()]
    assert [(answer.status_code, answer.headers["Retry-After"]) for answer in answers] == [(429, "7")] * 2
    assert answers[0].text.startswith("<html>")
    assert answers[1].content == b""


def send_mail(front, message_id="<d4@eksempelbanken>"):
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = (
        "kfr@eksempelbanken",
        "to@example",
        "Innlasting ferdig",
    )
    message["Message-ID"] = message_id
    message.set_content("Første innlasting er ferdig.")
    with smtplib.SMTP("127.0.0.1", front.smtp_port, timeout=5) as server:
        server.send_message(message)


def test_mails_are_taken_by_smtp_and_shown(front, caller):
    send_mail(front)
    (mail,) = caller.http.get(f"{front.url}/simulator/mails").json()
    assert caller.http.get(f"{front.url}/simulator/mails/0").content == caller.simulator.mails[0].raw
    assert caller.http.get(f"{front.url}/simulator/mails/1").status_code == 400
    assert mail["recipients"] == ["to@example"]
    assert (mail["message_id"], mail["subject"]) == ("<d4@eksempelbanken>", "Innlasting ferdig")
    assert mail["text"].strip() == "Første innlasting er ferdig."
    assert caller.simulator.log[-1].kind == "mail"


def test_mails_are_shown_to_a_person_too_and_a_link_in_them_can_be_clicked(front, caller):
    for number, text in enumerate(("a <b>bold</b> mail", "page: https://airflow.example/kfr?a=1&b=2 and on")):
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = (
            "kfr@bank.example",
            "on-call@example",
            f"mail {number}",
        )
        message.set_content(text)
        with smtplib.SMTP("127.0.0.1", front.smtp_port, timeout=5) as server:
            server.send_message(message)
    answer = caller.http.get(f"{front.url}/simulator/mailbox")
    assert answer.headers["content-type"].startswith("text/html")
    assert re.findall(r"<h2>(.+?)</h2>", answer.text) == ["mail 1", "mail 0"]
    assert "a &lt;b&gt;bold&lt;/b&gt; mail" in answer.text
    assert '<a href="https://airflow.example/kfr?a=1&amp;b=2">' in answer.text
    assert answer.text.count("on-call@example") == 2


def test_a_mail_can_be_refused(front, caller):
    caller.simulator.faults.add(Fault(kind="status", operation="mail", nth=1, status=451))
    with pytest.raises(smtplib.SMTPDataError):
        send_mail(front)
    send_mail(front)
    assert len(caller.simulator.mails) == 1


@pytest.mark.parametrize(("kind", "kept"), [("closed_before_work", 0), ("closed_after_work", 1)])
def test_the_connection_can_break_before_or_after_a_mail_is_taken(front, caller, kind, kept):
    caller.simulator.faults.add(Fault(kind=kind, operation="mail", nth=1))
    with pytest.raises(smtplib.SMTPServerDisconnected):
        send_mail(front)
    assert len(caller.simulator.mails) == kept


def test_the_state_is_shown_as_csv(front, caller):
    caller.send(f"{ORGANISATION}#2020-02-03,55068575027#1999-09-09")
    wait_for(lambda: caller.simulator.pending_rows == 0)
    caller.remove()
    lines = caller.http.get(f"{front.url}/simulator/state").text.splitlines()
    ended = caller.simulator.relationships()[int(ORGANISATION)][1]
    assert lines == [
        "customer_id,started_on,ended_on",
        f"{ORGANISATION},2020-02-03,{ended}",
        "55068575027,1999-09-09,",
    ]


def test_the_log_is_shown_from_an_event_on(front, caller):
    caller.register()
    caller.look_up()
    url = f"{front.url}/simulator/log"
    events = [json.loads(line) for line in caller.http.get(url, params={"since": 1}).text.splitlines()]
    assert [(event["number"], event["kind"]) for event in events] == [(1, "register_one"), (2, "look_up")]
    assert (events[1]["customer_id"], events[1]["found"]) == (ORGANISATION, True)
    assert caller.http.get(url, params={"since": "x"}).status_code == 400


def test_switches_are_shown_and_set_in_part(front, caller):
    url = f"{front.url}/simulator/switches"
    caller.http.put(url, json={"removal": "erases"})
    answer = caller.http.put(url, json={"other_bank": True}).json()
    assert (answer["removal"], answer["other_bank"]) == ("erases", True)
    assert caller.http.get(url).json() == answer
    for wrong in ({"removal": "x"}, {"unknown": 1}, [], "text"):
        assert caller.http.put(url, json=wrong).status_code == 400


def test_faults_are_planned_and_taken_back(front, caller):
    url = f"{front.url}/simulator/faults"
    caller.token()
    caller.http.post(url, json={"kind": "status", "operation": "look_up", "nth": 1, "status": 502})
    assert [caller.look_up().status_code, caller.look_up().status_code] == [502, 200]
    assert len(caller.http.post(url, json={"kind": "status", "nth": 9}).json()) == 1
    (fault,) = caller.http.post(
        url, json={"kind": "status", "operation": "look_up", "nth": 1, "times": 3}
    ).json()[1:]
    assert (fault["times"], fault["left"]) == (3, 3)
    caller.look_up()
    assert [f["left"] for f in caller.http.get(url).json() if f["operation"] == "look_up"] == [2]
    assert caller.http.delete(url).json() == []
    assert caller.http.post(url, json={"kind": "status"}).status_code == 400


def test_a_defect_is_planted(front, caller):
    url = f"{front.url}/simulator/defects"
    caller.register()
    planted = caller.http.post(url, json={"kind": "missing"}).json()
    assert planted == {"kind": "missing", "customer_id": ORGANISATION}
    assert caller.simulator.relationships() == {}
    for wrong in ({"kind": "missing"}, {"kind": "x"}, {}):
        assert caller.http.post(url, json=wrong).status_code == 400


def test_the_status_says_what_is_still_to_be_loaded(front, caller):
    caller.simulator.rows_per_second = 0.001
    caller.send(ORGANISATION)
    assert caller.http.get(f"{front.url}/simulator/").json()["pending_rows"] == 1


def start_process(folder, *flags):
    environment = os.environ | {"PYTHONPATH": f"plugins{os.pathsep}."}
    command = [sys.executable, "-m", "tests.simulator", "--keystore-out", str(folder), *flags]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)


def test_a_process_of_its_own_serves_whoever_holds_the_keystore_until_it_is_told_to_stop(tmp_path):
    with start_process(tmp_path, "--rows-per-second", "5000", "--max-seconds", "60") as process:
        try:
            ready = json.loads(process.stdout.readline())
            password = Path(ready["keystore_password_file"]).read_bytes()
            key, leaf, _ = pkcs12.load_key_and_certificates(Path(ready["keystore"]).read_bytes(), password)
            assert Path(ready["keystore"]).stat().st_mode & 0o077 == 0
            now = int(time.time())
            claims = {"aud": ready["issuer"], "iss": ready["client_id"], "iat": now, "exp": now + 60}
            claims |= {"jti": "once", "scope": SCOPE}
            x5c = [base64.b64encode(leaf.public_bytes(Encoding.DER)).decode()]
            form = {"grant_type": GRANT_TYPE, "assertion": jwt.encode(claims, key, "RS256", {"x5c": x5c})}
            with httpx.Client(trust_env=False) as http:
                token = http.post(f"{ready['issuer']}token", data=form).json()["access_token"]
                headers = MULTIPART | {
                    "Authorization": f"Bearer {token}",
                    "CorrelationID": "0" * 8 + "-0000" * 3 + "-" + "0" * 12,
                }
                url = f"{ready['base_url']}/customers/financialInstitutions/{FID}/batch"
                answer = http.post(url, headers=headers, content=make_frame(ORGANISATION.encode()))
                assert answer.status_code == 201
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
        finally:
            process.kill()


def test_a_process_that_is_forgotten_ends_by_itself(tmp_path):
    with start_process(tmp_path, "--max-seconds", "0.1") as process:
        assert process.wait(20) == 0
