"""A load's mails: templates to edit, found to be wrong before a load and not after it."""

import shutil

import pytest

from kfr.load.papers import LOAD_PAPERS, check_papers, preview, write_mail
from kfr.register.errors import ConfigurationError, Fatal
from tests.conftest import ROOT


@pytest.fixture
def papers(tmp_path):
    return shutil.copytree(ROOT / "include" / "papers", tmp_path / "papers")


def test_the_mails_as_delivered_can_be_written(papers):
    assert check_papers(papers)


@pytest.mark.parametrize(
    "name", [f"{paper}.{language}.txt" for paper in LOAD_PAPERS for language in ("no", "en")]
)
@pytest.mark.parametrize("text", ["Emne: {{ customers }}\n\nHei", "Emne: x\nHei", "Emne: {{ x\n\n", None])
def test_a_template_that_was_edited_wrongly_stops_a_load_before_it_begins(papers, name, text):
    (papers / name).unlink() if text is None else (papers / name).write_text(text)
    with pytest.raises(ConfigurationError, match=name):
        check_papers(papers)


def test_a_flaw_in_either_branch_of_the_confirmation_is_found(papers):
    path = papers / "d-4.no.txt"
    path.write_text(path.read_text().replace("Alle kundeforhold er kontr", "{{ alle }} er kontr"))
    with pytest.raises(ConfigurationError, match=r"d-4\.no\.txt"):
        check_papers(papers)


def test_a_number_of_eleven_digits_never_leaves_by_mail(tmp_path):
    (tmp_path / "x.no.txt").write_text("Emne: x\n\nKunde {{ who }}\n")
    with pytest.raises(Fatal, match="eleven digits") as raised:
        write_mail(tmp_path, "x", "no", {"who": "01010750160"})
    assert "01010750160" not in str(raised.value)
    assert write_mail(tmp_path, "x", "no", {"who": "0101075016"}).text == "Kunde 0101075016\n"


def test_the_confirmation_says_in_one_line_how_sure_it_is(papers):
    values = dict.fromkeys(LOAD_PAPERS["d-4"], "7")
    sure = write_mail(papers, "d-4", "no", {**values, "wrong_at_most": ""}).text
    sampled = write_mail(papers, "d-4", "no", values).text
    assert "retting: 0\n\nAlle kundeforhold er kontrollert ved oppslag.\n\nDenne" in sure
    assert "retting: 0\n\nAt stikkprøven ikke viser avvik, betyr med 95 % sikkerhet at høyst 7 " in sampled


def test_a_preview_has_both_languages_and_who_gets_it(papers):
    values = dict.fromkeys(LOAD_PAPERS["notice"], "7")
    mails = [write_mail(papers, "notice", language, values) for language in ("no", "en")]
    shown = preview(*mails, "dsop@bits.example")
    assert "To: dsop@bits.example" in shown
    assert "Varsel om innlasting" in shown
    assert "In English (not sent): **Notice of loading" in shown
