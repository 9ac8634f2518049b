"""The rules once more, one row at a time and as slow as they please, to hold the fast code against.

Shares no code with the package. Numbers are made here at run time, so that none is written down.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import date
from itertools import product

K1_WEIGHTS = (3, 7, 6, 1, 8, 9, 4, 5, 2)
K2_WEIGHTS = (5, 4, 3, 2, 7, 6, 5, 4, 3, 2)
ORGANISATION_WEIGHTS = (3, 2, 7, 6, 5, 4, 3, 2)
FAMILIES = (
    (0, "BIRTH_NUMBER"),
    (20, "NPID"),
    (40, "SYNTHETIC_NAV"),
    (60, "SYNTHETIC_NPID"),
    (65, "SYNTHETIC_HELSENETT"),
    (80, "SYNTHETIC_SKATTEETATEN"),
)


def weighted(digits: str, weights: tuple[int, ...]) -> int:
    return sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=True))


def complete_person(nine: str, remainder: int = 0) -> str | None:
    """The number of 11 digits with this beginning; `remainder` is k1's. None where a check digit would be 10."""
    k1 = (remainder - weighted(nine, K1_WEIGHTS)) % 11
    if k1 == 10:
        return None
    k2 = -weighted(f"{nine}{k1}", K2_WEIGHTS) % 11
    return None if k2 == 10 else f"{nine}{k1}{k2}"


def complete_organisation(eight: str) -> str | None:
    check_digit = -weighted(eight, ORGANISATION_WEIGHTS) % 11
    return None if check_digit == 10 else f"{eight}{check_digit}"


def make_person(day_month_year: str = "018190", series: range = range(500), remainder: int = 0) -> str:
    """A person's number of that DDMMYY (as written, what is added to day and month included)."""
    numbers = (complete_person(f"{day_month_year}{individual:03d}", remainder) for individual in series)
    return next(number for number in numbers if number)


def make_organisation(stem: int = 31_000_000) -> str:
    """An organisation number of the synthetic range (first digit 3) from this stem on."""
    return next(
        number for eight in range(stem, stem + 11) if (number := complete_organisation(f"{eight:08d}"))
    )


def make_customers(count: int) -> list[str]:
    """That many different identifiers, persons and organisations by turns."""
    persons = (
        number
        for month, day, individual in product(range(81, 93), range(1, 29), range(500))
        if (number := complete_person(f"{day:02d}{month:02d}85{individual:03d}"))
    )
    organisations = (
        number for stem in range(31_000_000, 32_000_000) if (number := complete_organisation(f"{stem:08d}"))
    )
    return [next(organisations if index % 3 == 2 else persons) for index in range(count)]


def is_real(year: int, month: int, day: int) -> bool:
    try:
        date(year, month, day)
    except ValueError:
        return False
    return True


def centuries(individual: int, year: int, *, d_number: bool) -> set[int]:
    """The centuries that the individual number and the year of two digits give; none, one or two."""
    found = set()
    if individual <= 499:
        found.add(1900)
    if 500 <= individual <= 749 and year >= 54:
        found.add(1800)
    if 500 <= individual <= 999 and year < 40:
        found.add(2000)
    if 900 <= individual <= 999 and year >= 40:
        found.add(1900)
    if d_number and 600 <= individual <= 999 and year >= 40:
        found.add(1900)
    return found


def judge_person(number: str) -> tuple[str, str | None, bool]:
    """Label of the reason, name of the kind, and whether only the rule of 2032 accepts it."""
    k1 = (weighted(number[:9], K1_WEIGHTS) + int(number[9])) % 11
    k2 = (weighted(number[:10], K2_WEIGHTS) + int(number[10])) % 11
    if k2 != 0 or k1 not in (0, 1, 2, 3):
        return "check_digit", None, False
    kind, classic = None, False
    written_day, written_month, year, individual = (
        int(number[:2]),
        int(number[2:4]),
        int(number[4:6]),
        int(number[6:9]),
    )
    for (added_month, family), added_day in product(FAMILIES, (0, 40)):
        day, month = written_day - added_day, written_month - added_month
        if any(is_real(century + year, month, day) for century in (1800, 1900, 2000)):
            kind = kind or ("D_NUMBER" if family == "BIRTH_NUMBER" and added_day else family)
        derivable = centuries(individual, year, d_number=added_day > 0)
        classic |= k1 == 0 and any(is_real(century + year, month, day) for century in derivable)
    if kind is None:
        return "impossible_date", None, False
    return "accepted", kind, not classic


def judge_text(text: str | None) -> tuple[str, str | None, bool]:
    """As `judge_person`, for whatever stands in a column."""
    number = (text or "").strip(" \t\n\v\f\r")
    if not number:
        return "missing", None, False
    if not set(number) <= set("0123456789"):
        return "not_digits", None, False
    if len(number) == 11:
        return judge_person(number)
    if len(number) != 9:
        return "wrong_length", None, False
    right = number != "000000000" and complete_organisation(number[:8]) == number
    return ("accepted", "ORGANISATION", False) if right else ("check_digit", None, False)


@dataclass(frozen=True)
class Row:
    """One agreement, its dates as day numbers; None for a null."""

    customer: int
    start: int | None
    end: int | None
    reason: str = "accepted"


@dataclass(frozen=True)
class Customers:
    """What `fold` should find."""

    active: dict[int, int | None]  # identifier to start
    ended: set[int]
    waiting: set[int]
    tainted: set[int]
    without_start: int
    folded: int
    not_active: int
    rejected: Counter[str]


def fold(rows: list[Row], as_of: int) -> Customers:
    by_customer: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        if row.reason == "accepted":
            by_customer[row.customer].append(row)
    active: dict[int, int | None] = {}
    ended, waiting = set(), set()
    without_start = folded = not_active = 0
    for customer, agreements in by_customer.items():
        chain = next(
            (chain for chain in chains(agreements, as_of) if any(runs(row, as_of) for row in chain)), None
        )
        if chain:
            active[customer] = min((row.start for row in chain if row.start is not None), default=None)
            without_start += any(row.start is None for row in chain)
            folded += len(agreements) - 1
            continue
        not_active += len(agreements)
        begun = [row for row in agreements if (row.start or 0) <= as_of]
        future = [row.start for row in agreements if (row.start or 0) > as_of]
        bridged = begun and future and min(future) <= max(row.end for row in begun) + 1
        (ended if begun and not bridged else waiting).add(customer)
    refused = [row for row in rows if row.reason != "accepted"]
    return Customers(
        active=active,
        ended=ended,
        waiting=waiting,
        tainted={row.customer for row in refused if row.customer},
        without_start=without_start,
        folded=folded,
        not_active=not_active,
        rejected=Counter(row.reason for row in refused),
    )


def runs(row: Row, day: int) -> bool:
    return (row.start or 0) <= day and (row.end is None or row.end > day)


def chains(agreements: list[Row], as_of: int) -> list[list[Row]]:
    """The unbroken chains among the agreements that began by `as_of`."""
    found: list[list[Row]] = []
    furthest = float("-inf")
    for row in sorted(
        (row for row in agreements if (row.start or 0) <= as_of), key=lambda row: row.start or 0
    ):
        if found and (row.start or 0) <= furthest + 1:
            found[-1].append(row)
        else:
            found.append([row])
        furthest = max(furthest, float("inf") if row.end is None else row.end)
    return found
