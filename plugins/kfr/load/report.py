"""What a load says of itself when it is over, and the words of its mails: figures, never an identifier."""

from dataclasses import asdict
from typing import Any

from kfr.load import arrivals, extract, mirror, planning, verification
from kfr.load.journal import Single
from kfr.load.papers import CONFIRMATION, NOTICE, Language, Mail, write_mail
from kfr.load.planning import Plan
from kfr.load.world import World

GATE = "gate.json"  # in the run's folder: open tasks of the guide in spite of which a person started it


def build(world: World) -> dict[str, Any]:
    """The report of this run as far as it came; JSON, counts only. Kept in the state folder."""
    place, report = world.place, _head(world)
    if place.exists("extract.json"):
        found = extract.read(world)
        report |= {"as_of": found.as_of.isoformat(), "rows": found.counts, "rejected": found.rejected}
    if place.exists("plan.json"):
        plan = planning.read(world)
        report |= {"plan": asdict(plan), "files": _files(world, plan)}
        singles = world.journal.singles(world.run.key)
        report["single_additions"] = int((singles[:, 1] != Single.INTENDED).sum())
    for part in ("removals", "proof", "gate"):
        if place.exists(f"{part}.json"):
            report[part] = place.read_json(f"{part}.json")
    held = mirror.read(world)
    report["mirror"] = {"version": held.version, "proven": len(held.proven), "possible": len(held.possible)}
    world.state.write_json(f"reports/{world.run.key}.json", report)
    return report


def notice(world: World, plan: Plan, day: str, language: Language = "no") -> Mail:
    """The notice that over 100,000 relationships will be loaded in a day."""
    forecast = plan.forecast
    values = {
        "day": day,
        "fid": world.settings.fid,
        "environment": _environment(world, language),
        "rows_that_day": _number(forecast.rows_by_day[day]),
        "rows": _number(forecast.rows),
        "files": forecast.files,
        "hours": f"{forecast.hours:.1f}",
        "ends_at": forecast.ends_at,
    }
    return write_mail(world.papers, NOTICE, language, values)


def confirmation(world: World, language: Language = "no") -> Mail:
    """D-4: all relationships are loaded and checked."""
    proof = verification.read(world)
    values = {
        "fid": world.settings.fid,
        "environment": _environment(world, language),
        "loaded": _number(proof.holds),
        "files": len(_files(world, planning.read(world))),
        "sampled": _number(sum(stratum.sampled for stratum in proof.strata)),
        "wrong_at_most": _number(proof.wrong_at_most) if proof.wrong_at_most else "",
    }
    return write_mail(world.papers, CONFIRMATION, language, values)


def table(report: dict[str, Any]) -> list[tuple[str, str]]:
    """The report as label and figure, for a log or a page."""
    rows: list[tuple[str, Any]] = [("as of", report.get("as_of", "-"))]
    rows += [(f"rows {name}", n) for name, n in report.get("rows", {}).items() if name != "rows"]
    rows += [("rows read", report.get("rows", {}).get("rows", 0))]
    rows += [(f"rejected: {reason}", n) for reason, n in sorted(report.get("rejected", {}).items())]
    files = report.get("files", [])
    rows += [("files", len(files)), ("bytes", sum(f["size"] for f in files))]
    rows += [("single additions", report.get("single_additions", 0))]
    rows += [(f"removals {name}", n) for name, n in report.get("removals", {}).items()]
    proof = report.get("proof", {})
    if gate := report.get("gate"):
        rows += [(f"started although open: {', '.join(gate['open'])}", f"{gate['by']}: {gate['reason']}")]
    rows += [("look-ups of the proof", proof.get("look_ups", 0)), ("misses", proof.get("misses", 0))]
    return [(label, f"{value:,}" if isinstance(value, int) else str(value)) for label, value in rows]


def _head(world: World) -> dict[str, Any]:
    return {
        "dag_id": world.run.dag_id,
        "run_id": world.run.run_id,
        "environment": world.settings.environment,
        "fid": world.settings.fid,
        "reason": world.run.reason,
        "dry_run": world.run.dry_run,
        "written_at": world.clock.now().isoformat(timespec="seconds"),
    }


def _files(world: World, plan: Plan) -> list[dict[str, Any]]:
    closing = f"{arrivals.CLOSING}.json"
    labels = [*plan.labels, *(world.place.read_json(closing) if world.place.exists(closing) else [])]
    repairs = [f"repair-{label}" for label in labels]
    names = [f"results/{label}.json" for label in [*labels, *repairs]]
    return [world.place.read_json(name) for name in names if world.place.exists(name)]


def _environment(world: World, language: Language) -> str:
    if language == "en":
        return world.settings.environment
    return "produksjon" if world.settings.environment == "production" else "test"


def _number(value: int) -> str:
    return f"{value:,}".replace(",", " ")
