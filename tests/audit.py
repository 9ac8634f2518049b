"""`make audit`: what is known of vulnerabilities in the packages of `requirements.lock`, by pip-audit and osv.dev.

The exit status tells three ends apart: 0, nothing is known; 1, something is; 75, it could not be checked. A service
that does not answer must not pass for one that knows of nothing, so it is first asked for what it has to know.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx

OSV = "https://api.osv.dev/v1/query"
PIP_AUDIT = "pip-audit==2.10.1"
KNOWN = {"package": {"name": "jinja2", "ecosystem": "PyPI"}, "version": "2.4.1"}  # vulnerable since 2014
TIMEOUT_SECONDS = 10
AUDIT_SECONDS = 300
NOT_CHECKED = 75  # EX_TEMPFAIL of sysexits.h


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.audit")
    parser.add_argument("--osv-url", default=OSV, help=f"default: {OSV}")
    url = parser.parse_args().osv_url
    try:
        report = _audit(url) if _answers(url) else []
        lines = describe(report)
    except (OSError, ValueError, LookupError, httpx.HTTPError, subprocess.SubprocessError):
        host = httpx.URL(url).host
        print(
            f"Vulnerabilities: not checked, for {host} did not answer as it should. Where it does, run: make audit"
        )
        return NOT_CHECKED
    print(*lines, f"{len(report)} packages checked, {len(lines)} vulnerabilities known.", sep="\n")
    return 1 if lines else 0


def describe(report: list[dict]) -> list[str]:
    """A line for each vulnerability of pip-audit's report; ValueError when a package was left out of it."""
    if not report or any("skip_reason" in package for package in report):
        raise ValueError("not all packages were checked")
    return [
        f"{package['name']} {package['version']}: {one['id']}, mended in {', '.join(one['fix_versions']) or 'none'}"
        for package in report
        for one in package["vulns"]
    ]


def _answers(url: str) -> bool:
    answer = httpx.post(url, json=KNOWN, timeout=TIMEOUT_SECONDS)
    return bool(answer.raise_for_status().json().get("vulns"))


def _audit(url: str) -> list[dict]:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        uv = Path(sys.executable).with_name("uv")
        command = [
            uv, "tool", "run", "--python", sys.executable, PIP_AUDIT, "--requirement", "requirements.lock",
            "--disable-pip", "--progress-spinner", "off", "--timeout", str(TIMEOUT_SECONDS), "--format", "json",
            "--output", report, "--vulnerability-service", "osv", "--osv-url", url,
        ]  # fmt: skip
        # Its status is 1 for a vulnerability and for any failure; only the first leaves a report.
        subprocess.run(command, capture_output=True, timeout=AUDIT_SECONDS, check=False)
        return json.loads(report.read_text())["dependencies"]


if __name__ == "__main__":
    sys.exit(main())
