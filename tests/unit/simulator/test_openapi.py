"""The simulator is what tests/simulator/openapi describes: schemathesis asks it over a socket, rightly and wrongly."""

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from kfr.clock import SystemClock
from tests.simulator.http_front import HttpFront
from tests.unit.simulator.caller import Caller, make_simulator

ROOT = Path(__file__).parents[3]
OPENAPI = ROOT / "tests" / "simulator" / "openapi"
EXAMPLES = 20  # of each operation, after the ones that schemathesis makes of every keyword of a description
SECONDS = 120


@pytest.fixture
def simulator():
    return make_simulator(clock=SystemClock(), rate=1e6)


def ask(simulator, folder, name, url, *options):
    """Let schemathesis ask, from an empty folder; its own report is what is shown when it finds something."""
    command = [
        sys.executable,
        "-m",
        "schemathesis.cli",
        "--config-file",
        OPENAPI / "schemathesis.toml",
        "run",
    ]
    command += [
        OPENAPI / f"{name}.yaml",
        "--url",
        url,
        "--phases",
        "examples,coverage,fuzzing",
        "--seed",
        "1",
    ]
    command += ["--max-examples", EXAMPLES, "--generation-database", "none", "--no-color", *options]
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "SCHEMATHESIS_HOOKS": "tests.unit.simulator.formats"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {(event.operation, event.status) for event in simulator.log}


def test_the_register_answers_as_its_description_says_whatever_it_is_asked(simulator, tmp_path):
    with HttpFront(simulator), httpx.Client(trust_env=False) as http:
        token = Caller(simulator, http).token()
        authorization = f"Authorization: Bearer {token}"
        seen = ask(simulator, tmp_path, "register", simulator.base_url, "-H", authorization)
    # Else it would have asked in vain: each operation was carried out, and refused for content and for access.
    done = {("register_one", 200), ("register_file", 201), ("remove_one", 204), ("look_up", 200)}
    assert done | {(operation, status) for operation, _ in done for status in (400, 401)} <= seen


def test_maskinporten_answers_as_its_description_says_whatever_it_is_asked(simulator, tmp_path):
    with HttpFront(simulator):
        seen = ask(simulator, tmp_path, "maskinporten", simulator.issuer.rstrip("/"))
    assert {("token", 400), ("token", 405), ("metadata", 200)} <= seen
