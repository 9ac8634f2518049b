"""Which identifiers the register takes: organisation, birth and D-numbers, synthetic ones, the 2032 kind.

Written from the contract, section 5, and not from `kfr.relationships.identifiers`, so that an error there
is found here. The register is the test one: numbers of the 2032 kind are right, and since their century cannot be
told, a date is possible when it is one in any century.
"""

import calendar
import random
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Digits = npt.NDArray[np.uint8]  # one row a number, values 0 to 9
Flags = npt.NDArray[np.bool_]

ORGANISATION_WEIGHTS = (3, 2, 7, 6, 5, 4, 3, 2, 1)
FIRST_WEIGHTS = (3, 7, 6, 1, 8, 9, 4, 5, 2, 1, 0)
SECOND_WEIGHTS = (5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1)
REMAINDERS_OF_2032 = 4  # 0, 1, 2 or 3 is right; before 2032 only 0 (SKE)

# What is added to the month: none, NPID, NAV Dolly, synthetic NPID, Norsk Helsenett, Skatteetaten.
SKATTEETATEN = 80
MONTH_SERIES = (0, 20, 40, 60, 65, SKATTEETATEN)
D_NUMBER_DAY = 40


def _longest_months() -> npt.NDArray[np.int64]:
    """Days in the month written as 00 to 99, the longest reading; columns: common year, leap year."""
    longest = np.zeros((100, 2), np.int64)
    for series in MONTH_SERIES:
        for month in range(1, 13):
            for leap, year in enumerate((2023, 2024)):
                days = calendar.monthrange(year, month)[1]
                longest[series + month, leap] = max(longest[series + month, leap], days)
    return longest


LONGEST_MONTHS = _longest_months()


def are_identifiers(digits: Digits) -> Flags:
    """Tell for each row of 9 or of 11 digits whether it is an identifier."""
    return _are_organisations(digits) if digits.shape[1] == 9 else _are_persons(digits)


@lru_cache(maxsize=10_000)
def is_identifier(text: str) -> bool:
    """Tell whether a text is exactly one identifier; the same rules, faster for a single one."""
    if len(text) not in {9, 11} or not (text.isascii() and text.isdigit()):
        return False
    digits = [int(digit) for digit in text]
    if len(text) == 9:
        return any(digits) and _weigh(digits, ORGANISATION_WEIGHTS) == 0
    day = int(text[:2])
    day -= D_NUMBER_DAY if day > D_NUMBER_DAY else 0
    longest = LONGEST_MONTHS[int(text[2:4]), int(int(text[4:6]) % 4 == 0)]
    first_right = _weigh(digits, FIRST_WEIGHTS) < REMAINDERS_OF_2032
    return bool(1 <= day <= longest and first_right and _weigh(digits, SECOND_WEIGHTS) == 0)


def _weigh(digits: list[int], weights: tuple[int, ...]) -> int:
    return sum(weight * digit for weight, digit in zip(weights, digits, strict=True)) % 11


def _are_organisations(digits: Digits) -> Flags:
    # With the check digit weighing 1 the sum is a multiple of 11; a check digit of "10" cannot be written.
    right: Flags = (digits @ np.array(ORGANISATION_WEIGHTS) % 11 == 0) & digits.any(axis=1)
    return right


def _are_persons(digits: Digits) -> Flags:
    wide = digits.astype(np.int64)
    day = wide[:, 0] * 10 + wide[:, 1]
    day = np.where(day > D_NUMBER_DAY, day - D_NUMBER_DAY, day)
    month = wide[:, 2] * 10 + wide[:, 3]
    leap = (wide[:, 4] * 10 + wide[:, 5]) % 4 == 0  # 00 is 2000
    possible = (day >= 1) & (day <= LONGEST_MONTHS[month, leap.astype(np.int64)])
    first = wide @ np.array(FIRST_WEIGHTS) % 11 < REMAINDERS_OF_2032
    right: Flags = possible & first & (wide @ np.array(SECOND_WEIGHTS) % 11 == 0)
    return right


def text_of(customer_id: int) -> str:
    """An identifier as the register writes it."""
    return str(customer_id).zfill(9 if customer_id < 10**9 else 11)


def make_synthetic(rng: random.Random) -> int:
    """Make the number of a person whom nobody is (month + 80), for a planted leftover."""
    while True:
        day_and_month = f"{rng.randint(1, 28):02}{SKATTEETATEN + rng.randint(1, 12)}"
        stem = f"{day_and_month}{rng.randint(50, 99)}{rng.randint(0, 499):03}"
        first = -_weigh([int(digit) for digit in f"{stem}00"], FIRST_WEIGHTS) % 11
        second = -_weigh([int(digit) for digit in f"{stem}{first % 10}0"], SECOND_WEIGHTS) % 11
        if first < 10 and second < 10:
            return int(f"{stem}{first}{second}")
