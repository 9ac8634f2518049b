"""Rows that must be refused, each with exactly one flaw, by the reason that reports use."""

import numpy as np

from tests.warehouse.numbers import Ints, text_of, with_check_digits

REASONS = ("missing", "not_digits", "wrong_length", "check_digit", "impossible_date")

_NOTHING = (None, "", "   ", "\t")
_EASTERN_ARABIC = str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")  # digits, but not those of ASCII
_LOOKALIKES = str.maketrans("015", "OlS")
_NO_MONTHS = (0, 13, 19, 80, 93, 99)  # in no family


def flawed(rng: np.random.Generator, reason: str, ids: Ints) -> list[str | None]:
    """Spoil valid identifiers of persons in the way that a reason names, one for each."""
    if reason == "missing":
        return [_NOTHING[at % len(_NOTHING)] for at in range(len(ids))]
    if reason == "impossible_date":
        return [f"{number:011}" for number in _impossible(rng, len(ids)).tolist()]
    spoil = {"not_digits": _not_digits, "wrong_length": _wrong_length, "check_digit": _check_digit}[reason]
    return [spoil(text, at) for at, text in enumerate(text_of(ids).to_pylist())]


def _not_digits(text: str, at: int) -> str:
    ways = (
        f"{text[:6]} {text[6:]}",
        f"{text[:6]}-{text[6:]}",
        text.translate(_EASTERN_ARABIC),
        text[:-2] + text[-2:].translate(_LOOKALIKES) if set(text[-2:]) & set("015") else f"{text[:-1]}X",
        f"+{text[1:]}",
        f"{text}.0",  # once a number in a spreadsheet
    )
    return ways[at % len(ways)]


def _wrong_length(text: str, at: int) -> str:
    return (text[1:], f"{text}0", text[:5], f"00{text}")[at % 4]


def _check_digit(text: str, at: int) -> str:
    if at % 10 == 0:
        return "000000000"
    return text[:-1] + str((int(text[-1]) + 1 + at % 9) % 10)


def _impossible(rng: np.random.Generator, count: int) -> Ints:
    """Right check digits on a day that no family of numbers has; day 00 is as small as an organisation."""
    found = np.empty(0, np.int64)
    while len(found) < count:
        size = 2 * count + 16
        dates = np.array([3082, 3182, 3184, 3189, 3191, 82, 3285, 3985, 7281, 9981])
        days_100 = np.concatenate([dates, [1500 + month for month in _NO_MONTHS]])
        stems = (rng.choice(days_100, size) * 100 + rng.integers(40, 100, size)) * 1000
        made = with_check_digits(stems + rng.integers(0, 500, size))
        found = np.concatenate([found, made[made > 0]])
    return found[:count]
