"""Arrow's memory as numpy arrays and back.

Arrow's own ways (`pa.array`, `to_numpy`, scalars) load pandas, if only to ask whether they were given a series of it:
half a second and 90 MB in every task that reads a column.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Flags = npt.NDArray[np.bool_]


def nulls_of(column: "pa.Array[Any]") -> Flags | None:
    """Where a column is null; None where it is nowhere."""
    if not column.null_count:
        return None
    return flags_of(column.is_null())


def flags_of(column: "pa.BooleanArray") -> Flags:
    """A column of booleans; what lies under a null is arbitrary."""
    bits = _memory_of(column, np.uint8)
    return np.unpackbits(bits, count=column.offset + len(column), bitorder="little")[column.offset :].view(
        np.bool_
    )


def values_of(column: "pa.Array[Any]", dtype: type[np.generic]) -> npt.NDArray[Any]:
    """The numbers of a column, without a copy; what lies under a null is arbitrary."""
    return _memory_of(column, dtype)[column.offset : column.offset + len(column)]


def take(column: Any, rows: npt.NDArray[np.intp]) -> Any:
    """The rows of a column (or a batch) at these positions."""
    positions = rows.astype(np.int64, copy=False)
    return column.take(
        pa.Array.from_buffers(pa.int64(), len(positions), [None, pa.py_buffer(positions.data)])
    )


def _memory_of(column: Any, dtype: type[np.generic]) -> npt.NDArray[Any]:
    return np.frombuffer(column.buffers()[1] or b"", dtype)
