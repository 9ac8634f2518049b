"""The file of a batch: its bytes, its request, and where a long list is cut (OAS, ONB D-3).

One line, entries separated by commas: `ID` or `ID#YYYY-MM-DD`. The same relationships always give the
same bytes, the request around them included.
"""

import numpy as np
import numpy.typing as npt

from kfr.relationships.identifiers import FIRST_PERSON
from kfr.relationships.packing import FIRST_DATE, LAST_DAY, UNKNOWN_DAY, Ints, ids_of, starts_of

MAX_BODY_BYTES = 10_000_000  # ONB D-3 says 10 MB: the smaller reading, and with the frame, is always right

_BOUNDARY = "kfr-batch-file"  # letters never stand in a file, so it cannot occur there
CONTENT_TYPE = f"multipart/form-data; boundary={_BOUNDARY}"  # quoted, the gateway answers 403 (FAQ)

_HEAD = (
    f"--{_BOUNDARY}\r\n"
    'Content-Disposition: form-data; name="customer_type"\r\n\r\n'
    "DSOPBANK\r\n"
    f"--{_BOUNDARY}\r\n"
    'Content-Disposition: form-data; name="customers"; filename="customers.csv"\r\n'
    "Content-Type: text/plain\r\n\r\n"
).encode()
_TAIL = f"\r\n--{_BOUNDARY}--\r\n".encode()
FRAME_BYTES = len(_HEAD) + len(_TAIL)
PART_BYTES = 1 << 18  # handed to the socket at a time

# An entry at its widest, the comma before it included. What an organisation (its first two digits) or a
# relationship without a start (mark and day) does not have is left out again by position. Text is written as
# integers of its bytes, for numpy copies those several times faster.
_ENTRY = np.dtype(
    {
        "names": ["high", "middle", "low", "month", "day"],  # as ",012", "3456", "7890", "#2020-01", "1-31"
        "formats": ["u4", "u4", "u4", "u8", "u4"],
        "offsets": [0, 4, 8, 12, 19],  # the month's last digit is written by both
        "itemsize": 23,
    }
)
_ORGANISATION_OMITS = slice(1, 3)
_UNDATED_OMITS = slice(12, 23)
_SMALLEST_ENTRY = 10  # bytes: an organisation without a start
BLOCK_ROWS = 1 << 14  # rendered at a time: what is in between stays in the processor's cache

_COMMA_AND_THREE_DIGITS = np.array([b",%03d" % number for number in range(1_000)]).view(np.uint32)
_FOUR_DIGITS = np.array([b"%04d" % number for number in range(10_000)]).view(np.uint32)


def _written_days() -> npt.NDArray[np.uint8]:
    """The bytes of #YYYY-MM-DD by day number, shape (n, 11).

    numpy's own way of writing a hundred thousand dates takes a tenth of a second, in every task.
    """
    days = np.datetime64(FIRST_DATE, "D") + np.arange(-1, LAST_DAY)
    months = days.astype("M8[M]")
    two_digits = np.array([b"-%02d" % number for number in range(32)])
    written = np.empty(len(days), [("mark", "S1"), ("year", "u4"), ("month", "S3"), ("day", "S3")])
    written["mark"] = b"#"
    written["year"] = _FOUR_DIGITS[days.astype("M8[Y]").astype(np.int64) + 1970]
    written["month"] = two_digits[months.astype(np.int64) % 12 + 1]
    written["day"] = two_digits[(days - months).astype(np.int64) + 1]
    return written.view(np.uint8).reshape(len(days), -1)


_DAYS = _written_days()
_MONTH_OF_DAY = np.ascontiguousarray(_DAYS[:, :8]).view(np.uint64).ravel()
_REST_OF_DAY = np.ascontiguousarray(_DAYS[:, 7:]).view(np.uint32).ravel()


def cut(packed: Ints, max_body_bytes: int = MAX_BODY_BYTES) -> list[Ints]:
    """Consecutive views of `packed`, in its order: as few as possible whose whole requests fit the limit.

    ValueError when the limit is too small for a request of one entry.
    """
    # The first comma of a file is not written, so a file's entries may take one byte more than its room.
    room = max_body_bytes - FRAME_BYTES + 1
    if room < _ENTRY.itemsize:
        raise ValueError(f"a request needs {FRAME_BYTES + _ENTRY.itemsize - 1} bytes for one entry")
    files = []
    first = 0
    while first < len(packed):
        ends = np.cumsum(_entry_bytes(packed[first : first + room // _SMALLEST_ENTRY + 1]))
        beyond = first + int(np.searchsorted(ends, room, side="right"))
        files.append(packed[first:beyond])
        first = beyond
    return files


def render(packed: Ints) -> bytes:
    """The bytes of a file with these relationships, in their order."""
    blocks = [_render_block(packed[at : at + BLOCK_ROWS]) for at in range(0, len(packed), BLOCK_ROWS)]
    return b"".join([blocks[0][1:].data, *(block.data for block in blocks[1:])]) if blocks else b""


def _render_block(packed: Ints) -> npt.NDArray[np.uint8]:
    """The bytes of these entries, a comma before each."""
    ids, starts = ids_of(packed), starts_of(packed)
    entries = np.empty(len(packed), _ENTRY)
    upper = ids // 10_000
    high = upper // 10_000
    entries["high"] = _COMMA_AND_THREE_DIGITS[high]
    entries["middle"] = _FOUR_DIGITS[upper - high * 10_000]
    entries["low"] = _FOUR_DIGITS[ids - upper * 10_000]
    entries["month"] = _MONTH_OF_DAY[starts]
    entries["day"] = _REST_OF_DAY[starts]
    written = np.ones((len(packed), _ENTRY.itemsize), np.bool_)
    written[ids < FIRST_PERSON, _ORGANISATION_OMITS] = False
    written[starts == UNKNOWN_DAY, _UNDATED_OMITS] = False
    return entries.view(np.uint8).reshape(written.shape)[written]


def request_body(customers: bytes) -> bytes:
    """The whole multipart body of the file endpoint around a file's bytes; always the same frame."""
    return b"".join(request_parts(customers))


def request_parts(customers: bytes) -> list[bytes | memoryview]:
    """The same in parts that copy nothing: given whole, it would be copied anew after each piece that is sent."""
    view = memoryview(customers)
    return [_HEAD, *(view[at : at + PART_BYTES] for at in range(0, len(view), PART_BYTES)), _TAIL]


def _entry_bytes(packed: Ints) -> Ints:
    """The bytes of each entry, its comma included."""
    sizes = np.full(len(packed), _ENTRY.itemsize, np.int64)
    sizes[ids_of(packed) < FIRST_PERSON] -= _ORGANISATION_OMITS.stop - _ORGANISATION_OMITS.start
    sizes[starts_of(packed) == UNKNOWN_DAY] -= _UNDATED_OMITS.stop - _UNDATED_OMITS.start
    return sizes
