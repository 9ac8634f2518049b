"""Who may differ after a green load, and why: what no load can know yet. By rules told a second time, see `year`."""

from collections import Counter
from datetime import date, timedelta

from kfr.clock import oslo_today
from kfr.load import mirror, start_pairs
from kfr.load.journal import Send, StartChange
from kfr.relationships.packing import DAY_BITS, DAY_MASK, date_of, day_number, ids_of
from tests.faults.institution import Institution
from tests.faults.play import Play


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
    began = day_number(_day_of(institution, play))
    queue = state.read_json("removals") if state.exists("removals") else {}
    returned = {
        int(c) for c, entry in queue.items() if entry["state"] == "returned" and entry["day"] >= began
    }
    # A DELETE of midnight is one of yesterday to the register and of today to whoever got its answer.
    since = institution.clock.now() - timedelta(days=2)
    returned &= {e.customer_id for e in simulator.log if e.kind == "remove_one" and e.at > since}
    if simulator.switches.re_registration == "no_effect_that_day":
        return returned
    return returned & _in_lost_or_late_files(institution).keys()


def kept_wrongly(institution: Institution, play: Play) -> list[str]:
    """A register that takes every start keeps none: whose file was lost or late, is filed again.

    If the second file is lost as well, no look-up tells that from a register that keeps starts. Nor does one where
    a relationship that was removed reaches to the new start: the register says yes to the day before it for ever.
    """
    switches = institution.simulator.switches
    if "keeps_start" in (switches.second_file, switches.file_after_single):
        return []
    world = institution.world(play.run)
    entries = [
        e for run in world.journal.runs_with("starts") for e in world.journal.start_changes(run).tolist()
    ]
    kept = start_pairs.kept(world).tolist()
    kept += [entry for entry in entries if entry[2] == StartChange.KEPT]
    lost = _in_lost_or_late_files(institution)
    wrong = [row for row, *_ in kept if lost[row >> DAY_BITS] < 2 and not _is_reached(institution, row)]
    return [f"{len(wrong)} starts count as kept by a register that takes every start"] if wrong else []


def _is_reached(institution: Institution, row: int) -> bool:
    """Whether an ended relationship of the customer goes on to the day before this start, or over it."""
    register, start = institution.simulator._register, date_of(row & DAY_MASK)
    periods = register.periods(row >> DAY_BITS, register.moment(institution.clock.now()))
    return start is not None and any(p.last is not None and p.last >= start.toordinal() - 1 for p in periods)


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
    return date.fromisoformat(institution.state.read_json(f"reports/{play.run.key}.json")["as_of"])


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
    sent += [(s, rows) for _, s, rows in journal.archived() if s and s.counts_from > since.timestamp()]
    return {
        customer
        for send, rows in sent
        if send.loads and (_nobody_looked(send) or not (send.proven_at and _is_shown(institution, send)))
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


def _is_shown(institution: Institution, send: Send) -> bool:
    """Whether one of its witnesses went out in no other request."""
    if send.shown:
        return True
    calls = institution.calls
    for witness in send.witnesses:
        text = str(witness.customer_id).zfill(11)
        bodies = {c.body for c in calls if c.operation == "register_file" and text.encode() in c.body}
        if len(bodies) + any(c.operation == "register_one" and c.customer_id == text for c in calls) == 1:
            return True
    return False
