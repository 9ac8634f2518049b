"""Reading the values of a YAML file: each flaw is noted with field, cause and remedy, and reading goes on."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

import yaml

try:  # libyaml's, where PyYAML has it: every Dag file reads every institution
    from yaml import CSafeLoader as SafeLoader
except ImportError:
    from yaml import SafeLoader  # type: ignore[assignment]

from kfr.register.errors import ConfigurationError
from kfr.register.settings import check_organisation_number

ACCOUNT_WEIGHTS: Final = (5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1)  # the weighted sum leaves no remainder by 11


@dataclass(slots=True)
class Flaws:
    """What is wrong so far. A value is never quoted: it may be a number that stands in the wrong place."""

    found: list[str] = field(default_factory=list)

    def add(self, name: str, cause: str, remedy: str) -> None:
        self.found.append(f"{name}: {cause}; {remedy}")

    def refuse_unknown(self, name: str, said: Mapping[Any, Any], known: Sequence[str]) -> None:
        for key in said:
            if key not in known:
                where = f"{name}.{key}" if name else str(key)
                self.add(where, "is not a field of this file", f"use {', '.join(known)}")

    def mapping(self, name: str, value: Any, known: Sequence[str]) -> Mapping[str, Any]:
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.add(name, "is not a list of fields", f"write {known[0]}: … on lines of their own below it")
            return {}
        self.refuse_unknown(name, value, known)
        return {key: part for key, part in value.items() if key in known}

    def text(self, name: str, value: Any) -> str:
        if value is None:
            return ""
        if not isinstance(value, str):
            self.add(name, "is not text", "write it in quotes")
            return ""
        return value.strip()

    def texts(self, name: str, value: Any) -> tuple[str, ...]:
        if value is None:
            return ()
        if not isinstance(value, list):
            self.add(name, "is not a list", "write one a line, each after a dash")
            return ()
        return tuple(self.text(f"{name}, entry {place}", one) for place, one in enumerate(value, 1))

    def day(self, name: str, value: Any) -> date | None:
        if value is None or (isinstance(value, date) and not isinstance(value, datetime)):
            return value
        self.add(name, "is no day", "write it as YYYY-MM-DD, without quotes and time")
        return None

    def number(self, name: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
            self.add(name, "is not a number of 0 or more", "write the number, or leave it empty")
            return 0
        if name.endswith("_share") and value > 1:
            self.add(name, "is a share above 1", "write 5 % as 0.05")
        return value

    def organisation_number(self, value: Any) -> str:
        text = str(value) if isinstance(value, int) else self.text("organisation_number", value)
        try:
            return text and check_organisation_number("organisation_number", text)
        except ConfigurationError as error:
            self.found.append(str(error))
            return ""

    def accounts(self, name: str, value: Any) -> tuple[str, ...]:
        """Account numbers, dots and spaces taken out; checked by their last digit (modulo 11)."""
        accounts = []
        for place, text in enumerate(self.texts(name, value), 1):
            digits = re.sub(r"[. ]", "", text)
            if not re.fullmatch(r"[0-9]{11}", digits):
                self.add(f"{name}, entry {place}", "is no account number", "write its 11 digits, in quotes")
            elif sum(w * int(d) for w, d in zip(ACCOUNT_WEIGHTS, digits, strict=True)) % 11:
                self.add(f"{name}, entry {place}", "has a check digit that is not right", "compare it")
            accounts.append(digits)
        return tuple(accounts)


class _OnceOnly(SafeLoader):
    """Refuses a key that stands twice: YAML would silently take the last."""


def _construct(loader: _OnceOnly, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key) for key, _ in node.value]
    for key in keys:
        if keys.count(key) > 1:
            raise yaml.MarkedYAMLError(problem=f"{key} stands twice", problem_mark=node.start_mark)
    return loader.construct_mapping(node, deep=True)


_OnceOnly.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _construct)


def read_yaml(path: Path, flaws: Flaws) -> Mapping[str, Any]:
    """The fields of a YAML file; an empty file has none."""
    try:
        said = yaml.load(path.read_text(encoding="utf-8"), Loader=_OnceOnly)  # noqa: S506 - a SafeLoader
    except (OSError, UnicodeDecodeError):
        flaws.add(path.name, "cannot be read", "see that it exists, is readable and is UTF-8")
        return {}
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}" if mark else path.name
        flaws.add(
            where, f"is no YAML ({getattr(error, 'problem', None)})", "look at indents, colons and quotes"
        )
        return {}
    if said is not None and not isinstance(said, dict):
        flaws.add(path.name, "is not a list of fields", "write field: value on lines of their own")
        return {}
    return said or {}
