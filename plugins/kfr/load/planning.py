"""What has to be sent so that the register equals the warehouse, judged and forecast before it is."""

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from kfr.clock import oslo_today
from kfr.load import comparison, extract, lease, mirror, refusals, returns, start_pairs, strata, watermark
from kfr.load.evidence import PLAN, REPLACED
from kfr.load.forecast import Forecast, foresee
from kfr.load.ingestion import revisit
from kfr.load.mirror import Mirror
from kfr.load.removal_queue import Removal, RemovalQueue
from kfr.load.sampling import draw
from kfr.load.world import World
from kfr.register.errors import Fatal
from kfr.relationships.batch_file import FRAME_BYTES, cut, render
from kfr.relationships.customers import NOTHING, common, union, without
from kfr.relationships.guards import Finding, Severity, judge
from kfr.relationships.identifiers import World as Population
from kfr.relationships.packing import Ints, day_number, ids_of, lookup, starts_of
from kfr.relationships.plan import difference

MOST_SINGLES = 200  # who start today go singly up to here; more are quicker by file
MOST_LOOKED_UP = 5_000  # possible relationships that are looked up before a plan: minutes, not hours
# What an earlier plan of this run has left.
LEFT_BY_PLAN = (
    PLAN,
    "comparison.json",
    "closing.json",
    "approved.json",
    "due",
    "tomorrow",
    "removals.json",
    "proof.json",
    "recorded.json",
)


class GuardStopped(Fatal):
    """The plan must not be carried out, by anyone."""

    runbook = "Guards"


class NotApproved(Fatal):
    """What is about to run is not what was approved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A plan by its figures. The rows stand sealed in the run's folder; here is no identifier."""

    as_of: str
    fingerprint: str
    added: int
    held_back: int  # not added: the register refused them of late, see `refusals`
    singly: int  # of those added: by a call each, since they start today
    start_changed: int
    unchanged: int
    start_kept: int  # of those unchanged: filed with another start before, and the register kept its own
    removals: int
    never_seen: int  # began and ended since the last proven load: never registered
    looked_up: int  # customers who were looked up for the plan
    fates: dict[str, int]
    labels: list[str]
    forecast: Forecast
    findings: list[dict[str, str]] = field(default_factory=list)
    alone_since: int = 0  # of the lease under which it was made

    @property
    def asks(self) -> bool:
        """Whether a guard wants a person to decide."""
        return any(f["severity"] == Severity.ASKS.name for f in self.findings)


def plan(world: World, *, first_load: bool) -> Plan:
    """Compare the extract with the mirror, cut the batch files, judge and forecast; seal it all.

    :param first_load: whether the register is expected to be empty; everything goes by file then.
    :raises GuardStopped: a guard forbids the plan for anyone.
    :raises NotApproved: another run has written to the register since the extract was made.
    """
    desired = extract.read(world)
    if not world.run.dry_run:
        _require_alone(world, desired.alone_since)
    _forget_earlier_plan(world)
    held = _held(world, desired, first_load=first_load)
    world.place.write_json(REPLACED, [s.name for s in world.journal.sends() if s.run == world.run.key])
    ours = held.proven if desired.days is None else _of(held.proven, desired.customers)
    diff = difference(desired.active, ours)
    unproven = common(ids_of(held.possible), ids_of(desired.ended))  # sent, and ended
    # Whose removal waits, too: of whom the institution's queue asks for, an interval need not say anything.
    waiting = common(
        RemovalQueue.read(world.state).of(Removal.DUE), union(*map(ids_of, (held.proven, held.possible)))
    )
    leaving = union(ids_of(diff.remove), unproven, without(waiting, ids_of(desired.active)))
    starts, kept = start_pairs.without_kept(world, diff.start_changed, ours)
    refused = [refusals.split(world, rows) for rows in (diff.add, starts)]
    held_back, again = (union(*rows) for rows in zip(*refused, strict=True))
    add, starts = (mirror.take(rows, ids_of(held_back)) for rows in (diff.add, starts))
    singly = NOTHING if first_load else _singly(world, mirror.take(add, ids_of(again)))
    by_file = mirror.take(add, np.concatenate([ids_of(singly), ids_of(again)]))
    world.place.write_array("singly", singly)
    world.place.write_array("removals", leaving)
    anew = mirror.take(starts, ids_of(again))
    files = cut(np.concatenate([anew, by_file]) if anew.size else by_file, world.run.max_batch_bytes)
    # By themselves: who is refused again spoils no other file. And so few in each that none is given up for it.
    for first in range(0, len(again), refusals.MOST_IN_A_FILE):
        files += cut(again[first : first + refusals.MOST_IN_A_FILE], world.run.max_batch_bytes)
    labels = [f"{number:04d}" for number in range(1, len(files) + 1)]
    staged = _stage(world, labels, files)
    compared = comparison.read(world)
    looked_up = compared.customers if compared else 0
    findings = _judge(
        world,
        desired,
        ours=len(ours),
        held=len(held.proven),
        removals=len(leaving),
        held_back=len(held_back),
    )
    if first_load and held.proven.size == 0:
        more, looked_up = _register_not_empty(world, diff.add)
        findings += more
    result = Plan(
        as_of=desired.as_of.isoformat(),
        fingerprint=world.staging.fingerprint(
            *(fingerprint.encode() for fingerprint, _ in staged), singly.data, leaving.data
        ),
        added=len(add),
        held_back=len(held_back),
        singly=len(singly),
        start_changed=len(starts),
        unchanged=diff.unchanged + kept,
        start_kept=kept,
        removals=len(leaving),
        never_seen=_never_seen(world, desired, ours),
        looked_up=looked_up,
        fates=fates(
            desired,
            added=len(add),
            start_changed=len(starts),
            unchanged=diff.unchanged + kept,
            held_back=len(held_back),
        ),
        labels=labels,
        forecast=foresee(world, [len(f) for f in files], sum(size for _, size in staged)),
        findings=[{"code": f.code, "severity": f.severity.name, "message": f.message} for f in findings],
        alone_since=desired.alone_since,
    )
    world.place.write_json(PLAN, asdict(result))
    world.say(_sentence(result))
    if result.held_back:
        world.say(
            f"{result.held_back:,} customers were refused by the register within {refusals.RETRY_DAYS} days and are "
            "not sent now. `python -m kfr rejects` lists them; ask DSOP@bits.no why."
        )
    for finding in findings:
        world.say(f"Guard {finding.code}: {finding.message}")
    if stops := [f for f in findings if f.severity is Severity.STOPS]:
        raise GuardStopped(f"{'; '.join(f'{f.code}: {f.message}' for f in stops)} Nothing was sent.")
    if not world.run.dry_run:
        lease.check(world)
        refusals.forget(world, desired, held.proven)
        returns.note(world, add)
        mirror.welcome_back(world, ids_of(add))
        if add.size or starts.size:
            watermark.go_back(world, desired)
        start_pairs.forget_other_starts(world, starts)
        before = lookup(ours, ids_of(starts))
        start_pairs.leave_open(world, starts)
        world.journal.put_start_changes(
            world.run.key, np.column_stack([starts, before, np.zeros_like(starts)])
        )
    return result


def _stage(world: World, labels: list[str], files: list[Ints]) -> list[tuple[str, int]]:
    """Write the rows of each file; its fingerprint and its size. One is sealed while the next is rendered."""

    def seal(label: str, rows: Ints, customers: bytes) -> tuple[str, int]:
        world.place.write_array(f"files/{label}", rows)
        return world.staging.fingerprint(customers), len(customers) + FRAME_BYTES

    staged: list[Future[tuple[str, int]]] = []
    with ThreadPoolExecutor(1, thread_name_prefix="kfr-seal") as thread:
        for label, rows in zip(labels, files, strict=True):
            customers = render(rows)
            if staged:
                staged[-1].result()  # no more than two files are in memory
            staged.append(thread.submit(seal, label, rows, customers))
    return [each.result() for each in staged]


def read(world: World) -> Plan:
    """The plan that this run made earlier."""
    return from_json(world.place.read_json(PLAN))


def from_json(value: dict[str, Any]) -> Plan:
    return Plan(**{**value, "forecast": Forecast(**value["forecast"])})


def fates(
    desired: extract.Extract, *, added: int, start_changed: int, unchanged: int, held_back: int
) -> dict[str, int]:
    """One fate for each row read; they add up to the source's own count, or the run fails.

    :raises Fatal: they do not.
    """
    result = {
        "added": added,
        "start_changed": start_changed,
        "unchanged": unchanged,
        "folded": desired.counts["folded"],
        "not_active": desired.counts["not_active"],
        "rejected": desired.counts["rejected"] + held_back,
    }
    if sum(result.values()) != desired.rows:
        raise Fatal(
            f"The fates of the rows add up to {sum(result.values()):,}, not to the {desired.rows:,} read."
        )
    return result


def needs_person(world: World, plan_: Plan) -> bool:
    """Whether a person must approve the plan before anything is sent."""
    return world.run.approval == "always" or (world.run.approval == "auto" and plan_.asks)


def approve(world: World, by: str) -> None:
    """Keep whose word it is that the plan as it stands may run."""
    world.place.write_json(
        "approved.json", {"fingerprint": read(world).fingerprint, "by": by, "at": world.now}
    )


def require_approved(world: World) -> None:
    """Raise NotApproved unless it is this very plan that was approved, and still stands on the mirror as it is."""
    plan_ = require_current(world)
    approved = world.place.read_json("approved.json") if world.place.exists("approved.json") else {}
    if approved.get("fingerprint") != plan_.fingerprint:
        raise NotApproved(
            "The plan was made anew after it was approved, so the approval does not count. Nothing was sent by "
            "this task. Clear approve_changes with what follows it."
        )


def require_current(world: World) -> Plan:
    """The plan; NotApproved if another run has written to the register since it was made."""
    plan_ = read(world)
    _require_alone(world, plan_.alone_since)
    return plan_


def _require_alone(world: World, since: int) -> None:
    if since != lease.alone_since(world):
        raise NotApproved(
            "Another run has written to the register since this plan was made, so it does not start from what is "
            "there now. Nothing was sent by this task. Clear extract_relationships with what follows it."
        )


def require_one_world(world: World, found: extract.Extract) -> None:
    """Raise GuardStopped if an extract made after the plan has numbers that have no place in this environment."""
    findings = _judge(world, found, ours=len(found.active), held=len(found.active), removals=0, held_back=0)
    if wrong := [f for f in findings if f.code in ("mixed_worlds", "numbers_of_2032")]:
        raise GuardStopped(f"{'; '.join(f'{f.code}: {f.message}' for f in wrong)} Nothing of it was sent.")


def _forget_earlier_plan(world: World) -> None:
    """What a plan of this run that was cleared has left: its closing file and its proof are not this one's."""
    for folder in ("results", "refused", "counted", "files", "looked-into"):
        for name in world.place.names(folder):
            world.place.delete(name)
    for name in LEFT_BY_PLAN:
        world.place.delete(name)


def _held(world: World, desired: extract.Extract, *, first_load: bool) -> Mirror:
    """The mirror, brought up to all that is proven by now; corrected by look-ups where the run asks for it."""
    if first_load and world.run.dry_run and not world.state.exists("institution"):
        return mirror.EMPTY  # a dry run begins no state
    if comparison.is_staged(world) and world.run.dry_run:  # a reconciliation that changes nothing
        return comparison.take_over(world, mirror.read_or_restart(world))
    if world.run.dry_run:
        held = mirror.read(world)
    else:
        revisit(world)
        strata.check_unverified(world)
        lease.check(world)
        held = _without_unsure(world, mirror.record(world), desired)
    asked = _doubtful(world, held, desired) if world.run.compare_with == "mirror" else desired.customers
    if not asked.size:
        return held
    comparison.look_up(world, comparison.settled(world, asked), held)
    return comparison.take_over(world, held)


def _without_unsure(world: World, held: Mirror, desired: extract.Extract) -> Mirror:
    """The mirror with customers as possible who are back while it is open whether their removal was carried out.

    They are added again: the register may answer yes for the rest of the day, so no look-up can tell.
    """
    queue = RemovalQueue.read(world.state)
    unsure = common(queue.of(Removal.INTENDED, Removal.HELD), ids_of(desired.active))
    returns.note(world, _of(desired.active, unsure))  # now: who is left open is no longer in the queue
    return mirror.leave_open(world, held, unsure) if unsure.size else held


def _doubtful(world: World, held: Mirror, desired: extract.Extract) -> Ints:
    """Customers who were sent, or removed, and not proven: found by a look-up, they need not be sent again.

    If there are many, the others are sent again, and the next loads look them up. First comes whoever was sent with
    another start: the register may keep it, and as an addition the new one would not be looked up by its days.
    """
    removed = RemovalQueue.read(world.state).of(Removal.REMOVED)  # who is back before it was proven
    open_ = common(union(ids_of(held.possible), removed), ids_of(desired.active))
    open_ = comparison.settled(world, open_)
    as_sent = lookup(held.possible, open_) == lookup(desired.active, open_)
    return np.sort(open_[np.argsort(as_sent, kind="stable")][:MOST_LOOKED_UP])


def _of(population: Ints, customers: Ints) -> Ints:
    rows = lookup(population, customers)
    return rows[rows >= 0]


def _singly(world: World, adds: Ints) -> Ints:
    """Those who start today, if they are few: a single POST has no date and registers from today on."""
    mine = adds[starts_of(adds) == world.day]
    return mine if len(mine) <= MOST_SINGLES else NOTHING


def _never_seen(world: World, desired: extract.Extract, ours: Ints) -> int:
    """Customers whose relationship began after the last proven load and has ended."""
    since = watermark.read(world) if world.state.exists("institution") else None
    if since is None:
        return 0
    began = desired.ended[starts_of(desired.ended) > day_number(since)]
    return int((lookup(ours, ids_of(began)) < 0).sum())


def _judge(
    world: World, desired: extract.Extract, *, ours: int, held: int, removals: int, held_back: int
) -> list[Finding]:
    return judge(
        rows=desired.rows,
        customers=desired.customer_count,
        rows_rejected=desired.counts["rejected"] + held_back,
        desired=len(desired.active),
        mirror=ours,
        removals=removals,
        population=held,
        outside_interval=desired.counts["outside"],
        whole=desired.days is None,
        worlds={population: desired.worlds.get(str(int(population)), 0) for population in Population},
        numbers_of_2032=desired.worlds["is_2032"],
        environment=world.settings.environment,
        on=oslo_today(world.clock),
        limits=world.run.limits,
    )


def _register_not_empty(world: World, adds: Ints) -> tuple[list[Finding], int]:
    """Look a sample up before anything is sent: a first load expects to find nobody. Gives its size, too."""
    positions = draw(len(adds), world.settings.sample_size, world.staging.fingerprint(adds.data))
    today = oslo_today(world.clock)
    hits = sum(world.finds(int(c), today, today) for c in ids_of(adds[positions]))
    world.say(f"Before the load: {hits} of {len(positions):,} sampled customers are in the register.")
    if hits == 0:
        return [], len(positions)
    found = Finding(
        code="register_not_empty",
        severity=Severity.ASKS,
        message=f"{hits} of {len(positions):,} sampled customers are in the register already, before "
        "anything was sent. Find out who registered them. If it was another system of yours, reject, run "
        "kfr_reconcile with full, which sends only who is absent, and then this load; approving sends everyone.",
    )
    return [found], len(positions)


def _sentence(result: Plan) -> str:
    f = result.forecast
    if not (result.labels or result.singly or result.removals):
        return f"Nothing to change: all {result.unchanged:,} relationships are as the warehouse has them."
    return (
        f"Planned: {result.added:,} to add, {result.start_changed:,} with another start, "
        f"{result.unchanged:,} unchanged, {result.removals:,} to remove. "
        f"Forecast: {f.files} files, {f.size:,} bytes, "
        f"{f.hours:.2f} hours at the register's rate, loaded by {f.ends_at}"
        + (f"; notice to Bits for {', '.join(f.notice_days)}" if f.notice_days else "")
        + "."
    )
