"""What a load says of itself when it is over, and the words of its mails: figures, never an identifier."""

from dataclasses import asdict, dataclass
from typing import Any

from kfr.load import arrivals, extract, mirror, planning, verification
from kfr.load.journal import Single
from kfr.load.planning import Plan
from kfr.load.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """A mail's own words."""

    subject: str
    text: str


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
    for part in ("removals", "proof"):
        if place.exists(f"{part}.json"):
            report[part] = place.read_json(f"{part}.json")
    held = mirror.read(world)
    report["mirror"] = {"version": held.version, "proven": len(held.proven), "possible": len(held.possible)}
    world.state.write_json(f"reports/{world.run.key}.json", report)
    return report


def notice(world: World, plan: Plan, day: str) -> Mail:
    """The notice that over 100,000 relationships will be loaded in a day, in Norwegian."""
    f = plan.forecast
    return Mail(
        subject=f"Varsel om innlasting i Kundeforholdsregisteret {day}, org.nr. {world.settings.fid}",
        text=f"""Hei,

Vi varsler om at vi {day} laster over 100 000 kundeforhold inn i Kundeforholdsregisteret.

Organisasjonsnummer: {world.settings.fid}
Miljø: {_environment(world)}
Kundeforhold som sendes {day}: {_number(f.rows_by_day[day])}
Kundeforhold i alt: {_number(f.rows)}, fordelt på {f.files} filer
Beregnet ferdig lastet: {f.ends_at}

Denne meldingen er sendt automatisk.
""",
    )


def confirmation(world: World) -> Mail:
    """D-4: all relationships are loaded and checked, in Norwegian."""
    proof = verification.read(world)
    files = _files(world, planning.read(world))
    sampled = sum(s.sampled for s in proof.strata)
    certainty = (
        "Alle er kontrollert ved oppslag."
        if proof.wrong_at_most == 0
        else f"Ingen avvik i stikkprøven betyr med 95 % sikkerhet at høyst {_number(proof.wrong_at_most)} "
        "kundeforhold kan være feil."
    )
    return Mail(
        subject=f"D-4: Kundeforhold er lastet inn, org.nr. {world.settings.fid}",
        text=f"""Hei,

Vi bekrefter at alle kundeforhold er lastet inn i Kundeforholdsregisteret (oppgave D-3).

Organisasjonsnummer: {world.settings.fid}
Miljø: {_environment(world)}
Kundeforhold lastet inn: {_number(proof.holds)}
Filer: {len(files)}
Kontrollert ved oppslag: {_number(sampled)}, avvik etter retting: 0. {certainty}

Denne meldingen er sendt automatisk da kontrollen var ferdig.
""",
    )


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


def _environment(world: World) -> str:
    return "produksjon" if world.settings.environment == "production" else "test"


def _number(value: int) -> str:
    return f"{value:,}".replace(",", " ")
