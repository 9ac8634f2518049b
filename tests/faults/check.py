"""The promises, checked from outside: the simulator's log and state, the mails, what was said, what lies on disk."""

import re
from datetime import date

from kfr.clock import oslo_date, oslo_today
from tests.faults import fates, traffic
from tests.faults.institution import Institution
from tests.faults.play import Play
from tests.simulator.loading import Load

LAG_SECONDS = 600  # how far a look-up may be behind
SEALED = b"KFR1"
D4_FIGURES = re.compile(r"(?:lastet inn|ved oppslag): (\d+)")
LONG_NUMBER = re.compile(r"(?<![0-9A-Fa-f-])\d{11}(?![0-9A-Fa-f-])|(?<![0-9A-Fa-f-])\d{9}(?![0-9A-Fa-f-])")


def broken_promises(institution: Institution, play: Play, *, settle: bool = True) -> list[str]:
    """What does not hold after a run (green or not); empty when all is well.

    To `settle` lets everything load and a day pass before a green run's register is compared.
    """
    return [
        *fates.broken(institution, play),
        *_removals_before_loading(institution),
        *(f"3: a removal of {whom}" for whom in institution.removed_wrongly[:3]),
        *_other_writers(institution),
        *_mails(institution, play),
        *_identifiers_outside(institution, play),
        *traffic.broken(institution, play),
        *_needless_refusals(institution),
        *(_differences(institution) if play.green and settle else []),
    ]


def _differences(institution: Institution) -> list[str]:
    """Promise 4, 5 and 7: green means equal, also when all that was accepted has loaded and a day has passed."""
    simulator, clock = institution.simulator, institution.clock
    desired = {int(customer): start for customer, start in institution.desired().items()}
    while simulator.pending_rows:
        clock.advance(3600)
    clock.advance(24 * 3600)  # a removal may show for the rest of its day
    today = oslo_today(clock)
    held = {c: period for c, period in simulator.relationships().items() if _active(period, today)}
    problems = []
    if missing := desired.keys() - held.keys():
        problems.append(f"5: {len(missing)} missing in the register")
    if left := held.keys() - desired.keys():
        problems.append(f"5: {len(left)} left over in the register")
    singles = {e.customer_id for e in simulator.log if e.operation == "register_one"}
    wrong = [c for c in desired.keys() & held.keys() - singles if desired[c] and held[c][0] != desired[c]]
    return [*problems, *([f"5: {len(wrong)} with another start"] if wrong else [])]


def _active(period: tuple[date, date | None], today: date) -> bool:
    return period[1] is None or period[1] > today


def _removals_before_loading(institution: Institution) -> list[str]:
    """Promise 3: no DELETE while a file is loading, twice loaded ones included.

    A file that nothing could prove, since all of its customers were there, or had been removed on that day, is waited
    out; after that only its own customers must not be removed.
    """
    loading: dict[int, int] = {}
    problems = []
    simulator = institution.simulator
    loaded = {event.file for event in simulator.log if event.kind == "file_loaded"}
    files = {load.file: load for load in simulator._register._loads}
    for event in simulator.log:
        file = event.file or 0
        if event.kind == "file_accepted" and (file in loaded or not files[file].finished):
            loading[file] = loading.get(file, 0) + (2 if event.fault == "file_loaded_twice" else 1)
        elif event.kind == "file_loaded":
            loading[file] -= 1
        elif event.operation == "remove_one":
            harmed = [
                f for f, n in loading.items() if n and _may_harm(institution, files[f], event.customer_id)
            ]
            if harmed:
                problems.append(f"3: a DELETE at {event.at} while file {harmed} was loading")
    return problems[:3]


def _may_harm(institution: Institution, load: Load, customer_id: int | None) -> bool:
    ids = load.batch.ids.tolist()
    if customer_id in ids:
        return True
    # Of which a person has said that it will not load, none is waited for.
    closed = load.file in institution.closed_in_haste
    return not closed and any(_can_witness(institution, one, load.available - 1e-6) for one in ids)


def _can_witness(institution: Institution, customer: int, before: float) -> bool:
    """Who is not in the register and was not removed of late: by the log, for it may keep nothing of a removal.

    Not on that day; nor on the one before, if that has just ended, or if it is not known whether they were.
    """
    simulator, register = institution.simulator, institution.simulator._register
    periods = register.periods(customer, before)
    if periods and periods[-1].last is None:
        return False
    removals = [e for e in simulator.log if e.operation == "remove_one" and e.customer_id == customer]
    return all(oslo_date(e.at).toordinal() < register.today(before - LAG_SECONDS) - 1 for e in removals)


def _other_writers(institution: Institution) -> list[str]:
    """Promise 6: whoever writes to the register holds the lease."""
    writes = [c for c in institution.calls if c.operation not in ("token", "look_up")]
    wrong = [c for c in writes if c.run != c.holder]
    return [f"6: {c.operation} by {c.run} while {c.holder or 'nobody'} had the register" for c in wrong][:3]


def _mails(institution: Institution, play: Play) -> list[str]:
    d4 = [m for m in institution.simulator.mails if m.subject.startswith("D-4")]
    problems = [
        f"7: D-4 says {', '.join(said)}, and it is {loaded} and {looked_up}"
        for mail, (loaded, looked_up) in zip(d4, institution.facts_of_d4, strict=True)
        if not _is_true(said := D4_FIGURES.findall(mail.text), loaded, looked_up)
    ]
    if len({m.message_id for m in d4}) > 1 or len(d4) > 2:
        problems.append(f"7: D-4 was sent {len(d4)} times")
    if play.kind != "first":
        return problems
    if d4 and not institution.verified:
        problems.append("7: D-4 was sent for a load that is not verified")
    if play.green and not play.run.dry_run and not d4:
        problems.append("7: a green first load without D-4")
    return problems


def _is_true(said: list[str], loaded: int, looked_up: int) -> bool:
    """Whether D-4 claims no more than it may: as many as are registered, as many looked up as have been."""
    return len(said) == 2 and int(said[0]) <= loaded and int(said[1]) <= looked_up


def _identifiers_outside(institution: Institution, play: Play) -> list[str]:
    """Promise 8: in what was said, in errors and mails, in the name of a file, and in clear at rest."""
    customers = {a.customer.strip() for a in institution.warehouse.agreements_held}
    names, problems = [], []
    for path in institution.folder.rglob("*"):
        names.append(path.name)
        if path.is_file() and not path.read_bytes().startswith(SEALED):
            problems.append(f"8: {path.name} lies there in clear")
    texts = [*institution.said, *play.errors, *(f"{m.subject} {m.text}" for m in institution.simulator.mails)]
    for where, found in (("was said", texts), ("in the name of a file", names)):
        if customers & set(LONG_NUMBER.findall("\n".join(found))):
            problems.append(f"8: an identifier {where}")
    return problems[:3]


def _needless_refusals(institution: Institution) -> list[str]:
    """Promise 2 and 9: nothing that we sent was against the contract."""
    known = {"KFR-008", "KFR-001", "ERR-001"}
    known |= {"MP-130"} if institution.own_clock.was_off else set()
    known |= {"MP-123"} if institution.certificate_expired else set()
    known |= {"KFR-005", "ERR-002"} if institution.simulator.refuses else set()
    refused = [
        e for e in institution.simulator.log if e.kind == "refused" and not e.fault and e.code not in known
    ]
    return [f"2: {e.operation} refused, {e.status} {e.code}" for e in refused][:3]
