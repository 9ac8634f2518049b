"""`make ui` brings everything up, says where it is, and leaves nothing behind."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest

from tests.environment import ROOT
from tests.system.airflow_api import AirflowApi, wait_until

pytestmark = pytest.mark.system

STOP_SECONDS = 60
PROGRAM = [sys.executable, "-m", "tests.system.ui"]


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """The file that says which process runs: not the one of a person's own `make ui`."""
    return str(tmp_path_factory.mktemp("ui") / "running.json")


@pytest.fixture(scope="module")
def ui(running):
    """The running program, and what it has printed up to its last line."""
    command = [*PROGRAM, "--relationships", "300", "--port", "0", "--running", running]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        printed = ""
        for line in process.stdout:
            printed += line
            if line.startswith("Ctrl-C"):
                break
        yield process, printed
        process.kill()  # what a failed test has left; the guard ends the rest


@pytest.fixture(scope="module")
def api(ui):
    url, user, password = re.search(r"ready: (\S+)\s+user (\S+)\s+password (\S+)", ui[1]).groups()
    with AirflowApi(url, user, password, check=lambda: None) as api:
        yield api


def test_the_printed_login_opens_an_airflow_that_knows_the_first_load(api):
    api.wait_for_dag("kfr_initial_load")
    assert api.import_errors() == {}


def test_the_pool_that_the_load_needs_is_there(api):
    assert {pool["name"]: pool["slots"] for pool in api.call("GET", "/pools")["pools"]}["kfr_register"] == 1


def test_connections_and_variables_are_where_a_person_can_see_and_change_them(api):
    connections = api.call("GET", "/connections")["connections"]
    assert {"kfr_default", "kfr_warehouse", "smtp_default"} <= {c["connection_id"] for c in connections}
    variables = {v["key"] for v in api.call("GET", "/variables")["variables"]}
    assert variables == {"kfr_mail_to", "kfr_oncall_mail", "kfr_staging"}


def test_every_page_of_the_stand_in_that_is_named_answers(ui):
    pages = set(re.findall(r"http\S+/simulator/\w+", ui[1]))
    assert len(pages) == 4
    assert {httpx.get(page, trust_env=False).status_code for page in pages} == {200}


def test_the_printed_line_calls_the_package_s_commands_against_this_airflow(ui):
    (line,) = re.findall(r"\(\. .*-m kfr .*\)", ui[1])
    env = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    done = subprocess.run(line, shell=True, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "sends/" not in done.stdout  # no file is under way


def test_the_runbook_that_is_named_opens_at_its_sections_behind_the_login(ui, api):
    (page,) = re.findall(r"^The runbook: (\S+)", ui[1], flags=re.MULTILINE)
    assert httpx.get(page, trust_env=False).status_code == 401
    browser = {"Sec-Fetch-Dest": "document"}
    asked = httpx.get(page, headers=browser, trust_env=False, follow_redirects=True)
    assert asked.url.path == "/auth/login"
    assert asked.url.params["next"] == page
    api.call("GET", "/pools")  # logs in
    shown = httpx.get(page, headers=api._http.headers, trust_env=False)
    assert '<h2 id="a-send-that-never-loads">' in shown.text


def test_a_port_that_is_taken_is_said_with_the_remedy(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        command = [*PROGRAM, "--port", str(port), "--running", str(tmp_path / "running.json")]
        refused = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert (
        refused.stderr
        == f"Port {port} is taken by another program. `make ui PORT={port + 1}` takes another one.\n"
    )


def test_a_second_one_is_refused_while_the_first_runs(ui, running):
    second = subprocess.run(
        [*PROGRAM, "--running", running], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert second.returncode != 0
    assert "make ui-stop" in second.stderr
    assert ui[0].poll() is None


def test_to_stop_ends_all_of_it_and_leaves_no_process_and_no_file(ui, running):
    process, printed = ui
    started = psutil.Process(process.pid).children(recursive=True)
    folder = Path(re.search(r"logs until then: (\S+)", printed)[1]).parent
    assert len(started) > 10
    assert folder.is_dir()
    stopped = subprocess.run(
        [*PROGRAM, "--stop", "--running", running], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert stopped.stdout == "Ended.\n", stopped.stderr
    assert process.wait(STOP_SECONDS) == 0
    _, alive = psutil.wait_procs(started, timeout=5)
    assert alive == []
    assert not folder.exists()
    again = subprocess.run(
        [*PROGRAM, "--stop", "--running", running], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert again.stdout == "Nothing runs.\n"


def test_ctrl_c_while_it_still_starts_ends_it_too(tmp_path):
    running = tmp_path / "running.json"
    command = [*PROGRAM, "--relationships", "300", "--port", "0", "--running", str(running)]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout.readline().startswith("Starting")
        wait_until("its first child", lambda: psutil.Process(process.pid).children() or None, 60)
        started = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        try:
            printed, said = process.communicate(timeout=STOP_SECONDS)
        finally:
            process.kill()  # what a failed test has left; the guard ends the rest
    assert (process.returncode, printed.strip()) == (0, "Ended."), said
    _, alive = psutil.wait_procs(started, timeout=5)
    assert alive == []
    assert not running.exists()
