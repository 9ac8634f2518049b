"""How the register, and the run that is under way, stand: counts and times, for a page that sees no state.

What reads it has neither the staging key nor the state folder, so whatever it shows must be in here, and no
identifier may be.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict
from datetime import date
from typing import Any

from kfr.clock import oslo_date
from kfr.load import arrivals, lease, watermark
from kfr.load.ingestion import give_up_at
from kfr.load.journal import Outcome, Schedule, Send, Single, is_open, schedule
from kfr.load.removal_queue import Removal, RemovalQueue
from kfr.load.sealing import StateDamaged
from kfr.load.world import World
from kfr.register.errors import KfrError

XCOM_KEY = "kfr_status"
ALERTS = "alerts"  # folder of the open alerts in the state, one file a topic (see `kfr.notifications.ledger`)


def summarise(world: World, trouble: KfrError | None = None) -> dict[str, Any]:
    """Everything the page shows; JSON. Moments are Unix seconds.

    :param trouble: what has just ended the task; such a message never holds an identifier.
    """
    sends = world.journal.sends()
    plans = schedule(sends, world.settings.rows_per_second)
    holder = lease.current(world)
    return {
        "at": world.now,
        "trouble": f"{type(trouble).__name__}: {trouble}" if trouble else None,
        "runbook": trouble.runbook if trouble else None,
        "fid": world.settings.fid,
        "environment": world.settings.environment,
        "dry_run": world.run.dry_run,
        "rows_per_second": world.settings.rows_per_second,
        "certificate_until": world.certificate.not_after.date().isoformat(),
        "certificate_days": days_left(world),
        "lease": asdict(holder) if holder and holder.held else None,
        "register": _register(world),
        "removals": _removals(world),
        "open": _open(sends, plans, world.now),
        "alerts": _alerts(world),
        "run": _run(world, sends, plans),
    }


def days_left(world: World) -> int:
    """Calendar days until the certificate ends."""
    return (oslo_date(world.certificate.not_after) - oslo_date(world.clock.now())).days


def _register(world: World) -> dict[str, Any] | None:
    """What the mirror holds; None before there is one."""
    if not world.state.exists("mirror"):
        return None
    pointer = world.state.read_json("mirror")
    as_of: date | None = watermark.read(world)
    return {
        "proven": pointer["proven"],
        "possible": pointer["possible"],
        "version": pointer["version"],
        "moved_at": pointer["at"],
        "as_of": as_of.isoformat() if as_of else None,
    }


def _removals(world: World) -> dict[str, int]:
    counts = Counter(entry.state for entry in RemovalQueue.read(world.state).entries.values())
    return {state.value: counts[state] for state in Removal}


def _open(sends: list[Send], plans: dict[str, Schedule], now: float) -> dict[str, Any]:
    """Sends of any run that may still be loading: no removal runs before they are closed."""
    still = [s for s in sends if is_open(s, plans.get(s.name), now)]
    return {
        "sends": len(still),
        "unproven": sum(s.proven_at is None for s in still),
        "until": max((plans[s.name].settled_at for s in still), default=None),
    }


def _alerts(world: World) -> list[dict[str, Any]]:
    """What somebody was told of and is not over, the oldest first."""
    found = []
    for name in world.state.names(ALERTS):
        topic = name.removeprefix(f"{ALERTS}/").removesuffix(".json")
        with suppress(StateDamaged):  # one that was written with a wrong staging key
            entry = world.state.read_json(name)
            found.append({"topic": topic, "since": entry["since"], "what": entry["what"]})
    return sorted(found, key=lambda alert: alert["since"])


def _run(world: World, sends: list[Send], plans: dict[str, Schedule]) -> dict[str, Any]:
    """What this run has found, planned and done so far; a part that it has not come to is not there."""
    place, found = world.place, {}
    parts: dict[str, Callable[[Any], Any]] = {
        "extract": lambda v: {"as_of": v["as_of"], "rows": v["counts"], "rejected": v["rejected"]},
        "plan": _planned,
        "approved": lambda v: {"by": v["by"], "at": v.get("at")},
        "removals": lambda v: v,
        "proof": lambda v: {name: v[name] for name in ("look_ups", "misses", "holds")},
        "reconciled": lambda v: {
            name: sum(s[name] for s in v.get("strata", [])) for name in ("sampled", "misses")
        },
    }
    for part, shown in parts.items():
        if place.exists(f"{part}.json"):
            found[part] = shown(place.read_json(f"{part}.json"))
    singles = world.journal.singles(world.run.key)
    if len(singles):
        found["singles"] = int((singles[:, 1] != Single.INTENDED).sum())
    if "plan" in found:
        found["files"] = _files(world, found["plan"]["labels"], sends, plans)
    return found


def _planned(plan: dict[str, Any]) -> dict[str, Any]:
    names = ("added", "singly", "start_changed", "unchanged", "removals", "labels", "forecast", "findings")
    return {name: plan[name] for name in names}


def _files(
    world: World, planned: list[str], sends: list[Send], plans: dict[str, Schedule]
) -> list[dict[str, Any]]:
    """Each file of the run: what was sent of it, when it should be loaded, and when it was proven."""
    place, closing = world.place, f"{arrivals.CLOSING}.json"
    labels = [*planned, *(place.read_json(closing) if place.exists(closing) else [])]
    mine = [s for s in sends if s.run == world.run.key and s.loads]
    labels += sorted({s.label for s in mine} - set(labels))  # repairs
    files = []
    for label in labels:
        of_file = [s for s in mine if s.label == label]
        result = place.read_json(f"results/{label}.json") if place.exists(f"results/{label}.json") else {}
        proven = [s.proven_at for s in of_file if s.proven_at]
        bytes_of = {s.file for s in of_file}
        copies = [s for s in sends if s.loads and s.file in bytes_of]  # of other runs, too
        files.append(
            {
                "label": label,
                "rows": result.get("rows") or sum({s.file: s.rows for s in of_file}.values()),
                "size": result.get("size") or sum({s.file: s.size for s in of_file}.values()),
                "sends": len(of_file),
                "refused": result.get("refused", 0),
                "status": result.get("status") or _status(of_file),
                "sent_at": min((s.counts_from for s in of_file), default=None),
                "loaded_at": max((plans[s.name].loaded_at for s in of_file), default=None),
                "looked_up_until": give_up_at(copies, plans, world.run.loading_grace) if copies else None,
                "proven_at": max(proven) if proven else None,
                "sent": [_sent(s, of_file) for s in sorted(of_file, key=lambda s: s.counts_from)],
            }
        )
    return files


def _sent(send: Send, of_file: list[Send]) -> dict[str, Any]:
    """One time that a file went; `superseded` if the same bytes went again."""
    return {
        "at": send.counts_from,
        "correlation_id": send.correlation_id,
        "superseded": is_superseded(send, of_file),
    }


def _status(sends: list[Send]) -> str:
    if not sends:
        return "planned"
    if any(s.proven_at for s in sends):
        return "proven"
    return "loading" if any(s.outcome is Outcome.ACCEPTED for s in sends) else "no answer"


def is_superseded(send: Send, sends: Iterable[Send]) -> bool:
    """Whether the same bytes were sent again after it, in one of `sends`."""
    return any(s.file == send.file and s.attempt > send.attempt for s in sends)
