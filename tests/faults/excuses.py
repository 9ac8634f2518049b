"""Who may differ after a green load, and why: what no load can know yet. By rules told a second time, see `year`."""

import json
from collections import Counter
from datetime import date, timedelta

from kfr.clock import oslo_date, oslo_today
from kfr.load import mirror, report, start_pairs
from kfr.load.journal import DELIVERED, Send, StartChange
from kfr.relationships.packing import DAY_BITS, DAY_MASK, date_of, day_number, ids_of
from tests.faults.check import LAG_SECONDS
from tests.faults.institution import Institution
from tests.faults.play import Play
from tests.simulator.identifiers import text_of
from tests.simulator.register import Period


def open_starts(institution: Institution, play: Play) -> set[int]:
    """Rows of the mirror whose start was filed anew and not looked up, or not taken: it may load any time."""
    journal = institution.world(play.run).journal
    entries = [e for run in journal.runs_with("starts") for e in journal.start_changes(run).tolist()]
    pairs = [(filed, before) for filed, before, state in entries if state != StartChange.CORRECTED]
    state = institution.state
    for name in ("starts_kept", "starts_untaken"):
        pairs += state.read_array(name).tolist() if state.exists(name) else []
    return {row for pair in pairs for row in pair}


def returned(institution: Institution, play: Play) -> set[int]:
    """Who came back on the day of their removal, and is not taken back on it, or was lost with a part of a file.

    The register may answer yes for the rest of that day, so no look-up tells before the next; nor did any of a run that
    began on that day and ended after midnight.
    """
    simulator, state = institution.simulator, institution.state
    began = day_number(_first_day_of(institution, play))
    queue = state.read_json("removals") if state.exists("removals") else {}
    returned = {
        int(c) for c, entry in queue.items() if entry["state"] == "returned" and entry["day"] >= began
    }
    # A DELETE of midnight is one of yesterday to the register and of today to whoever got its answer.
    since = institution.clock.now() - timedelta(days=2)
    returned &= {e.customer_id for e in simulator.log if e.operation == "remove_one" and e.at > since}
    if simulator.switches.re_registration == "no_effect_that_day":
        return returned
    return returned & _in_lost_or_late_files(institution).keys()


def kept_wrongly(institution: Institution, play: Play) -> list[str]:
    """A register that takes every start keeps none: whose file was lost or late, is filed again.

    If the second file is lost as well, no look-up tells that from a register that keeps starts. Nor does one where
    a relationship that was removed reaches into the days that are looked up: the register says yes to them for ever.
    """
    world = institution.world(play.run)
    entries = [
        e for run in world.journal.runs_with("starts") for e in world.journal.start_changes(run).tolist()
    ]
    kept = start_pairs.kept(world).tolist()
    kept += [entry for entry in entries if entry[2] == StartChange.KEPT]
    lost = _in_lost_or_late_files(institution)
    wrong = [
        row
        for row, before, *_ in kept
        if _takes_starts(institution, row >> DAY_BITS)
        and lost[row >> DAY_BITS] < 2
        and not _is_reached(institution, row, before)
    ]
    return [f"{len(wrong)} starts count as kept by a register that takes every start"] if wrong else []


def _takes_starts(institution: Institution, customer: int) -> bool:
    """Whether the register takes another start of this customer: they came by a file, or by a call of their own."""
    switches, periods = institution.simulator.switches, _periods(institution, customer)
    singly = periods and periods[-1].file is None
    return (switches.file_after_single if singly else switches.second_file) == "changes_start"


def _is_reached(institution: Institution, row: int, before: int) -> bool:
    """Whether an ended relationship has a day of those between an old start and the later one that was filed.

    Where the old start is not known, the day before the new one is looked up.
    """
    start, old = date_of(row & DAY_MASK), date_of(before & DAY_MASK)
    if start is None:
        return False
    first = min(old, start - timedelta(days=1)) if old else start - timedelta(days=1)
    ended = (p for p in _periods(institution, row >> DAY_BITS) if p.last is not None)
    return any(p.start < start.toordinal() and p.last >= first.toordinal() for p in ended)


def start_is_their_own(institution: Institution, customers: set[int]) -> set[int]:
    """Those of whom the register need not take the warehouse's start.

    It keeps starts; or there is an earlier relationship, or one that was removed only the day before and taken up
    again; or it begins late; or two files with the start were lost.
    """
    desired, removed = institution.desired(), {}
    for event in institution.simulator.log:
        if event.kind == "remove_one" and event.customer_id in customers:
            removed[event.customer_id] = oslo_date(
                event.at + timedelta(seconds=LAG_SECONDS)
            )  # when it was answered
    lost, late = _in_lost_or_late_files(institution), registered_late(institution) if customers else set()
    return {
        c
        for c in customers
        if c in late
        or lost[c] > 1
        or not _takes_starts(institution, c)
        or any(p.last is not None for p in _periods(institution, c))
        or (c in removed and desired[text_of(c)] <= removed[c] + timedelta(days=1))
    }


def _periods(institution: Institution, customer: int) -> list[Period]:
    register = institution.simulator._register
    return register.periods(customer, register.moment(institution.clock.now()))


def registered_late(institution: Institution) -> set[int]:
    """Who was registered singly by a call that took effect on a later day, behind a file, and begins on that one."""
    calls = [e for e in institution.simulator.log if e.kind == "register_one"]
    return {
        e.customer_id
        for e in calls
        if (periods := _periods(institution, e.customer_id))
        and periods[-1].start > oslo_date(e.at).toordinal()
    }


def _in_lost_or_late_files(institution: Institution) -> Counter[int]:
    """In how many files each customer was that a fault has kept from being loaded to the end, so far."""
    loads = institution.simulator._register._loads
    incomplete = [load for load in loads if load.limit < len(load.batch) or not load.finished]
    return Counter(customer for load in incomplete for customer in load.batch.ids.tolist())


def turned_at_midnight(institution: Institution, play: Play) -> set[int]:
    """Who was a customer on the run's own day and is not today, or the other way round."""
    then, now = institution.desired(_day_of(institution, play)), institution.desired()
    return {int(c) for c in then.keys() ^ now.keys()}


def _day_of(institution: Institution, play: Play) -> date:
    return date.fromisoformat(json.loads(report.read(institution.state, play.run.key).content)["as_of"])


def _first_day_of(institution: Institution, play: Play) -> date:
    """The earliest day of which a look-up of the run may have spoken: just after midnight it is the one before.

    Of its first worker: a run that is cleared hours later still has what that one has seen.
    """
    clock, asked = institution.clock, [c.at for c in institution.calls if c.run == play.run.key]
    since = clock.monotonic() - min(asked, default=clock.monotonic())
    began = clock.now() - timedelta(seconds=since + LAG_SECONDS)
    return min(_day_of(institution, play), oslo_date(began))


def held_back(institution: Institution, play: Play) -> set[int]:
    """Customers with a refused row, and those of a file that could not be proven today."""
    tainted = {
        int(a.customer)
        for a in institution.warehouse.agreements_held
        if a.started and a.ended and a.ended < a.started
    }
    world = institution.world(play.run)
    tomorrow = oslo_today(institution.clock) + timedelta(
        days=1
    )  # within the bridge of a day: nobody is removed for that
    bridged = {int(a.customer) for a in institution.warehouse.agreements_held if a.started == tomorrow}
    late = unproven(institution, play)
    possible = set(ids_of(mirror.read(world).possible).tolist())
    return tainted | bridged | possible | late | behind(institution, late)


def unproven(institution: Institution, play: Play) -> set[int]:
    """Customers of a file that nothing shows to be loaded: it may come any time, and removals wait for a day.

    So may a second copy of one that was found at the first look, long after it was sent.
    """
    journal = institution.world(play.run).journal
    since = institution.clock.now() - timedelta(days=1)
    sent = [(send, journal.rows(send)) for send in journal.sends()]
    sent += [(send, rows) for _, send, rows in journal.archived() if send]
    sent = [(send, rows) for send, rows in sent if send.counts_from > since.timestamp()]
    return {
        customer
        for send, rows in sent
        if send.loads
        and (_nobody_looked(send) or not (send.proven_at and _is_shown(institution, play, send)))
        for customer in ids_of(rows).tolist()
    }


def behind(institution: Institution, unproven: set[int]) -> set[int]:
    """Single additions of the last day, if some file may come yet: the register may let them wait behind it."""
    since, log = institution.clock.now() - timedelta(days=1), institution.simulator.log
    return (
        {e.customer_id for e in log if e.operation == "register_one" and e.at > since} if unproven else set()
    )


def _nobody_looked(send: Send) -> bool:
    """Whether it was found late, at the first look."""
    late = send.proven_at is not None and send.proven_at > send.counts_from + 120
    return late and send.missing_until is None


def _is_shown(institution: Institution, play: Play, send: Send) -> bool:
    """Whether one of its witnesses went out in no other request.

    Nor may have: of a single addition that was meant, and whose worker broke off, nobody knows whether it was sent.
    """
    if send.shown:
        return True
    calls, journal = institution.calls, institution.world(play.run).journal
    singles = [journal.singles(run)[:, 0] for run in journal.runs_with("singles")]
    state = institution.state
    singles += [state.read_array(name) for name in state.names(DELIVERED) if "-singles-" in name]
    meant = {int(row) >> DAY_BITS for rows in singles for row in rows}
    for witness in send.witnesses:
        text = str(witness.customer_id).zfill(11)
        bodies = {c.body for c in calls if c.operation == "register_file" and text.encode() in c.body}
        singly = any(c.operation == "register_one" and c.customer_id == text for c in calls)
        if len(bodies) + (singly or witness.customer_id in meant) == 1:
            return True
    return False
