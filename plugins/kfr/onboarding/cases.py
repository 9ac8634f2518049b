"""The cases of the integration test as `include/integration_cases.yaml` states them, checked as a whole."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from kfr.onboarding.fields import Flaws, read_yaml
from kfr.onboarding.institution import InstitutionFileError

CASES_FILE: Final = "integration_cases.yaml"
FIELDS: Final = (
    "id", "bits_id", "title", "title_en", "operation", "customers", "send", "expect", "not_run",
)  # fmt: skip
OPERATIONS: Final = ("register_one", "remove_one", "register_file", "look_up")
CUSTOMERS: Final = (
    "new_person", "new_organisation", "registered_person", "wrong_check_digit", "letters", "none",
)  # fmt: skip
SEND: Final = (
    "token", "correlation_id", "institution", "relationship_type", "customer_type", "method", "boundary",
    "from", "to",
)  # fmt: skip
CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "token": ("none", "wrong"),
    "correlation_id": ("none", "malformed"),
    "institution": ("other",),
    "boundary": ("quoted",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What the register shall answer; ``codes`` empty: whatever."""

    statuses: tuple[int, ...]
    codes: tuple[str, ...] = ()
    found: bool | None = None
    loaded: bool = False

    def __str__(self) -> str:
        parts = ["/".join(map(str, self.statuses)), "/".join(self.codes)]
        if self.found is not None:
            parts.append("funnet" if self.found else "ikke funnet")
        if self.loaded:
            parts.append("innlastet")
        return ", ".join(part for part in parts if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One case. ``customers`` are words for whom to draw, never numbers."""

    id: str
    bits_id: str
    title: str
    title_en: str
    operation: str
    customers: tuple[str, ...]
    send: Mapping[str, Any] = field(default_factory=dict)
    expect: Expectation
    not_run: str = ""


def read_cases(include: Path) -> list[Case]:
    """Read and check the file; InstitutionFileError names every flaw."""
    flaws = Flaws()
    said = read_yaml(include / CASES_FILE, flaws)
    flaws.refuse_unknown("", said, ("cases",))
    listed = said.get("cases")
    if not isinstance(listed, list) or not listed:
        flaws.add("cases", "is not a list of cases", "write each after a dash")
        listed = []
    cases = [_case(f"cases, entry {place}", one, flaws) for place, one in enumerate(listed, 1)]
    ids = [case.id for case in cases]
    for one in sorted({one for one in ids if ids.count(one) > 1}):
        flaws.add(f"case {one}", "stands twice", "give each case an id of its own")
    if flaws.found:
        lines = "".join(f"\n- {flaw}" for flaw in flaws.found)
        raise InstitutionFileError(f"{include.name}/{CASES_FILE} is not right:{lines}")
    return cases


def _case(name: str, value: Any, flaws: Flaws) -> Case:
    said = flaws.mapping(name, value, FIELDS)
    if said.get("id"):
        name = f"case {said['id']}"
    case = Case(
        id=flaws.text(f"{name}.id", said.get("id")),
        bits_id=str(said.get("bits_id") or ""),
        title=flaws.text(f"{name}.title", said.get("title")),
        title_en=flaws.text(f"{name}.title_en", said.get("title_en")),
        operation=flaws.text(f"{name}.operation", said.get("operation")),
        customers=flaws.texts(f"{name}.customers", said.get("customers")),
        send=_send(f"{name}.send", said.get("send"), flaws),
        expect=_expect(f"{name}.expect", said.get("expect"), flaws),
        not_run=flaws.text(f"{name}.not_run", said.get("not_run")),
    )
    if not case.id or not case.title:
        flaws.add(name, "has no id or no title", "write both")
    if case.operation not in OPERATIONS:
        flaws.add(f"{name}.operation", "is unknown", f"it is {', '.join(OPERATIONS)}")
    for customer in case.customers:
        if customer.partition("#")[0] not in CUSTOMERS:
            flaws.add(f"{name}.customers", "names an unknown customer", f"use {', '.join(CUSTOMERS)}")
    if not case.not_run and len(case.customers) != 1 and case.operation != "register_file":
        flaws.add(f"{name}.customers", "is not one customer", "only a file has several")
    return case


def _send(name: str, value: Any, flaws: Flaws) -> Mapping[str, Any]:
    said = flaws.mapping(name, value, SEND)
    for key, one in said.items():
        if one not in CHOICES.get(key, (one,)):
            flaws.add(f"{name}.{key}", "is unknown", f"it is {' or '.join(CHOICES[key])}")
    return said


def _expect(name: str, value: Any, flaws: Flaws) -> Expectation:
    said = flaws.mapping(name, value, ("status", "code", "found", "loaded"))
    statuses, found = said.get("status"), said.get("found")
    if not isinstance(statuses, list) or not all(type(one) is int for one in statuses) or not statuses:
        flaws.add(f"{name}.status", "is not a list of statuses", "write it like [201]")
        statuses = []
    if found not in (None, True, False):
        flaws.add(f"{name}.found", "is neither true nor false", "write one of them, or leave it out")
    return Expectation(
        statuses=tuple(statuses),
        codes=flaws.texts(f"{name}.code", said.get("code")),
        found=found,
        loaded=said.get("loaded") is True,
    )
