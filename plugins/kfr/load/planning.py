"""What has to be sent so that the register equals the warehouse, judged and forecast before it is."""

from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np

from kfr.clock import OSLO, oslo_date, oslo_today
from kfr.load import extract, mirror
from kfr.load.ingestion import revisit
from kfr.load.journal import schedule
from kfr.load.removal_queue import welcome_back
from kfr.load.sampling import draw
from kfr.load.world import World
from kfr.register.errors import Fatal, InvalidIdentifier
from kfr.register.limits import NOTICE_ROWS_PER_DAY
from kfr.relationships.batch_file import FRAME_BYTES, cut, render
from kfr.relationships.guards import Finding, Severity, judge
from kfr.relationships.identifiers import World as Population
from kfr.relationships.packing import Ints, ids_of
from kfr.relationships.plan import difference

FILES_IN_FLIGHT = 2  # so that the register always has the next file while one is proven


class GuardStopped(Fatal):
    """The plan must not be carried out, by anyone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What carrying the plan out will take, at the register's rate, before anything is sent."""

    rows: int
    files: int
    size: int  # bytes
    hours: float
    ends_at: str  # ISO, Oslo time
    rows_by_day: dict[str, int]  # by Oslo day of sending, with what left earlier that day

    @property
    def notice_days(self) -> list[str]:
        """Days on which Bits wants to be told first (ONB D-3)."""
        return [day for day, rows in self.rows_by_day.items() if rows > NOTICE_ROWS_PER_DAY]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A plan by its figures. The rows stand sealed in the run's folder; here is no identifier."""

    as_of: str
    fingerprint: str
    added: int
    start_changed: int
    unchanged: int
    removals: int
    fates: dict[str, int]
    labels: list[str]
    forecast: Forecast
    findings: list[dict[str, str]] = field(default_factory=list)

    @property
    def asks(self) -> bool:
        """Whether a guard wants a person to decide."""
        return any(f["severity"] == Severity.ASKS.name for f in self.findings)


def plan(world: World, *, first_load: bool) -> Plan:
    """Compare the extract with the mirror, cut the batch files, judge and forecast; seal it all.

    :raises GuardStopped: a guard forbids the plan for anyone.
    """
    if not world.run.dry_run:
        revisit(world)
        held = mirror.record(world)
    elif first_load and not world.state.exists("institution"):
        held = mirror.Mirror(
            version=0, proven=mirror.NOTHING, possible=mirror.NOTHING
        )  # a dry run begins no state
    else:
        held = mirror.read(world)
    desired = extract.read(world)
    diff = difference(desired.active, held.proven)
    files = cut(np.concatenate([diff.start_changed, diff.add]), world.run.max_batch_bytes)
    labels = [f"{number:04d}" for number in range(1, len(files) + 1)]
    fingerprints = []
    sizes = []
    for label, rows in zip(labels, files, strict=True):
        customers = render(rows)
        world.place.write_array(f"files/{label}", rows)
        fingerprints.append(world.staging.fingerprint(customers))
        sizes.append(len(customers) + FRAME_BYTES)
    findings = _judge(world, desired, len(held.proven), len(diff.remove))
    if first_load and held.proven.size == 0:
        findings += _register_not_empty(world, diff.add)
    result = Plan(
        as_of=desired.as_of.isoformat(),
        fingerprint=world.staging.fingerprint(*(f.encode() for f in fingerprints), diff.remove.tobytes()),
        added=len(diff.add),
        start_changed=len(diff.start_changed),
        unchanged=diff.unchanged,
        removals=len(diff.remove),
        fates=fates(
            desired, added=len(diff.add), start_changed=len(diff.start_changed), unchanged=diff.unchanged
        ),
        labels=labels,
        forecast=forecast(world, [len(f) for f in files], sum(sizes)),
        findings=[{"code": f.code, "severity": f.severity.name, "message": f.message} for f in findings],
    )
    world.place.write_json("plan.json", asdict(result))
    world.say(_sentence(result))
    for finding in findings:
        world.say(f"Guard {finding.code}: {finding.message}")
    if stops := [f for f in findings if f.severity is Severity.STOPS]:
        raise GuardStopped(f"{'; '.join(f'{f.code}: {f.message}' for f in stops)} Nothing was sent.")
    if not world.run.dry_run:
        welcome_back(world.state, ids_of(diff.add))
    return result


def read(world: World) -> Plan:
    """The plan that this run made earlier."""
    return from_json(world.place.read_json("plan.json"))


def from_json(value: dict[str, Any]) -> Plan:
    return Plan(**{**value, "forecast": Forecast(**value["forecast"])})


def fates(desired: extract.Extract, *, added: int, start_changed: int, unchanged: int) -> dict[str, int]:
    """One fate for each row read; they add up to the source's own count, or the run fails.

    :raises Fatal: they do not.
    """
    result = {
        "added": added,
        "start_changed": start_changed,
        "unchanged": unchanged,
        "folded": desired.counts["folded"],
        "not_active": desired.counts["not_active"],
        "rejected": desired.counts["rejected"],
    }
    if sum(result.values()) != desired.rows:
        raise Fatal(
            f"The fates of the rows add up to {sum(result.values()):,}, not to the {desired.rows:,} read."
        )
    return result


def forecast(world: World, rows: list[int], size: int) -> Forecast:
    """When files of so many rows, sent from now on, will be loaded; two are in flight at a time."""
    rate, now = world.settings.rows_per_second, world.now
    busy_until = max((p.loaded_at for p in schedule(world.journal.sends(), rate).values()), default=now)
    loaded_at: list[float] = []
    by_day: dict[date, int] = {}
    for number, n in enumerate(rows):
        sent_at = loaded_at[number - FILES_IN_FLIGHT] if number >= FILES_IN_FLIGHT else now
        day = oslo_date(datetime.fromtimestamp(sent_at, UTC))
        by_day[day] = by_day.get(day, 0) + n
        loaded_at.append(max(busy_until, sent_at, *loaded_at[-1:], now) + n / rate)
    ends = loaded_at[-1] if loaded_at else now
    today = oslo_today(world.clock)
    by_day[today] = by_day.get(today, 0) + world.journal.rows_sent_on(today)
    return Forecast(
        rows=sum(rows),
        files=len(rows),
        size=size,
        hours=round((ends - now) / timedelta(hours=1).total_seconds(), 2),
        ends_at=datetime.fromtimestamp(ends, OSLO).isoformat(timespec="seconds"),
        rows_by_day={day.isoformat(): n for day, n in sorted(by_day.items())},
    )


def needs_person(world: World, plan_: Plan) -> bool:
    """Whether a person must approve the plan before anything is sent."""
    if world.run.approval == "always":
        return True
    return world.run.approval == "auto" and plan_.asks


def _judge(world: World, desired: extract.Extract, held: int, removals: int) -> list[Finding]:
    return judge(
        rows=desired.rows,
        rows_rejected=desired.counts["rejected"],
        desired=len(desired.active),
        mirror=held,
        removals=removals,
        worlds={population: desired.worlds.get(str(int(population)), 0) for population in Population},
        numbers_of_2032=desired.worlds["is_2032"],
        environment=world.settings.environment,
        on=oslo_today(world.clock),
        limits=world.run.limits,
    )


def _register_not_empty(world: World, adds: Ints) -> list[Finding]:
    """Look a sample up before anything is sent: a first load expects to find nobody."""
    positions = draw(len(adds), world.settings.sample_size, world.staging.fingerprint(adds.tobytes()))
    today = oslo_today(world.clock)
    hits = sum(_is_there(world, int(c), today) for c in ids_of(adds[positions]))
    world.say(f"Before the load: {hits} of {len(positions):,} sampled customers are in the register.")
    if hits == 0:
        return []
    found = Finding(
        code="register_not_empty",
        severity=Severity.ASKS,
        message=f"{hits} of {len(positions):,} sampled customers are in the register already, before "
        "anything was sent. If they were registered by another system, approve; else find out first who did.",
    )
    return [found]


def _is_there(world: World, customer_id: int, day: date) -> bool:
    try:
        return world.look_up(customer_id, day, day)
    except InvalidIdentifier:  # it will be rejected when its file is sent; the plan is not in danger
        return False


def _sentence(result: Plan) -> str:
    f = result.forecast
    return (
        f"Planned: {result.added:,} to add, {result.start_changed:,} with another start, "
        f"{result.unchanged:,} unchanged, {result.removals:,} to remove. "
        f"Forecast: {f.files} files, {f.size:,} bytes, "
        f"{f.hours:.2f} hours at the register's rate, loaded by {f.ends_at}"
        + (f"; notice to Bits for {', '.join(f.notice_days)}" if f.notice_days else "")
        + "."
    )
