from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kfr.relationships.packing import (
    LAST_DAY,
    UNIX_OFFSET,
    UNKNOWN_DAY,
    date_of,
    day_number,
    ids_of,
    pack,
    starts_of,
    text_of,
)

DATES = st.dates(date(1753, 1, 1), date(2111, 1, 1))
CUSTOMERS = st.integers(1, 99_999_999_999)


@given(DATES)
def test_a_date_is_the_same_after_the_way_through_its_day_number(day):
    assert date_of(day_number(day)) == day


@given(DATES)
def test_a_day_number_is_arrows_day_and_the_offset(day):
    assert day_number(day) == (day - date(1970, 1, 1)).days + UNIX_OFFSET


def test_the_first_and_the_last_date_fit_and_their_neighbours_do_not():
    last = date_of(LAST_DAY)
    assert day_number(date(1753, 1, 1)) == 1
    assert day_number(last) == LAST_DAY
    for outside in (date(1752, 12, 31), date.fromordinal(last.toordinal() + 1)):
        with pytest.raises(ValueError, match="outside the dates"):
            day_number(outside)


def test_an_unknown_day_has_no_date():
    assert date_of(UNKNOWN_DAY) is None


@given(st.lists(st.tuples(CUSTOMERS, st.integers(UNKNOWN_DAY, LAST_DAY)), max_size=20))
def test_packed_relationships_unpack_and_sort_by_customer_and_start(pairs):
    ids = np.array([customer for customer, _ in pairs], np.int64)
    days = np.array([day for _, day in pairs], np.int32)
    packed = pack(ids, days)
    assert list(zip(ids_of(packed).tolist(), starts_of(packed).tolist(), strict=True)) == pairs
    ordered = np.sort(packed)
    assert list(zip(ids_of(ordered).tolist(), starts_of(ordered).tolist(), strict=True)) == sorted(pairs)


@pytest.mark.parametrize(
    ("customer", "text"),
    [(123, "000000123"), (999_999_999, "999999999"), (1_000_000_000, "01000000000"), (10**11 - 1, "9" * 11)],
)
def test_an_identifier_is_written_with_its_leading_zeros(customer, text):
    assert text_of(customer) == text
