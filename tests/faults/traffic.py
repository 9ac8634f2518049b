"""Promises 2, 8, 9 and 10 as they show on the wire: files, addresses, pace, tokens, what goes out in a day.

Told from the contract a second time; nothing is taken from the code that sends.
"""

import re
from collections import Counter
from datetime import date, timedelta
from itertools import pairwise

from kfr.clock import oslo_date
from kfr.load.journal import Journal
from tests.faults.institution import Call, Institution
from tests.faults.play import Play

FRAME = re.compile(
    rb'--(?P<b>[^\r\n"]{1,70})\r\nContent-Disposition: form-data; name="customer_type"\r\n\r\nDSOPBANK\r\n'
    rb'--(?P=b)\r\nContent-Disposition: form-data; name="customers"; filename="customers\.csv"\r\n'
    rb"Content-Type: text/plain\r\n\r\n(?P<rows>.*)\r\n--(?P=b)--\r\n",
    re.DOTALL,
)
ROW = re.compile(rb"(?P<id>\d{9}|\d{11})(#\d{4}-\d{2}-\d{2})?")
HOSTS = ("https://preprod.api.bits.no/", "https://test.maskinporten.no/")
LATEST_ARRIVAL = timedelta(minutes=10)
A_MILLISECOND = timedelta(milliseconds=1)  # by which two clocks' moments may be rounded apart
LARGEST = 10_000_000  # bytes of a whole request
WRITES = ("register_one", "remove_one", "register_file")


def rows_of(body: bytes) -> list[int] | None:
    """The customers of a file's request, in order; None if it is not as the contract has it."""
    frame = FRAME.fullmatch(body)
    rows = [ROW.fullmatch(row) for row in frame["rows"].split(b",")] if frame else [None]
    return None if None in rows else [int(row["id"]) for row in rows if row]


def broken(institution: Institution, play: Play) -> list[str]:
    calls = institution.calls
    return [
        *_files(institution),
        *_addresses(institution),
        *_pace(calls, institution.requests_per_second, _stops(institution)),
        *_waits(calls),
        *_tokens(calls),
        *_day(institution),
        *_notice(institution),
        *_dry(calls, play),
    ]


def _files(institution: Institution) -> list[str]:
    """Promise 2: form and size; and 1: nobody stands twice in a file."""
    problems = []
    for call in institution.calls:
        if call.operation != "register_file" or call.checked:
            continue
        call.checked = True
        rows = rows_of(call.body)
        if rows is None:
            problems.append("2: a file is not as the contract has it")
        elif len(set(rows)) < len(rows):
            problems.append("1: a customer stands twice in a file")
        if len(call.body) > min(LARGEST, institution.largest[call.run]):
            problems.append(f"2: a request of {len(call.body)} bytes")
    return problems


def _addresses(institution: Institution) -> list[str]:
    """Promises 8 and 10: to the right hosts, and no identifier in a URL."""
    calls, own = institution.calls, institution.settings.fid  # its own number is in every path
    hosts = (
        HOSTS
        if institution.environment == "test"
        else tuple(re.sub(r"preprod\.|test\.", "", h) for h in HOSTS)
    )
    problems = [f"10: a call to {c.url.split('/')[2]}" for c in calls if not c.url.startswith(hosts)]
    return problems + [
        "8: an identifier in a URL"
        for c in calls
        if c.customer_id not in ("", own) and c.customer_id in c.url
    ]


def _stops(institution: Institution) -> int:
    """How often a worker was stopped while others went on."""
    return sum(times for (kind, _), times in institution.fuse.struck.items() if kind == "pause")


def _pace(calls: list[Call], per_second: float, stops: int) -> list[str]:
    """Promise 9: never more requests in a second than the connection allows.

    One whose token took its time may leave with the next, and so may one whose worker was stopped on its way.
    """
    times = [c.at for c in calls if c.operation != "token"]
    many = int(per_second) + 2 + stops
    crowded = any(late - early < 1 - 1e-6 for early, late in zip(times, times[many:], strict=False))
    return [f"9: over {per_second:g} requests in a second"] if crowded else []


def _waits(calls: list[Call]) -> list[str]:
    """Promise 9: what was told to wait is not asked again before, as long as its worker lives."""
    until: dict[tuple[object, ...], float] = {}
    for call in calls:
        key = (call.attempt, call.run, call.task, call.operation, call.customer_id, call.body)
        if call.at < until.get(key, 0.0) - 1e-6:
            return [f"9: {call.operation} sent again before Retry-After was over"]
        if call.retry_after and call.status in (429, 503):
            until[key] = call.at + call.retry_after
    return []


def _tokens(calls: list[Call]) -> list[str]:
    """Promise 9: no token is fetched while one is unused."""
    twice = any(
        one.operation == other.operation == "token" and one.status == other.status == 200
        and one.attempt == other.attempt and other.at - one.at < 100 and one.fine and other.fine
        for one, other in pairwise(calls)
    )  # fmt: skip
    return ["9: two tokens fetched where one would do"] if twice else []


def _day(institution: Institution) -> list[str]:
    """Promise 9: what went out today is counted, at least: each file as often as it was taken.

    One of the last ten minutes may count for the next day: without an answer it could have arrived then.
    """
    if institution.own_clock.was_off:
        return []
    now, clock = institution.clock.now(), institution.clock.monotonic()
    today, rows = oslo_date(now), 0
    for call in institution.calls:
        at = now - timedelta(seconds=clock - call.at)
        if call.operation == "register_file" and call.status == 201 and oslo_date(at) == today:
            rows += len(rows_of(call.body) or ()) if oslo_date(at + LATEST_ARRIVAL) == today else 0
    counted = _counted(institution, today)
    return [f"9: {counted} rows counted for the notice, and {rows} have left today"] if counted < rows else []


def _notice(institution: Institution) -> list[str]:
    """Promise 9: of more rows in a day than Bits wants to be told of, it is told before they leave.

    Those of the last ten minutes may count for the next day.
    """
    if institution.own_clock.was_off:
        return []
    now, clock = institution.clock.now(), institution.clock.monotonic()
    left: Counter[date] = Counter()
    singly: set[tuple[date, str]] = set()  # who is called again on a day is not registered again
    for call in institution.calls:
        at = now - timedelta(seconds=clock - call.at)
        day, rows = oslo_date(at), len(rows_of(call.body) or ()) if call.body else 1
        if call.operation not in ("register_file", "register_one") or oslo_date(at + LATEST_ARRIVAL) != day:
            continue
        rows -= (day, call.customer_id) in singly
        told = (m for m in institution.simulator.mails if m.at <= at + A_MILLISECOND)
        if left[day] + rows > institution.most_rows_without_notice and not any(
            "Varsel" in m.subject and f"{day:%d.%m.%Y}" in m.subject for m in told
        ):
            return [f"9: {left[day] + rows} rows left on {day} without a notice"]
        if call.status in (200, 201):
            left[day] += rows
            singly |= set() if call.body else {(day, call.customer_id)}
    return []


def _counted(institution: Institution, today: date) -> int:
    return Journal(institution.state).rows_sent_on(today)


def _dry(calls: list[Call], play: Play) -> list[str]:
    wrote = play.run.dry_run and any(c.run == play.run.key and c.operation in WRITES for c in calls)
    return ["5: a dry run wrote to the register"] if wrote else []
