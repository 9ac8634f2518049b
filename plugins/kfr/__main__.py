"""What a person does by hand, with the connection's key: see docs/runbook.md and docs/operations.md."""

import argparse
import csv
import os
import pwd
import re
import shlex
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from kfr.clock import OSLO, SystemClock
from kfr.register.errors import ConfigurationError, KfrError

if TYPE_CHECKING:
    from kfr.load.staging import Staging
    from kfr.register.settings import Settings


def main() -> None:
    """Read the arguments and do what they say; an error of ours is one line, which says what to do."""
    options = _parse()
    # Without this word of Airflow's own a process that is no task finds no connection but those of its environment.
    os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")
    try:
        _run(options)
    except KfrError as error:
        # A traceback would print what the error came from, too, and that may quote an identity number.
        raise SystemExit(str(error)) from None


def _run(options: argparse.Namespace) -> None:
    if options.command == "verify-report":
        verify_report(options.report)
    elif options.command == "check-sql":
        check_sql(options.conn_id, options.sql)
    else:
        _do(options, *_institution(options.conn_id))


def _do(options: argparse.Namespace, settings: "Settings", staging: "Staging") -> None:
    """Do what needs the institution's state."""
    commands: dict[str, Callable[[], None]] = {
        "sends": lambda: list_sends(settings, staging),
        "close-send": lambda: close_send(staging, options.send, options.reason),
        "removals": lambda: count_removals(staging),
        "mirror": lambda: write_mirror(staging, options.version),
        "report": lambda: write_report(staging, options.run, options.to),
        "rejects": lambda: (
            retry_refused(staging)
            if options.retry
            else show_rejects(staging, options.run, identifiers=options.identifiers)
        ),
        "ask": lambda: ask(staging, options.reason) if options.reason else show_readings(staging),
        "rotate-key": lambda: rotate_key(settings, staging, sys.stdin.readline()),
    }
    commands[options.command]()


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m kfr", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    sends = commands.add_parser("sends", help="list the files that may still be loading")
    close = commands.add_parser("close-send", help="declare that a send will never load")
    close.add_argument("--send", required=True, help="its name, as `sends` lists it")
    close.add_argument("--reason", required=True, help="who said so, and where; kept with the send")
    removals = commands.add_parser("removals", help="count the removals that wait, by what they wait for")
    mirror = commands.add_parser(
        "mirror", help="write the mirror to standard output as CSV: identity numbers!"
    )
    mirror.add_argument("--version", type=int, help="an older one; the newest if not given")
    rejects = commands.add_parser("rejects", help="count the refused rows that are kept, by run and reason")
    rejects.add_argument("--run", help="of this run only, as the list names it")
    rejects.add_argument(
        "--identifiers", action="store_true", help="write the rows themselves as CSV: identity numbers!"
    )
    rejects.add_argument(
        "--retry",
        action="store_true",
        help="let the next load send whom the register refused, of any run, before seven days are over",
    )
    asking = commands.add_parser(
        "ask",
        help="what is on record of the customers on standard input, one a line; or who has asked before",
    )
    asking.add_argument(
        "--reason", help="why it is asked; kept with who asks, and when. Without it: the list"
    )
    rotate = commands.add_parser(
        "rotate-key",
        help="seal everything under the connection's new key; the old one on standard input",
        description="Seal everything under the connection's new key. The old one, base64, on standard input.",
    )
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
    for command in (sends, close, removals, mirror, rejects, asking, rotate, report):
        command.add_argument("--conn-id", default="kfr_default", help="connection to the register")
    return parser.parse_args()


def list_sends(settings: "Settings", staging: "Staging") -> None:
    """Print each open send: name, file and try, rows, whether it is proven, until when it may load, CorrelationID."""
    from kfr.load.journal import Journal

    now = SystemClock().now().timestamp()
    open_ = Journal(staging.state).open_sends(settings.rows_per_second, now)
    if not open_:
        print("No file may still be loading.")  # noqa: T201
    for send, plan in open_:
        settles = datetime.fromtimestamp(plan.settled_at, OSLO).isoformat(timespec="seconds")
        proven = "proven" if send.proven_at else "not proven"
        file = f"file {send.label} of {send.run}, try {send.attempt}, {send.rows:,} rows"
        facts = f"{file}, {proven}, may load until {settles}, CorrelationID {send.correlation_id}"
        print(f"{send.name}  {facts}")  # noqa: T201


def close_send(staging: "Staging", name: str, reason: str) -> None:
    """Close a send by a person's word; its customers are possible, not proven, from then on."""
    from kfr.load.journal import Journal

    if _has_identifier(reason):
        raise SystemExit("The reason is shown with the send for years: no identity numbers in it.")
    journal = Journal(staging.state)
    found = [send for send in journal.sends() if send.name == name]
    if not found:
        raise SystemExit(f"There is no send {name}. `python -m kfr sends` lists them.")
    (send,) = found
    if send.proven_at is not None or send.closed_because is not None:
        how = f"closed: {send.closed_because}" if send.closed_because else "proven, so it closes by itself"
        raise SystemExit(f"The send {name} is {how}. Nothing was changed.")
    now = SystemClock().now().isoformat(timespec="seconds")
    journal.put(replace(send, closed_because=f"{reason} ({_who()}, {now})"))
    print(f"Closed {name}.")  # noqa: T201


def count_removals(staging: "Staging") -> None:
    """Print how many removals there are in each state, and what the state means."""
    from kfr.load.removal_queue import MEANINGS, RemovalQueue

    counts = Counter(entry.state for entry in RemovalQueue.read(staging.state).entries.values())
    for state, meaning in MEANINGS.items():
        print(f"{counts[state]:>9,}  {state.value:<9} {meaning}")  # noqa: T201


def retry_refused(staging: "Staging") -> None:
    """Let the next load send again whom the register refused of late."""
    from kfr.load import refusals

    print(f"The next load sends {refusals.retry(staging.state):,} customers again.")  # noqa: T201


def write_mirror(staging: "Staging", version: int | None) -> None:
    """Write customer_id, started_on and proven (true, or false for *possible*), sorted by customer."""
    import pyarrow.csv

    from kfr.load.mirror import table

    pyarrow.csv.write_csv(table(staging.state, version), sys.stdout.buffer)


def show_rejects(staging: "Staging", run: str | None, *, identifiers: bool) -> None:
    """Print counts by run and reason; or, asked for, the rows as CSV with their run, as they were read."""
    from kfr.load import rejects

    kept = [found for found in rejects.read(staging) if run in (None, found.run)]
    if not identifiers:
        if not kept:
            print("No refused row is kept.")  # noqa: T201
        for found in kept:
            counts = Counter(row["reason"] for row in found.rows)
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(counts.items()))
            print(f"{found.written_at}  {found.run}  {reasons}")  # noqa: T201
        return
    columns = ["run", "customer_id", "started_on", "ended_on", "reason"]
    writer = csv.DictWriter(sys.stdout, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({"run": found.run, **row} for found in kept for row in found.rows)


def ask(staging: "Staging", reason: str) -> None:
    """Print what is on record of each customer on standard input, by the number of the line, and who asked."""
    from kfr.load import delivery_log

    lines = [line.strip() for line in sys.stdin if line.strip()]
    for number, line in enumerate(lines, start=1):
        if not (line.isascii() and line.isdigit() and len(line) in (9, 11)):
            raise SystemExit(f"Line {number} is no identity number: 9 or 11 digits. Nothing was looked for.")
    if _has_identifier(reason):
        raise SystemExit("The reason is kept in clear in the list: no identity numbers in it.")
    found = delivery_log.ask(staging, SystemClock(), [int(line) for line in lines], by=_who(), reason=reason)
    for number, facts in enumerate(found, start=1):
        for fact in facts:
            print(f"{number}  {fact.when}  {fact.what}")  # noqa: T201
        if not facts:
            print(f"{number}  nothing is on record")  # noqa: T201


def show_readings(staging: "Staging") -> None:
    """Print who has asked for customers, when, about how many, and why."""
    from kfr.load import delivery_log

    for entry in delivery_log.readings(staging.state):
        print(f"{entry['at']}  {entry['by']}  {entry['customers']:,} customers  {entry['reason']}")  # noqa: T201


def rotate_key(settings: "Settings", staging: "Staging", old: str) -> None:
    """Seal everything of the institution under the connection's key, in place of `old` (base64)."""
    from kfr.load.rotation import rotate
    from kfr.register.settings import staging_key_of

    try:
        key = staging_key_of(old.strip())
    except ConfigurationError as error:
        raise SystemExit(f"Standard input should hold the old key: {error}") from None
    if key == settings.staging_key:
        raise SystemExit("The connection still has this key. Give it the new one first.")
    done = rotate(_staging(settings, key), staging)
    print(  # noqa: T201
        f"{done.sealed:,} files are sealed under the connection's key; {done.removed:,} staged files of runs that "
        "did not end are removed."
    )


def write_report(staging: "Staging", run: str | None, folder: Path) -> None:
    """Write `<run>.json`, `.sig`, `.pem` and `.html`; without a run print the keys of those that are kept."""
    import json

    from kfr.load import report
    from kfr.ui.report_page import render

    if run is None:
        print("\n".join(names := report.names(staging.state)))  # noqa: T201
        hint = "No report is kept yet."
        if names:
            last = shlex.quote(names[-1])
            hint = f"To write one with its signature: python -m kfr report --run {last} --to FOLDER"
        print(hint, file=sys.stderr)  # noqa: T201
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
    from kfr.register.signature import Signed, verify

    try:
        signed = Signed(
            signature=path.with_suffix(".sig").read_bytes(), certificate=path.with_suffix(".pem").read_bytes()
        )
        signer = verify(path.read_bytes(), signed)
    except FileNotFoundError as missing:
        raise SystemExit(f"{missing.filename} is missing: .json, .sig and .pem belong together.") from None
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


def _has_identifier(reason: str) -> bool:
    from kfr.operators.params import IDENTIFIER

    return re.search(IDENTIFIER, reason) is not None


def _who() -> str:
    """Who asks, by the system's word: sudo's, or else the account; LOGNAME is whatever the caller sets it to."""
    if caller := os.environ.get("SUDO_USER"):
        return caller
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container may run under a number that has no name
        return f"uid {os.getuid()}"


def _institution(conn_id: str) -> "tuple[Settings, Staging]":
    from kfr.hooks.kfr import KfrHook

    settings = KfrHook(conn_id).settings
    return settings, _staging(settings, settings.staging_key)


def _staging(settings: "Settings", key: bytes) -> "Staging":
    from kfr.hooks.kfr import staging_root, staging_url
    from kfr.load.staging import Staging

    root = staging_root(staging_url())
    return Staging(root, key, environment=settings.environment, fid=settings.fid)


if __name__ == "__main__":
    main()
