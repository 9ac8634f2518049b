"""What a person does by hand, as docs/runbook.md says: `python -m kfr --help` lists it."""

import argparse
import sys
from collections import Counter
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from kfr.clock import OSLO, SystemClock

if TYPE_CHECKING:
    from kfr.load.staging import Staging
    from kfr.register.settings import Settings


def main() -> None:
    """Read the arguments and do what they say."""
    parser = argparse.ArgumentParser(prog="python -m kfr", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    sends = commands.add_parser("sends", help="list the files that may still be loading")
    close = commands.add_parser("close-send", help="declare that a send will never load")
    close.add_argument("--send", required=True, help="its name, as `sends` lists it")
    close.add_argument("--reason", required=True, help="who said so, and where; kept with the send")
    removals = commands.add_parser("removals", help="count the removals that wait, by what they wait for")
    rejects = commands.add_parser(
        "rejects",
        help="write the rows that were refused, by us or by the register, as JSON lines: identity numbers!",
    )
    rejects.add_argument(
        "--retry", action="store_true", help="let the next load send the register's refusals again"
    )
    mirror = commands.add_parser(
        "mirror", help="write the mirror to standard output as CSV: identity numbers!"
    )
    mirror.add_argument("--version", type=int, help="an older one; the newest if not given")
    report = commands.add_parser("report", help="list the kept reports, or write one with its signature")
    report.add_argument("--run", help="its key, as the list has it")
    report.add_argument(
        "--to", type=Path, default=Path(), help="folder to write to; the current one if not given"
    )
    check = commands.add_parser("verify-report", help="show that a report is as the institution signed it")
    check.add_argument("report", type=Path, help="report.json; its .sig and .pem lie beside it")
    sql = commands.add_parser(
        "check-sql", help="run the SQL files so that they give no row, and name what is wrong"
    )
    sql.add_argument("--sql", type=Path, default=Path("include/sql"), help="their folder")
    sql.add_argument("--conn-id", default="kfr_warehouse", help="connection to the warehouse")
    for command in (sends, close, removals, rejects, mirror, report):
        command.add_argument("--conn-id", default="kfr_default", help="connection to the register")
    options = parser.parse_args()
    if options.command == "verify-report":
        verify_report(options.report)
        return
    if options.command == "check-sql":
        check_sql(options.conn_id, options.sql)
        return
    settings, staging = _institution(options.conn_id)
    if options.command == "sends":
        list_sends(settings, staging)
    elif options.command == "close-send":
        close_send(staging, options.send, options.reason)
    elif options.command == "removals":
        count_removals(staging)
    elif options.command == "report":
        write_report(staging, options.run, options.to)
    elif options.command == "rejects":
        list_rejects(staging, retry=options.retry)
    else:
        write_mirror(staging, options.version)


def list_sends(settings: "Settings", staging: "Staging") -> None:
    """Print each open send: name, rows, when it settles, whether it is proven, CorrelationID."""
    from kfr.load.journal import Journal

    now = SystemClock().now().timestamp()
    for send, plan in Journal(staging.state).open_sends(settings.rows_per_second, now):
        settles = datetime.fromtimestamp(plan.settled_at, OSLO).isoformat(timespec="seconds")
        proven = "proven" if send.proven_at else "not proven"
        facts = f"{send.rows:,} rows, {proven}, settles {settles}, CorrelationID {send.correlation_id}"
        print(f"{send.name}  {facts}")  # noqa: T201


def close_send(staging: "Staging", name: str, reason: str) -> None:
    """Close a send by a person's word; its customers are possible, not proven, from then on."""
    from kfr.load.journal import Journal

    journal = Journal(staging.state)
    found = [send for send in journal.sends() if send.name == name]
    if not found:
        raise SystemExit(f"There is no send {name}. `python -m kfr sends` lists them.")
    journal.put(replace(found[0], closed_because=reason))
    print(f"Closed {name}.")  # noqa: T201


def count_removals(staging: "Staging") -> None:
    """Print how many removals there are in each state, and what the state means."""
    from kfr.load.removal_queue import MEANINGS, RemovalQueue

    counts = Counter(entry.state for entry in RemovalQueue.read(staging.state).entries.values())
    for state, meaning in MEANINGS.items():
        print(f"{counts[state]:>9,}  {state.value:<9} {meaning}")  # noqa: T201


def list_rejects(staging: "Staging", *, retry: bool) -> None:
    """Write each refused row and why; or have those that the register refused sent again by the next load."""
    from kfr.load import refusals

    if retry:
        print(f"The next load sends {refusals.forget(staging.state):,} customers again.")  # noqa: T201
        return
    for line in refusals.lines(staging.state):
        print(line)  # noqa: T201


def write_mirror(staging: "Staging", version: int | None) -> None:
    """Write customer_id, started_on and proven (true, or false for *possible*), sorted by customer."""
    import pyarrow.csv

    from kfr.load.mirror import table

    pyarrow.csv.write_csv(table(staging.state, version), sys.stdout.buffer)


def write_report(staging: "Staging", run: str | None, folder: Path) -> None:
    """Write `<run>.json`, `.sig`, `.pem` and `.html`; without a run print the keys of those that are kept."""
    import json

    from kfr.load import report
    from kfr.ui.report_page import render

    if run is None:
        print("\n".join(report.names(staging.state)))  # noqa: T201
        return
    if run not in report.names(staging.state):
        raise SystemExit(f"There is no report {run}. `python -m kfr report` lists them.")
    kept = report.read(staging.state, run)
    contents = {
        "json": kept.content,
        "sig": kept.signed.signature,
        "pem": kept.signed.certificate,
        "html": render(json.loads(kept.content)).encode(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for ending, content in contents.items():
        (folder / f"{run}.{ending}").write_bytes(content)
    print(f"Written: {folder / run}.json, .sig, .pem, .html")  # noqa: T201


def verify_report(path: Path) -> None:
    """Say who signed a report; end with an error if it is not as it was signed."""
    from kfr.register.signature import SignatureWrong, Signed, verify

    try:
        signed = Signed(
            signature=path.with_suffix(".sig").read_bytes(), certificate=path.with_suffix(".pem").read_bytes()
        )
        signer = verify(path.read_bytes(), signed)
    except FileNotFoundError as missing:
        raise SystemExit(f"{missing.filename} is missing: .json, .sig and .pem belong together.") from None
    except SignatureWrong as wrong:
        raise SystemExit(str(wrong)) from None
    print(  # noqa: T201
        f"Right: signed by organisation {signer.organisation_number}, certificate of {signer.issuer}, valid "
        f"{signer.valid_from:%Y-%m-%d} to {signer.valid_until:%Y-%m-%d}. That the certificate is genuine its "
        "authority shows: see docs/runbook.md."
    )


def check_sql(conn_id: str, folder: Path) -> None:
    """Say of each SQL file whether it runs and gives what it must; end with an error if one does not."""
    from kfr.clock import oslo_today
    from kfr.hooks.warehouse import SqlWarehouse

    flaws = 0
    for file, flaw in SqlWarehouse(conn_id, folder).check(oslo_today(SystemClock())):
        print(f"{file}: {flaw or 'right'}")  # noqa: T201
        flaws += flaw is not None
    if flaws:
        raise SystemExit(f"{flaws} files are not right.")


def _institution(conn_id: str) -> "tuple[Settings, Staging]":
    from kfr.hooks.kfr import KfrHook, staging_root, staging_url
    from kfr.load.staging import Staging

    settings = KfrHook(conn_id).settings
    root = staging_root(staging_url())
    return settings, Staging(root, settings.staging_key, environment=settings.environment, fid=settings.fid)


if __name__ == "__main__":
    main()
