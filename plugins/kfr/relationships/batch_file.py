"""The file of a batch: its bytes, its request, and where a long list is cut (OAS, ONB D-3).

One line, entries separated by commas: `ID` or `ID#YYYY-MM-DD`. The same relationships always give the
same bytes, the request around them included.
"""

import numpy as np

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

# An entry at its widest, the comma behind it included. What an organisation (its first two digits) or a
# relationship without a start (mark and day) does not have is left out again by position.
_ENTRY = np.dtype(
    [("high", "S3"), ("middle", "S4"), ("low", "S4"), ("mark", "S1"), ("day", "S10"), ("comma", "S1")]
)
_ORGANISATION_OMITS = slice(0, 2)
_UNDATED_OMITS = slice(11, 22)
_SMALLEST_ENTRY = 10  # bytes: an organisation without a start

_THREE_DIGITS = np.array([b"%03d" % number for number in range(1_000)])
_FOUR_DIGITS = np.array([b"%04d" % number for number in range(10_000)])
_DAYS = np.datetime_as_string(np.datetime64(FIRST_DATE, "D") + np.arange(-1, LAST_DAY)).astype(
    "S10"
)  # by day number


def cut(packed: Ints, max_body_bytes: int = MAX_BODY_BYTES) -> list[Ints]:
    """Consecutive views of `packed`, in its order: as few as possible whose whole requests fit the limit.

    ValueError when the limit is too small for a request of one entry.
    """
    # The last comma of a file is not written, so a file's entries may take one byte more than its room.
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
    ids, starts = ids_of(packed), starts_of(packed)
    entries = np.empty(len(packed), _ENTRY)
    upper = ids // 10_000
    entries["high"] = _THREE_DIGITS[upper // 10_000]
    entries["middle"] = _FOUR_DIGITS[upper % 10_000]
    entries["low"] = _FOUR_DIGITS[ids - upper * 10_000]
    entries["mark"] = b"#"
    entries["day"] = _DAYS[starts]
    entries["comma"] = b","
    written = np.ones((len(packed), _ENTRY.itemsize), np.bool_)
    written[ids < FIRST_PERSON, _ORGANISATION_OMITS] = False
    written[starts == UNKNOWN_DAY, _UNDATED_OMITS] = False
    text = entries.view(np.uint8).reshape(written.shape)[written]
    return text[:-1].tobytes()


def request_body(customers: bytes) -> bytes:
    """The whole multipart body of the file endpoint around a file's bytes; always the same frame."""
    return _HEAD + customers + _TAIL


def _entry_bytes(packed: Ints) -> Ints:
    """The bytes of each entry, its comma included."""
    sizes = np.full(len(packed), _ENTRY.itemsize, np.int64)
    sizes[ids_of(packed) < FIRST_PERSON] -= _ORGANISATION_OMITS.stop - _ORGANISATION_OMITS.start
    sizes[starts_of(packed) == UNKNOWN_DAY] -= _UNDATED_OMITS.stop - _UNDATED_OMITS.start
    return sizes
