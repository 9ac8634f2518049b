"""Refused rows that are many, or starts, and removals that no plan has: nothing of it stops the loads that follow."""

from datetime import timedelta

import pytest

from kfr.load import extract, lease, planning, refusals, removal, upload, watermark
from kfr.load.last_word import ExtractUnfit
from kfr.register.client import RegisterClient
from kfr.register.errors import InvalidDate
from kfr.relationships.guards import Limits
from kfr.relationships.packing import text_of
from tests.faults.institution import Institution
from tests.simulator import Switches
from tests.unit.load.one_load import TEN_ROWS, OneLoad


@pytest.mark.parametrize("how", ["a week later", "asked for"])
def test_more_refused_rows_than_one_file_may_have_are_tried_again_in_several(load, how, monkeypatch):
    monkeypatch.setattr(refusals, "MOST_IN_A_FILE", 4)
    monkeypatch.setattr(upload, "MAX_REFUSED_ROWS", 4)
    bad = load.join(30)[::5]
    load.institution.simulator.refuses.update(bad)
    load = load.with_run(max_batch_bytes=TEN_ROWS)
    load.load()
    load.finish()
    lease.release(load.world)
    load.pass_days(refusals.RETRY_DAYS if how == "a week later" else 1)
    if how == "asked for":
        refusals.retry(load.world.state)
    load = load.next(max_batch_bytes=10**7)
    load.run_through()
    assert [len(load.world.place.read_array(f"files/{n}")) for n in planning.read(load.world).labels] == [
        4,
        2,
    ]
    load.pass_days(1)
    load = load.next()
    load.run_through()
    assert planning.read(load.world).held_back == len(bad)


def test_a_start_that_is_refused_is_no_start_that_the_register_keeps(folder, monkeypatch):
    load = OneLoad(Institution(folder, switches=Switches(second_file="changes_start")))
    customer = load.join(20)[3]
    load.first()
    (agreement,) = (a for a in load.institution.warehouse.agreements_held if int(a.customer) == customer)
    before, send, refuses = agreement.started, RegisterClient.send_file, [True]
    agreement.started -= timedelta(days=40)

    def turned_down(client, body):
        if refuses and f"{text_of(customer)}#{agreement.started}".encode() in bytes(body):
            raise InvalidDate("no such day", status=400, code="KFR-010")
        return send(client, body)

    monkeypatch.setattr(RegisterClient, "send_file", turned_down)
    for held_back in (0, 1, 1):
        load.pass_days(1)
        load.join(2, days_ago=3)
        load = load.next()
        proof = load.run_through()
        plan = planning.read(load.world)
        assert (plan.held_back, plan.start_kept, plan.fates["rejected"]) == (held_back, 0, held_back)
        assert sum(s.start_not_corrected for s in proof.strata) == 0
    assert load.registered[customer] == before
    refuses.clear()
    refusals.retry(load.world.state)
    load.pass_days(1)
    load = load.next()
    load.run_through()
    assert load.registered[customer] == agreement.started
    assert not len(refusals.read(load.world.state))


@pytest.mark.parametrize("scope", ["interval", "everyone"])
def test_many_removals_that_the_institution_s_queue_asks_for_are_shown_to_a_person(load, scope):
    gone = load.join(40)[:3]
    load.first()
    load = a_month_later(load, scope)
    load.forget(gone)
    load.institution.warehouse.queue.update(dict.fromkeys(map(text_of, gone)))
    load = load.next(scope=scope, approval="auto", limits=Limits())
    load.add()
    if scope == "interval":
        with pytest.raises(ExtractUnfit, match="3 removals are due that the plan did not have"):
            load.finish()
        load.acquire()
        extract.extract_relationships(load.world)  # cleared, as it says
        load.add()
    assert (planning.read(load.world).removals, planning.read(load.world).asks) == (3, True)
    planning.approve(load.world, "somebody")
    load.finish()
    assert not set(gone) & set(load.registered)


def a_month_later(load: OneLoad, scope: str) -> OneLoad:
    watermark.follow(load.world, extract.read(load.world))
    load.pass_days(30)
    load = load.next(scope=scope)
    load.run_through()
    watermark.follow(load.world, extract.read(load.world))
    load.pass_days(1)
    return load


def test_rows_that_were_refused_do_not_count_for_the_notice_once_their_file_is_closed(load):
    customers = load.join(60)
    load.institution.simulator.refuses.add(customers[20])
    load.first()
    sent = load.world.journal.rows_sent_on(load.today)
    assert sent == 59
    load.institution.clock.advance(3600)
    load = load.next()
    load.run_through()
    assert load.world.journal.rows_sent_on(load.today) == sent


def test_whoever_s_number_the_register_takes_for_wrong_counts_as_not_removed(load):
    customers = load.join(20)
    load.load()
    load.institution.simulator.refuses.add(customers[3])
    load.end(customers[3:5])
    assert removal.remove_ended(load.world).removed == 1
