import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kfr.relationships.packing import UNKNOWN_DAY, Ints, ids_of, pack, starts_of
from kfr.relationships.plan import Difference, difference

POPULATIONS = st.dictionaries(st.integers(1, 30), st.integers(UNKNOWN_DAY, 3), max_size=25)


def packed_of(starts: dict[int, int]) -> Ints:
    return np.sort(pack(np.array(list(starts), np.int64), np.array(list(starts.values()), np.int64)))


def starts_by_customer(packed: Ints) -> dict[int, int]:
    return dict(zip(ids_of(packed).tolist(), starts_of(packed).tolist(), strict=True))


def compare(desired: dict[int, int], mirror: dict[int, int]) -> Difference:
    return difference(packed_of(desired), packed_of(mirror))


@given(POPULATIONS, POPULATIONS)
def test_every_customer_of_either_side_has_exactly_one_place_in_the_plan(desired, mirror):
    plan = compare(desired, mirror)
    assert starts_by_customer(plan.add) == {c: desired[c] for c in desired if c not in mirror}
    assert starts_by_customer(plan.remove) == {c: mirror[c] for c in mirror if c not in desired}
    assert starts_by_customer(plan.start_changed) == {
        c: desired[c] for c in desired if c in mirror and desired[c] not in (mirror[c], UNKNOWN_DAY)
    }
    assert len(plan.add) + len(plan.start_changed) + plan.unchanged == len(desired)
    assert len(plan.remove) + len(plan.start_changed) + plan.unchanged == len(mirror)


@given(POPULATIONS, POPULATIONS)
def test_a_plan_carried_out_leaves_nothing_to_plan(desired, mirror):
    plan = compare(desired, mirror)
    after = mirror | starts_by_customer(plan.add) | starts_by_customer(plan.start_changed)
    after = {
        customer: after[customer] for customer in after if customer not in starts_by_customer(plan.remove)
    }
    assert set(after) == set(desired)
    again = compare(desired, after)
    assert len(again.add) == len(again.remove) == len(again.start_changed) == 0
    assert again.unchanged == len(desired)


@given(POPULATIONS, POPULATIONS)
def test_a_plan_is_sorted(desired, mirror):
    plan = compare(desired, mirror)
    for packed in (plan.add, plan.remove, plan.start_changed):
        assert packed.tolist() == sorted(packed.tolist())


def test_a_first_load_adds_everyone():
    desired = packed_of({1: 5, 2: UNKNOWN_DAY})
    plan = difference(desired, packed_of({}))
    assert plan.add.tolist() == desired.tolist()
    assert plan.unchanged == 0


def test_a_start_that_becomes_known_is_a_change_and_one_that_is_lost_is_none():
    assert len(compare({1: 5}, {1: UNKNOWN_DAY}).start_changed) == 1
    lost = compare({1: UNKNOWN_DAY}, {1: 5})
    assert len(lost.start_changed) == 0
    assert lost.unchanged == 1


@pytest.mark.parametrize("wrong", [[2 << 17, 1 << 17], [1 << 17, (1 << 17) + 5], [1 << 17, 1 << 17]])
def test_a_population_that_is_unsorted_or_holds_a_customer_twice_is_refused(wrong):
    right = packed_of({1: 5})
    for desired, mirror in ((np.array(wrong), right), (right, np.array(wrong))):
        with pytest.raises(ValueError, match="each customer once"):
            difference(desired, mirror)


def test_no_identifier_stands_in_the_repr():
    assert "31415926" not in repr(compare({314159265: 5}, {314159266: 5}))
