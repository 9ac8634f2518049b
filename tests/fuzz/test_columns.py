"""Whatever a warehouse gives: the same dates and texts, or the documented error, which quotes no value."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pyarrow as pa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kfr.hooks.agreement_columns import as_agreements, from_values
from kfr.register.errors import ConfigurationError
from tests.fuzz.institution import assert_quotes_nothing

TYPES = (
    pa.date32(),
    pa.date64(),
    *(pa.timestamp(unit) for unit in ("s", "ms", "us", "ns")),
    pa.timestamp("us", "UTC"),
    pa.time32("s"),
    pa.duration("s"),
    pa.int64(),
    pa.null(),
)
PER_DAY = {"s": 86_400, "ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}
EPOCH = date(1970, 1, 1)


def units_a_day(kind):
    if pa.types.is_date32(kind):
        return 1
    return PER_DAY["ms"] if pa.types.is_date64(kind) else PER_DAY[kind.unit]


@st.composite
def columns(draw):
    """A column of one row or a few, its integers from anywhere in the type or on a day."""
    kind = draw(st.sampled_from(TYPES))
    bits = kind.bit_width if not pa.types.is_null(kind) else 0
    count = draw(st.integers(1, 3))
    if not bits:
        return pa.nulls(count), [None] * count
    limit = 1 << (bits - 1)
    anywhere = st.integers(-limit, limit - 1)
    numbers = anywhere
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        a_day = units_a_day(kind)
        numbers |= st.integers(-(limit // a_day), (limit - 1) // a_day).map(lambda day: day * a_day)
        numbers |= st.integers(-80_000, 60_000).map(lambda day: day * a_day)
    values = draw(st.lists(st.none() | numbers, min_size=count, max_size=count))
    integers = pa.array(values, pa.int32() if bits == 32 else pa.int64())
    return integers.view(kind), values


@settings(deadline=None)
@given(columns())
@example((pa.array([-(1 << 63)], pa.int64()).view(pa.timestamp("ns")), [-(1 << 63)]))
def test_a_column_of_dates_keeps_every_day_or_is_refused_without_a_value(column):
    given_column, values = column
    customers = pa.array(["x"] * len(given_column))
    batch = pa.RecordBatch.from_arrays(
        [customers, given_column, pa.nulls(len(given_column), pa.date32())],
        names=["customer_id", "started_on", "ended_on"],
    )
    try:
        days = as_agreements(batch, "agreements.sql").column(1)
    except ConfigurationError as error:
        assert_quotes_nothing(
            error, *(str(value) for value in values if value is not None and abs(value) > 999)
        )
        return
    a_day = units_a_day(given_column.type) if not pa.types.is_null(given_column.type) else 1
    kept = days.view(pa.int32()).to_pylist()
    assert [None if day is None else day * a_day for day in kept] == values


DAYS = st.dates()
MOMENTS = st.datetimes() | st.datetimes(timezones=st.just(UTC))
DRIVER_VALUES = st.one_of(
    DAYS,
    MOMENTS,
    DAYS.map(lambda day: datetime(day.year, day.month, day.day)),  # noqa: DTZ001
    st.none(),
    st.integers(),
    st.floats(),
    st.decimals(),
    st.text(max_size=5),
    st.binary(max_size=5),
    st.timedeltas(),
    st.just(10**400),
)


@settings(deadline=None)
@given(
    st.lists(DRIVER_VALUES, max_size=4)
    | st.lists(DAYS | st.none(), max_size=4)
    | st.lists(MOMENTS, max_size=2)
)
@example([10**400])
@example([Decimal("Infinity")])
def test_what_a_driver_gives_as_dates_is_kept_or_refused_without_a_value(values):
    try:
        column = from_values(values, "started_on", "agreements.sql")
        batch = pa.RecordBatch.from_arrays(
            [pa.array(["x"] * len(values)), column, pa.nulls(len(values), pa.date32())],
            names=["customer_id", "started_on", "ended_on"],
        )
        days = as_agreements(batch, "agreements.sql").column(1)
    except ConfigurationError as error:
        assert_quotes_nothing(error, *(str(value) for value in values if len(str(value)) > 9))
        return
    kept = [None if day is None else EPOCH + timedelta(days=day) for day in days.view(pa.int32()).to_pylist()]
    assert kept == [value.date() if isinstance(value, datetime) else value for value in values]


@settings(deadline=None)
@given(st.lists(st.none() | st.text(st.characters(), max_size=13), max_size=4))
@example(["\ud800"])
def test_what_a_driver_gives_as_text_is_kept_or_refused_without_a_value(values):
    try:
        column = from_values(values, "customer_id", "agreements.sql")
    except ConfigurationError as error:
        assert_quotes_nothing(error, *(value for value in values if value and len(value) > 3))
        return
    assert column.to_pylist() == values
