"""What must not pass unseen: figures of an extract and a plan that stop a run or ask a person."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from enum import Enum
from typing import Literal

from kfr.relationships.identifiers import World

Environment = Literal["test", "production"]

FIRST_DAY_OF_2032_NUMBERS = date(2032, 1, 1)  # in production; test systems issue them already (SKE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """From where on a guard speaks; what equals a limit still passes."""

    shrink_share: float = 0.20  # of the mirror, missing in the desired state
    outside_share: float = 0.50  # of the customers of an interval, without a change in it
    removals: int = 500
    removal_share: float = 0.02  # of the mirror
    reject_share: float = 0.01  # of the rows read
    agreed_test_users: int = 0  # real persons whom Bits agreed to have in test


DEFAULT_LIMITS = Limits()


class Severity(Enum):
    """What a finding does to a run."""

    STOPS = "stops"  # the run fails
    ASKS = "asks"  # a person decides


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One guard that spoke; the message has figures and no identifiers."""

    code: str
    severity: Severity
    message: str


def judge(
    *,
    rows: int,
    rows_rejected: int,
    customers: int,
    desired: int,
    mirror: int,
    population: int,
    removals: int,
    worlds: Mapping[World, int],
    numbers_of_2032: int,
    environment: Environment,
    on: date,
    whole: bool = True,
    outside_interval: int = 0,
    limits: Limits = DEFAULT_LIMITS,
) -> list[Finding]:
    """Every guard that has something to say, those that stop the run first.

    `rows` are rows read, of so many `customers`; `desired` and `mirror` count relationships, `removals` those
    due. Of an extract that is not `whole` (the customers of an interval) `mirror` counts the same customers, and
    `outside_interval` those without a change in it; `population` is the whole mirror. `worlds` and
    `numbers_of_2032` count identifiers among the desired (right by the rule of 2032 only). `on` is the Oslo day.
    """
    return [
        *_judge_rows(rows, rows_rejected, whole=whole),
        *_judge_worlds(worlds, limits.agreed_test_users, environment),
        *_judge_2032(numbers_of_2032, environment, on),
        *(_judge_size(desired, mirror, limits) if whole else ()),
        *_judge_interval(customers, outside_interval, limits),
        *_judge_removals(population, removals, limits),
        *_judge_rejects(rows if whole else max(rows, population), rows_rejected, limits),
    ]


def _judge_rows(rows: int, rejected: int, *, whole: bool) -> Iterator[Finding]:
    if not whole:
        return  # in an interval perhaps nothing changed, or only rows that are wrong
    if rows == 0:
        yield _stop(
            "empty_extract", "The warehouse returned no agreement. Check the query and the day's load."
        )
    elif rejected == rows:
        yield _stop("all_rejected", f"All {rows} rows were refused. Check the columns that the query maps.")


def _judge_worlds(worlds: Mapping[World, int], agreed: int, environment: Environment) -> Iterator[Finding]:
    synthetic, real = worlds.get(World.SYNTHETIC, 0), worlds.get(World.REAL_PERSON, 0)
    if environment == "production" and synthetic:
        yield _stop(
            "mixed_worlds",
            f"{synthetic} synthetic numbers in a load to production. They belong to no one: "
            "is this the right warehouse?",
        )
    if environment == "test" and real > agreed:
        yield _stop(
            "mixed_worlds",
            f"{real} numbers of real persons in a load to test, where {agreed} are agreed with Bits. "
            "Test data are synthetic: is this the right warehouse?",
        )


def _judge_2032(numbers: int, environment: Environment, on: date) -> Iterator[Finding]:
    if environment == "production" and numbers and on < FIRST_DAY_OF_2032_NUMBERS:
        yield _stop(
            "numbers_of_2032",
            f"{numbers} numbers are right only by the rule of 2032, which none has in production yet.",
        )


def _judge_size(desired: int, mirror: int, limits: Limits) -> Iterator[Finding]:
    if mirror - desired > limits.shrink_share * mirror:
        yield _ask(
            "shrunk",
            f"{desired} relationships now, {mirror} before: more than {_percent(limits.shrink_share)} fewer. "
            "Is the extract complete?",
        )


def _judge_interval(customers: int, outside: int, limits: Limits) -> Iterator[Finding]:
    if outside > limits.outside_share * customers:
        yield _ask(
            "outside_interval",
            f"Of {outside} of {customers} customers nothing began or ended in the interval. Were so many facts "
            "entered late, or does changed_agreements.sql not keep to its days?",
        )


def _judge_removals(population: int, removals: int, limits: Limits) -> Iterator[Finding]:
    if removals > limits.removals or removals > limits.removal_share * population:
        yield _ask(
            "many_removals",
            f"{removals} removals of {population} relationships, over {limits.removals} "
            f"or {_percent(limits.removal_share)}. Did so many customers leave?",
        )


def _judge_rejects(rows: int, rejected: int, limits: Limits) -> Iterator[Finding]:
    if rejected > limits.reject_share * rows:
        yield _ask(
            "many_rejects",
            f"{rejected} of {rows} rows were refused, over {_percent(limits.reject_share)}. "
            "The report counts them by reason.",
        )


def _stop(code: str, message: str) -> Finding:
    return Finding(code=code, severity=Severity.STOPS, message=message)


def _ask(code: str, message: str) -> Finding:
    return Finding(code=code, severity=Severity.ASKS, message=message)


def _percent(share: float) -> str:
    return f"{share * 100:g} %"
