"""What the demo prints when the run is over: the mails, the figures, and where the time went."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from kfr.load import report as reports
from kfr.load.staging import Staging, run_key
from kfr.register.settings import Settings
from tests.demo.register import Register
from tests.warehouse.truth import Truth

LABEL_WIDTH = 52


def read_report(env: Mapping[str, str], staging: Path, dag_id: str, run_id: str) -> dict[str, Any]:
    """Open the run's own report, which lies sealed in the state folder; counts only."""
    connection = json.loads(env["AIRFLOW_CONN_KFR_DEFAULT"])
    settings = Settings.from_fields(
        **{name: connection[name] for name in ("host", "login", "password", "extra")}
    )
    place = Staging(staging, settings.staging_key, environment=settings.environment, fid=settings.fid).state
    return dict(json.loads(reports.read(place, run_key(dag_id, run_id)).content))


def print_mails(mails: Sequence[Mapping[str, Any]]) -> None:
    """Print the mails as the mail server received them."""
    for mail in mails:
        print(f"\n--- mail as received: to {', '.join(mail['recipients'])}, {mail['message_id']}")
        print(f"Subject: {mail['subject']}\n\n{mail['text'].rstrip()}")


def print_report(report: Mapping[str, Any], register: Register, truth: Truth) -> bool:
    """Print the figures of the run's report, and what others say of the same; return whether they agree."""
    rows, plan, proof = report["rows"], report["plan"], report["proof"]
    _head("The load, by its report")
    _line("rows read", rows["rows"])
    _line("  planned: to add", plan["added"])
    _line("  folded into another row of the customer", rows["folded"])
    _line("  of customers who are not active", rows["not_active"])
    _line("  rejected", rows["rejected"])
    for reason, count in sorted(report["rejected"].items()):
        _line(f"    {reason}", count)
    _line("files", len(report["files"]))
    _line("bytes", sum(file["size"] for file in report["files"]))
    _line("arrivals registered singly", report["single_additions"])
    _line(
        "arrivals by the closing file",
        sum(f["rows"] for f in report["files"] if f["label"] not in plan["labels"]),
    )
    _line("removals", report["removals"]["removed"])
    _line("customers looked up in the proof", proof["look_ups"])
    _line("misses", proof["misses"])
    as_planted = rows["rows"] == truth.rows and report["rejected"] == truth.rejected
    too_early = register.removals_too_early()
    _head("The same load, by others")
    _line("rows read and rejected as the generator planted", "yes" if as_planted else "no")
    _line("rows of files loaded, by the register's log", register.rows("file_loaded"))
    _line("look-ups answered, all in all", register.count("look_up"))
    _line(
        "removals, of these before the last file was loaded", f"{register.count('remove_one')}, {too_early}"
    )
    return as_planted and too_early == 0


def print_times(spans: Mapping[str, tuple[datetime, datetime]], phases: Mapping[str, float]) -> None:
    """Print seconds: of each phase of the demo, and of each task from its first word to its last."""
    _head("Where the time went, in seconds")
    for name, seconds in phases.items():
        _line(name, f"{seconds:.1f}")
    _line("all in all", f"{sum(phases.values()):.1f}")
    for task, (first, last) in sorted(spans.items(), key=lambda span: span[1]):
        _line(f"  {task}", f"{(last - first).total_seconds():.1f}")


def print_equality(found: Mapping[str, int], *, defect: bool) -> None:
    _head(
        "Register and warehouse, compared by tests/demo/equality.sql"
        + (" after defects were planted" if defect else "")
    )
    for name, value in found.items():
        if name != "equal":
            _line(name.replace("_", " "), value)
    print(f"\nregister equals warehouse: {'yes' if found['equal'] else 'no'}", flush=True)


def _head(text: str) -> None:
    print(f"\n{text}")


def _line(label: str, value: int | str) -> None:
    print(f"  {label:<{LABEL_WIDTH}} {f'{value:,}' if isinstance(value, int) else value:>12}")
