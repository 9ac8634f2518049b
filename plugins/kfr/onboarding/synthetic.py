"""Synthetic customers for the integration test: numbers with right check digits that belong to no one."""

import random
from itertools import count
from typing import Final

_K1: Final = (3, 7, 6, 1, 8, 9, 4, 5, 2)
_K2: Final = (5, 4, 3, 2, 7, 6, 5, 4, 3, 2)
_ORGANISATION: Final = (3, 2, 7, 6, 5, 4, 3, 2)
SYNTHETIC_MONTH: Final = 80  # added to the month (Skatteetaten, Tenor)
IMPOSSIBLE: Final = 10  # a check digit that is none: the number is not issued


def draw_person(rng: random.Random) -> str:
    """A synthetic birth number of 11 digits, of someone born from 1950 to 1999."""
    for _ in count():
        day, month, year = rng.randint(1, 28), rng.randint(1, 12) + SYNTHETIC_MONTH, rng.randint(50, 99)
        digits = f"{day:02d}{month:02d}{year:02d}{rng.randint(0, 499):03d}"
        for weights in (_K1, _K2):
            digits += _check_digit(digits, weights)
        if len(digits) == 11:
            return digits
    raise AssertionError


def draw_organisation(rng: random.Random) -> str:
    """An organisation number of the series 3, which holds test organisations only."""
    for _ in count():
        digits = f"3{rng.randint(0, 9_999_999):07d}"
        if digit := _check_digit(digits, _ORGANISATION):
            return digits + digit
    raise AssertionError


def spoil(number: str) -> str:
    """The same number with a last digit that cannot be right."""
    return number[:-1] + str((int(number[-1]) + 1) % 10)


def _check_digit(digits: str, weights: tuple[int, ...]) -> str:
    digit = -sum(weight * int(one) for weight, one in zip(weights, digits, strict=False)) % 11
    return "" if digit == IMPOSSIBLE else str(digit)
