import random

import numpy as np
import pytest
from stdnum.no import fodselsnummer, orgnr

from tests.simulator.identifiers import are_identifiers, is_identifier, make_synthetic, text_of


def complete(stem: str, remainder: int = 0) -> str | None:
    """Nine digits with their check digits, worked out by hand; the first leaves `remainder`."""
    digits = [int(digit) for digit in stem]
    first = (remainder - sum(w * d for w, d in zip((3, 7, 6, 1, 8, 9, 4, 5, 2), digits, strict=True))) % 11
    digits.append(first)
    second = -sum(w * d for w, d in zip((5, 4, 3, 2, 7, 6, 5, 4, 3, 2), digits, strict=True)) % 11
    return None if 10 in (first, second) else f"{stem}{first}{second}"


def some(day_and_month: str, year: str, remainder: int = 0) -> str:
    """The first number of a day whose check digits can be written."""
    numbers = (complete(f"{day_and_month}{year}{one:03}", remainder) for one in range(500))
    return next(number for number in numbers if number)


@pytest.mark.parametrize(
    "day_and_month",
    ["0181", "0141", "0166", "0121", "0161", "4181", "4141", "4166"],
    ids=["+80", "+40", "+65", "NPID", "NPID synthetic", "D +80", "D +40", "D +65"],
)
def test_every_synthetic_kind_is_taken(day_and_month):
    assert is_identifier(some(day_and_month, "85"))


@pytest.mark.parametrize("remainder", [1, 2, 3])
def test_a_number_of_the_2032_kind_is_taken(remainder):
    assert is_identifier(some("0181", "85", remainder))


@pytest.mark.parametrize("remainder", [4, 5, 6, 7, 8, 9, 10])
def test_other_remainders_of_the_first_check_digit_are_refused(remainder):
    assert not is_identifier(some("0181", "85", remainder))


def test_a_d_number_of_the_extended_series_is_taken():
    assert is_identifier("55068575027")  # the contract's own example


@pytest.mark.parametrize(
    "day_and_month", ["0081", "3281", "3282", "3082", "0180", "0113", "0193", "7281", "3184"]
)
def test_a_day_that_no_calendar_has_is_refused(day_and_month):
    assert not is_identifier(some(day_and_month, "85"))


def test_the_29th_of_february_needs_a_leap_year():
    assert is_identifier(some("2982", "84"))
    assert not is_identifier(some("2982", "85"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "000000000",
        "298765439",
        "29876543",
        "2987654380",
        " 298765438",
        "298765438 ",
        "29876543a",
        "29876543\uff18",
    ],
)
def test_what_is_not_nine_or_eleven_right_ascii_digits_is_refused(text):
    assert not is_identifier(text)


def test_every_digit_of_an_organisation_number_counts():
    right = "298765438"
    changed = {right[:i] + d + right[i + 1 :] for i in range(9) for d in "0123456789"} - {right}
    assert is_identifier(right)
    assert not any(is_identifier(text) for text in changed)


def test_stdnum_agrees_on_organisation_numbers():
    rng = random.Random(1)
    texts = [f"{rng.randrange(10**9):09}" for _ in range(3000)]
    assert [is_identifier(text) for text in texts] == [orgnr.is_valid(text) for text in texts]
    assert any(is_identifier(text) for text in texts)


def test_what_stdnum_takes_as_a_birth_number_is_taken():
    rng = random.Random(2)
    stems = (
        f"{rng.randint(1, 28):02}{rng.randint(1, 12) + 40:02}{rng.randrange(10**5):05}" for _ in range(3000)
    )
    numbers = [number for stem in stems if (number := complete(stem)) and fodselsnummer.is_valid(number)]
    assert len(numbers) > 1000
    assert all(is_identifier(number) for number in numbers)


def test_many_at_once_are_the_same_as_one_by_one():
    rng = random.Random(3)
    for width in (9, 11):
        texts = [f"{rng.randrange(10**width):0{width}}" for _ in range(2000)]
        texts += ["298765438"] if width == 9 else ["55068575027"]
        digits = np.array([[int(digit) for digit in text] for text in texts], np.uint8)
        assert are_identifiers(digits).tolist() == [is_identifier(text) for text in texts]


def test_a_made_number_is_synthetic_and_right():
    rng = random.Random(4)
    for _ in range(200):
        text = text_of(make_synthetic(rng))
        assert is_identifier(text)
        assert 81 <= int(text[2:4]) <= 92


def test_text_keeps_leading_zeros():
    assert text_of(int("01818512345")) == "01818512345"
    assert text_of(12345678) == "012345678"
