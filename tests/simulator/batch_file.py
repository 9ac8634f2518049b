"""The batch file's request: the multipart frame, and the rows within (OAS, ONB D-3, FAQ).

Read by python-multipart and checked from the contract; nothing comes from the package that writes such files.
"""

import re
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from tests.simulator.identifiers import are_identifiers, is_identifier
from tests.simulator.loading import Batch, Days, Ints
from tests.simulator.messages import Refusal
from tests.simulator.switches import Switches

SIZE_LIMITS = {"decimal": 10 * 1000**2, "binary": 10 * 1024**2}  # bytes
RELATIONSHIP_TYPE = "DSOPBANK"
QUOTED_BOUNDARY = re.compile(r'boundary\s*=\s*"', re.IGNORECASE)

UNIX_ORDINAL = 719_163  # date(1970, 1, 1).toordinal()
DATED = {20: 9, 22: 11}  # width of an entry with a date -> width of its identifier
Bytes = npt.NDArray[np.uint8]


@dataclass(slots=True)
class Part:
    headers: dict[str, str] = field(default_factory=dict)
    data: bytearray = field(default_factory=bytearray)


def read_request(content_type: str, body: bytes, switches: Switches) -> Batch:
    """Take the rows out of a request's body; Refusal when frame, size, or any row breaks the contract."""
    unit, measured = switches.size_limit.split("_")
    if measured == "body" and len(body) > SIZE_LIMITS[unit]:
        raise Refusal(413)
    customers = _read_frame(_read_boundary(content_type), body)
    if measured == "file" and len(customers) > SIZE_LIMITS[unit]:
        raise Refusal(413)
    batch = read_rows(customers)
    if switches.duplicates == "refused" and len(np.unique(batch.ids)) < len(batch):
        raise Refusal(400, "KFR-004", "Invalid request: duplicates")
    return batch


def _read_boundary(content_type: str) -> bytes:
    media_type, options = parse_options_header(content_type)
    if media_type != b"multipart/form-data":
        raise Refusal(400, "KFR-004", "Invalid request: not multipart/form-data")
    if QUOTED_BOUNDARY.search(content_type) or not options.get(b"boundary"):
        raise Refusal(403)  # FAQ: a bad boundary looks like an access problem, without an errorCode
    return options[b"boundary"]


def _read_frame(boundary: bytes, body: bytes) -> bytes:
    parts = _parse(boundary, body)
    named = {}
    for part in parts:
        disposition, options = parse_options_header(part.headers.get("content-disposition", ""))
        if disposition != b"form-data":
            raise Refusal(400, "KFR-004", "Invalid request: a part that is no form-data")
        named[options.get(b"name", b"").decode("latin-1")] = (part, options)
    if len(parts) != 2 or set(named) != {"customer_type", "customers"}:
        raise Refusal(400, "KFR-004", "Invalid request: the fields are customer_type and customers")
    if bytes(named["customer_type"][0].data) != RELATIONSHIP_TYPE.encode():
        raise Refusal(400, "KFR-009")
    part, options = named["customers"]
    if options.get(b"filename") != b"customers.csv":
        raise Refusal(400, "KFR-004", "Invalid request: the file is customers.csv")
    if parse_options_header(part.headers.get("content-type", ""))[0] != b"text/plain":
        raise Refusal(400, "KFR-004", "Invalid request: the file is text/plain")
    return bytes(part.data)


def _parse(boundary: bytes, body: bytes) -> list[Part]:
    parts: list[Part] = []
    name, value, ended = bytearray(), bytearray(), []

    def end_header() -> None:
        parts[-1].headers[name.decode("latin-1").lower()] = value.decode("latin-1")
        name.clear()
        value.clear()

    parser = MultipartParser(
        boundary,
        {
            "on_part_begin": lambda: parts.append(Part()),
            "on_header_field": lambda data, start, end: name.extend(data[start:end]),
            "on_header_value": lambda data, start, end: value.extend(data[start:end]),
            "on_header_end": end_header,
            "on_part_data": lambda data, start, end: parts[-1].data.extend(data[start:end]),
            "on_end": lambda: ended.append(True),
        },
    )
    try:
        parser.write(body)
        parser.finalize()
    except MultipartParseError:
        raise Refusal(403) from None
    if not ended:
        raise Refusal(403)
    return parts


def read_rows(customers: bytes) -> Batch:
    """Read `ID` or `ID#YYYY-MM-DD`, separated by commas; one newline at the end is passed over.

    One bad row refuses the whole file: KFR-005 when an identifier is bad, else KFR-010; the answer does not say
    which row.
    """
    customers = customers.removesuffix(b"\n").removesuffix(b"\r")
    if not customers:
        raise Refusal(400, "KFR-004", "Invalid request: no customers")
    text = np.frombuffer(customers, np.uint8)
    commas = np.flatnonzero(text == ord(","))
    starts = np.concatenate([[0], commas + 1])
    widths = np.concatenate([commas, [len(text)]]) - starts
    ids, days = np.zeros(len(starts), np.int64), np.zeros(len(starts), np.int32)
    right = np.zeros(len(starts), np.bool_)
    for width in (9, 11, *DATED):
        rows = np.flatnonzero(widths == width)
        if len(rows):
            entries = text[starts[rows][:, np.newaxis] + np.arange(width)]
            ids[rows], days[rows], right[rows] = _read_entries(entries)
    if not right.all():
        wrong = np.flatnonzero(~right)
        _refuse([customers[starts[row] : starts[row] + widths[row]] for row in wrong])
    return Batch(ids, days)


def _read_entries(entries: Bytes) -> tuple[Ints, Days, npt.NDArray[np.bool_]]:
    """Identifiers, days and whether they are right, of entries of one width, one a row."""
    whole = int(entries.shape[1])
    width = DATED.get(whole, whole)
    digits = entries[:, :width] - ord("0")  # what is below "0" wraps round to above 9
    right = (digits <= 9).all(axis=1)
    digits[~right] = 0
    right &= are_identifiers(digits)
    ids = digits @ (10 ** np.arange(width - 1, -1, -1))
    days = np.zeros(len(entries), np.int32)
    if whole in DATED:
        days, dates_right = _read_dates(entries[:, width + 1 :])
        right &= dates_right & (entries[:, width] == ord("#"))
    return ids, days, right


def _read_dates(entries: Bytes) -> tuple[Days, npt.NDArray[np.bool_]]:
    digits = np.delete(entries, (4, 7), axis=1) - ord("0")
    right = (digits <= 9).all(axis=1) & (entries[:, 4] == ord("-")) & (entries[:, 7] == ord("-"))
    number = digits.astype(np.int64) @ (10 ** np.arange(7, -1, -1))
    year, month, day = number // 10_000, number // 100 % 100, number % 100
    right &= (year >= 1) & (month >= 1) & (month <= 12) & (day >= 1)
    months = np.where(right, (year - 1970) * 12 + month - 1, 0)
    first = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    following = (months + 1).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    right &= day <= following - first
    return np.where(right, first + day - 1 + UNIX_ORDINAL, 0).astype(np.int32), right


def _refuse(wrong: list[bytes]) -> None:
    for entry in wrong:
        if not is_identifier(entry.partition(b"#")[0].decode("latin-1")):
            raise Refusal(400, "KFR-005")
    raise Refusal(400, "KFR-010")
