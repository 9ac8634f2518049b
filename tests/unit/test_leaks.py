import base64
import hashlib
import json
import sqlite3
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest

from kfr.relationships.packing import pack
from tests.leaks import Finder, files, pages, search, tables, texts

PERSON, COMPANY = "01898228475", "912345674"
RAW = "017912 3X567"
NUMBER = int(PERSON)
PACKED = int(pack(np.array([NUMBER]), np.array([99_000]))[0])


@pytest.fixture(scope="module")
def finder() -> Finder:
    return Finder([PERSON, f" {COMPANY} ", "17912345678", RAW, "1234", "000000000"])


def as_base64(content: bytes, before: bytes) -> bytes:
    return base64.b64encode(before + content + b" more").strip(b"=")


FORMS = {
    "in a sentence": f"customer {PERSON} was added".encode(),
    "a company's": f"customer {COMPANY}.".encode(),
    "among other digits": f"2026{PERSON}99".encode(),
    "in JSON": json.dumps({"x": [PERSON]}).encode(),
    "quoted for a URL": quote(f"id={PERSON}&x").encode(),
    "without its leading zero": f"id {NUMBER},".encode(),
    "packed with a day": f"[{PACKED}]".encode(),
    "date and number": b"018982 28475",
    "with a hyphen": b"018982-28475",
    "with dots": b"01.89.82.28475",
    "in threes": b"912 345 674",
    "digit by digit": b"0-1-8-9-8-2-2-8-4-7-5",
    "as a list": b"[0, 1, 8, 9, 8, 2, 2, 8, 4, 7, 5]",
    "in UTF-16": f"x{PERSON}".encode("utf-16-le"),
    "as a binary integer": b"abc" + NUMBER.to_bytes(8, "little") + b"x",
    "as a dumped array": np.array([5, PACKED, 7], np.int64).tobytes(),
    "as a hexadecimal integer": f"{NUMBER:#x}".encode(),
    "as a packed hexadecimal integer": f"{PACKED:#X}".encode(),
    "in hexadecimal": f"\\x00{PERSON.encode().hex()}".encode(),
    "in hexadecimal behind a letter": f"a{PERSON.encode().hex()}".encode(),
    "as an array in hexadecimal": np.array([PACKED], np.int64).tobytes().hex().upper().encode(),
    "by MD5": hashlib.md5(PERSON.encode()).hexdigest().encode(),
    "by SHA-256": f"h={hashlib.sha256(str(NUMBER).encode()).hexdigest()}".encode(),
    "as it was refused": f"row {RAW!r} is wrong".encode(),
    **{f"in base64 after {at} bytes": as_base64(PERSON.encode(), b"x" * at) for at in range(4)},
    **{
        f"an array in base64 after {at} bytes": as_base64(np.array([PACKED], np.int64).tobytes(), b"x" * at)
        for at in range(4)
    },
    "in base64 behind a word": b"payload" + as_base64(PERSON.encode(), b""),
}


@pytest.mark.parametrize("form", FORMS)
def test_an_identifier_is_found(finder: Finder, form: str):
    assert finder.find(FORMS[form]).total() >= 1
    padded = b"\xff\xfe log \n" + b"nothing here " * 50 + FORMS[form] + b"\n" + b"nor here " * 50
    assert finder.find(padded).total() >= 1


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"2026-11-25T20:00:53.042176+01:00 4,812 rows, 0.000000000 s",
        b"uuid c0ffee00-0000-4000-8000-000000000000",
        hashlib.sha256(b"something").hexdigest().encode(),
        b"01898228474 and 1234 and 912345675",
        np.arange(10_000, dtype=np.int64).tobytes(),
        base64.b64encode(bytes(range(256))),
    ],
)
def test_what_is_none_is_not_taken_for_one(finder: Finder, content: bytes):
    assert finder.find(content) == {}


def test_random_bytes_hold_none(finder: Finder):
    """As a sealed file: megabytes of it must not be found by chance."""
    content = np.random.default_rng(1).bytes(2_000_000)
    assert finder.find(content) == {}


def test_what_it_says_names_no_identifier(finder: Finder):
    said = str(search(finder, [("log", FORMS["in a sentence"])]))
    assert said == "{'log': {'digits': 1}}"


def test_files_are_searched_with_their_names_and_folders(finder: Finder, tmp_path: Path):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "a.log").write_bytes(b"x" + FORMS["in a sentence"])
    (tmp_path / f"customer-{COMPANY}.csv").write_bytes(b"")
    (tmp_path / "clean").write_bytes(b"clean")
    found = search(finder, files(tmp_path))
    assert sorted(Path(name).name for name in found) == ["a.log", f"customer-{COMPANY}.csv"]


def test_tables_are_searched_in_all_their_columns(finder: Finder, tmp_path: Path):
    path = tmp_path / "airflow.db"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE notes (id integer, text text, data blob)")
        database.execute("CREATE TABLE clean (id integer)")
        database.execute("INSERT INTO notes VALUES (1, 'x', ?)", [FORMS["as a dumped array"]])
        database.commit()
        assert list(search(finder, tables(f"sqlite:///{path}"))) == ["table notes"]
        database.execute(f"UPDATE notes SET data = NULL, text = 'customer {PERSON}'")
        database.commit()
        assert search(finder, tables(f"sqlite:///{path}")) == {"table notes": {"digits": 1}}


def test_what_was_said_is_searched(finder: Finder):
    assert search(finder, texts("mails", ["Hei", f"kunde {PERSON}"])) == {"mails": {"digits": 1}}


def test_every_page_of_an_api_whose_parameters_are_known_is_read(finder: Finder):
    asked = []

    def get(path: str) -> bytes | None:
        asked.append(path)
        return PERSON.encode() if path.endswith("/b/2") else None if path == "/gone" else b"{}"

    found = search(
        finder,
        pages(["/dags/{dag}/{n}", "/all", "/gone", "/{unknown}"], {"dag": ["a", "b"], "n": ["1", "2"]}, get),
    )
    assert asked == ["/dags/a/1", "/dags/a/2", "/dags/b/1", "/dags/b/2", "/all", "/gone"]
    assert found == {"/dags/b/2": {"digits": 1}}
