"""The institution's own words to Bits: templates to edit in `include/papers/`, Norwegian with English beside.

The first line of a template is the subject; a blank line follows, then the text. What is sent is the Norwegian
one; the English one stands beside it in the preview.
"""

import re
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal, get_args

from jinja2 import Environment, StrictUndefined, Template, TemplateError

from kfr.clock import OSLO
from kfr.load.world import Attachment
from kfr.register.errors import ConfigurationError, Fatal

FOLDER: Final = "papers"  # below include/
Language = Literal["no", "en"]
NOTICE: Final = "notice"
CONFIRMATION: Final = "d-4"
LOAD_PAPERS: Final = {  # what each of a load's mails may use
    NOTICE: ("day", "fid", "environment", "rows_that_day", "rows", "files", "hours", "ends_at"),
    CONFIRMATION: ("fid", "environment", "loaded", "files", "sampled", "wrong_at_most", "all_checked"),
}
_SUBJECT: Final = re.compile(r"(?:Emne|Subject): (.+)\n\n")
_IDENTIFIER: Final = re.compile(r"(?<!\d)\d{11}(?!\d)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """A mail's own words."""

    subject: str
    text: str
    attachments: tuple[Attachment, ...] = ()


def check_papers(papers: Path) -> str:
    """Fill a load's mails in once, in both languages: D-4 is written when hours of loading lie behind."""
    for paper, names in LOAD_PAPERS.items():
        for language in get_args(Language):
            for value in ("", "1"):
                write_mail(papers, paper, language, dict.fromkeys(names, value))
    return "the mails to Bits can be written"


def write_mail(
    papers: Path,
    paper: str,
    language: Language,
    values: dict[str, Any],
    attachments: tuple[Attachment, ...] = (),
) -> Mail:
    """Fill a template in. ConfigurationError says what is wrong with it, Fatal that a person's number is in it."""
    name = f"{paper}.{language}.txt"
    try:
        template = (papers / name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise ConfigurationError(
            f"{name} cannot be read; put it into include/{FOLDER}, as UTF-8 text"
        ) from None
    text = fill_in(template, name, values)
    subject = _SUBJECT.match(text)
    if subject is None:
        raise ConfigurationError(
            f"{name} has no subject; begin it with 'Emne: …' or 'Subject: …' and a blank line"
        )
    if _IDENTIFIER.search(text):
        raise Fatal(f"{name} gives a mail with a number of eleven digits; take it out. Nothing was mailed")
    return Mail(subject=subject[1], text=text[subject.end() :], attachments=attachments)


def fill_in(template: str, name: str, values: dict[str, Any]) -> str:
    """Render a Jinja template of plain text; ConfigurationError names it and what it may use."""
    try:
        return _compiled(template).render(values)
    except TemplateError as error:
        raise ConfigurationError(
            f"{name} cannot be filled in ({type(error).__name__}: {error}); it may use {', '.join(values)}"
        ) from None


@lru_cache
def _compiled(template: str) -> Template:
    environment = Environment(
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 - plain text
        keep_trailing_newline=True,
    )
    return environment.from_string(template)


def preview(norwegian: Mail, english: Mail, to: str) -> str:
    """Both languages as they would be sent, for a log or a person who decides (Markdown)."""
    attached = ", ".join(attachment.name for attachment in norwegian.attachments) or "-"
    return (
        f"To: {to}\n\nAttached: {attached}\n\n**{norwegian.subject}**\n\n{norwegian.text}\n\n---\n\n"
        f"In English (not sent): **{english.subject}**\n\n{english.text}"
    )


def environment_name(environment: str, language: Language) -> str:
    """The environment in the words of a mail."""
    if language == "en":
        return environment
    return "produksjon" if environment == "production" else "test"


def day_name(day: date, language: Language) -> str:
    """A day in the words of a mail."""
    return f"{day:%d.%m.%Y}" if language == "no" else day.isoformat()


def moment_name(moment: str, language: Language) -> str:
    """An ISO moment in the words of a mail, by the clock of Oslo."""
    at = datetime.fromisoformat(moment).astimezone(OSLO)
    return f"{day_name(at.date(), language)} {'kl. ' if language == 'no' else ''}{at:%H:%M}"


def spaced(value: int) -> str:
    """A number as Norwegians write it, in groups of three."""
    return f"{value:,}".replace(",", " ")
