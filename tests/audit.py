"""Look up the known weaknesses of what requirements.lock names: `python -m tests.audit`, or `make audit`.

Exits with 1 when there is one, and with 3 when it could not look: the service (osv.dev) must be reached, and pip-audit
is installed for the occasion.
"""

import json
import subprocess
import sys
from pathlib import Path

VERSION = "2.10.1"
UV = Path(sys.executable).parent / "uv"
COMMAND = [
    *[str(UV), "tool", "run", "--quiet", "--python", sys.executable, f"pip-audit@{VERSION}"],
    *["--requirement", "requirements.lock", "--disable-pip", "--no-deps"],  # the lock names everything
    *["--vulnerability-service", "osv", "--timeout", "10", "--progress-spinner", "off", "--format", "json"],
]
LONGEST_SECONDS = 180
FOUND, COULD_NOT_LOOK = 1, 3


def main(more: list[str]) -> int:
    """Run pip-audit, with more options if need be (`--osv-url`, `--ignore-vuln`), and say what it found."""
    try:
        done = subprocess.run(
            [*COMMAND, *more], capture_output=True, text=True, timeout=LONGEST_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        code, said = COULD_NOT_LOOK, could_not(type(error).__name__)
    else:
        code, said = judge(done.stdout, done.stderr)
    print(said)
    return code


def judge(found: str, complaint: str) -> tuple[int, str]:
    """The exit status and what to say, from what pip-audit wrote; without a complete report nothing was looked up."""
    try:
        packages = json.loads(found)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return COULD_NOT_LOOK, could_not(complaint.strip().rpartition("\n")[2].partition(":")[0])
    weak = [
        f"{one['name']} {one['version']}: {weakness['id']}, mended in {', '.join(weakness['fix_versions']) or 'none'}"
        for one in packages
        for weakness in one.get("vulns", [])
    ]
    skipped = [one["name"] for one in packages if "skip_reason" in one]
    if weak:
        return FOUND, "\n".join(weak)
    if skipped or not packages:
        return COULD_NOT_LOOK, could_not(f"not looked up: {', '.join(skipped) or 'all'}")
    return 0, f"No weakness is known of the {len(packages)} packages that requirements.lock names"


def could_not(why: str) -> str:
    return f"Not checked for known weaknesses ({why}); run `make audit` where osv.dev and a package index are reached"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
