"""Serve the stand-in on loopback: `python -m tests.simulator --port 8080 --smtp-port 8025 --keystore-out DIR`.

Prints one line of JSON when it is ready, and ends on SIGTERM, on SIGINT, or after `--max-seconds`.
"""

import argparse
import json
import os
import secrets
import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptography import x509

from kfr.clock import SystemClock
from tests import keystores
from tests.simulator.http_front import HttpFront
from tests.simulator.simulator import Simulator

CLIENT_ID = "3f0b2f6a-5a57-4b0e-9d0a-1c6f3f0a7d11"
MAX_SECONDS = 3600.0


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parse(arguments)
    keystore, trusted = (
        _write_keystore(options.keystore_out, options.fid) if options.keystore_out else ({}, [])
    )
    simulator = Simulator(
        clock=SystemClock(),
        fid=options.fid,
        rows_per_second=options.rows_per_second,
        seed=options.seed,
        client_id=options.client_id,
        trusted=trusted,
    )
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with HttpFront(simulator, port=options.port, smtp_port=options.smtp_port) as front:
        ready = {
            "pid": os.getpid(),
            "url": front.url,
            "port": front.port,
            "smtp_port": front.smtp_port,
            "base_url": simulator.base_url,
            "issuer": simulator.issuer,
            "fid": simulator.fid,
            "client_id": options.client_id,
            **keystore,
        }
        print(json.dumps(ready), flush=True)
        stop.wait(options.max_seconds)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulator", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="of HTTP; 0 takes a free one")
    parser.add_argument("--smtp-port", type=int, default=0, help="of the mail server; 0 takes a free one")
    parser.add_argument("--rows-per-second", type=float, default=250, help="at which files are loaded")
    parser.add_argument(
        "--keystore-out", type=Path, help="folder for a keystore that is trusted from then on"
    )
    parser.add_argument("--fid", default=keystores.ORGANISATION, help="the institution's organisation number")
    parser.add_argument("--client-id", default=CLIENT_ID, help="the client that Maskinporten knows")
    parser.add_argument("--seed", type=int, default=0, help="of everything that goes by chance")
    parser.add_argument(
        "--max-seconds", type=float, default=MAX_SECONDS, help="after which it ends by itself"
    )
    return parser.parse_args(arguments)


def _write_keystore(folder: Path, fid: str) -> tuple[dict[str, Any], list[x509.Certificate]]:
    """Write a keystore and, beside it, its password; return where they are, and whom to trust for it."""
    folder.mkdir(parents=True, exist_ok=True)
    keystore, password = folder / "keystore.p12", folder / "keystore.password"
    secret = secrets.token_urlsafe(16)
    for path, content in (
        (keystore, keystores.make_keystore(organisation=fid, password=secret)),
        (password, secret.encode()),
    ):
        path.touch(mode=0o600)
        path.write_bytes(content)
    where = {"keystore": str(keystore), "keystore_password_file": str(password)}
    return where, list(keystores.trust().values())


if __name__ == "__main__":
    main()
