"""Which identifiers the register takes, and what kind each is.

An identifier is an organisation number of 9 digits or a person's number of 11. The rules are those
of section 5 of `docs/contract.md` (SKE for the numbers of 2032). A person's number is read in two
halves, `DDMMYY` and `iiikk`: each half is an index into a small table that was made once from the
rules, so that a column of millions is judged by look-ups and the rules still stand here in full.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from kfr.relationships.columns import Flags, flags_of, nulls_of, take
from kfr.relationships.packing import Ints

Bytes = npt.NDArray[np.uint8]

ORGANISATION_DIGITS = 9
PERSON_DIGITS = 11
FIRST_PERSON = 10**ORGANISATION_DIGITS  # as integers all organisations lie below, all persons above
BLOCK_ROWS = 1 << 15  # judged at a time: what is in between stays in the processor's cache


class World(IntEnum):
    """To whom a number belongs: decides where it may be sent (promise 10)."""

    ORGANISATION = 1
    REAL_PERSON = 2
    SYNTHETIC = 3


class Kind(IntEnum):
    """The families of numbers. A synthetic number or an NPID with day + 40 counts to its own family."""

    ORGANISATION = 1
    BIRTH_NUMBER = 2
    D_NUMBER = 3
    NPID = 4
    SYNTHETIC_SKATTEETATEN = 5
    SYNTHETIC_NAV = 6
    SYNTHETIC_HELSENETT = 7
    SYNTHETIC_NPID = 8


class Reason(IntEnum):
    """Why a row is refused; ACCEPTED is none. Identifiers are judged before dates."""

    ACCEPTED = 0
    MISSING = 1  # null, empty or blanks only
    NOT_DIGITS = 2  # anything else but the ASCII digits, blanks around it excepted
    WRONG_LENGTH = 3  # neither 9 nor 11 digits
    CHECK_DIGIT = 4  # mistyped; 000000000, too
    IMPOSSIBLE_DATE = 5  # right check digits, and no such day in any family of numbers
    ENDED_BEFORE_STARTED = 6
    DATE_OUT_OF_RANGE = 7  # a start after 2111, or an end before 1753

    @property
    def label(self) -> str:
        """The text that reports use."""
        return self.name.lower()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Checked:
    """A column of identifiers after the check: four arrays of its length."""

    ids: Ints = field(repr=False)  # 0 where refused
    kinds: Bytes = field(repr=False)  # Kind; 0 where refused
    is_2032: Flags = field(repr=False)  # right only by the rule of 2032
    reasons: Bytes = field(repr=False)  # Reason


def check(column: "pa.Array[Any] | pa.ChunkedArray[Any]") -> Checked:
    """Judge a column of text, row by row, and say what kind each identifier is; see `read`."""
    ids, reasons = read(column)
    kinds, is_2032 = classify(ids)
    kinds[reasons != Reason.ACCEPTED] = 0
    return Checked(ids=ids, kinds=kinds, is_2032=is_2032, reasons=reasons)


def read(column: "pa.Array[Any] | pa.ChunkedArray[Any]") -> tuple[Ints, Bytes]:
    """The identifiers of a column of text (0 where refused) and the reasons (Reason), one a row.

    ASCII blanks around an identifier do not count. Takes string, large_string, string_view, dictionaries of
    these, and a column of nothing but nulls. TypeError for any other type: as a number an identifier would have
    lost its leading zeros.
    """
    _require_text(column.type)
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    ids, reasons = np.zeros(len(column), np.int64), np.zeros(len(column), np.uint8)
    first = 0
    for block in (block for chunk in chunks for block in _blocks(_as_plain_text(chunk))):
        rows = slice(first, first + len(block))
        ids[rows], reasons[rows] = _read_block(block)
        first = rows.stop
    return ids, reasons


def classify(ids: Ints) -> tuple[Bytes, Flags]:
    """The kinds (Kind) and the flags "only by the rule of 2032" of identifiers that passed `check` before."""
    kinds = np.full(len(ids), Kind.ORGANISATION, np.uint8)
    is_2032 = np.zeros(len(ids), np.bool_)
    for first in range(0, len(ids), BLOCK_ROWS):
        block = slice(first, first + BLOCK_ROWS)
        persons = np.flatnonzero(ids[block] >= FIRST_PERSON)
        kinds[block][persons], is_2032[block][persons] = _classify_persons(ids[block][persons])
    return kinds, is_2032


def worlds(kinds: Bytes) -> Bytes:
    """The World of each kind; 0 where there is no kind."""
    return _WORLDS[kinds]


# --- the rules, as tables -----------------------------------------------------------------------

# What is added to the month, and the family. Months 66 to 72 can be read as NPID + 60 and as
# Helsenett + 65; the family that stands first here names the kind where both days exist.
_MONTH_OFFSETS = (
    (0, Kind.BIRTH_NUMBER),
    (20, Kind.NPID),
    (40, Kind.SYNTHETIC_NAV),
    (60, Kind.SYNTHETIC_NPID),
    (65, Kind.SYNTHETIC_HELSENETT),
    (80, Kind.SYNTHETIC_SKATTEETATEN),
)
_D_NUMBER_DAYS = 40
_MONTH_LENGTHS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)

# The individual numbers fall into five series within which the century follows from the year alone:
# one bit each for 000-499, 500-599, 600-749, 750-899 and 900-999.
_SERIES_STARTS = (0, 500, 600, 750, 900)


def _real_days(century: int) -> Flags:
    """Shape (31, 12, 100): whether this day of this month exists in that year of the century."""
    days = np.arange(1, 32)[:, None, None]
    months = np.arange(1, 13)[None, :, None]
    years = century + np.arange(100)[None, None, :]
    leap = (years % 4 == 0) & ((years % 100 != 0) | (years % 400 == 0))
    lengths = np.array(_MONTH_LENGTHS)[None, :, None] + (leap & (months == 2))
    return np.asarray(days <= lengths)


def _centuries(*, d_number: bool) -> Bytes:
    """Shape (31, 12, 100): the series (bits) in which a day exists in the century that the rule gives."""
    years = np.arange(100)
    in_1800s, in_1900s, in_2000s = (_real_days(century) for century in (1800, 1900, 2000))
    # The series of D-numbers for the 1900s was extended in 2021, from 900-999 to 600-999.
    late_1900s = 0b11100 if d_number else 0b10000
    series = in_1900s * 0b00001
    series |= (in_1800s & (years >= 54)) * 0b00110
    series |= (in_2000s & (years < 40)) * 0b11110
    series |= (in_1900s & (years >= 40)) * late_1900s
    return series.astype(np.uint8)


def _read_calendar() -> tuple[Bytes, Bytes]:
    """By DDMMYY, 1,000,000 entries each: the kind (0: no such day), and the series (bits) with a century."""
    kinds = np.zeros((100, 100, 100), np.uint8)
    series = np.zeros((100, 100, 100), np.uint8)
    in_some_century = _real_days(2000)  # the only one of the three with a 29 February in its year 00
    for added_to_day in (0, _D_NUMBER_DAYS):
        d_number = added_to_day > 0
        centuries = _centuries(d_number=d_number)
        for added_to_month, family in _MONTH_OFFSETS:
            kind = Kind.D_NUMBER if d_number and family is Kind.BIRTH_NUMBER else family
            days = slice(added_to_day + 1, added_to_day + 32)
            months = slice(added_to_month + 1, added_to_month + 13)
            named = kinds[days, months]
            named[(named == 0) & in_some_century] = kind
            series[days, months] |= centuries
    return kinds.ravel(), series.ravel()


def _weighted_remainders(*weights: int) -> Bytes:
    """A table of 10**len(weights) entries, by the digits in their order: their weighted sum modulo 11."""
    sums = reduce(np.add.outer, [np.arange(10, dtype=np.uint16) * weight for weight in weights])
    return (np.ravel(sums) % 11).astype(np.uint8)


class _Rule(IntEnum):
    NONE = 0
    CLASSIC = 1
    OF_2032 = 2


def _read_check_digits() -> Bytes:
    """The rule that two halves meet, by front * 121 + back; each half is k1's remainder * 11 + k2's."""
    front, back = np.divmod(np.arange(121 * 121), 121)
    k1 = (front // 11 + back // 11) % 11
    k2 = (front + back) % 11
    rules = np.select([(k2 != 0) | (k1 > 3), k1 == 0], [_Rule.NONE, _Rule.CLASSIC], _Rule.OF_2032)
    return rules.astype(np.uint8)


_DAY_KINDS, _DAY_SERIES = _read_calendar()
_SERIES_OF_BACK = np.left_shift(
    1, np.repeat(np.searchsorted(_SERIES_STARTS, np.arange(1000), side="right") - 1, 100)
).astype(np.uint8)
# The check digits weigh 1: a sum is right when it leaves no remainder (for k1 of 2032: at most 3).
_FRONT = _weighted_remainders(3, 7, 6, 1, 8, 9) * 11 + _weighted_remainders(5, 4, 3, 2, 7, 6)
_BACK = _weighted_remainders(4, 5, 2, 1, 0) * 11 + _weighted_remainders(5, 4, 3, 2, 1)
_RULES = _read_check_digits()
# For reading, which asks only whether a number is right: the remainders of a first half with a mark where its day
# exists, and whether two halves meet a rule, by front * 128 + back.
_DAY_EXISTS = 128
_FRONT_WITH_DAY = _FRONT + (_DAY_KINDS != 0) * np.uint8(_DAY_EXISTS)
_MEETS_A_RULE = np.pad(_RULES.reshape(121, 121) != _Rule.NONE, (0, 128 - 121)).ravel()
_ORGANISATION_FRONT = _weighted_remainders(3, 2, 7, 6, 5)
_ORGANISATION_BACK = _weighted_remainders(4, 3, 2, 1)
_WORLDS = np.array(
    [0, World.ORGANISATION, *[World.REAL_PERSON] * 3, *[World.SYNTHETIC] * 4], np.uint8
)  # by Kind


# --- judging integers ---------------------------------------------------------------------------


def _judge_persons(front: Ints, back: Ints) -> Bytes:
    """The reasons of numbers of 11 digits, given as their halves of 6 and 5."""
    first_halves = _FRONT_WITH_DAY[front]
    pairs = (first_halves & np.uint8(_DAY_EXISTS - 1)).astype(np.uint16)
    pairs <<= 7
    pairs |= _BACK[back]
    reasons: Bytes = (first_halves < _DAY_EXISTS) * np.uint8(Reason.IMPOSSIBLE_DATE)
    reasons[~_MEETS_A_RULE[pairs]] = Reason.CHECK_DIGIT
    return reasons


def _judge_organisations(numbers: Ints) -> Bytes:
    """The reasons of numbers of 9 digits."""
    front = numbers // 10_000
    back = numbers - front * 10_000
    right = ((_ORGANISATION_FRONT[front] + _ORGANISATION_BACK[back]) % 11 == 0) & (numbers != 0)
    reasons: Bytes = ~right * np.uint8(Reason.CHECK_DIGIT)
    return reasons


def _classify_persons(numbers: Ints) -> tuple[Bytes, Flags]:
    """The kinds and the flags of numbers of 11 digits that are right."""
    front = numbers // 100_000
    back = numbers - front * 100_000
    rules = _RULES[_FRONT[front].astype(np.uint16) * np.uint16(121) + _BACK[back]]
    known_century = _DAY_SERIES[front] & _SERIES_OF_BACK[back] != 0
    return _DAY_KINDS[front], ~((rules == _Rule.CLASSIC) & known_century)


# --- reading text -------------------------------------------------------------------------------


def _require_text(found: pa.DataType) -> None:
    text = found.value_type if isinstance(found, pa.DictionaryType) else found
    types = pa.types
    if not any(
        is_type(text)
        for is_type in (types.is_string, types.is_large_string, types.is_string_view, types.is_null)
    ):
        raise TypeError(f"identifiers must be text, not {found}")


def _as_plain_text(chunk: Any) -> Any:
    if isinstance(chunk, pa.DictionaryArray):
        return chunk.dictionary.cast(pa.large_string()).take(chunk.indices)
    is_plain = pa.types.is_string(chunk.type) or pa.types.is_large_string(chunk.type)
    return chunk if is_plain else chunk.cast(pa.large_string())


def _blocks(chunk: Any) -> Iterator[Any]:
    for first in range(0, len(chunk), BLOCK_ROWS):
        yield chunk.slice(first, BLOCK_ROWS)


def _read_block(block: Any) -> tuple[Ints, Bytes]:
    ids, reasons = _read_untrimmed(block)
    odd = np.flatnonzero(reasons == Reason.NOT_DIGITS)
    if len(odd):
        ids[odd], reasons[odd] = _read_untrimmed(pc.ascii_trim_whitespace(take(block, odd)))
    return ids, reasons


def _read_untrimmed(block: Any) -> tuple[Ints, Bytes]:
    """Read a block of string or large_string in which a blank is as wrong as a letter."""
    text, starts, lengths = _layout(block)
    # Most rows are persons, so all are read as such at first; the others are read again, by what they are.
    ids, reasons = _read_persons(text, np.minimum(starts, len(text) - PERSON_DIGITS))
    others = np.flatnonzero(lengths != PERSON_DIGITS)
    if len(others):
        ids[others], reasons[others] = _read_others(block, others, text, starts[others], lengths[others])
    ids[reasons != Reason.ACCEPTED] = 0
    return ids, reasons


def _read_others(
    block: Any, rows: npt.NDArray[np.intp], text: Bytes, starts: Ints, lengths: Ints
) -> tuple[Ints, Bytes]:
    """Read the rows of a block that are not as long as a person's number."""
    ids = np.zeros(len(rows), np.int64)
    reasons = np.full(len(rows), Reason.NOT_DIGITS, np.uint8)
    reasons[lengths == 0] = Reason.MISSING
    organisations = np.flatnonzero(lengths == ORGANISATION_DIGITS)
    ids[organisations], reasons[organisations] = _read_organisations(text, starts[organisations])
    strange = np.flatnonzero((lengths != 0) & (lengths != ORGANISATION_DIGITS))
    if len(strange):
        are_digits = flags_of(pc.ascii_is_decimal(take(block, rows[strange])))
        reasons[strange[are_digits]] = Reason.WRONG_LENGTH
    return ids, reasons


def _layout(block: Any) -> tuple[Bytes, Ints, Ints]:
    """The bytes under a block of text, and the start and length of each row in them; length 0 for a null."""
    _, offsets_buffer, text_buffer = block.buffers()
    offset_type = np.int64 if pa.types.is_large_string(block.type) else np.int32
    # A slice shares its parent's buffers: its own rows begin at block.offset.
    offsets = np.frombuffer(offsets_buffer, offset_type)[block.offset :][: len(block) + 1].astype(np.int64)
    text = np.frombuffer(text_buffer or b"", np.uint8)
    if len(text) < PERSON_DIGITS:
        text = np.pad(text, (0, PERSON_DIGITS - len(text)))
    lengths = np.diff(offsets)
    nulls = nulls_of(block)
    if nulls is not None:
        lengths[nulls] = 0  # what lies under a null is arbitrary
    return text, offsets[:-1], lengths


def _read_persons(text: Bytes, starts: Ints) -> tuple[Ints, Bytes]:
    """Read 11 bytes at each start as a person's number; the numbers are arbitrary where they are refused."""
    first, are_digits = _read_eight(text, starts)
    last, last_are_digits = _read_eight(text, starts + (PERSON_DIGITS - 8))
    are_digits &= last_are_digits
    if not are_digits.all():
        first[~are_digits] = last[~are_digits] = 0  # what is no digit would point beyond the tables
    front, back = first // 100, last - last // 100_000 * 100_000  # % takes thrice as long
    reasons = _judge_persons(front, back)
    reasons[~are_digits] = Reason.NOT_DIGITS
    front *= 100_000
    front += back
    return front, reasons


def _read_organisations(text: Bytes, starts: Ints) -> tuple[Ints, Bytes]:
    """Read 9 bytes at each start as an organisation number."""
    first, are_digits = _read_eight(text, starts)
    last, last_are_digits = _read_eight(text, starts + 1)
    are_digits &= last_are_digits
    numbers = (first * 10 + last % 10) * are_digits
    reasons = _judge_organisations(numbers)
    reasons[~are_digits] = Reason.NOT_DIGITS
    return numbers, reasons


_EVERY_BYTE = np.uint64(0x0101010101010101)
_LOW_NIBBLES, _HIGH_NIBBLES = _EVERY_BYTE * np.uint64(0x0F), _EVERY_BYTE * np.uint64(0xF0)
# Neighbours are joined, to 2, 4 and 8 digits: each step's mask, and its factor of 10, 100 or 10,000 for the left one
# and 1 for the right one, which stands higher in the integer.
_JOINS = (
    (_LOW_NIBBLES, 10, 8),
    (np.uint64(0x00FF00FF00FF00FF), 100, 16),
    (np.uint64(0x0000FFFF0000FFFF), 10_000, 32),
)


def _read_eight(text: Bytes, starts: Ints) -> tuple[Ints, Flags]:
    """The number in the 8 bytes at each start, and whether they all are ASCII digits.

    The bytes of a row are worked on together, as one integer: that takes a few passes over the rows, not
    several for each place.
    """
    windows = np.ndarray(len(text) - 7, "V8", text, strides=(1,))
    digits = windows[starts].view("<u8")  # not take(), which would copy all windows first
    # An ASCII digit is 0x30 to 0x39: its high nibble is 3, and still is when 6 is added.
    nibbles = digits + _EVERY_BYTE * np.uint64(6)
    nibbles &= _HIGH_NIBBLES
    nibbles >>= np.uint64(4)
    nibbles |= digits & _HIGH_NIBBLES
    for mask, tens, bits in _JOINS:
        digits &= mask
        digits *= np.uint64(tens * 2**bits + 1)
        digits >>= np.uint64(bits)
    return digits.view(np.int64), nibbles == _EVERY_BYTE * np.uint64(0x33)
