"""Processes that end with the one who started them, however that one ends.

What is started gets a session of its own, and the session is ended, not the process group: Airflow gives every
task a group of its own, so a signal to the group of the scheduler would leave its tasks behind.

As a program (`python guard.py SECONDS`) it is told by lines `+<leader>` and `-<leader>` of the sessions that its
owner has started, and has itself ended. When its input closes (the owner ended, even by SIGKILL) or the time is
over, it ends those that are left.
"""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import psutil

GRACE_SECONDS = 10  # from the request to end until the kill


class Guard:
    """Start and end processes; close it (or leave the block) when all of them have been ended.

    `lifetime` in seconds bounds everything that is started, should the owner hang.
    """

    def __init__(self, lifetime: float) -> None:
        command = [sys.executable, __file__, str(lifetime)]
        self._program = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self, command: Sequence[str], **how: Any) -> "subprocess.Popen[Any]":
        """Start a process as the leader of its own session; `how` as for `subprocess.Popen`."""
        process = subprocess.Popen(command, start_new_session=True, **how)
        self._tell("+", process.pid)
        return process

    def end(self, process: "subprocess.Popen[Any]", *, hard: bool = False) -> None:
        """End a process and all that it has started; `hard` kills them at once, as a crash would."""
        if hard:
            kill_session(process.pid)
        else:
            end_session(process.pid)
        process.wait()
        self._tell("-", process.pid)

    def close(self) -> None:
        """End the guard, which ends what it still guards."""
        if self._program.stdin:
            self._program.stdin.close()
        self._program.wait()

    def _tell(self, sign: str, leader: int) -> None:
        if self._program.stdin:
            self._program.stdin.write(f"{sign}{leader}\n".encode())
            self._program.stdin.flush()


def members(leader: int) -> list[int]:
    """Return the processes of a session that still run, the leader among them."""
    return [pid for pid in psutil.pids() if _session(pid) == leader and _runs(pid)]


def signal_session(leader: int, number: int) -> None:
    for pid in members(leader):
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def end_session(leader: int, grace: float = GRACE_SECONDS) -> None:
    """Ask all processes of a session to end, and kill those that are left after `grace` seconds."""
    signal_session(leader, signal.SIGTERM)
    deadline = time.monotonic() + grace
    while members(leader) and time.monotonic() < deadline:
        time.sleep(0.1)
    kill_session(leader)


def kill_session(leader: int) -> None:
    """Kill all processes of a session, those too that it starts meanwhile."""
    while members(leader):
        signal_session(leader, signal.SIGKILL)
        time.sleep(0.02)


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except (ProcessLookupError, PermissionError):  # gone, or another user's
        return None


def _runs(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def watch(lifetime: float) -> set[int]:
    """Follow the owner's lines to their end; return the sessions that it left."""
    sessions: set[int] = set()
    deadline = time.monotonic() + lifetime
    pending = b""
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([0], [], [], left)[0] or not (read := os.read(0, 4096)):
            break
        *lines, pending = (pending + read).split(b"\n")
        for line in lines:
            (sessions.add if line.startswith(b"+") else sessions.discard)(int(line[1:]))
    return sessions


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the owner, whose end closes the input
    for left_behind in watch(float(sys.argv[1])):
        end_session(left_behind)
