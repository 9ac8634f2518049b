"""The registration form B-2: what the file says stands in it, what it does not say is named, and it is a real docx."""

import io
import shutil

import pytest
import yaml
from docx import Document

from kfr.onboarding.institution import read_institution
from kfr.onboarding.registration import registration, require_complete
from kfr.register.errors import ConfigurationError
from tests.conftest import ROOT
from tests.unit.onboarding.test_institution import FULL, write


@pytest.fixture
def include(tmp_path):
    folder = tmp_path / "include"
    shutil.copytree(ROOT / "include" / "papers", folder / "papers")
    return folder


def form_of(include, said):
    return registration(read_institution(write(include, said), include))


def test_everything_that_the_guide_asks_for_stands_in_the_document(include):
    form = form_of(include, FULL)
    cells = [[cell.text for cell in row.cells] for row in Document(io.BytesIO(form.document)).tables[0].rows]
    found = {label.splitlines()[0]: value for label, value in cells}
    assert found["Navn"] == "Eksempelbanken AS"
    assert found["Organisasjonsnummer"] == "312345676"
    assert found["Teknisk kontakt"] == "Kari Nordmann, technical@bank.example, 22 00 00 00"
    assert found["Konsesjoner fra Finanstilsynet"] == "Bank"
    assert found["Kontonumre som mottar innbetalinger med KID (samlekonti)"] == "1234.56.78903"
    assert found["Ønsket oppstart av integrasjon"] == "01.09.2026"
    assert found["Ønsket dato for innlasting i produksjon"] == "02.11.2026"
    assert found["Signerer avtalen"] == "Ola Nordmann, ola@bank.example"
    assert all(value for value in found.values())
    assert len(found) == 11


def test_the_mail_is_norwegian_with_english_beside_and_carries_the_document(include):
    form = form_of(include, FULL)
    assert (
        form.norwegian.subject
        == "B-2: Registrering i Kundeforholdsregisteret, Eksempelbanken AS, org.nr. 312345676"
    )
    assert "Ønsket oppstart av integrasjon: 01.09.2026" in form.norwegian.text
    assert "Wanted start of integration: 2026-09-01" in form.english.text
    (attachment,) = form.norwegian.attachments
    assert (attachment.name, attachment.content) == ("registreringsskjema-312345676.docx", form.document)
    assert "1234.56.78903" in form.as_text()


def test_what_is_missing_is_named_and_the_rest_is_still_shown(include):
    said = {**FULL, "contacts": {**FULL["contacts"], "security": None}, "concessions": None}
    path = write(include, said)
    one = read_institution(path, include)
    assert "Eksempelbanken AS" in registration(one).as_text()
    with pytest.raises(ConfigurationError, match=r"lacks: contacts\.security, concessions"):
        require_complete(one)
    require_complete(read_institution(write(include, FULL), include))


@pytest.mark.parametrize(
    ("name", "text", "flaw"),
    [
        ("b-2.no.txt", "Emne: {{ nmae }}\n\nHei", "b-2.no.txt cannot be filled in"),
        ("b-2.no.txt", "Hei\n", "b-2.no.txt has no subject"),
        (
            "b-2.yaml",
            "title: x\ntitle_en: y\nrows:\n  - {norwegian: a, english: b}\n",
            "b-2.yaml is not right",
        ),
        ("b-2.yaml", "title: [", "b-2.yaml is not right"),
        ("b-2.no.txt", None, "b-2.no.txt cannot be read"),
    ],
)
def test_a_template_that_was_edited_wrongly_is_named(include, name, text, flaw):
    path = include / "papers" / name
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(ConfigurationError, match=flaw):
        form_of(include, FULL)


def test_the_delivered_form_uses_only_what_there_is_and_asks_for_all_of_it(include):
    rows = yaml.safe_load((include / "papers" / "b-2.yaml").read_text())["rows"]
    used = " ".join(row["value"] for row in rows)
    for field in ("name", "main", "technical", "security", "business", "signatory", "concessions"):
        assert f"{{{{ {field} }}}}" in used
