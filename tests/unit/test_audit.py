"""The audit tells what is known from what could not be asked."""

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tests.audit import NOT_CHECKED, describe
from tests.conftest import ROOT

FOUND = {"name": "jinja2", "version": "2.4.1", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.7.2"]}]}
CLEAN = {"name": "idna", "version": "3.20", "vulns": []}


def test_a_vulnerability_is_named_with_its_remedy():
    assert describe([CLEAN, FOUND]) == ["jinja2 2.4.1: PYSEC-1, mended in 2.7.2"]


@pytest.mark.parametrize("report", [[], [CLEAN, {"name": "idna", "skip_reason": "not found"}]])
def test_what_was_not_checked_does_not_pass_for_clean(report):
    with pytest.raises(ValueError, match="not all packages"):
        describe(report)


class Forgetful(BaseHTTPRequestHandler):
    """Knows of no vulnerability whatsoever."""

    def do_POST(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({}).encode())

    def log_message(self, *_):
        pass


def audit(port):
    command = [sys.executable, "-m", "tests.audit", "--osv-url", f"http://127.0.0.1:{port}/v1/query"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_a_service_that_does_not_answer_is_told_apart_in_one_line():
    done = audit(9)
    assert done.returncode == NOT_CHECKED
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""


def test_a_service_that_does_not_know_what_all_know_is_no_service():
    with HTTPServer(("127.0.0.1", 0), Forgetful) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        done = audit(server.server_port)
        server.shutdown()
    assert done.returncode == NOT_CHECKED
