import re
from datetime import date
from email.parser import BytesParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kfr.relationships.batch_file import (
    CONTENT_TYPE,
    FRAME_BYTES,
    MAX_BODY_BYTES,
    cut,
    render,
    request_body,
)
from kfr.relationships.packing import LAST_DAY, UNKNOWN_DAY, Ints, date_of, day_number, pack

ENTRY = re.compile(r"(\d{9}|\d{11})(?:#(\d{4}-\d\d-\d\d))?")
CUSTOMERS = st.integers(1, 10**9 - 1) | st.integers(10**9, 10**11 - 1)
PAIRS = st.lists(st.tuples(CUSTOMERS, st.just(UNKNOWN_DAY) | st.integers(1, LAST_DAY)), max_size=40)
LARGEST_ENTRY = 22
LIMITS = st.integers(FRAME_BYTES + LARGEST_ENTRY, FRAME_BYTES + 200)


def packed_of(pairs: list[tuple[int, int]]) -> Ints:
    return pack(
        np.array([customer for customer, _ in pairs], np.int64), np.array([day for _, day in pairs], np.int64)
    )


def parse(customers: bytes) -> list[tuple[int, int]]:
    """Read a file as the register does."""
    matches = [ENTRY.fullmatch(entry) for entry in customers.decode("ascii").split(",")] if customers else []
    assert all(matches)
    return [
        (int(match[1]), day_number(date.fromisoformat(match[2])) if match[2] else UNKNOWN_DAY)
        for match in matches
    ]


def write(pairs: list[tuple[int, int]]) -> bytes:
    """Render entry by entry."""
    entries = []
    for customer, day in pairs:
        text = str(customer).zfill(9 if customer < 10**9 else 11)
        entries.append(f"{text}#{date_of(day).isoformat()}" if day else text)
    return ",".join(entries).encode()


def fewest_files(pairs: list[tuple[int, int]], limit: int) -> int:
    """Try every place for every cut."""
    fewest = [0] + [len(pairs) + 1] * len(pairs)
    for beyond in range(1, len(pairs) + 1):
        for first in range(beyond):
            if len(request_body(write(pairs[first:beyond]))) <= limit:
                fewest[beyond] = min(fewest[beyond], fewest[first] + 1)
    return fewest[-1]


# --- the bytes ---


@given(PAIRS)
def test_a_file_has_exactly_the_bytes_of_its_entries(pairs):
    assert render(packed_of(pairs)) == write(pairs)


@given(PAIRS)
def test_a_file_read_back_gives_the_same_relationships_in_the_same_order(pairs):
    assert parse(render(packed_of(pairs))) == pairs


def test_a_file_is_written_as_the_contract_draws_it():
    pairs = [(310_000_000, day_number(date(2020, 2, 29))), (1_890_112_345, UNKNOWN_DAY), (123, 1)]
    assert render(packed_of(pairs)) == b"310000000#2020-02-29,01890112345,000000123#1753-01-01"


def test_nobody_is_an_empty_file():
    assert render(packed_of([])) == b""


# --- cutting ---


@given(PAIRS, LIMITS)
def test_the_files_hold_everything_once_in_order_and_none_is_too_large(pairs, limit):
    files = cut(packed_of(pairs), limit)
    assert [pair for file in files for pair in parse(render(file))] == pairs
    assert all(len(file) for file in files)
    assert all(len(request_body(render(file))) <= limit for file in files)


@given(st.lists(st.tuples(CUSTOMERS, st.sampled_from([UNKNOWN_DAY, 5])), max_size=15), LIMITS)
def test_no_smaller_number_of_consecutive_files_is_possible(pairs, limit):
    assert len(cut(packed_of(pairs), limit)) == fewest_files(pairs, limit)


@given(st.lists(st.tuples(CUSTOMERS, st.sampled_from([UNKNOWN_DAY, 5])), min_size=3, max_size=40))
def test_a_body_that_has_exactly_the_limit_is_not_cut_and_one_byte_less_cuts_it(pairs):
    packed = packed_of(pairs)
    whole = len(request_body(render(packed)))
    assert len(cut(packed, whole)) == 1
    assert len(cut(packed, whole - 1)) == 2


def test_files_are_views_and_not_copies():
    packed = packed_of([(customer, 5) for customer in range(1, 50)])
    assert all(np.shares_memory(file, packed) for file in cut(packed, FRAME_BYTES + 100))


def test_a_limit_that_is_too_small_for_one_entry_is_refused():
    largest = packed_of([(10**10, 5)])
    assert len(cut(largest, FRAME_BYTES + LARGEST_ENTRY)) == 1
    for packed in (largest, packed_of([])):
        with pytest.raises(ValueError, match="bytes for one entry"):
            cut(packed, FRAME_BYTES + LARGEST_ENTRY - 1)


def test_a_million_relationships_go_into_full_files_of_at_most_ten_million_bytes():
    ids = np.arange(10**10, 10**10 + 1_000_000)
    ids[::7] -= 10**10 - 10**8  # organisations among them
    days = np.arange(1_000_000) % 50_000
    files = cut(pack(ids, days))
    bodies = [request_body(render(file)) for file in files]
    assert sum(len(file) for file in files) == 1_000_000
    assert len(bodies) == 3
    for body in bodies[:-1]:  # the next entry would not have fitted
        assert MAX_BODY_BYTES - (LARGEST_ENTRY + 1) < len(body) <= MAX_BODY_BYTES


# --- the request ---


def test_the_body_is_the_form_of_the_contract():
    customers = render(packed_of([(310_000_000, 5), (1_890_112_345, UNKNOWN_DAY)]))
    message = BytesParser().parsebytes(
        b"Content-Type: " + CONTENT_TYPE.encode() + b"\r\n\r\n" + request_body(customers)
    )
    relationship_type, file = message.get_payload()
    assert relationship_type.get_param("name", header="content-disposition") == "customer_type"
    assert relationship_type.get_payload(decode=True) == b"DSOPBANK"
    assert file.get_param("name", header="content-disposition") == "customers"
    assert file.get_filename() == "customers.csv"
    assert file.get_content_type() == "text/plain"
    assert file.get_payload(decode=True) == customers
    assert message.defects == []


def test_the_boundary_is_not_quoted_and_cannot_stand_in_a_file():
    boundary = CONTENT_TYPE.partition("boundary=")[2]
    assert '"' not in CONTENT_TYPE
    assert re.fullmatch(r"[A-Za-z-]{1,70}", boundary)
    assert set(boundary) - set("0123456789#,-")


def test_the_frame_is_what_a_request_has_beyond_its_file():
    for customers in (b"", b"310000000"):
        assert len(request_body(customers)) == FRAME_BYTES + len(customers)


def test_the_same_plan_gives_the_same_bytes():
    packed = packed_of([(310_000_000, 5), (1_890_112_345, UNKNOWN_DAY)])
    assert request_body(render(packed)) == request_body(render(packed.copy()))


def test_every_day_is_written_as_its_date():
    days = np.arange(1, LAST_DAY + 1)
    entries = render(pack(np.full(len(days), 1_890_112_345), days)).decode().split(",")
    assert entries == [f"01890112345#{date_of(day)}" for day in days.tolist()]
