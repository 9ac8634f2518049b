"""Rows that come after everybody thought them lost: no removal may leave before them, and nobody is forgotten."""

from dataclasses import replace
from datetime import timedelta

import pytest

from kfr.load import extract, lease, removal, upload, watermark
from kfr.load.removal_queue import Removal
from kfr.load.upload import NotLoaded
from kfr.relationships.packing import ids_of
from tests.faults.institution import Institution
from tests.simulator import FaultKind, Switches
from tests.unit.load.one_load import OneLoad, removed, states

STILL_SECONDS = 6 * 3600.0


def given_up(load: OneLoad, customers: int, *, staying: int = 0) -> tuple[OneLoad, list[int]]:
    """A file that the register takes and stands still before; a person closes its send, and all but some end.

    The next load, and who has ended.
    """
    load.join(30)
    load.first()
    load.pass_days(1)
    load = load.next()
    new = load.join(customers, days_ago=10)
    load.plan(first_load=False)
    load.fault(FaultKind.LOADING_STALLED, seconds=STILL_SECONDS)
    with pytest.raises(NotLoaded):
        load.send()
    lease.release(load.world)
    (send,) = [s for s in load.sends if s.run == load.run.key]
    load.world.journal.put(replace(send, closed_because="Bits: never loaded"))
    load.end(new[staying:])
    return load, new[staying:]


def test_who_is_looked_up_in_vain_while_their_file_may_come_stays_ours_and_is_removed_when_it_has_come(load):
    load, new = given_up(load, 3)
    yesterday = load.today - timedelta(days=1)
    load = load.next(scope="interval", compare_with="register", interval=(yesterday, load.today))
    load.run_through()
    assert set(new) <= set(load.possible)
    assert states(load) == dict.fromkeys(new, Removal.DUE)
    assert removed(load) == []
    load.pass_days(1)
    assert set(new) <= load.registered.keys()  # the register went on
    load.next(scope="everyone", compare_with="mirror", interval=None).run_through()
    assert not set(new) & load.registered.keys()


def test_one_who_is_looked_up_in_vain_lets_nobody_else_of_the_file_be_removed_early(folder):
    switches = Switches(file_order="newest_first")
    load, new = given_up(OneLoad(Institution(folder, switches=switches, rows_per_second=3.0)), 100, staying=1)
    load = load.next()
    (label,) = load.plan(first_load=False).labels
    upload.upload(load.world, label)
    load.institution.clock.advance(STILL_SECONDS)
    load.send(label)
    load.close_additions()
    load.settle()
    load.finish()
    lease.release(load.world)
    assert removed(load) == []
    load.pass_days(1)
    load.next().run_through()
    assert not set(new) & load.registered.keys()


def test_a_second_copy_may_take_as_long_as_the_first_took_also_if_nobody_looked_meanwhile(folder):
    institution = Institution(folder, rows_per_second=1.0)
    institution.believe(250.0)
    load = OneLoad(institution)
    load.join(5)
    load.first()
    load.pass_days(1)
    load = load.next()
    load.join(400, days_ago=10)
    load.plan(first_load=False)
    load.fault(FaultKind.FILE_LOADED_TWICE)
    upload.upload(load.world, "0001")
    lease.release(load.world)  # the run dies, and nobody looks
    institution.clock.advance(410)
    last = ids_of(load.world.place.read_array("files/0001"))[-50:].tolist()
    load = load.next()
    load.end(last)
    load.plan(first_load=False)
    load.close_additions()
    assert removal.remove_ended(load.world).held_back == len(last)
    assert removed(load) == []
    institution.clock.advance(400)
    assert institution.simulator.pending_rows == 0
    assert removal.remove_ended(load.world).removed == len(last)
    assert not set(last) & load.registered.keys()


def test_a_removal_that_waits_for_the_next_day_is_kept_for_the_loads_of_an_interval(folder):
    load = OneLoad(Institution(folder, switches=Switches(second_file="changes_start")))
    load.join(10, days_ago=100)
    load.first()
    load.pass_days(1)
    customer = load.proven[0]
    (agreement,) = [a for a in load.institution.warehouse.agreements_held if int(a.customer) == customer]
    agreement.started -= timedelta(days=50)
    load = load.next()
    load.run_through()  # files the start anew; nothing can prove that file
    watermark.follow(load.world, extract.read(load.world))
    ended = load.today - timedelta(days=30)
    load.end([customer], on=ended)
    load = load.next(scope="interval", compare_with="register", interval=(ended, ended))
    load.run_through()
    assert states(load) == {customer: Removal.DUE}
    load.pass_days(1)
    load.next(scope="interval", compare_with="mirror", interval=None).run_through()  # of seven days
    assert customer not in load.registered
