"""A question about a customer is answered from what is kept, long after the load, and is itself on record."""

import re
from dataclasses import replace

from kfr.load import delivery_log, retention
from kfr.load.retention import Retention
from kfr.relationships.packing import text_of
from tests.unit.load.one_load import OneLoad

STRANGER = 17_912_345_678


def ask(load: OneLoad, *customers: int) -> list[list[delivery_log.Fact]]:
    return delivery_log.ask(load.world.staging, load.world.clock, customers, by="kari", reason="Bits, case 7")


def said(facts: list[delivery_log.Fact]) -> str:
    return " | ".join(fact.what for fact in facts)


def years_of(load: OneLoad) -> tuple[OneLoad, list[int], int]:
    """A first load, one who comes and one who goes, and nights after that; who was filed, and who came singly."""
    filed = load.join(5)
    load = load.first()
    (single,) = load.join(1, days_ago=0)
    load.end(filed[:1])
    load.next().run_through()
    for _ in range(3):
        load.pass_days()
        load.next().run_through()
    return load, filed, single


def test_long_after_the_load_each_customer_s_way_is_told_with_the_correlation_id(load: OneLoad):
    load, filed, single = years_of(load)
    (sent,) = [e for e in load.institution.simulator.log if e.kind == "file_accepted"]
    assert load.sends == []  # nothing is under way any more
    gone, stays, alone, stranger = ask(load, filed[0], filed[1], single, STRANGER)
    assert re.match(
        r"file 0001 of kfr-initial-load\S+, attempt 1, CorrelationID \S+, accepted, proven ", said(stays)
    )
    assert str(sent.correlation_id) in said(stays)
    assert "mirror: proven to be registered, since " in said(stays)
    assert "removed, proven gone" in said(gone)
    assert "mirror" not in said(gone)
    assert said(alone).startswith("registered singly | mirror: proven")
    assert stranger == []
    assert [fact.when for fact in gone] == sorted(fact.when for fact in gone)


def test_while_a_load_runs_it_is_told_too(load: OneLoad):
    filed = load.join(3)
    load.load()
    (facts,) = ask(load, filed[2])
    assert "file 0001" in said(facts)
    assert "accepted, proven" in said(facts)


def test_each_reading_is_on_record_before_it_is_answered_and_names_nobody(load: OneLoad):
    load, filed, _ = years_of(load)
    ask(load, *filed[:2])
    (name,) = load.world.state.names("asked")
    kept = load.world.state.read_json(name)
    assert (kept["by"], kept["reason"], len(set(kept["customers"]))) == ("kari", "Bits, case 7", 2)
    assert not [who for who in filed if text_of(who) in str(kept)]
    (reading,) = delivery_log.readings(load.world.state)
    assert (reading["by"], reading["customers"]) == ("kari", 2)


def test_the_log_goes_with_its_time(load: OneLoad):
    load, filed, _ = years_of(load)
    ask(load, filed[1])
    kept = {folder: len(load.world.state.names(folder)) for folder in ("history", "delivered", "asked")}
    assert all(kept.values())
    load.pass_days(2 * 366)
    old = replace(load.run, retention=Retention(reports_years=3))
    assert retention.sweep(load.institution.world(old)) == 0
    retention.sweep(load.institution.world(replace(old, retention=Retention(reports_years=1))))
    assert [load.world.state.names(folder) for folder in kept] == [[], [], []]
