"""Each rule of the batch file and its frame has a request that breaks it."""

import time

import pytest

from tests.simulator.batch_file import read_rows
from tests.simulator.identifiers import text_of
from tests.unit.simulator.caller import ORGANISATION, Caller, make_frame, make_simulator

LIMIT = 10_000_000
ROWS = f"{ORGANISATION}#2020-01-31,55068575027,298765446,55068575027#2021-12-01".encode()


def refusal(answer):
    """Status and code of a refusal; without a code the gateway has spoken."""
    assert answer.status_code >= 400
    is_json = answer.headers["Content-Type"].startswith("application/json")
    return answer.status_code, answer.json()["errorCode"] if is_json else ""


def test_a_right_file_is_accepted_and_nothing_is_loaded_yet(caller):
    answer = caller.send(ROWS)
    assert (answer.status_code, answer.content) == (201, b"")
    assert caller.simulator.relationships() == {}
    assert caller.simulator.pending_rows == 4
    accepted = caller.simulator.log[-1]
    assert (accepted.kind, accepted.file, accepted.rows) == ("file_accepted", 1, 4)


def test_rows_are_read_in_the_files_order_with_and_without_dates():
    batch = read_rows(ROWS)
    assert [text_of(one) for one in batch.ids] == [ORGANISATION, "55068575027", "298765446", "55068575027"]
    dated = [day > 0 for day in batch.days]
    assert dated == [True, False, False, True]


@pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n"])
def test_one_newline_at_the_end_does_no_harm(ending):
    assert len(read_rows(ROWS + ending)) == 4


@pytest.mark.parametrize(
    ("entry", "code"),
    [
        ("298765439", "KFR-005"),
        ("29876543", "KFR-005"),
        ("2987654380", "KFR-005"),
        ("", "KFR-005"),
        (" 298765438", "KFR-005"),
        ("298765438 ", "KFR-005"),
        ("000000000", "KFR-005"),
        ("55068575026", "KFR-005"),
        ("298765439#2020-01-01", "KFR-005"),
        ("298765439#2020-13-01", "KFR-005"),
        ("customer_id", "KFR-005"),
        ("#2020-01-01", "KFR-005"),
        ("298765438;2020-01-01", "KFR-005"),
        ("298765438\n298765446", "KFR-005"),
        ("298765438#2020-13-01", "KFR-010"),
        ("298765438#2020-02-30", "KFR-010"),
        ("298765438#2023-02-29", "KFR-010"),
        ("298765438#2020-00-10", "KFR-010"),
        ("298765438#2020-01-00", "KFR-010"),
        ("298765438#0000-01-01", "KFR-010"),
        ("298765438#2020/01/01", "KFR-010"),
        ("298765438#20200101", "KFR-010"),
        ("298765438#2020-1-1", "KFR-010"),
        ("298765438#", "KFR-010"),
        ("298765438##020-01-01", "KFR-010"),
        ("298765438#2020-01-01T00:00", "KFR-010"),
    ],
)
def test_one_bad_row_refuses_the_whole_file(caller, entry, code):
    answer = caller.send(f"{ORGANISATION},{entry},298765446")
    assert refusal(answer) == (400, code)
    assert caller.simulator.pending_rows == 0
    assert caller.simulator.log[-1].kind == "refused"


def test_the_refusal_does_not_say_which_row(caller):
    answer = caller.send(f"{ORGANISATION},298765439")
    assert "298765439" not in answer.text
    assert answer.json()["errorMessage"] == "Invalid customer identifier"


def test_a_bad_identifier_is_named_before_a_bad_date(caller):
    answer = caller.send(f"{ORGANISATION}#2020-13-01,298765439")
    assert refusal(answer) == (400, "KFR-005")


@pytest.mark.parametrize("date", ["2024-02-29", "2000-02-29", "1999-12-31", "0001-01-01", "9999-12-31"])
def test_every_day_of_the_calendar_is_a_date(date):
    read_rows(f"{ORGANISATION}#{date}".encode())


@pytest.mark.parametrize("customers", [b"", b"\n"])
def test_a_file_without_customers_is_refused(caller, customers):
    assert refusal(caller.send(customers)) == (400, "KFR-004")


def test_a_whole_request_of_ten_million_bytes_is_taken_and_one_more_is_not(caller):
    body = make_frame(ROWS)  # what stands after the last boundary counts, and means nothing (RFC 2046)
    assert caller.post_file(body.ljust(LIMIT, b"\n")).status_code == 201
    assert refusal(caller.post_file(body.ljust(LIMIT + 1, b"\n"))) == (413, "")


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ('multipart/form-data; boundary="xyz"', (403, "")),
        ("multipart/form-data", (403, "")),
        ("multipart/form-data; boundary=abc", (403, "")),
        ("multipart/mixed; boundary=xyz", (400, "KFR-004")),
        ("text/plain", (400, "KFR-004")),
        (None, (400, "KFR-004")),
    ],
)
def test_the_boundary_must_stand_unquoted_in_the_header(caller, content_type, expected):
    answer = caller.post_file(make_frame(ROWS), **{"Content-Type": content_type})
    assert refusal(answer) == expected


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("DSOPBANK", "BANK", (400, "KFR-009")),
        ('name="customer_type"', 'name="customertype"', (400, "KFR-004")),
        ('name="customers"', 'name="file"', (400, "KFR-004")),
        ('; filename="customers.csv"', "", (400, "KFR-004")),
        ('filename="customers.csv"', 'filename="customers.txt"', (400, "KFR-004")),
        ("Content-Type: text/plain", "Content-Type: text/csv", (400, "KFR-004")),
        ("Content-Type: text/plain\r\n", "", (400, "KFR-004")),
        ("form-data; name", "attachment; name", (400, "KFR-004")),
        ("\r\n--xyz--\r\n", "", (403, "")),
        ("--xyz\r\n", "--abc\r\n", (403, "")),
    ],
)
def test_the_frame_is_checked_in_every_part(caller, old, new, expected):
    body = make_frame(ROWS).replace(old.encode(), new.encode())
    assert body != make_frame(ROWS)
    assert refusal(caller.post_file(body)) == expected


def test_a_third_field_is_refused(caller):
    extra = b'--xyz\r\nContent-Disposition: form-data; name="note"\r\n\r\nhello\r\n'
    assert refusal(caller.post_file(extra + make_frame(ROWS))) == (400, "KFR-004")


def test_a_field_twice_is_refused(caller):
    twice = b'--xyz\r\nContent-Disposition: form-data; name="customer_type"\r\n\r\nDSOPBANK\r\n'
    assert refusal(caller.post_file(twice + make_frame(ROWS))) == (400, "KFR-004")


def test_what_httpx_itself_makes_of_the_fields_is_taken(caller):
    answer = caller.http.post(
        f"{caller.institution}/batch",
        headers=caller.headers(),
        data={"customer_type": "DSOPBANK"},
        files={"customers": ("customers.csv", ROWS, "text/plain")},
    )
    assert answer.status_code == 201


def test_ten_megabytes_are_checked_in_about_a_second():
    caller = Caller(make_simulator(rate=1e6))
    times = 9_999_000 // (len(ROWS) + 1)
    rows = b",".join([ROWS] * times)
    caller.token()
    began = time.perf_counter()
    assert caller.send(rows).status_code == 201
    assert time.perf_counter() - began < 3  # about 0.3 s here; a loop over the rows takes minutes
    assert caller.simulator.pending_rows == 4 * times
