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
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from kfr.relationships.packing import Ints

Bytes = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.bool_]

ORGANISATION_DIGITS = 9
PERSON_DIGITS = 11
FIRST_PERSON = 10**ORGANISATION_DIGITS  # as integers all organisations lie below, all persons above
BLOCK_ROWS = 1 << 16  # judged at a time: what is in between stays in the processor's cache


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
    """Judge a column of text, row by row; ASCII blanks around an identifier do not count.

    Takes string, large_string, string_view, dictionaries of these, and a column of nothing but nulls.
    TypeError for any other type: as a number an identifier would have lost its leading zeros.
    """
    _require_text(column.type)
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    parts = [_check_block(block) for chunk in chunks for block in _blocks(_as_plain_text(chunk))]
    return Checked(
        ids=_join([part.ids for part in parts], np.int64),
        kinds=_join([part.kinds for part in parts], np.uint8),
        is_2032=_join([part.is_2032 for part in parts], np.bool_),
        reasons=_join([part.reasons for part in parts], np.uint8),
    )


def classify(ids: Ints) -> tuple[Bytes, Flags]:
    """The kinds (Kind) and the flags "only by the rule of 2032" of identifiers that passed `check` before."""
    kinds = np.full(len(ids), Kind.ORGANISATION, np.uint8)
    is_2032 = np.zeros(len(ids), np.bool_)
    for first in range(0, len(ids), BLOCK_ROWS):
        block = slice(first, first + BLOCK_ROWS)
        persons = np.flatnonzero(ids[block] >= FIRST_PERSON)
        verdict = _judge_persons(ids[block][persons])
        kinds[block][persons] = verdict.kinds
        is_2032[block][persons] = verdict.is_2032
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
_ORGANISATION_FRONT = _weighted_remainders(3, 2, 7, 6, 5)
_ORGANISATION_BACK = _weighted_remainders(4, 3, 2, 1)
_WORLDS = np.array(
    [0, World.ORGANISATION, *[World.REAL_PERSON] * 3, *[World.SYNTHETIC] * 4], np.uint8
)  # by Kind


# --- judging integers ---------------------------------------------------------------------------


class _Verdict(NamedTuple):
    """Arrays of one length; kinds and is_2032 are 0 where the reason is not ACCEPTED."""

    kinds: Bytes
    is_2032: Flags
    reasons: Bytes


def _judge_persons(numbers: Ints) -> _Verdict:
    """Judge numbers of 11 digits, whatever they are (below 10**11)."""
    front = numbers // 100_000
    back = numbers - front * 100_000
    rules = _RULES[_FRONT[front].astype(np.uint16) * np.uint16(121) + _BACK[back]]
    kinds = _DAY_KINDS[front]
    known_century = _DAY_SERIES[front] & _SERIES_OF_BACK[back] != 0
    right = (rules != _Rule.NONE) & (kinds != 0)
    reasons = np.where(rules == _Rule.NONE, np.uint8(Reason.CHECK_DIGIT), np.uint8(Reason.IMPOSSIBLE_DATE))
    return _Verdict(
        kinds=kinds * right,
        is_2032=right & ~((rules == _Rule.CLASSIC) & known_century),
        reasons=reasons * ~right,
    )


def _judge_organisations(numbers: Ints) -> _Verdict:
    """Judge numbers of 9 digits, whatever they are (below 10**9)."""
    front = numbers // 10_000
    back = numbers - front * 10_000
    right = ((_ORGANISATION_FRONT[front] + _ORGANISATION_BACK[back]) % 11 == 0) & (numbers != 0)
    return _Verdict(
        kinds=right * np.uint8(Kind.ORGANISATION),
        is_2032=np.zeros(len(numbers), np.bool_),
        reasons=~right * np.uint8(Reason.CHECK_DIGIT),
    )


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


def _join(parts: list[Any], dtype: type[np.generic]) -> Any:
    return np.concatenate(parts) if parts else np.zeros(0, dtype)


def _check_block(block: Any) -> Checked:
    checked = _check_untrimmed(block)
    odd = np.flatnonzero(checked.reasons == Reason.NOT_DIGITS)
    if len(odd):
        again = _check_untrimmed(pc.ascii_trim_whitespace(block.take(pa.array(odd))))
        checked.ids[odd] = again.ids
        checked.kinds[odd] = again.kinds
        checked.is_2032[odd] = again.is_2032
        checked.reasons[odd] = again.reasons
    return checked


def _check_untrimmed(block: Any) -> Checked:
    """Judge a block of string or large_string in which a blank is as wrong as a letter."""
    text, starts, lengths = _layout(block)
    checked = Checked(
        ids=np.zeros(len(block), np.int64),
        kinds=np.zeros(len(block), np.uint8),
        is_2032=np.zeros(len(block), np.bool_),
        reasons=np.full(len(block), Reason.NOT_DIGITS, np.uint8),
    )
    checked.reasons[lengths == 0] = Reason.MISSING
    for width, judge in ((PERSON_DIGITS, _judge_persons), (ORGANISATION_DIGITS, _judge_organisations)):
        rows = np.flatnonzero(lengths == width)
        numbers, are_digits = _read_numbers(text, starts[rows], width)
        rows, numbers = rows[are_digits], numbers[are_digits]
        verdict = judge(numbers)
        checked.ids[rows] = numbers * (verdict.kinds != 0)
        checked.kinds[rows] = verdict.kinds
        checked.is_2032[rows] = verdict.is_2032
        checked.reasons[rows] = verdict.reasons
    others = np.flatnonzero((lengths != 0) & (lengths != PERSON_DIGITS) & (lengths != ORGANISATION_DIGITS))
    if len(others):
        are_digits = pc.ascii_is_decimal(block.take(pa.array(others))).to_numpy(zero_copy_only=False)
        checked.reasons[others[are_digits]] = Reason.WRONG_LENGTH
    return checked


def _layout(block: Any) -> tuple[Bytes, Ints, Ints]:
    """The bytes under a block of text, and the start and length of each row in them; length 0 for a null."""
    _, offsets_buffer, text_buffer = block.buffers()
    offset_type = np.int64 if pa.types.is_large_string(block.type) else np.int32
    # A slice shares its parent's buffers: its own rows begin at block.offset.
    offsets = np.frombuffer(offsets_buffer, offset_type)[block.offset :][: len(block) + 1].astype(np.int64)
    text = np.frombuffer(text_buffer or b"", np.uint8)
    lengths = np.diff(offsets)
    if block.null_count:
        lengths[block.is_null().to_numpy(zero_copy_only=False)] = 0  # what lies under a null is arbitrary
    return text, offsets[:-1], lengths


def _read_numbers(text: Bytes, starts: Ints, width: int) -> tuple[Ints, Flags]:
    """The numbers of `width` digits at the starts, and whether each is made of ASCII digits only."""
    numbers = np.zeros(len(starts), np.int64)
    largest = np.zeros(len(starts), np.uint8)
    for place in range(width):  # one place of all rows at a time: each pass runs along contiguous memory
        digits = text[starts + place] - np.uint8(ord("0"))  # what is no digit wraps around to above 9
        np.maximum(largest, digits, out=largest)
        numbers *= 10
        numbers += digits
    return numbers, largest <= 9
