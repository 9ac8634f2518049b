"""`make ui` brings everything up, says where it is, and leaves nothing behind."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest

from tests.environment import ROOT
from tests.system.airflow_api import AirflowApi

pytestmark = pytest.mark.system

STOP_SECONDS = 60


@pytest.fixture(scope="module")
def ui():
    """The running program, and what it has printed up to its last line."""
    command = [sys.executable, "-m", "tests.system.ui", "--relationships", "300", "--port", "0"]
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


def test_every_page_of_the_stand_in_that_is_named_answers(ui):
    pages = re.findall(r"http\S+/simulator/\w+", ui[1])
    assert len(pages) == 3
    assert {httpx.get(page, trust_env=False).status_code for page in pages} == {200}


def test_ctrl_c_ends_all_of_it_and_leaves_no_process_and_no_file(ui):
    process, printed = ui
    started = psutil.Process(process.pid).children(recursive=True)
    folder = Path(re.search(r"logs until then: (\S+)", printed)[1]).parent
    assert len(started) > 10
    assert folder.is_dir()
    process.send_signal(signal.SIGINT)
    assert process.wait(STOP_SECONDS) == 0
    _, alive = psutil.wait_procs(started, timeout=5)
    assert alive == []
    assert not folder.exists()
