import re
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from kfr.ui.pictures import bars, legend, queue, timeline

NOW = 1_795_424_400.0  # 2026-11-23 10:00 in Oslo


def a_file(label: str, status: str = "planned", **changes: Any) -> dict[str, Any]:
    given = {"rows": 0, "size": 0, "sends": 0, "refused": 0, "sent_at": None, "loaded_at": None}
    given |= {"looked_up_until": None, "proven_at": None, "sent": []}
    return {"label": label, "status": status, **given, **changes}


def drawn(svg: str) -> ET.Element:
    return ET.fromstring(svg)


def rects(svg: str, kind: str) -> list[tuple[float, float]]:
    """Left and right edge of each bar of a colour."""
    found = [r for r in drawn(svg).iter("rect") if r.get("class") == kind]
    return [(float(r.get("x")), float(r.get("x")) + float(r.get("width"))) for r in found]


def test_files_stand_where_their_times_are():
    files = [
        a_file(
            "0001", "proven", sent_at=NOW - 60, loaded_at=NOW - 40, proven_at=NOW - 30, rows=1234567, sends=1
        ),
        a_file("0002", "loading", sent_at=NOW - 30, loaded_at=NOW + 30, rows=10, sends=1),
        a_file("0003"),
    ]
    svg = str(timeline(files, NOW))
    ((proven, until),) = rects(svg, "f-good")
    (all_of_it, so_far) = rects(svg, "f-work")
    assert until == pytest.approx(all_of_it[0], abs=0.2)  # the second was sent when the first was proven
    assert until - proven == pytest.approx((all_of_it[1] - proven) / 3, abs=0.5)
    assert so_far[1] - so_far[0] == pytest.approx((all_of_it[1] - all_of_it[0]) / 2, abs=0.5)
    texts = [t.text for t in drawn(svg).iter("text")]
    assert {"0001", "proven", "until 10:00", "planned", "now"} - {"now"} <= set(texts)
    assert "1\u202f234\u202f567 rows" in texts
    assert svg.count('class="now"') == 1


def test_a_file_past_its_time_is_looked_up_and_one_without_an_answer_is_red():
    sent = [{"correlation_id": "the-first"}, {"correlation_id": "the-last"}]
    files = [
        a_file(
            "0001",
            "loading",
            sent_at=NOW - 60,
            loaded_at=NOW - 40,
            looked_up_until=NOW + 240,
            sends=1,
            sent=sent,
        ),
        a_file("0003", "loading", sent_at=NOW - 60, loaded_at=NOW - 40, looked_up_until=NOW - 1, sends=1),
        a_file("0002", "no answer", sent_at=NOW - 60, loaded_at=NOW - 10, sends=2, refused=3),
    ]
    svg = str(timeline(files, NOW))
    texts = [t.text for t in drawn(svg).iter("text")]
    assert "looked up until 10:04" in texts
    assert "late" in texts
    assert "CorrelationID the-last" in svg
    assert "the-first" not in svg
    assert rects(svg, "f-bad")
    assert "sent 2 times, 3 rows refused" in svg


def test_nothing_sent_yet_and_one_file_draw_too():
    assert "planned" in str(timeline([a_file("0001")], NOW))
    drawn(str(timeline([a_file("0001", "proven", sent_at=NOW, loaded_at=NOW, proven_at=NOW)], NOW)))


def test_bars_stand_on_each_other_and_the_highest_fills_the_height():
    svg = str(bars([("a", {"x": 1, "y": 3}), ("b", {"x": 2})], ["x", "y"]))
    tall = {
        r.get("class"): float(r.get("height")) for r in drawn(svg).iter("rect") if r.get("class") != "base"
    }
    assert tall["f-wait"] == pytest.approx(82.5)  # 3 of 4
    assert [t.text for t in drawn(svg).iter("title")] == ["a: x 1, y 3", "b: x 2"]


def test_without_runs_or_reasons_there_is_still_a_picture():
    drawn(str(bars([], [])))
    drawn(str(bars([("a", {})], [])))
    assert "other reasons" in legend(["other reasons"])
    drawn(str(queue([("waits", 0, "wait")])))


def test_what_a_picture_says_is_escaped():
    shown = (
        str(timeline([a_file("<b>")], NOW)) + str(bars([("<i>", {"<u>": 1})], ["<u>"])) + str(legend(["<u>"]))
    )
    assert not re.search("<[biu]>", shown)
