"""The page in Airflow's navigation: the register, the load to look at, the history."""

from collections import Counter
from datetime import datetime
from typing import Any

from kfr.clock import oslo_date
from kfr.ui.figures import FRESH_DAYS, LoadRun, Overview
from kfr.ui.pictures import bars, legend, queue
from kfr.ui.run_view import Fact, RunView, report_address
from kfr.ui.templating import figure, moment

CERTIFICATE_WARNS_DAYS = 60
CERTIFICATE_URGENT_DAYS = 7
REASONS_SHOWN = 5  # as many as there are colours; the rest are one
QUEUE = (
    ("due", "waits", "wait"),
    ("intended", "being sent", "work"),
    ("held", "held for a person", "bad"),
    ("removed", "proof pending", "work"),
    ("gone", "proven gone", "good"),
)


def page_values(found: Overview, now: datetime) -> dict[str, Any]:
    """What the page's template needs."""
    latest, current = found.latest, found.current
    values: dict[str, Any] = {"now": now.timestamp(), "who": None, "run": None, "refresh": 60}
    if current is None:
        return values
    if latest:
        values["who"] = f"{latest['fid']}, {latest['environment']}"
    reasons, columns = _rejects(found.runs)
    removals = (latest or {}).get("removals", {})
    waiting = sum(removals.get(name, 0) for name in ("due", "intended", "held"))
    open_until = ((latest or {}).get("open") or {}).get("until")
    held = f", none before {moment(open_until)}: files may be loading" if waiting and open_until else ""
    return {
        **values,
        "run": RunView(current, now),
        "refresh": 10 if current.is_active else 60,
        "alerts": [(moment(a["since"]), a["what"]) for a in (latest or {}).get("alerts", [])],
        "register": _register(found, latest or {}, now),
        "removals_said": f"{figure(waiting)} waiting{held}",
        "queue": queue([(said, removals.get(name, 0), colour) for name, said, colour in QUEUE]),
        "rejects": bars(columns, reasons),
        "rejects_legend": legend(reasons),
        "history": [_line(run) for run in found.runs],
    }


def _register(found: Overview, latest: dict[str, Any], now: datetime) -> list[Fact]:
    facts, register = [], latest.get("register") or {}
    below = f"{figure(register['possible'])} sent, not proven" if register.get("possible") else "by look-ups"
    facts.append(Fact(name="Relationships proven", value=figure(register.get("proven")), below=below))
    behind = found.days_behind(oslo_date(now))
    if behind is None:
        facts.append(Fact(name="Right as of", value="not yet", below="no load is proven", kind="wait"))
    else:
        kind = "good" if behind <= FRESH_DAYS else "bad"
        below = "today" if behind == 0 else "yesterday" if behind == 1 else f"{behind} days ago"
        facts.append(Fact(name="Right as of", value=register["as_of"], below=below, kind=kind))
    if (days := latest.get("certificate_days")) is not None:
        kind = "bad" if days <= CERTIFICATE_URGENT_DAYS else "wait" if days <= CERTIFICATE_WARNS_DAYS else ""
        below = f"until {latest['certificate_until']}"
        facts.append(Fact(name="Certificate, days left", value=figure(days), below=below, kind=kind))
    if lease := latest.get("lease"):
        below = f"since {moment(lease['since'])}"
        facts.append(Fact(name="Held by", value=lease["dag_id"].removeprefix("kfr_"), below=below))
    else:
        facts.append(Fact(name="Held by", value="nobody", below="the next run may begin"))
    return facts


def _line(run: LoadRun) -> dict[str, Any]:
    """A line of the history."""
    view = RunView(run, run.began or datetime.now().astimezone())
    status, proof = run.status, run.status.get("proof")
    rows, plan = status.get("extract", {}).get("rows", {}), status.get("plan", {})
    said = f"{figure(proof['look_ups'])} look-ups, {figure(proof['misses'])} misses" if proof else ""
    return {
        "began": moment(run.began.isoformat() if run.began else None),
        "address": view.address,
        "dag_id": run.dag_id,
        "kind": run.kind,
        "state": view.state,
        "dry_run": run.dry_run,
        "rows": rows.get("rows"),
        "rejected": rows.get("rejected"),
        "added": plan.get("added"),
        "start_changed": plan.get("start_changed"),
        "removed": status.get("removals", {}).get("removed"),
        "seconds": run.seconds,
        "proof": said,
        "report": report_address(run) if run.report else None,
    }


def _rejects(runs: list[LoadRun]) -> tuple[list[str], list[tuple[str, dict[str, int]]]]:
    """The most frequent reasons, and for each run that read the warehouse, oldest first, how many of each."""
    read = [run for run in reversed(runs) if "extract" in run.status]
    totals: Counter[str] = Counter()
    for run in read:
        totals.update(run.status["extract"]["rejected"])
    names = [name for name, _ in totals.most_common()]
    shown = names if len(names) <= REASONS_SHOWN else [*names[: REASONS_SHOWN - 1], "other reasons"]
    columns = []
    for run in read:
        rejected: dict[str, int] = run.status["extract"]["rejected"]
        values = {name: rejected.get(name, 0) for name in shown}
        if shown != names:
            values["other reasons"] = sum(n for reason, n in rejected.items() if reason not in shown)
        columns.append((moment(run.began.isoformat() if run.began else None)[:10], values))
    return shown, columns
