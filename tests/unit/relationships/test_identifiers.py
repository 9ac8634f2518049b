import random

import numpy as np
import pyarrow as pa
import pytest
import time_machine
from hypothesis import given
from hypothesis import strategies as st
from stdnum.no import fodselsnummer, orgnr

from kfr.relationships.identifiers import BLOCK_ROWS, Checked, Kind, Reason, World, check, classify, worlds
from tests.unit.relationships.reference import (
    complete_organisation,
    complete_person,
    judge_text,
    make_organisation,
    make_person,
)

FULL_STEM = st.text("0123456789", min_size=9, max_size=9)
PLAUSIBLE_STEM = st.builds(
    "{:02d}{:02d}{:02d}{:03d}".format,
    st.one_of(st.integers(1, 31), st.integers(41, 71)),
    st.integers(1, 99),
    st.integers(0, 99),
    st.integers(0, 999),
)
PERSONS = st.builds(complete_person, FULL_STEM | PLAUSIBLE_STEM, st.integers(0, 4)).filter(bool)
ORGANISATIONS = st.builds(complete_organisation, st.text("0123456789", min_size=8, max_size=8)).filter(bool)
BLANKS = st.text(" \t\n\v\f\r", max_size=3)
TEXTS = st.one_of(
    PERSONS,
    ORGANISATIONS,
    st.none(),
    st.text("0123456789", max_size=13),
    st.text(max_size=13),
    st.builds("{}{}{}".format, BLANKS, PERSONS | ORGANISATIONS, BLANKS),
    st.builds("{}{}{}".format, st.sampled_from(["+", "-", "\u00a0", "0"]), ORGANISATIONS, BLANKS),
)


def rows_of(checked: Checked) -> list[tuple[str, str | None, bool]]:
    return [
        (Reason(reason).label, Kind(kind).name if kind else None, is_2032)
        for reason, kind, is_2032 in zip(
            checked.reasons.tolist(), checked.kinds.tolist(), checked.is_2032.tolist(), strict=True
        )
    ]


def check_one(text: str | None) -> tuple[str, str | None, bool]:
    return rows_of(check(pa.array([text], pa.string())))[0]


def random_persons(count: int, seed: int) -> list[str]:
    """Numbers whose days, months and check digits are right, nearly right, or anything."""
    rng = random.Random(seed)
    numbers = []
    while len(numbers) < count:
        day = rng.choice((rng.randint(0, 99), rng.randint(1, 31), rng.randint(41, 71)))
        month = rng.choice((rng.randint(0, 99), rng.randint(1, 12) + rng.choice((0, 0, 20, 40, 60, 65, 80))))
        stem = f"{day:02d}{month:02d}{rng.randint(0, 99):02d}{rng.randint(0, 999):03d}"
        number = complete_person(stem, rng.choice((0, 0, 0, 1, 2, 3, 4, 10)))
        if number:
            numbers.append(number if rng.random() < 0.9 else number[:10] + str(rng.randint(0, 9)))
    return numbers


# --- against the rules, one row at a time ---


@given(st.lists(TEXTS, max_size=30))
def test_a_column_is_judged_as_each_of_its_rows_by_the_rules(texts):
    checked = check(pa.array(texts, pa.string()))
    assert rows_of(checked) == [judge_text(text) for text in texts]
    assert checked.ids.tolist() == [
        int(text.strip(" \t\n\v\f\r")) if judge_text(text)[0] == "accepted" else 0 for text in texts
    ]


def test_thousands_of_random_numbers_are_judged_by_the_rules():
    numbers = random_persons(12_000, seed=1)
    found = rows_of(check(pa.array(numbers)))
    assert found == [judge_text(number) for number in numbers]
    assert {kind for _, kind, _ in found} == {
        None,
        *(kind.name for kind in Kind if kind != Kind.ORGANISATION),
    }


@pytest.mark.parametrize("year", ["00", "04", "99"])
def test_every_month_with_its_first_and_last_days_is_judged_by_the_rules(year):
    numbers = [
        number
        for day in range(100)
        for month in range(100)
        for series in (3, 505, 605, 755, 905)
        if (number := complete_person(f"{day:02d}{month:02d}{year}{series:03d}"))
        if 28 <= day % 40 <= 32 or day in (0, 1, 40, 41, 80, 99)
    ]
    assert rows_of(check(pa.array(numbers))) == [judge_text(number) for number in numbers]


# --- against python-stdnum, on the kinds that it knows ---


@time_machine.travel("2040-01-01")  # stdnum refuses the unborn; by then no year below 40 is one
def test_stdnum_agrees_on_birth_numbers_d_numbers_and_numbers_with_month_plus_40():
    numbers = random_persons(40_000, seed=2)
    checked = check(pa.array(numbers))
    known = np.isin(checked.kinds, [Kind.BIRTH_NUMBER, Kind.D_NUMBER, Kind.SYNTHETIC_NAV]) & ~checked.is_2032
    differing = [
        number
        for number, ours in zip(numbers, known.tolist(), strict=True)
        if ours != fodselsnummer.is_valid(number) and not is_extended_d_number(number)
    ]
    assert known.sum() > 3_000
    assert differing == []


def is_extended_d_number(number: str) -> bool:
    """In a series that was opened for D-numbers in 2021 and that stdnum 2.2 does not know."""
    day, year, individual = int(number[:2]), int(number[4:6]), int(number[6:9])
    in_1800s = individual < 750 and year >= 54
    return day > 40 and year >= 40 and 600 <= individual < 900 and not in_1800s


def test_stdnum_agrees_on_organisation_numbers():
    rng = random.Random(3)
    numbers = [f"{rng.randint(1, 999_999_999):09d}" for _ in range(20_000)]
    accepted = check(pa.array(numbers)).reasons == Reason.ACCEPTED
    assert 1_000 < accepted.sum() < 3_000
    assert accepted.tolist() == [orgnr.is_valid(number) for number in numbers]


# --- the kinds ---


@pytest.mark.parametrize(
    ("written", "kind", "world"),
    [
        ("010190", Kind.BIRTH_NUMBER, World.REAL_PERSON),
        ("410190", Kind.D_NUMBER, World.REAL_PERSON),
        ("012190", Kind.NPID, World.REAL_PERSON),
        ("412190", Kind.NPID, World.REAL_PERSON),
        ("018190", Kind.SYNTHETIC_SKATTEETATEN, World.SYNTHETIC),
        ("418190", Kind.SYNTHETIC_SKATTEETATEN, World.SYNTHETIC),
        ("014190", Kind.SYNTHETIC_NAV, World.SYNTHETIC),
        ("414190", Kind.SYNTHETIC_NAV, World.SYNTHETIC),
        ("017790", Kind.SYNTHETIC_HELSENETT, World.SYNTHETIC),
        ("417790", Kind.SYNTHETIC_HELSENETT, World.SYNTHETIC),
        ("016190", Kind.SYNTHETIC_NPID, World.SYNTHETIC),
        ("416190", Kind.SYNTHETIC_NPID, World.SYNTHETIC),
    ],
)
@pytest.mark.parametrize("remainder", [0, 1, 2, 3])
def test_each_family_of_numbers_is_known_by_its_day_and_month_under_either_rule(
    written, kind, world, remainder
):
    checked = check(pa.array([make_person(written, remainder=remainder)]))
    assert checked.kinds.tolist() == [kind]
    assert worlds(checked.kinds).tolist() == [world]
    assert checked.is_2032.tolist() == [remainder > 0]


def test_an_organisation_is_no_person_and_of_no_persons_world():
    checked = check(pa.array([make_organisation()]))
    assert worlds(checked.kinds).tolist() == [World.ORGANISATION]


def test_a_month_in_the_overlap_of_two_synthetic_families_needs_a_day_in_only_one():
    # Month 66: 31 June does not exist, 31 January does. Month 67: 30 July does, 30 February does not.
    for written in ("316690", "306790"):
        checked = check(pa.array([make_person(written)]))
        assert worlds(checked.kinds).tolist() == [World.SYNTHETIC]
    assert check_one(make_person("316990"))[0] == "impossible_date"  # neither 31 September nor 31 April


def test_an_extended_d_number_is_classic_and_a_birth_number_of_that_series_is_of_2032():
    assert check_one(make_person("418145", range(600, 900))) == ("accepted", "SYNTHETIC_SKATTEETATEN", False)
    assert check_one(make_person("018145", range(600, 900))) == ("accepted", "SYNTHETIC_SKATTEETATEN", True)


def test_the_29_of_february_1900_is_no_day_by_the_classic_rule():
    in_1900, in_2000 = make_person("298200", range(500)), make_person("298200", range(500, 1000))
    assert check_one(in_1900) == ("accepted", "SYNTHETIC_SKATTEETATEN", True)
    assert check_one(in_2000) == ("accepted", "SYNTHETIC_SKATTEETATEN", False)
    assert check_one(make_person("298201"))[0] == "impossible_date"


@given(st.lists(PERSONS | ORGANISATIONS))
def test_integers_are_classified_as_their_text_was(texts):
    checked = check(pa.array(texts, pa.string()))
    right = checked.reasons == Reason.ACCEPTED
    kinds, is_2032 = classify(checked.ids[right])
    assert kinds.tolist() == checked.kinds[right].tolist()
    assert is_2032.tolist() == checked.is_2032[right].tolist()


# --- refusals ---


@pytest.mark.parametrize(
    ("text", "label"),
    [
        (None, "missing"),
        ("", "missing"),
        (" \t ", "missing"),
        ("000000000", "check_digit"),
        ("00000000000", "impossible_date"),
        ("1", "wrong_length"),
        ("1234567890", "wrong_length"),
        ("1" * 5000, "wrong_length"),
        ("+12345678", "not_digits"),
        ("-1234567890", "not_digits"),
        ("123 456 789", "not_digits"),
        ("1234.56789", "not_digits"),
        ("1e8", "not_digits"),
        ("\u0661\u0662\u0663\u0664\u0665\u0666\u0667\u0668\u0669", "not_digits"),  # Arabic-Indic digits
        ("\uff11" * 9, "not_digits"),  # full-width digits
        ("123\u00b2", "not_digits"),  # 5 bytes
        ("12345678\u0660", "not_digits"),  # 10 bytes
        ("123456789\u00bd", "not_digits"),  # 11 bytes
        ("\x00" * 9, "not_digits"),
        ("/" * 9, "not_digits"),  # the character before 0
        (":" * 11, "not_digits"),  # the character after 9
    ],
)
def test_what_is_no_identifier_is_refused_with_its_reason(text, label):
    assert check_one(text) == (label, None, False)


def test_blanks_around_are_trimmed_and_blanks_inside_or_of_another_alphabet_are_not():
    number = make_person()
    for text in (f" {number}", f"{number}\t", f"\r\n{number}  "):
        assert check_one(text)[0] == "accepted"
    for text in (
        f"{number[:6]} {number[6:]}",
        f"\u00a0{number}",
        f"{number}\u2003",
        f"{number[:6]}-{number[6:]}",
    ):
        assert check_one(text)[0] == "not_digits"


def test_one_changed_digit_is_always_noticed_in_an_organisation_and_in_a_classic_number():
    for number in (make_organisation(), make_person()):
        changed = [
            number[:place] + digit + number[place + 1 :]
            for place in range(len(number))
            for digit in "0123456789"
            if digit != number[place]
        ]
        found = check(pa.array(changed))
        assert not (found.reasons[~found.is_2032] == Reason.ACCEPTED).any()


def test_an_eleven_digit_number_below_the_first_day_never_passes_for_an_organisation():
    organisation = make_organisation()
    assert check_one(f"00{organisation}")[0] in {"check_digit", "impossible_date"}


# --- the column's form ---


def mixed_texts() -> list[str | None]:
    return [
        make_person(),
        None,
        f" {make_organisation()} ",
        "x",
        "",
        "123",
        make_person("418190", remainder=2),
    ]


@pytest.mark.parametrize(
    "column",
    [
        lambda texts: pa.array(texts, pa.string()),
        lambda texts: pa.array(texts, pa.large_string()),
        lambda texts: pa.array(texts, pa.string_view()),
        lambda texts: pa.array(texts, pa.string()).dictionary_encode(),
        lambda texts: pa.array(texts, pa.large_string()).dictionary_encode(),
        lambda texts: pa.DictionaryArray.from_arrays(
            pa.array(range(len(texts))), pa.array(texts, pa.string_view())
        ),
        lambda texts: pa.array(["junk", *texts, "junk"], pa.string()).slice(1, len(texts)),
        lambda texts: pa.array(["junk", *texts, "junk"], pa.large_string()).slice(1, len(texts)),
        lambda texts: pa.array(["junk", *texts, "junk"], pa.string_view()).slice(1, len(texts)),
        lambda texts: (
            pa.array(["junk", *texts, "junk"], pa.string()).dictionary_encode().slice(1, len(texts))
        ),
        lambda texts: pa.chunked_array([[], texts[:3], [], texts[3:]], pa.string()),
        lambda texts: pa.chunked_array([pa.array(texts, pa.string()).slice(0, 4), texts[4:]]),
    ],
)
def test_every_form_of_a_text_column_gives_the_same_result(column):
    texts = mixed_texts()
    checked = check(column(texts))
    assert rows_of(checked) == [judge_text(text) for text in texts]
    assert checked.ids.tolist() == [int(texts[0]), 0, int(texts[2]), 0, 0, 0, int(texts[6])]


def test_what_lies_under_a_null_is_not_read():
    numbers = [make_person(), make_person("028190"), make_person("038190")]
    whole = pa.array(numbers)
    _, offsets, text = whole.buffers()
    column = pa.Array.from_buffers(pa.string(), 3, [pa.py_buffer(b"\x05"), offsets, text])
    assert check(column).ids.tolist() == [int(numbers[0]), 0, int(numbers[2])]
    assert check(column.slice(1)).ids.tolist() == [0, int(numbers[2])]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([], pa.string()),
        pa.array([], pa.large_string()),
        pa.array([make_person()]).slice(1),
        pa.chunked_array([], pa.string()),
        pa.array([], pa.string()).dictionary_encode(),
        pa.nulls(0),
    ],
)
def test_no_rows_give_empty_arrays(column):
    checked = check(column)
    for values, dtype in (
        (checked.ids, np.int64),
        (checked.kinds, np.uint8),
        (checked.is_2032, np.bool_),
        (checked.reasons, np.uint8),
    ):
        assert values.shape == (0,)
        assert values.dtype == dtype


@pytest.mark.parametrize("column", [pa.nulls(3), pa.nulls(3, pa.string()), pa.nulls(3, pa.string_view())])
def test_a_column_of_nulls_is_missing_throughout(column):
    assert check(column).reasons.tolist() == [Reason.MISSING] * 3


def test_a_column_of_several_blocks_is_judged_row_by_row():
    texts = mixed_texts()
    repeats = 2 * BLOCK_ROWS // len(texts) + 1
    column = pa.array(["junk", *texts * repeats]).slice(1)
    checked = check(column)
    one = check(pa.array(texts))
    assert checked.ids.tolist() == one.ids.tolist() * repeats
    assert checked.reasons.tolist() == one.reasons.tolist() * repeats
    kinds, is_2032 = classify(np.tile(one.ids[one.ids > 0], repeats))
    assert kinds.tolist() == one.kinds[one.ids > 0].tolist() * repeats
    assert is_2032.tolist() == one.is_2032[one.ids > 0].tolist() * repeats


@pytest.mark.parametrize(
    ("column", "named"),
    [
        (pa.array([1]), "int64"),
        (pa.array([1.0]), "double"),
        (pa.array([b"1"]), "binary"),
        (pa.array([1]).dictionary_encode(), "dictionary"),
        (pa.array([["1"]]), "list"),
    ],
)
def test_a_column_that_is_no_text_is_refused_by_the_name_of_its_type(column, named):
    with pytest.raises(TypeError, match=named):
        check(column)


def test_no_identifier_stands_in_the_repr():
    number = make_person()
    assert number not in repr(check(pa.array([number])))
