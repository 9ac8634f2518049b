"""The three columns of an agreement, picked out of a result and brought to one Arrow type each.

Import it inside functions: it loads pyarrow.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import NoneType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from kfr.register.errors import ConfigurationError

_FIELDS: "list[pa.Field[Any]]" = [
    pa.field("customer_id", pa.string()),
    pa.field("started_on", pa.date32()),
    pa.field("ended_on", pa.date32()),
]
SCHEMA = pa.schema(_FIELDS)  # each may hold nulls

Pick = Callable[
    [Sequence[str], str], list[int]
]  # the names of a result's columns, the SQL file: which are wanted

_TEXT_WANTED = (
    "text is wanted. A number has lost its leading zeros: give the column that holds them, or pad it to the"
    " 9 or 11 digits that the identifier has"
)
_DATE_WANTED = (
    "a date is wanted (a timestamp at 00:00 without zone passes): cast it to the calendar date in Norway"
)


def pick_agreement(names: Sequence[str], file: str) -> list[int]:
    """Find the positions of the three columns, whatever the case of their names."""
    lowered = [name.lower() for name in names]
    for wanted, times in ((field.name, Counter(lowered)[field.name]) for field in SCHEMA):
        if times != 1:
            found = ", ".join(re.sub(r"\d{6,}", "…", name) for name in names) or "none"
            flaw = "does not give" if times == 0 else "gives more than once"
            raise ConfigurationError(
                f"{file} {flaw} the column {wanted} (columns found: {found})."
                f" Name the three columns with AS: {', '.join(SCHEMA.names)}."
            )
    return [lowered.index(field.name) for field in SCHEMA]


def pick_first(names: Sequence[str], file: str) -> list[int]:
    """Take the first column, for a count."""
    if not names:
        raise ConfigurationError(f"{file} gives no column: it must be one SELECT of one number.")
    return [0]


def as_agreements(batch: pa.RecordBatch, file: str) -> pa.RecordBatch:
    """Bring the picked columns to SCHEMA; ConfigurationError names file, column, type found and wanted."""
    text, *dates = batch.columns
    columns = [
        _as_text(text, file),
        *(_as_date(*each, file) for each in zip(dates, SCHEMA.names[1:], strict=True)),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def nothing_of(schema: pa.Schema) -> pa.RecordBatch:
    """Make a batch of no rows."""
    return pa.RecordBatch.from_arrays([pa.nulls(0, field.type) for field in schema], schema=schema)


def from_values(values: Sequence[Any], name: str, file: str) -> "pa.Array[Any]":
    """Make a column of what a DB-API cursor gave; an Arrow error would quote the value it does not take."""
    kinds = set(map(type, values)) - {NoneType}
    if len(kinds) <= 1:
        # A type that Arrow does not know, an integer too large for it, a decimal or a text that is none.
        with suppress(pa.ArrowException, OverflowError, TypeError, UnicodeError):
            column: pa.Array[Any] = pa.array(values)
            return column
    found = " and ".join(sorted(kind.__name__ for kind in kinds))
    raise _wrong_type(file, name.lower(), found)


def _as_text(column: "pa.Array[Any]", file: str) -> "pa.Array[Any]":
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null)
    if not any(is_kind(kind) for is_kind in texts):
        raise _wrong_type(file, "customer_id", str(column.type))
    return column.cast(pa.string())


def _as_date(column: "pa.Array[Any]", name: str, file: str) -> "pa.Array[Any]":
    kind = column.type
    if pa.types.is_date32(kind) or pa.types.is_null(kind):
        return column.cast(pa.date32())
    if not pa.types.is_date64(kind) and not (pa.types.is_timestamp(kind) and kind.tz is None):
        raise _wrong_type(file, name, str(kind))
    days = column.cast(pa.date32(), safe=False)
    # Arrow cuts the time of day off without a word; which day it belongs to is not ours to guess.
    # A day that the type cannot hold at 00:00 comes back as another moment, which is not the one that was given.
    if not pc.all(pc.equal(days.cast(kind, safe=False), column), min_count=0).as_py():
        raise _wrong_type(file, name, f"{kind} with a time of day")
    return days


def _wrong_type(file: str, column: str, found: str) -> ConfigurationError:
    wanted = _TEXT_WANTED if column == "customer_id" else _DATE_WANTED
    return ConfigurationError(f"{file} gives the column {column} as {found}; {wanted}.")
