from datetime import date
from typing import Any

import pytest

from kfr.relationships.guards import Finding, Limits, Severity, judge
from kfr.relationships.identifiers import World

HEALTHY: dict[str, Any] = {
    "rows": 120_000,
    "rows_rejected": 10,
    "customers": 100_000,
    "desired": 100_000,
    "mirror": 100_000,
    "population": 100_000,
    "removals": 20,
    "worlds": {World.ORGANISATION: 10_000, World.REAL_PERSON: 90_000},
    "numbers_of_2032": 0,
    "environment": "production",
    "on": date(2026, 3, 2),
}
IN_TEST = {"environment": "test", "worlds": {World.ORGANISATION: 10_000, World.SYNTHETIC: 90_000}}
FIRST_LOAD = {"mirror": 0, "population": 0, "removals": 0}
INTERVAL = {"whole": False, "rows": 12, "rows_rejected": 0, "customers": 10, "desired": 8, "mirror": 9}


def find(**figures: Any) -> list[Finding]:
    return judge(**HEALTHY | figures)


def codes_of(**figures: Any) -> list[str]:
    return [finding.code for finding in find(**figures)]


@pytest.mark.parametrize("figures", [{}, IN_TEST, FIRST_LOAD, FIRST_LOAD | IN_TEST, INTERVAL])
def test_a_healthy_load_passes_every_guard(figures):
    assert find(**figures) == []


@pytest.mark.parametrize(
    ("figures", "code", "severity"),
    [
        (FIRST_LOAD | {"rows": 0, "rows_rejected": 0, "desired": 0}, "empty_extract", Severity.STOPS),
        ({"rows": 7, "rows_rejected": 7}, "all_rejected", Severity.STOPS),
        ({"desired": 79_999}, "shrunk", Severity.ASKS),
        ({"removals": 501}, "many_removals", Severity.ASKS),
        ({"population": 1_000, "removals": 21}, "many_removals", Severity.ASKS),
        ({"rows_rejected": 1_201}, "many_rejects", Severity.ASKS),
        ({"worlds": {World.SYNTHETIC: 1}}, "mixed_worlds", Severity.STOPS),
        (IN_TEST | {"worlds": {World.REAL_PERSON: 1}}, "mixed_worlds", Severity.STOPS),
        (
            IN_TEST | {"worlds": {World.REAL_PERSON: 3}, "limits": Limits(agreed_test_users=2)},
            "mixed_worlds",
            Severity.STOPS,
        ),
        (INTERVAL | {"outside_interval": 6}, "outside_interval", Severity.ASKS),
        (INTERVAL | {"rows_rejected": 1_001}, "many_rejects", Severity.ASKS),
        (INTERVAL | {"removals": 501}, "many_removals", Severity.ASKS),
        ({"numbers_of_2032": 1}, "numbers_of_2032", Severity.STOPS),
        ({"numbers_of_2032": 1, "on": date(2031, 12, 31)}, "numbers_of_2032", Severity.STOPS),
    ],
)
def test_each_guard_speaks_just_beyond_its_limit(figures, code, severity):
    assert (code, severity) in [(finding.code, finding.severity) for finding in find(**figures)]


@pytest.mark.parametrize(
    "figures",
    [
        {"desired": 80_000},
        {"removals": 500},
        {"population": 1_000, "removals": 20},
        INTERVAL | {"outside_interval": 5},
        INTERVAL | {"rows_rejected": 1_000},
        {"rows_rejected": 1_200},
        {"numbers_of_2032": 1, "on": date(2032, 1, 1)},
        IN_TEST | {"numbers_of_2032": 1},
        IN_TEST | {"worlds": {World.REAL_PERSON: 2}, "limits": Limits(agreed_test_users=2)},
        {"desired": 500_000},
    ],
)
def test_what_equals_a_limit_still_passes(figures):
    assert find(**figures) == []


@pytest.mark.parametrize(
    "figures", [{"rows": 0, "customers": 0, "desired": 0}, {"rows_rejected": 12}, {"desired": 0}]
)
def test_an_interval_may_be_empty_or_small_or_hold_only_wrong_rows(figures):
    assert find(**INTERVAL | figures) == []


def test_an_empty_extract_over_a_mirror_stops_and_never_only_asks():
    assert codes_of(rows=0, rows_rejected=0, desired=0)[0] == "empty_extract"


def test_findings_that_stop_stand_before_those_that_ask():
    findings = find(
        rows=9, rows_rejected=9, desired=1, removals=600, worlds={World.SYNTHETIC: 1}, numbers_of_2032=1
    )
    assert [finding.code for finding in findings] == [
        "all_rejected",
        "mixed_worlds",
        "numbers_of_2032",
        "shrunk",
        "many_removals",
        "many_rejects",
    ]


def test_limits_can_be_moved():
    assert codes_of(removals=20, limits=Limits(removals=19)) == ["many_removals"]
    assert codes_of(desired=70_000, limits=Limits(shrink_share=0.3)) == []


@pytest.mark.parametrize(
    ("figures", "message"),
    [
        (
            {"rows": 0, "rows_rejected": 0},
            "The warehouse returned no agreement. Check the query and the day's load.",
        ),
        (
            {"rows": 7, "rows_rejected": 7},
            "All 7 rows were refused. Check the columns that the query maps.",
        ),
        (
            {"worlds": {World.SYNTHETIC: 3}},
            "3 synthetic numbers in a load to production. They belong to no one: is this the right warehouse?",
        ),
        (
            IN_TEST | {"worlds": {World.REAL_PERSON: 4}, "limits": Limits(agreed_test_users=2)},
            (
                "4 numbers of real persons in a load to test, where 2 are agreed with Bits. "
                "Test data are synthetic: is this the right warehouse?"
            ),
        ),
        (
            {"numbers_of_2032": 5},
            "5 numbers are right only by the rule of 2032, which none has in production yet.",
        ),
        (
            {"desired": 79_999},
            "79999 relationships now, 100000 before: more than 20 % fewer. Is the extract complete?",
        ),
        (
            INTERVAL | {"outside_interval": 6},
            (
                "Of 6 of 10 customers nothing began or ended in the interval. Were so many facts entered late, or "
                "does changed_agreements.sql not keep to its days?"
            ),
        ),
        (
            {"removals": 501},
            "501 removals of 100000 relationships, over 500 or 2 %. Did so many customers leave?",
        ),
        (
            {"rows_rejected": 1_201},
            "1201 of 120000 rows were refused, over 1 %. The report counts them by reason.",
        ),
    ],
)
def test_a_guard_says_what_it_found_and_where_to_look(figures, message):
    assert find(**figures)[0].message == message
