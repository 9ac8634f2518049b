"""What a person does by hand: `python -m kfr sends`, `python -m kfr close-send`. See docs/runbook.md."""

import argparse
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from kfr.clock import OSLO, SystemClock

if TYPE_CHECKING:
    from kfr.load.journal import Journal


def main() -> None:
    """Read the arguments and do what they say."""
    parser = argparse.ArgumentParser(prog="python -m kfr", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    sends = commands.add_parser("sends", help="list the files that may still be loading")
    close = commands.add_parser("close-send", help="declare that a send will never load")
    close.add_argument("--send", required=True, help="its name, as `sends` lists it")
    close.add_argument("--reason", required=True, help="who said so, and where; kept with the send")
    for command in (sends, close):
        command.add_argument("--conn-id", default="kfr_default", help="connection to the register")
    options = parser.parse_args()
    if options.command == "sends":
        list_sends(options.conn_id)
    else:
        close_send(options.conn_id, options.send, options.reason)


def list_sends(conn_id: str) -> None:
    """Print each open send: name, rows, when it settles, whether it is proven, CorrelationID."""
    journal, rate = _journal(conn_id)
    now = SystemClock().now().timestamp()
    for send, plan in journal.open_sends(rate, now):
        settles = datetime.fromtimestamp(plan.settled_at, OSLO).isoformat(timespec="seconds")
        proven = "proven" if send.proven_at else "not proven"
        facts = f"{send.rows:,} rows, {proven}, settles {settles}, CorrelationID {send.correlation_id}"
        print(f"{send.name}  {facts}")  # noqa: T201


def close_send(conn_id: str, name: str, reason: str) -> None:
    """Close a send by a person's word; its customers are possible, not proven, from then on."""
    journal, _ = _journal(conn_id)
    found = [send for send in journal.sends() if send.name == name]
    if not found:
        raise SystemExit(f"There is no send {name}. `python -m kfr sends` lists them.")
    journal.put(replace(found[0], closed_because=reason))
    print(f"Closed {name}.")  # noqa: T201


def _journal(conn_id: str) -> tuple["Journal", float]:
    from kfr.hooks.kfr import KfrHook, staging_root, staging_url
    from kfr.load.journal import Journal
    from kfr.load.staging import Staging

    settings = KfrHook(conn_id).settings
    root = staging_root(staging_url())
    staging = Staging(root, settings.staging_key, environment=settings.environment, fid=settings.fid)
    return Journal(staging.state), settings.rows_per_second


if __name__ == "__main__":
    main()
