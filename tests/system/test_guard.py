"""Whatever ends the owner, what it started ends too."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.environment import ROOT
from tests.system import guard

# An owner that starts a session of two processes, of which one has left its process group.
OWNER = """
import sys
from tests.system.guard import Guard
child = "import os, subprocess, time; subprocess.Popen(['sleep', '60'], process_group=0); time.sleep(60)"
leader = Guard(float(sys.argv[1])).start([sys.executable, "-c", child])
print(leader.pid, flush=True)
leader.wait()
"""


def start_owner(lifetime: float) -> tuple[subprocess.Popen[str], int]:
    """An owner whose guard ends its session after `lifetime` seconds, and the session's leader."""
    command = [sys.executable, "-c", OWNER, str(lifetime)]
    owner = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    leader = int(owner.stdout.readline())
    wait_for_members(leader, 2)
    return owner, leader


def wait_for_members(leader: int, count: int) -> None:
    deadline = time.monotonic() + 10
    while len(guard.members(leader)) != count:
        assert time.monotonic() < deadline, guard.members(leader)
        time.sleep(0.05)


def end(owner: subprocess.Popen[str], number: int) -> None:
    owner.send_signal(number)
    owner.wait(timeout=10)
    owner.stdout.close()


def test_a_session_ends_with_its_owner_even_when_the_owner_is_killed():
    owner, leader = start_owner(60)
    end(owner, signal.SIGKILL)
    wait_for_members(leader, 0)


def test_a_session_ends_when_its_time_is_over():
    owner, leader = start_owner(1)
    wait_for_members(leader, 0)
    end(owner, signal.SIGTERM)


def test_a_session_that_refuses_to_end_is_killed(tmp_path: Path):
    ready = tmp_path / "ready"
    stubborn = (
        f"import signal, time; signal.signal(15, signal.SIG_IGN); open({str(ready)!r}, 'w'); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", stubborn], start_new_session=True)
    while not ready.exists():
        time.sleep(0.02)
    guard.end_session(process.pid, grace=0.2)
    assert process.wait(timeout=5) == -signal.SIGKILL


def test_a_guard_ends_what_it_started_and_forgets_it():
    with guard.Guard(60) as ours:
        process = ours.start(["sleep", "60"])
        ours.end(process)
        assert process.returncode == -signal.SIGTERM
        killed = ours.start(["sleep", "60"])
        ours.end(killed, hard=True)
        assert killed.returncode == -signal.SIGKILL
        forgotten = ours.start(["sleep", "60"])
    assert forgotten.wait(timeout=5) == -signal.SIGTERM


def test_only_the_session_asked_for_is_ended():
    ours, other = (subprocess.Popen(["sleep", "60"], start_new_session=True) for _ in range(2))
    guard.end_session(ours.pid)
    assert ours.wait(timeout=5) == -signal.SIGTERM
    assert guard.members(other.pid) == [other.pid]
    assert os.getpid() not in guard.members(other.pid)
    other.terminate()
    other.wait(timeout=5)
