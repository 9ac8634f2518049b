"""The cases in which someone is told, out of what a task has in its hands. Nothing here may fail a load."""

import functools
from collections.abc import Callable
from datetime import datetime, time, timedelta
from typing import Any, Concatenate, ParamSpec

from kfr.clock import OSLO, oslo_today
from kfr.links.page import run_url, task_url
from kfr.load import watermark
from kfr.load.planning import Plan
from kfr.load.removal import WAITING
from kfr.load.removal_queue import Removal, RemovalQueue
from kfr.load.summary import days_left
from kfr.load.world import World
from kfr.notifications.alerts import Alert, Severity, Topic
from kfr.notifications.ledger import OWN, Ledger

RECONCILE = "kfr_reconcile"  # before the institution's name in a Dag id
MANY_REJECTS = "many_rejects"  # code of the guard
CERTIFICATE_DAYS = (7, 30, 60)  # told once at each
REMOVALS_WAIT_AT_MOST = timedelta(days=1)
TIME_TO_DECIDE = timedelta(hours=1)

P = ParamSpec("P")


def quietly(tell: Callable[Concatenate[World, P], object]) -> Callable[Concatenate[World, P], None]:
    """A case that says in the log what kept it from telling, and never raises; a dry run tells nobody."""

    @functools.wraps(tell)
    def told(world: World, /, *args: P.args, **kwargs: P.kwargs) -> None:
        if world.run.dry_run:
            return
        try:
            tell(world, *args, **kwargs)
        except Exception as error:  # noqa: BLE001 - see above
            world.say(f"An alert could not be sent ({type(error).__name__}): see [Alerts] in the runbook.")

    return told


@quietly
def check_rejects(world: World, plan: Plan) -> None:
    """The guard on refused rows spoke; over when it does not."""
    said, ledger = [f["message"] for f in plan.findings if f["code"] == MANY_REJECTS], Ledger.of(world)
    if not said:
        ledger.over([Topic.REJECTS], "Refused rows are below the limit again.", _links(world))
        return
    ledger.open(
        Alert(
            topic=Topic.REJECTS,
            cause="over the limit",
            severity=Severity.MORNING,
            what=said[0],
            means="customers whose only rows are refused are not registered; no customer with a refused row is "
            "removed. The others are not touched by it.",
            do="look at the reasons on the page; data stewards repair the rows in the source.",
            section="Rejects",
            links=_links(world, "plan_changes"),
        )
    )


@quietly
def ask_for_approval(world: World, plan: dict[str, Any], within: timedelta) -> None:
    """A plan waits for a person, for so long; whoever sleeps is woken only if the morning is too late."""
    now = world.clock.now().astimezone(OSLO)
    until, nine = now + within, now.replace(hour=9, minute=0)
    morning = nine if now < nine else nine + timedelta(days=1)
    why = "; ".join(f["message"] for f in plan["findings"]) or "the run asked for it."
    url = f"{task_url(world.run.dag_id, world.run.run_id, 'approve_changes')}/required_actions"
    Ledger.of(world).open(
        Alert(
            topic=Topic.APPROVAL,
            cause=plan["fingerprint"],
            severity=Severity.MORNING if until > morning + TIME_TO_DECIDE else Severity.ACT,
            what=f"A plan waits for a person's approval: {plan['added']:,} to add, {plan['removals']:,} to remove.",
            means=f"nothing of this plan is sent until then; {Ledger.of(world).standing}",
            do=f"compare the figures with what you expect, then approve or reject before {until:%A %H:%M}; "
            f"after that the run fails. Why: {why}",
            section="Guards",
            links=(("decide", url), *_links(world)),
        )
    )


@quietly
def approved(world: World, by: str) -> None:
    Ledger.of(world).over([Topic.APPROVAL], f"The plan was approved by {by}.", _links(world), until=OWN)


@quietly
def not_approved(world: World) -> None:
    why = "The plan was not approved, and the run fails."
    Ledger.of(world).over([Topic.APPROVAL], why, _links(world), until=OWN)


@quietly
def notice_sent(world: World, days: list[str]) -> None:
    """Bits was told of the volume."""
    Ledger.of(world).tell(
        Alert(
            topic=Topic.NOTICE,
            cause=",".join(days),
            severity=Severity.MORNING,
            what=f"The notice that over 100,000 relationships go on {', '.join(days)} was sent to {world.mail_to}.",
            means="nothing yet; the files go as soon as the plan is approved.",
            do="nothing, unless you did not expect a load of this size.",
            section="The first load",
            links=_links(world, "announce_volume"),
        )
    )


@quietly
def check_certificate(world: World) -> None:
    """Sixty, thirty and seven days before the certificate ends."""
    days, ledger = days_left(world), Ledger.of(world)
    reached = [level for level in CERTIFICATE_DAYS if days <= level]
    if not reached:
        ledger.over(
            [Topic.CERTIFICATE], "A certificate with more than sixty days is in place.", _links(world)
        )
        return
    ledger.open(
        Alert(
            topic=Topic.CERTIFICATE,
            cause=f"{reached[0]} days",
            severity=Severity.MORNING,  # nobody can order one at night; a load that fails for it wakes
            what=f"The enterprise certificate ends in {days} days, on {world.certificate.not_after:%Y-%m-%d}.",
            means="nothing yet; from that day on no load can run, and the register falls behind.",
            do="order a new one from Buypass or Commfides, which takes days, and put it into the connection.",
            section="A new certificate",
            links=_links(world),
        )
    )


@quietly
def check_removals(world: World) -> None:
    """Removals that wait for longer than a day."""
    queue, ledger = RemovalQueue.read(world.state), Ledger.of(world)
    before = world.now - REMOVALS_WAIT_AT_MOST.total_seconds()
    late = [e for e in queue.entries.values() if e.state in WAITING and 0 < e.since < before]
    if not late:
        ledger.over([Topic.REMOVALS], "No removal waits for longer than a day any more.", _links(world))
        return
    held = sum(e.state is Removal.HELD for e in late)
    ledger.open(
        Alert(
            topic=Topic.REMOVALS,
            cause="longer than a day",
            severity=Severity.MORNING,
            what=f"{len(late):,} removals have waited for longer than a day.",
            means=f"so many customers who have ended are still registered; {held:,} of them the register did not "
            "know though it should.",
            do="`python -m kfr removals` says what they wait for; often a file that is not proven.",
            section="Removals that wait",
            links=_links(world),
        )
    )


@quietly
def disagrees(world: World, misses: int, sampled: int) -> None:
    """The register is not what the mirror says."""
    Ledger.of(world).open(
        Alert(
            topic=Topic.DISAGREES,
            cause=world.run.key,
            severity=Severity.MORNING,  # this run repairs it
            what=f"Mirror and register disagree: {misses:,} of {sampled:,} sampled customers are not right.",
            means="it is wrong in more than those. Everyone is looked up now, and this run repairs what differs.",
            do="nothing at once; look at the run when it is over. Find out who else writes to the register.",
            section="Every week: `kfr_reconcile`",
            links=_links(world, "compare_register"),
        )
    )


@quietly
def recovered(world: World, since: float) -> None:
    """A load is proven, and that was recorded `since` (Unix seconds): what it was told of, or makes good, is over.

    Only a reconciliation asks the register itself: other loads go by the mirror, with which the register disagrees.
    """
    topics = [Topic.LOAD, Topic.LATE, Topic.APPROVAL]
    if world.run.dag_id.partition("__")[0] == RECONCILE:
        topics.append(Topic.DISAGREES)
    until = min(since, _made_good_until(world))
    Ledger.of(world).over(topics, f"{world.run.dag_id} is proven.", _links(world), until=until)


def _made_good_until(world: World) -> float:
    """Up to when (Unix seconds) what other runs had told is over: to the end of the day as of which all is proven.

    A load of some given days, or as of a past day, leaves the watermark where it is, and says nothing of the others'.
    """
    proven, as_of = watermark.read(world), world.run.as_of
    if proven is None or world.run.interval or (as_of and as_of < oslo_today(world.clock)):
        return OWN
    return datetime.combine(proven + timedelta(days=1), time(), OSLO).timestamp()


def _links(world: World, task_id: str | None = None) -> tuple[tuple[str, str], ...]:
    run = (world.run.dag_id, world.run.run_id)
    log = (("log", task_url(*run, task_id)),) if task_id else ()
    return (*log, ("page", run_url(*run)))
