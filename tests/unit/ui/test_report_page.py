import re
from typing import Any

import pytest

from kfr.load import confirmation
from kfr.load.report import build
from kfr.ui.report_page import render
from kfr.ui.templating import NOTHING, duration, figure, moment
from tests.faults.institution import Agreement
from tests.unit.load.one_load import TEN_ROWS, OneLoad

HEAD: dict[str, Any] = {
    "dag_id": "kfr_initial_load",
    "run_id": "manual__1",
    "fid": "312345676",
    "environment": "test",
    "reason": "",
    "outcome": "not proven",
    "began_at": None,
    "written_at": "2026-11-23T10:00:00+01:00",
}


def text_of(page: str) -> str:
    """What a person reads of it."""
    return re.sub(
        r"\s+", " ", re.sub(r"<[^>]+>", " ", re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL))
    )


def test_the_page_of_a_whole_load_has_every_part_of_the_report(load: OneLoad):
    load = load.with_run(max_batch_bytes=TEN_ROWS, reason="case 1234")
    customers = load.join(15)
    load.institution.warehouse.agreements_held.append(Agreement("12345678901", None))
    load.plan()
    load.send("0001")
    load.send("0002")
    load.end(customers[:1])
    load.close()
    load.finish()
    message_id = confirmation.send_confirmation(load.world)
    found = build(load.world, "proven")
    shown = text_of(render(found))
    for word in (
        "case 1234", "a person", "checksum" if "checksum" in found["rejected"] else next(iter(found["rejected"])),
        "2 files", "removed 1", "Proof", "file 0002", "312345676",
    ):  # fmt: skip
        assert word.replace("_", " ") in shown.replace("_", " "), word
    for send in load.sends:
        assert send.correlation_id in shown
        assert send.file[:32] in shown
    assert message_id.strip("<>") in shown
    assert not [c for c in customers if str(c) in shown]


def test_a_report_of_a_run_that_hardly_began_is_a_page_too():
    assert "The load is not proven" in text_of(render(HEAD))


def test_what_a_person_wrote_is_escaped_and_nothing_is_fetched():
    page = render(
        {**HEAD, "reason": "<script>alert(1)</script>", "approved": {"by": '"><img src=x>', "at": None}}
    )
    assert "<script>alert" not in page
    assert "<img" not in page
    assert "&lt;script&gt;" in page
    assert not re.search(r"https?://|url\(|@import", page)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (None, NOTHING),
        (0, "0 s"),
        (95, "1 min 35 s"),
        (600, "10 min"),
        (3700, "1 h 1 min"),
        (90_000, "1 d 1 h"),
    ],
)
def test_a_duration_says_its_two_largest_units(seconds: float | None, said: str):
    assert duration(seconds) == said


def test_figures_and_moments_are_read_at_a_glance():
    assert figure(1234567) == "1\u202f234\u202f567"
    assert figure(None) == NOTHING
    assert moment("2026-11-23T09:00:00+00:00") == moment(1795424400.0) == "2026-11-23 10:00"
