"""The registration form B-2, filled in from the institution's file, and the mail that takes it to Bits."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

from kfr.load.papers import FOLDER, Language, Mail, day_name, fill_in, write_mail
from kfr.load.world import Attachment
from kfr.onboarding.fields import Flaws, read_yaml
from kfr.onboarding.institution import CONTACTS, Contact, Institution
from kfr.register.errors import ConfigurationError

DOCX: Final = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
FORM: Final = "b-2.yaml"
ROW: Final = ("norwegian", "english", "value")  # `no` would be false in YAML


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """A form as it goes to Bits; ``rows`` are Norwegian label, English label and value."""

    title: str
    title_en: str
    rows: list[tuple[str, str, str]] = field(repr=False)
    document: bytes = field(repr=False)
    norwegian: Mail
    english: Mail

    def as_text(self) -> str:
        """The form for a person who decides (Markdown)."""
        lines = "\n".join(f"| {no} ({en}) | {value.replace(chr(10), '; ')} |" for no, en, value in self.rows)
        return f"**{self.title}**\n\n| | |\n|---|---|\n{lines}\n"


def registration(institution: Institution) -> Registration:
    """Fill form and mail in with what the institution's file says; what it does not say stays empty."""
    values = _values(institution)
    said = _read_form(institution)
    rows = [(row["norwegian"], row["english"], fill_in(row["value"], FORM, values)) for row in said["rows"]]
    document = _document(said["title"], said["title_en"], rows)
    name = f"registreringsskjema-{institution.organisation_number}.docx"
    attachment = Attachment(name=name, media_type=DOCX, content=document)
    papers = institution.include / FOLDER
    return Registration(
        title=said["title"],
        title_en=said["title_en"],
        rows=rows,
        document=document,
        norwegian=write_mail(papers, "b-2", "no", values, (attachment,)),
        english=write_mail(papers, "b-2", "en", _values(institution, "en")),
    )


def require_complete(institution: Institution) -> None:
    """ConfigurationError that names what the form asks for and the file does not say."""
    if institution.missing:
        raise ConfigurationError(
            f"The registration form lacks: {', '.join(institution.missing)}. Write them into "
            f"{institution.path.name}; nothing was mailed"
        )


def _read_form(institution: Institution) -> Mapping[str, Any]:
    flaws = Flaws()
    said = read_yaml(institution.include / FOLDER / FORM, flaws)
    rows = said.get("rows")
    complete = isinstance(rows, list) and all(
        isinstance(row, dict) and all(isinstance(row.get(part), str) for part in ROW) for row in rows
    )
    if flaws.found or not complete or not said.get("title") or not said.get("title_en"):
        raise ConfigurationError(
            f"include/{FOLDER}/{FORM} is not right ({'; '.join(flaws.found) or 'title or rows'}); each row has "
            "norwegian, english and value"
        )
    return said


def _values(institution: Institution, language: Language = "no") -> dict[str, str]:
    def dotted(account: str) -> str:
        return f"{account[:4]}.{account[4:6]}.{account[6:]}"

    def day(wanted: date | None) -> str:
        return day_name(wanted, language) if wanted else ""

    return {
        "name": institution.name,
        "organisation_number": institution.organisation_number,
        **{role: _contact(institution.contacts.get(role)) for role in CONTACTS},
        "signatory": _contact(institution.signatory),
        "concessions": "\n".join(institution.concessions),
        "collection_accounts": "\n".join(map(dotted, institution.collection_accounts)),
        "wanted_integration_start": day(institution.wanted_integration_start),
        "wanted_production_loading": day(institution.wanted_production_loading),
        "sender": institution.sender,
    }


def _contact(contact: Contact | None) -> str:
    return ", ".join(part for part in (contact.name, contact.email, contact.phone) if part) if contact else ""


def _document(title: str, title_en: str, rows: Sequence[tuple[str, str, str]]) -> bytes:
    from docx import Document
    from docx.shared import Pt

    document = Document()
    document.core_properties.title = title
    document.core_properties.author = ""
    document.add_heading(title, level=1)
    document.add_paragraph(title_en).runs[0].italic = True
    table = document.add_table(rows=0, cols=2, style="Table Grid")
    for no, en, value in rows:
        label, content = table.add_row().cells
        label.paragraphs[0].add_run(no).bold = True
        english = label.add_paragraph().add_run(en)
        english.italic, english.font.size = True, Pt(9)
        content.text = value
    written = io.BytesIO()
    document.save(written)
    return written.getvalue()
