"""The project's docs as pages of Airflow: all of them open, and each link in them leads somewhere."""

import re
from pathlib import Path

import pytest

from kfr.ui import manual
from tests.conftest import ROOT


def test_every_page_of_the_docs_can_be_shown_and_nothing_else():
    assert manual.names() == sorted(path.name for path in (ROOT / "docs").glob("*.md"))
    assert "runbook.md" in manual.names()


@pytest.mark.parametrize("name", manual.names())
def test_every_link_leads_to_a_page_that_is_shown_and_to_a_heading_of_it(name: str):
    html = manual.read(name)[2]
    targets = re.findall(r'href="([^"]+)"', html)
    for target in targets:
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        page, _, section = target.partition("#")
        assert page in {"", *manual.names()}, target
        if section:
            assert f'id="{section}"' in manual.read(page or name)[2], target


def test_the_runbook_begins_with_its_words_and_where_to_click():
    title, sections, _ = manual.read("runbook.md")
    assert title == "Runbook"
    assert sections[:2] == [("Words", "#words"), ("Where to click", "#where-to-click")]


def test_tables_are_tables_and_what_looks_like_html_is_text(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "a.md").write_text("# A\n\n<script>x</script>\n\n| a | b |\n|---|---|\n| `c` | d |\n")
    monkeypatch.setattr(manual, "FOLDER", tmp_path)
    html = manual.read("a.md")[2]
    assert "<script>" not in html
    assert "<td><code>c</code></td>" in html
