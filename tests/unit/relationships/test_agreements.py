import random
from datetime import date

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kfr.relationships.agreements import Agreements, ColumnError, Folded, concatenate, fold, read_agreements
from kfr.relationships.identifiers import Reason
from kfr.relationships.packing import LAST_DAY, UNKNOWN_DAY, date_of, day_number, ids_of, starts_of
from tests.unit.relationships import reference
from tests.unit.relationships.reference import Row, make_customers, make_organisation, make_person

AS_OF = 10
DAYS = st.integers(1, 20)
CUSTOMERS = make_customers(6)


@st.composite
def draw_row(draw) -> Row:
    """Few customers and few days, so that chains, gaps, bridges and ties come up all the time."""
    start = draw(st.none() | DAYS)
    end = draw(st.none() | st.integers(start or 1, 22))
    reason = draw(st.sampled_from(["accepted"] * 12 + ["ended_before_started", "check_digit"]))
    customer = 0 if reason == "check_digit" else int(draw(st.sampled_from(CUSTOMERS)))
    return Row(customer, start, end, reason)


ROWS = st.lists(draw_row(), max_size=40)


def agreements_of(rows: list[Row]) -> Agreements:
    return Agreements(
        ids=np.array([row.customer for row in rows], np.int64),
        starts=np.array([row.start or UNKNOWN_DAY for row in rows], np.int32),
        ends=np.array([LAST_DAY if row.end is None else row.end for row in rows], np.int32),
        reasons=np.array([Reason[row.reason.upper()] for row in rows], np.uint8),
    )


def fold_rows(*periods: tuple[int | None, int | None], as_of: int = AS_OF) -> Folded:
    """The agreements of one customer, as (start, end)."""
    return fold(agreements_of([Row(int(CUSTOMERS[0]), start, end) for start, end in periods]), as_of)


def state_of(folded: Folded) -> tuple:
    return (
        folded.active.tolist(),
        ids_of(folded.ended).tolist(),
        folded.waiting.tolist(),
        folded.tainted.tolist(),
        folded.without_start,
        folded.rows_folded,
        folded.rows_not_active,
        folded.rows_rejected,
        folded.rejected_by_reason,
    )


def table_of(**columns) -> pa.Table:
    start, end = pa.array([date(2020, 1, 1)]), pa.array([None], pa.date32())
    return pa.table({"customer_id": [make_person()], "started_on": start, "ended_on": end} | columns)


# --- folding: properties ---


@given(ROWS, st.integers(1, 21))
def test_folding_finds_what_the_rules_say(rows, as_of):
    folded = fold(agreements_of(rows), as_of)
    expected = reference.fold(rows, as_of)
    starts = [start or None for start in starts_of(folded.active).tolist()]
    assert dict(zip(ids_of(folded.active).tolist(), starts, strict=True)) == expected.active
    assert set(ids_of(folded.ended).tolist()) == expected.ended
    assert set(folded.waiting.tolist()) == expected.waiting
    assert set(folded.tainted.tolist()) == expected.tainted
    assert folded.without_start == expected.without_start
    assert folded.rows_folded == expected.folded
    assert folded.rows_not_active == expected.not_active
    assert folded.rejected_by_reason == dict(expected.rejected)


@given(ROWS, st.integers(1, 21))
def test_each_row_has_exactly_one_fate_and_each_customer_one_state(rows, as_of):
    folded = fold(agreements_of(rows), as_of)
    fates = len(folded.active) + folded.rows_folded + folded.rows_not_active + folded.rows_rejected
    assert fates == folded.rows == len(rows)
    assert sum(folded.rejected_by_reason.values()) == folded.rows_rejected
    accepted = {row.customer for row in rows if row.reason == "accepted"}
    states = [*ids_of(folded.active).tolist(), *ids_of(folded.ended).tolist(), *folded.waiting.tolist()]
    assert sorted(states) == sorted(accepted)
    for ids in (ids_of(folded.active), ids_of(folded.ended), folded.waiting, folded.tainted):
        assert (np.diff(ids) > 0).all()  # sorted, each customer once


@given(ROWS, st.randoms(use_true_random=False), st.integers(1, 21))
def test_the_order_of_the_rows_and_the_batches_they_came_in_change_nothing(rows, rng, as_of):
    shuffled = rng.sample(rows, len(rows))
    cuts = sorted(rng.choices(range(len(rows) + 1), k=3))
    parts = [shuffled[first:beyond] for first, beyond in zip([0, *cuts], [*cuts, len(rows)], strict=True)]
    again = fold(concatenate([agreements_of(part) for part in parts]), as_of)
    assert state_of(again) == state_of(fold(agreements_of(rows), as_of))


def test_a_large_extract_is_folded_by_the_rules():
    rng = random.Random(5)
    customers = [int(number) for number in make_customers(3_000)]
    rows = []
    for _ in range(10_000):
        start = rng.choice((None, *range(1, 9)))
        end = rng.choice((None, *range(start or 1, 14)))
        rows.append(Row(rng.choice(customers), start, end))
    folded, expected = fold(agreements_of(rows), AS_OF), reference.fold(rows, AS_OF)
    assert dict(zip(ids_of(folded.active).tolist(), starts_of(folded.active).tolist(), strict=True)) == {
        customer: start or UNKNOWN_DAY for customer, start in expected.active.items()
    }
    assert ids_of(folded.ended).tolist() == sorted(expected.ended)


# --- folding: the rules, one by one (as_of is day 10) ---


@pytest.mark.parametrize(
    ("periods", "start"),
    [
        ([(3, None)], 3),
        ([(3, 11)], 3),
        ([(10, None)], 10),
        ([(1, 5), (4, None)], 1),  # overlap
        ([(1, 5), (5, None)], 1),  # continued on the day of the end
        ([(1, 5), (6, None)], 1),  # on the day after
        ([(1, 5), (7, None)], 7),  # a gap starts anew
        ([(1, 8), (2, 3), (9, None)], 1),  # the furthest end counts, not the last one
        ([(1, 2), (4, 6), (7, None)], 4),
        ([(1, None), (5, 8)], 1),  # one of two ended is not ended
        ([(1, None), (1, None), (1, 4)], 1),
        ([(5, 5), (6, None)], 5),  # a day that never was still joins
        ([(2, None), (12, None)], 2),
    ],
)
def test_a_relationship_starts_with_the_unbroken_chain_that_is_still_active(periods, start):
    folded = fold_rows(*periods)
    assert starts_of(folded.active).tolist() == [start]
    assert folded.rows_folded == len(periods) - 1
    assert folded.without_start == 0


@pytest.mark.parametrize(
    ("periods", "start", "without_start"),
    [
        ([(None, None)], UNKNOWN_DAY, 1),
        ([(None, None), (None, 4)], UNKNOWN_DAY, 1),
        ([(None, None), (4, None)], 4, 1),  # the earliest start known in the chain
        ([(None, 5), (6, 7), (7, None)], 6, 1),
        ([(None, 5), (7, None)], 7, 0),  # the chain with the missing start is over
        ([(None, None), (12, None)], UNKNOWN_DAY, 1),  # a start to come is no start of this chain
    ],
)
def test_a_missing_start_counts_as_earlier_than_any_other(periods, start, without_start):
    folded = fold_rows(*periods)
    assert starts_of(folded.active).tolist() == [start]
    assert folded.without_start == without_start


def test_the_day_of_the_end_is_no_longer_active():
    assert len(fold_rows((3, AS_OF)).ended) == 1
    assert len(fold_rows((3, AS_OF + 1)).active) == 1


def test_an_agreement_that_ends_on_the_day_it_started_is_never_active():
    assert len(fold_rows((AS_OF, AS_OF)).ended) == 1


@pytest.mark.parametrize(
    "periods", [[(11, None)], [(11, None), (15, None)], [(3, 10), (11, None)], [(3, 5), (4, 10), (11, 12)]]
)
def test_a_start_to_come_within_the_bridge_or_a_first_one_waits(periods):
    folded = fold_rows(*periods)
    assert folded.waiting.tolist() == [int(CUSTOMERS[0])]
    assert len(folded.ended) == len(folded.active) == 0
    assert folded.rows_not_active == len(periods)


@pytest.mark.parametrize(
    "periods", [[(3, 9), (11, None)], [(3, 10), (12, None)], [(None, 4)], [(3, 4), (6, 7)]]
)
def test_a_start_beyond_the_bridge_leaves_the_relationship_ended(periods):
    folded = fold_rows(*periods)
    assert ids_of(folded.ended).tolist() == [int(CUSTOMERS[0])]
    assert len(folded.waiting) == len(folded.active) == 0


def test_a_row_refused_for_its_dates_taints_its_customer_whatever_the_other_rows_say():
    customer, other = int(CUSTOMERS[0]), int(CUSTOMERS[1])
    rows = [
        Row(customer, 3, 5),
        Row(customer, 5, 3, "ended_before_started"),
        Row(other, 3, None),
        Row(0, 1, 2, "missing"),
    ]
    folded = fold(agreements_of(rows), AS_OF)
    assert folded.tainted.tolist() == ids_of(folded.ended).tolist() == [customer]
    assert folded.rejected_by_reason == {"ended_before_started": 1, "missing": 1}


def test_neighbouring_numbers_are_different_customers_even_where_chains_would_meet():
    rows = [Row(5_000, 1, None), Row(5_001, None, None), Row(5_002, 2, 5)]
    folded = fold(agreements_of(rows), AS_OF)
    assert ids_of(folded.active).tolist() == [5_000, 5_001]
    assert ids_of(folded.ended).tolist() == [5_002]


def test_no_rows_fold_to_nobody():
    for nothing in (concatenate([]), agreements_of([])):
        assert state_of(fold(nothing, AS_OF)) == ([], [], [], [], 0, 0, 0, 0, {})


@pytest.mark.parametrize("as_of", [UNKNOWN_DAY, LAST_DAY, -1])
def test_a_day_that_is_none_is_refused(as_of):
    with pytest.raises(ValueError, match="as_of"):
        fold(agreements_of([]), as_of)


# --- reading ---


def test_a_batch_is_read_row_by_row():
    batch = pa.record_batch(
        {
            "customer_id": [make_person(), " " + make_organisation(), "12", None],
            "started_on": pa.array([date(2020, 2, 29), None, None, None], pa.date32()),
            "ended_on": pa.array([None, date(2021, 1, 1), None, None], pa.date32()),
            "branch": [1, 2, 3, 4],
        }
    )
    read = read_agreements(batch)
    assert read.ids.tolist() == [int(make_person()), int(make_organisation()), 0, 0]
    assert read.starts.tolist() == [day_number(date(2020, 2, 29)), UNKNOWN_DAY, UNKNOWN_DAY, UNKNOWN_DAY]
    assert read.ends.tolist() == [LAST_DAY, day_number(date(2021, 1, 1)), LAST_DAY, LAST_DAY]
    assert read.reasons.tolist() == [Reason.ACCEPTED, Reason.ACCEPTED, Reason.WRONG_LENGTH, Reason.MISSING]
    assert (read.starts.dtype, read.ends.dtype) == (np.int32, np.int32)


@pytest.mark.parametrize(
    "days",
    [
        pa.date32(),
        pa.date64(),
        pa.timestamp("s"),
        pa.timestamp("ms"),
        pa.timestamp("us"),
        pa.timestamp("ns"),
    ],
)
@pytest.mark.parametrize("first", [0, 1])
def test_every_type_of_date_reads_the_same(days, first):
    dates = [date(1753, 1, 1), None, date(1969, 12, 31), date(1970, 1, 1), date(2024, 2, 29)]
    starts = pa.array(dates, pa.date32()).cast(days)
    whole = table_of(customer_id=[make_person()] * 5, started_on=starts, ended_on=pa.nulls(5))
    expected = [day_number(day) if day else UNKNOWN_DAY for day in dates][first:]
    sliced = whole.slice(first)
    chunked = pa.concat_tables([sliced.slice(0, 2), sliced.slice(2)])
    for batch in (sliced, sliced.to_batches()[0], chunked):
        assert read_agreements(batch).starts.tolist() == expected


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (date(1752, 12, 31), None, (UNKNOWN_DAY, LAST_DAY, Reason.ACCEPTED)),
        (date(1, 1, 1), date(2020, 1, 1), (UNKNOWN_DAY, day_number(date(2020, 1, 1)), Reason.ACCEPTED)),
        (date(2020, 1, 1), date(9999, 12, 31), (day_number(date(2020, 1, 1)), LAST_DAY, Reason.ACCEPTED)),
        (date(2020, 1, 1), date(2020, 1, 1), (*[day_number(date(2020, 1, 1))] * 2, Reason.ACCEPTED)),
        (date(2020, 1, 2), date(2020, 1, 1), (None, None, Reason.ENDED_BEFORE_STARTED)),
        (date(2020, 1, 1), date(1, 1, 1), (None, None, Reason.ENDED_BEFORE_STARTED)),
        (None, date(1, 1, 1), (None, None, Reason.DATE_OUT_OF_RANGE)),
        (None, date(1752, 12, 31), (None, None, Reason.DATE_OUT_OF_RANGE)),
        (None, date(1753, 1, 1), (UNKNOWN_DAY, 1, Reason.ACCEPTED)),
        (date(1700, 1, 2), date(1600, 1, 1), (None, None, Reason.ENDED_BEFORE_STARTED)),
        (date_of(LAST_DAY), None, (LAST_DAY, LAST_DAY, Reason.ACCEPTED)),
        (date(2112, 1, 1), None, (None, None, Reason.DATE_OUT_OF_RANGE)),
        (date(9999, 12, 31), date(9999, 12, 31), (None, None, Reason.DATE_OUT_OF_RANGE)),
        (date(9999, 12, 31), date(2150, 1, 1), (None, None, Reason.ENDED_BEFORE_STARTED)),
    ],
)
def test_dates_that_no_agreement_can_have_are_read_as_missing_or_never_or_refused(start, end, expected):
    read = read_agreements(
        table_of(started_on=pa.array([start], pa.date32()), ended_on=pa.array([end], pa.date32()))
    )
    assert read.reasons.tolist() == [expected[2]]
    assert read.ids.tolist() == [int(make_person())]  # kept, for a refused date taints its customer
    if expected[2] == Reason.ACCEPTED:
        assert (read.starts[0], read.ends[0]) == expected[:2]


def test_a_wrong_identifier_is_named_before_a_wrong_date():
    read = read_agreements(
        table_of(customer_id=["1"], started_on=[date(2020, 1, 2)], ended_on=[date(2020, 1, 1)])
    )
    assert read.reasons.tolist() == [Reason.WRONG_LENGTH]
    assert read.ids.tolist() == [0]


def test_the_largest_dates_that_arrow_can_hold_do_not_overflow():
    extremes = pa.array([2**31 - 1, -(2**31)], pa.int32()).cast(pa.date32())
    read = read_agreements(
        table_of(customer_id=[make_person()] * 2, started_on=pa.nulls(2), ended_on=extremes)
    )
    assert read.reasons.tolist() == [Reason.ACCEPTED, Reason.DATE_OUT_OF_RANGE]
    assert read.ends[0] == LAST_DAY


def test_column_names_in_capitals_are_found():
    table = table_of().rename_columns(["CUSTOMER_ID", "Started_On", "ENDED_ON"])
    assert read_agreements(table).ids.tolist() == [int(make_person())]


def test_no_rows_are_read_as_none():
    for empty in (table_of().slice(1), table_of().schema.empty_table(), table_of().slice(1).to_batches()):
        for batch in empty if isinstance(empty, list) else [empty]:
            read = read_agreements(batch)
            assert [len(read.ids), len(read.starts), len(read.ends), len(read.reasons)] == [0, 0, 0, 0]


@pytest.mark.parametrize("missing", ["customer_id", "started_on", "ended_on"])
def test_an_absent_column_is_named(missing):
    with pytest.raises(ColumnError, match=missing) as caught:
        read_agreements(table_of().drop_columns([missing]))
    assert caught.value.column == missing


def test_a_column_that_is_there_twice_is_refused():
    table = table_of().append_column("Started_on", pa.array([date(2021, 1, 1)]))
    with pytest.raises(ColumnError, match="started_on: found 2"):
        read_agreements(table)


@pytest.mark.parametrize(
    ("column", "values", "found"),
    [
        ("customer_id", pa.array([31]), "int64"),
        ("started_on", pa.array(["2020-01-01"]), "string"),
        ("started_on", pa.array([20200101]), "int64"),
        ("ended_on", pa.array([0], pa.timestamp("us", tz="UTC")), "UTC"),
        ("ended_on", pa.array([1], pa.timestamp("s")), "time of day"),
        ("ended_on", pa.array([1], pa.time32("s")), "time32"),
    ],
)
def test_a_column_of_a_wrong_type_is_named_with_what_was_found_and_what_is_wanted(column, values, found):
    with pytest.raises(ColumnError, match="wanted") as caught:
        read_agreements(table_of(**{column: values}))
    assert caught.value.column == column
    assert found in caught.value.found


def test_no_identifier_stands_in_a_repr_or_an_error():
    number = make_person()
    read = read_agreements(table_of())
    texts = [repr(read), repr(fold(read, AS_OF + 100_000))]
    with pytest.raises(ColumnError) as caught:
        read_agreements(table_of(started_on=[number]))
    assert not any(number.lstrip("0") in text for text in [*texts, str(caught.value)])
