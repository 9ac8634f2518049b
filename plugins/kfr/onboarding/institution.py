"""The institution's file: read, checked as a whole, every flaw named at once with its remedy. No secrets."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Final

from kfr.clock import SystemClock, oslo_today
from kfr.onboarding.fields import Flaws, read_yaml
from kfr.onboarding.guide import OPEN, STATES, TASKS, Progress, State, contradictions
from kfr.register.errors import ConfigurationError
from kfr.register.settings import Settings

DEFAULT: Final = "default"
DEFAULT_FILE: Final = "institution.yaml"
FURTHER: Final = "institutions"  # folder of one file for each further institution

FIELDS: Final = (
    "name", "organisation_number", "contacts", "signatory", "concessions", "collection_accounts",
    "wanted_integration_start", "wanted_production_loading", "connections", "sql", "thresholds",
    "agreed_test_users", "tasks",
)  # fmt: skip
CONTACTS: Final = ("main", "technical", "security", "business")
CONNECTIONS: Final = ("register", "warehouse")
THRESHOLDS: Final = ("shrink_share", "removals", "removal_share", "reject_share")  # of guards.Limits

# What the registration form asks for (ONB B-2), and the field that holds it.
REGISTRATION: Final = (
    "name", "organisation_number", "contacts.main", "contacts.technical", "contacts.security",
    "contacts.business", "signatory", "concessions", "collection_accounts", "wanted_integration_start",
    "wanted_production_loading",
)  # fmt: skip


class InstitutionFileError(ConfigurationError):
    """Raised when an institution's file cannot be read, or says what cannot be; the message names every flaw."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """Someone at the institution."""

    name: str
    email: str
    phone: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Institution:
    """One institution of this deployment; what its file does not say (yet) is empty.

    ``key`` is ``default`` or the file's name; ``include`` the folder that holds the files. ``flaw`` is what is
    wrong with the file, when only key and names by convention can be relied on.
    """

    key: str
    path: Path
    include: Path
    name: str = ""
    organisation_number: str = ""
    contacts: Mapping[str, Contact] = field(default_factory=dict)
    signatory: Contact | None = None
    concessions: tuple[str, ...] = ()
    collection_accounts: tuple[str, ...] = field(default=(), repr=False)
    wanted_integration_start: date | None = None
    wanted_production_loading: date | None = None
    kfr_conn_id: str
    warehouse_conn_id: str
    sql: str = "sql"
    thresholds: Mapping[str, float] = field(default_factory=dict)
    agreed_test_users: int = 0
    tasks: Mapping[str, Progress] = field(default_factory=dict)
    flaw: str | None = None

    @property
    def suffix(self) -> str:
        """What follows a Dag's or the asset's name; nothing for the first institution."""
        return "" if self.key == DEFAULT else f"__{self.key}"

    def dag_id(self, base: str) -> str:
        return f"{base}{self.suffix}"

    def display_name(self, base: str) -> str:
        return base if self.key == DEFAULT else f"{base}, {self.name or self.key}"

    def doc_md(self, text: str) -> str:
        """A Dag's documentation, which says first what is wrong with the institution's file."""
        return text if self.flaw is None else f"**This Dag cannot run:** {self.flaw}\n\n{text}"

    @property
    def asset_name(self) -> str:
        return f"kfr_register{self.suffix}"

    @property
    def asset_uri(self) -> str:
        return f"kfr://register/{self.key}"

    @property
    def sql_folder(self) -> Path:
        return self.include / self.sql

    def require_own_register(self, settings: Settings) -> None:
        """ConfigurationError unless a connection is this institution's; a file without a number takes any."""
        if self.organisation_number not in {"", settings.fid}:
            raise ConfigurationError(
                f"The connection to the register is of another institution than {self.path.name}: its fid is not "
                "the file's organisation_number. Mend the one that is wrong. Nothing was sent."
            )

    @property
    def sender(self) -> str:
        """Who signs a mail to Bits: the technical contact and the institution, as far as they are known."""
        technical = self.contacts.get("technical")
        known = [technical.name if technical else "", self.name or self.organisation_number]
        return "\n".join(part for part in known if part)

    @property
    def missing(self) -> list[str]:
        """What the registration form asks for and the file does not say (ONB B-2)."""
        return [name for name in REGISTRATION if not self._value(name)]

    def progress(self, task_id: str) -> Progress:
        return self.tasks.get(task_id, OPEN)

    def _value(self, name: str) -> Any:
        whole, _, part = name.partition(".")
        value = getattr(self, whole)
        return value.get(part) if part else value


def institutions(include: Path) -> list[Institution]:
    """Every institution of a deployment, for a Dag file to loop over; never raises for what a file says.

    The first is ``institution.yaml``; the others are the files of ``institutions/``, by name. A file with a flaw
    gives an institution with ``flaw``: its Dags stay, and say at their first task what is wrong.
    """
    files = [include / DEFAULT_FILE, *sorted((include / FURTHER).glob("*.yaml"))]
    if len(files) > 1 and not files[0].exists():
        del files[0]
    found: list[Institution] = []
    for path in files:
        try:
            one = read_institution(path, include)
            _require_own(one, found)
        except InstitutionFileError as error:
            one = _nameless(path, include, flaw=str(error))
        found.append(one)
    return found


def read_institution(path: Path, include: Path) -> Institution:
    """Read one file; the default one may be missing, which is an institution that has said nothing yet.

    :raises InstitutionFileError: with every flaw.
    """
    blank = _nameless(path, include)
    flaws = Flaws()
    if path.name != DEFAULT_FILE and not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", path.stem):
        flaws.add("the file's name", "makes no Dag id", "use small letters, digits and _, as in my_bank.yaml")
    if blank.key == DEFAULT and not path.exists():
        return blank
    said = read_yaml(path, flaws)
    read = _read(said, blank, flaws)
    if flaws.found:
        listed = "".join(f"\n- {flaw}" for flaw in flaws.found)
        raise InstitutionFileError(f"{path.relative_to(include.parent)} is not right:{listed}")
    return read


def find_institution(key: str, include: Path) -> Institution:
    """Read one institution anew, at run time, and see that its file can be relied on.

    :raises InstitutionFileError: its file has a flaw, or is gone.
    """
    found = {one.key: one for one in institutions(include)}
    if key not in found:
        raise InstitutionFileError(f"The file of institution {key} is gone from {include.name}/; put it back")
    if (flaw := found[key].flaw) is not None:
        raise InstitutionFileError(flaw)
    return found[key]


def _nameless(path: Path, include: Path, flaw: str | None = None) -> Institution:
    key = DEFAULT if path == include / DEFAULT_FILE else re.sub(r"[^a-z0-9_]+", "_", path.stem.lower())
    first = key == DEFAULT
    return Institution(
        key=key,
        path=path,
        include=include,
        kfr_conn_id="kfr_default" if first else f"kfr_{key}",
        warehouse_conn_id="kfr_warehouse" if first else f"kfr_warehouse_{key}",
        flaw=flaw,
    )


def _require_own(one: Institution, others: list[Institution]) -> None:
    """Two institutions with one number or one connection would write to one register, each from its warehouse."""
    for other in others:
        shared = {
            "the file's name": one.key == other.key,
            "organisation_number": one.organisation_number
            and one.organisation_number == other.organisation_number,
            "connections.register": one.kfr_conn_id == other.kfr_conn_id,
        }
        for name, same in shared.items():
            if same:
                raise InstitutionFileError(
                    f"{one.path.name}: {name} is that of {other.path.name}, too; give each institution its own"
                )


def _read(said: Mapping[str, Any], blank: Institution, flaws: Flaws) -> Institution:
    flaws.refuse_unknown("", said, FIELDS)
    contacts = flaws.mapping("contacts", said.get("contacts"), CONTACTS)
    connections = flaws.mapping("connections", said.get("connections"), CONNECTIONS)
    thresholds = flaws.mapping("thresholds", said.get("thresholds"), THRESHOLDS)
    read_contacts = {name: _contact(f"contacts.{name}", value, flaws) for name, value in contacts.items()}
    return Institution(
        key=blank.key,
        path=blank.path,
        include=blank.include,
        name=flaws.text("name", said.get("name")),
        organisation_number=flaws.organisation_number(said.get("organisation_number")),
        contacts={name: contact for name, contact in read_contacts.items() if contact},
        signatory=_contact("signatory", said.get("signatory"), flaws),
        concessions=flaws.texts("concessions", said.get("concessions")),
        collection_accounts=flaws.accounts("collection_accounts", said.get("collection_accounts")),
        wanted_integration_start=flaws.day("wanted_integration_start", said.get("wanted_integration_start")),
        wanted_production_loading=flaws.day(
            "wanted_production_loading", said.get("wanted_production_loading")
        ),
        kfr_conn_id=flaws.text("connections.register", connections.get("register")) or blank.kfr_conn_id,
        warehouse_conn_id=flaws.text("connections.warehouse", connections.get("warehouse"))
        or blank.warehouse_conn_id,
        sql=flaws.text("sql", said.get("sql")) or blank.sql,
        thresholds={
            name: flaws.number(f"thresholds.{name}", value)
            for name, value in thresholds.items()
            if value is not None
        },
        agreed_test_users=int(flaws.number("agreed_test_users", said.get("agreed_test_users") or 0)),
        tasks=_tasks(said.get("tasks"), flaws),
    )


def _contact(name: str, value: Any, flaws: Flaws) -> Contact | None:
    said = flaws.mapping(name, value, ("name", "email", "phone"))
    parts = {part: flaws.text(f"{name}.{part}", said.get(part)) for part in ("name", "email", "phone")}
    if not any(parts.values()):
        return None
    if not parts["name"]:
        flaws.add(f"{name}.name", "is missing", "write who it is, or empty the contact")
    if not re.fullmatch(r"[^@\s,;<>]+@[^@\s,;<>]+\.[^@\s,;<>]+", parts["email"]):
        flaws.add(f"{name}.email", "is no mail address", "write one, like kari@bank.example")
    return Contact(**parts)


def _tasks(value: Any, flaws: Flaws) -> dict[str, Progress]:
    before = len(flaws.found)
    said = flaws.mapping("tasks", value, tuple(TASKS))
    tasks = {task_id: _progress(f"tasks.{task_id}", said.get(task_id), flaws) for task_id in TASKS}
    if len(flaws.found) == before:
        flaws.found += contradictions(tasks, oslo_today(SystemClock()))
    return tasks


def _progress(name: str, value: Any, flaws: Flaws) -> Progress:
    said = flaws.mapping(name, value, ("state", "date", "by"))
    state: State = said.get("state") or "open"
    if state not in STATES:
        flaws.add(f"{name}.state", "is unknown", f"it is {', '.join(STATES)}")
        return OPEN
    day, by = flaws.day(f"{name}.date", said.get("date")), flaws.text(f"{name}.by", said.get("by"))
    if state != "open" and (day is None or not by):
        flaws.add(name, f"is {state} without a date or a name", "write date and by: when, and who says so")
    return Progress(state=state, day=day, by=by)
