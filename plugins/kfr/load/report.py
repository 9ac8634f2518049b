"""What a load says of itself when it is over, and the words of its mails: figures, never an identifier."""

import base64
import json
import re
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from kfr.clock import OSLO
from kfr.load import arrivals, extract, lease, mirror, planning, verification
from kfr.load.evidence import PLAN
from kfr.load.journal import Send, Single
from kfr.load.papers import CONFIRMATION, Language, Mail, environment_name, spaced, write_mail
from kfr.load.planning import Plan
from kfr.load.staging import Place
from kfr.load.summary import is_superseded
from kfr.load.world import World
from kfr.register.signature import Signed, sign

XCOM_KEY = "kfr_report"  # under it the page finds what `Kept.as_text` gives

Outcome = Literal["proven", "not proven", "dry run"]

KEPT_AS = ".json"
GATE = "gate.json"  # in the run's folder: open tasks of the guide in spite of which a person started it


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A report as it is kept: the signed bytes are what counts."""

    content: bytes  # JSON
    signed: Signed

    def as_text(self) -> dict[str, str]:
        """The same in strings, for a place that takes JSON only."""
        return {
            "report": self.content.decode(),
            "signature": base64.b64encode(self.signed.signature).decode(),
            "certificate": self.signed.certificate.decode(),
        }

    @classmethod
    def from_text(cls, value: dict[str, str]) -> "Kept":
        signature = base64.b64decode(value["signature"])
        signed = Signed(signature=signature, certificate=value["certificate"].encode())
        return cls(content=value["report"].encode(), signed=signed)


def keep(world: World, report: dict[str, Any]) -> Kept:
    """Sign a report with the institution's key and keep both in the state folder; a dry run keeps nothing."""
    content = json.dumps(report, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"
    kept = Kept(content=content, signed=sign(content, world.certificate))
    if not world.run.dry_run:
        _put_by(world, report["began_at"])
        # In one file: a signature that is of another text would be worse than none.
        world.state.write_json(_name(world.run.key), kept.as_text())
    return kept


def _put_by(world: World, began_at: str) -> None:
    """Keep what the run has said before under a name of its own, if it has begun anew since, as after a clear."""
    if world.run.key not in names(world.state):
        return
    before = json.loads(read(world.state, world.run.key).content)
    if before["began_at"] != began_at:
        written_at = re.sub(r"\D", "", before["written_at"][:19])
        name = _name(f"{world.run.key}-{written_at}")
        world.state.write_json(name, world.state.read_json(_name(world.run.key)))


def read(state: Place, run: str) -> Kept:
    """The report of a run by its key, as `names` lists them."""
    return Kept.from_text(state.read_json(_name(run)))


def names(state: Place) -> list[str]:
    """The keys of the runs whose signed reports are kept, and of what each said before it was cleared."""
    kept = (name for name in state.names("reports") if name.endswith(KEPT_AS))  # beside pages and forms
    return [name.removeprefix("reports/").removesuffix(KEPT_AS) for name in kept]


def _name(run: str) -> str:
    return f"reports/{run}{KEPT_AS}"


def build(world: World, outcome: Outcome = "not proven") -> dict[str, Any]:
    """The report of this run as far as it came; JSON, counts only."""
    place, report = world.place, {**_head(world), "outcome": outcome}
    if place.exists("extract.json"):
        found = extract.read(world)
        report |= {"as_of": found.as_of.isoformat(), "rows": found.counts, "rejected": found.rejected}
    if place.exists(PLAN):
        plan = planning.read(world)
        report |= {"plan": asdict(plan), "files": _files(world, plan), "approved": _approved(world)}
        singles = world.journal.singles(world.run.key)
        report["single_additions"] = int((singles[:, 1] != Single.INTENDED).sum())
    for part in ("removals", "proof", "gate"):
        if place.exists(f"{part}.json"):
            report[part] = place.read_json(f"{part}.json")
    if not world.run.dry_run:
        held = mirror.read(world)
        report["mirror"] = {
            "version": held.version,
            "proven": len(held.proven),
            "possible": len(held.possible),
        }
        report["mails"] = _mails(world)
    return report


def confirmation(world: World, language: Language = "no") -> Mail:
    """D-4: all relationships are loaded and checked."""
    proof = verification.read(world)
    files = _files(world, planning.read(world))
    sampled = sum(stratum.sampled for stratum in proof.strata)
    values = {
        "fid": world.settings.fid,
        "environment": environment_name(world.settings.environment, language),
        "loaded": spaced(proof.holds),
        "files": len([f for f in files if f["status"] not in ("not proven", "not sent")]),
        "sampled": spaced(sampled),
        "wrong_at_most": spaced(proof.wrong_at_most) if proof.wrong_at_most else "",
        # Not where an earlier plan of this run has loaded some.
        "all_checked": "x" if not proof.wrong_at_most and sampled >= proof.holds else "",
    }
    return write_mail(world.papers, CONFIRMATION, language, values)


def table(report: dict[str, Any]) -> list[tuple[str, str]]:
    """The report as label and figure, for a log or a page."""
    rows: list[tuple[str, Any]] = [("as of", report.get("as_of", "-"))]
    rows += [(f"rows {name}", n) for name, n in report.get("rows", {}).items() if name != "rows"]
    rows += [("rows read", report.get("rows", {}).get("rows", 0))]
    rows += [(f"rejected: {reason}", n) for reason, n in sorted(report.get("rejected", {}).items())]
    files = report.get("files", [])
    rows += [("files", len(files)), ("bytes", sum(f.get("size", 0) for f in files))]
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
        "approval": world.run.approval,
        "dry_run": world.run.dry_run,
        "began_at": moment(_began(world)),
        "written_at": moment(world.now),
        "certificate_until": world.certificate.not_after.date().isoformat(),
    }


def moment(seconds: float | None) -> str | None:
    """Unix seconds as ISO in Norwegian time."""
    return None if not seconds else datetime.fromtimestamp(seconds, OSLO).isoformat(timespec="seconds")


def _began(world: World) -> float:
    """When this run took the register; now, if it did not."""
    own = world.place.read_json("lease") if world.place.exists("lease") else None
    return lease.Lease(**own).since if own else world.now


def _approved(world: World) -> dict[str, Any] | None:
    if not world.place.exists("approved.json"):
        return None
    found = world.place.read_json("approved.json")
    return {"by": found["by"], "at": moment(found.get("at")), "plan": found["fingerprint"]}


def _mails(world: World) -> list[dict[str, Any]]:
    """The mails that left for Bits since this run began."""
    began, found = _began(world), []
    for name in world.state.names("deliveries"):
        mail = world.state.read_json(name)
        if mail.get("sent_at") and mail["sent_at"] >= began:
            what = name.removeprefix("deliveries/")
            found.append({"what": what, "at": moment(mail["sent_at"]), "message_id": mail["message_id"]})
    return found


def _files(world: World, plan: Plan) -> list[dict[str, Any]]:
    """Each file of the plan, of those that came after it, and of repairs, with each time that it was sent."""
    closing = f"{arrivals.CLOSING}.json"
    planned = [*plan.labels, *(world.place.read_json(closing) if world.place.exists(closing) else [])]
    sends: dict[str, list[Send]] = {}
    for send in world.journal.of_run(world.run.key, _began(world)):
        sends.setdefault(send.label, []).append(send)
    found = []
    for label in [*planned, *(f"repair-{label}" for label in planned)]:
        result = f"results/{label}.json"
        if world.place.exists(result):
            file = world.place.read_json(result)
        elif label in planned or label in sends:  # a repair that is late has no result
            rows = len(world.place.read_array(f"files/{label}"))
            file = {"label": label, "rows": rows, "status": "not proven" if label in sends else "not sent"}
        else:
            continue
        found.append({**file, "sent": [_sent(send, sends[label]) for send in sends.get(label, [])]})
    return found


def _sent(send: Send, of_file: list[Send]) -> dict[str, Any]:
    """One POST of a file; the fingerprint is keyed, so nothing can be guessed from it."""
    return {
        "fingerprint": send.file,
        "attempt": send.attempt,
        "rows": send.rows,
        "size": send.size,
        "answer": send.outcome.value,
        "at": moment(send.counts_from),
        "correlation_id": send.correlation_id,
        "witnesses": len(send.witnesses),
        "proven_at": moment(send.proven_at),
        "closed_by_hand": send.closed_because is not None,
        "superseded": is_superseded(send, of_file),
    }
