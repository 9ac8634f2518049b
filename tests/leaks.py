"""Finds identifiers where none may be: in any common form, in everything that a machine keeps.

A `Finder` knows all identifiers of some data. It looks at bytes, whatever they are: text, JSON, a database file,
a dump of an array. What it says are counts by form, so that not even a failing test prints an identifier.
"""

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import MetaData, create_engine, select

from kfr.relationships.packing import DAY_BITS

Place = tuple[str, bytes]  # a name, and what lies there

LENGTHS = (9, 11)
MOST_SEPARATORS = 10  # one between every two digits
_DIGITS = re.compile(r"\d{9,}", re.ASCII)
_GROUPS = re.compile(r"\d+(?:[^0-9A-Za-z]{1,3}\d+)+", re.ASCII)
_BASE64 = re.compile(rb"[A-Za-z0-9+/]{12,}")
_HEX = re.compile(rb"[0-9a-f]{16,}")
_DIGEST = re.compile(r"(?<![0-9a-f])(?:[0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{64})(?![0-9a-f])")
_HEX_NUMBER = re.compile(r"0x([0-9a-f]{7,16})")
_HASHES = (hashlib.md5, hashlib.sha1, hashlib.sha256)


class Finder:
    """Looks for identifiers of 9 or 11 digits, and for raw values that were refused, as they were written.

    Found are: the digits; the integer; a packed relationship; digits split by separators; binary integers; any of
    these in base64 or hexadecimal; a plain hash. What is shorter than nine characters or has no digit but zero
    cannot be told from chance and is not looked for.
    """

    def __init__(self, identifiers: Iterable[str]) -> None:
        known = {text.strip() for text in identifiers}
        known = {text for text in known if len(text) >= min(LENGTHS) and text.strip("0")}
        self.texts = {text for text in known if text.isascii() and text.isdigit() and len(text) in LENGTHS}
        self.raw = known - self.texts  # refused, and no identifiers: found as they are
        self._numbers = np.array(sorted(map(int, self.texts)), np.int64)
        self._integers = {str(number) for number in self._numbers.tolist()}
        self._digests = {
            make(text.encode(), usedforsecurity=False).hexdigest()
            for text in self.texts | self._integers
            for make in _HASHES
        }

    def find(self, content: bytes) -> Counter[str]:
        """How many identifiers stand in it, by form."""
        found = Counter(self._plain(content))
        lower = content.lower()
        for form, pattern, decoded in (("base64", _BASE64, _from_base64), ("hex", _HEX, _from_hex)):
            tokens = set(pattern.findall(content if form == "base64" else lower))
            inner = b"\n".join(piece for token in tokens for piece in decoded(token))
            found[form] = len(self._digits(inner.decode("latin-1")) | self._binary(inner))
        return +found

    def _plain(self, content: bytes) -> dict[str, int]:
        text = content.decode(errors="replace")
        return {
            "digits": len(self._digits(text)),
            "integer": len(self._integers.intersection(re.findall(r"[0-9]+", text)) - self.texts),
            "packed": self._packed(text),
            "separated": len(self._separated(text)),
            "binary": len(self._binary(content)),
            "hash": len(self._digests.intersection(_DIGEST.findall(text.lower()))),
            "hex number": self._hex_numbers(text.lower()),
            "raw": sum(raw in text for raw in self.raw),
        }

    def _digits(self, text: str) -> set[str]:
        """Every window of a run of digits: the number may stand among others."""
        return {
            run[at : at + length]
            for run in set(_DIGITS.findall(text))
            for length in LENGTHS
            for at in range(len(run) - length + 1)
        } & self.texts

    def _separated(self, text: str) -> set[str]:
        found = set()
        for match in _GROUPS.finditer(text):
            groups, between = re.findall(r"\d+", match[0]), re.findall(r"\D+", match[0])
            for first in range(len(groups) - 1):
                for last in range(first + 1, min(first + MOST_SEPARATORS + 1, len(groups))):
                    if between[last - 1] != between[first]:
                        break
                    joined = "".join(groups[first : last + 1])
                    if len(joined) > max(LENGTHS):
                        break
                    if joined in self.texts:
                        found.add(joined)
        return found

    def _packed(self, text: str) -> int:
        runs = {int(run) for run in _DIGITS.findall(text) if 14 <= len(run) <= 17}
        return self._count(np.array(sorted(runs), np.int64) >> DAY_BITS)

    def _hex_numbers(self, text: str) -> int:
        numbers = np.array([int(number, 16) for number in set(_HEX_NUMBER.findall(text))], np.uint64)
        return self._count(numbers.astype(np.int64)) + self._count(numbers.astype(np.int64) >> DAY_BITS)

    def _binary(self, content: bytes) -> set[str]:
        """Integers of eight bytes, packed or not, from any byte on."""
        if 0 not in content:
            return set()
        found: set[int] = set()
        for at in range(8):
            whole = (len(content) - at) // 8 * 8
            values = np.frombuffer(content, "<i8", whole // 8, at) if whole > 0 else np.empty(0, np.int64)
            values = values[(values > 0) & (values < 1 << 54)]
            for numbers in (values, values >> DAY_BITS):
                found |= set(self._of(numbers).tolist())
        return {str(number) for number in found}

    def _of(self, numbers: np.ndarray) -> np.ndarray:
        if not self._numbers.size or not numbers.size:
            return np.empty(0, np.int64)
        at = np.minimum(np.searchsorted(self._numbers, numbers), self._numbers.size - 1)
        return numbers[self._numbers[at] == numbers]

    def _count(self, numbers: np.ndarray) -> int:
        return len(self._of(numbers))


def search(finder: Finder, *places: Iterable[Place]) -> dict[str, dict[str, int]]:
    """The places in which something was found, with the forms and how many; empty when there is no leak."""
    found = {name: finder.find(content) for many in places for name, content in many}
    return {name: dict(forms) for name, forms in found.items() if forms}


# What a machine keeps


def files(*folders: Path) -> Iterator[Place]:
    """Every file below some folders, with its name; a database's own files too, with what was deleted in them."""
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                yield str(path), f"{path}\n".encode() + path.read_bytes()


def tables(url: str) -> Iterator[Place]:
    """Every table of a database, with all columns of all rows."""
    engine, metadata = create_engine(url), MetaData()
    try:
        with engine.connect() as connection:
            metadata.reflect(connection)
            for name, table in metadata.tables.items():
                rows = connection.execute(select(table)).mappings()
                yield f"table {name}", b"\n".join(_cell(value) for row in rows for value in row.values())
    finally:
        engine.dispose()


def texts(name: str, values: Iterable[str]) -> Iterator[Place]:
    """Mails, alerts, what was printed."""
    yield name, "\n".join(values).encode()


def pages(
    paths: Iterable[str], known: dict[str, list[str]], get: Callable[[str], bytes | None]
) -> Iterator[Place]:
    """What an API answers to each path whose parameters (`{dag_id}`) are known, each value tried.

    :param get: gives the body at a path; None if there is nothing.
    """
    for path in paths:
        names = re.findall(r"\{(\w+)\}", path)
        if not set(names) <= known.keys():
            continue
        *_, filled = accumulate(names, lambda made, name: _fill(made, name, known[name]), initial=[path])
        for one in filled:
            if (body := get(one)) is not None:
                yield one, body


def _fill(paths: list[str], name: str, values: list[str]) -> list[str]:
    return [path.replace(f"{{{name}}}", value) for path in paths for value in values]


def _cell(value: Any) -> bytes:
    return bytes(value) if isinstance(value, bytes | memoryview) else str(value).encode()


def _from_base64(token: bytes) -> Iterator[bytes]:
    """What a token says, read from each of its first four characters on: it may begin in the middle of another."""
    for at in range(4):
        part = token[at : at + (len(token) - at) // 4 * 4]
        yield base64.b64decode(part)


def _from_hex(token: bytes) -> Iterator[bytes]:
    for at in range(2):
        yield bytes.fromhex(token[at : at + (len(token) - at) // 2 * 2].decode())
