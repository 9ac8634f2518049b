import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kfr.relationships import customers
from kfr.relationships.customers import among, common, distinct, union, without
from kfr.relationships.packing import Ints

CUSTOMERS = st.sets(st.integers(1, 60))
IN_ANY_ORDER = st.lists(st.integers(1, 60))


def ints(values: set[int] | list[int]) -> Ints:
    return np.array(sorted(values) if isinstance(values, set) else values, np.int64)


@pytest.fixture(autouse=True, scope="module")
def small_blocks():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(customers, "BLOCK_ROWS", 7)  # so that sixty customers stand in several
        yield


@given(IN_ANY_ORDER)
def test_distinct_sorts_and_leaves_each_once(values):
    assert distinct(ints(values)).tolist() == sorted(set(values))


@given(st.lists(CUSTOMERS, max_size=4))
def test_a_union_has_everyone_once(sets):
    assert union(*map(ints, sets)).tolist() == sorted(set().union(*sets))


@given(CUSTOMERS, st.lists(CUSTOMERS, max_size=3))
def test_without_leaves_who_is_in_no_other_set(ids, others):
    assert without(ints(ids), *map(ints, others)).tolist() == sorted(ids.difference(*others))


@given(CUSTOMERS, CUSTOMERS)
def test_common_are_those_in_both(ids, others):
    assert common(ints(ids), ints(others)).tolist() == sorted(ids & others)


@given(IN_ANY_ORDER, CUSTOMERS)
def test_among_takes_values_in_any_order(values, members):
    assert among(ints(values), ints(members)).tolist() == [value in members for value in values]
