"""docs/errors.md is complete: every error class and code is there, and nothing that is not."""

import importlib
import pkgutil
import re

import pytest

import kfr
from kfr.register.answers import INTERNAL_ERROR, NOT_REGISTERED, REFUSALS
from kfr.register.certificate import Flaw
from kfr.register.errors import KfrError
from kfr.register.maskinporten import ASSERTION_REUSED, REMEDIES
from kfr.relationships.identifiers import Reason
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "errors.md").read_text()
NEEDS_A_SERVER = {"kfr.ui.app"}  # imports Airflow's api-server, which warns; it has no errors of its own


def rows(heading: str) -> dict[str, list[str]]:
    """The table below a heading: first cell to the others."""
    part = re.split(r"^## ", PAGE.split(f"## {heading}\n")[1], flags=re.MULTILINE)[0]
    cells = [
        [c.strip() for c in line.strip("|").split("|")]
        for line in part.splitlines()
        if line.startswith("| `")
    ]
    return {row[0].strip("`"): row[1:] for row in cells}


def errors() -> set[type[KfrError]]:
    for module in pkgutil.walk_packages(kfr.__path__, "kfr."):
        if not module.name.endswith("__main__") and module.name not in NEEDS_A_SERVER:
            importlib.import_module(module.name)
    found, left = set(), [KfrError]
    while left:
        new = set(left.pop().__subclasses__()) - found
        found |= new
        left += new
    return {error for error in found if error.__module__.startswith("kfr.")}


def test_every_error_is_there_in_its_class():
    classes, described = rows("What a class of errors allows"), rows("Errors")
    assert {error.__name__ for error in errors()} == {*classes, *described}
    for error in errors():
        if error.__name__ in described:
            assert described[error.__name__][0] in {base.__name__ for base in error.__mro__}, error


@pytest.mark.parametrize(
    ("heading", "codes"),
    [
        ("Codes of the register", {*REFUSALS, INTERNAL_ERROR, NOT_REGISTERED}),
        ("Codes of Maskinporten", {*REMEDIES, ASSERTION_REUSED}),
        ("Flaws of the keystore", {flaw.value for flaw in Flaw}),
        ("Why a row is refused", {reason.label for reason in Reason if reason is not Reason.ACCEPTED}),
    ],
)
def test_every_code_is_there(heading: str, codes: set[str]):
    assert set(rows(heading)) == codes


def test_every_guard_is_there_and_does_what_it_says():
    source = "".join(
        (ROOT / "plugins" / "kfr" / path).read_text()
        for path in ("relationships/guards.py", "load/planning.py")
    )
    words = {"stop": "stops", "ask": "asks"}
    spoken = {code: words[does] for does, code in re.findall(r'_(stop|ask)\(\s*"(\w+)"', source)}
    spoken |= dict.fromkeys(re.findall(r'code="(\w+)",\s*severity=Severity.ASKS', source), "asks")
    assert {code: cells[0] for code, cells in rows("What guards say").items()} == spoken


def test_every_row_says_something_in_every_cell():
    lines = [line for line in PAGE.splitlines() if line.startswith("| `")]
    assert len(lines) > 80
    assert not [line for line in lines if "" in (cell.strip() for cell in line.strip("|").split("|"))]
