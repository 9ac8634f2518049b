import asyncio
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from airflow.sdk.module_loading import import_string

from kfr.hooks.kfr import staging_url
from kfr.load.journal import Journal, Outcome, Send, Witness
from kfr.relationships.packing import pack
from kfr.triggers.loading import KfrLoadingTrigger
from tests.simulator import Fault, FaultKind
from tests.simulator.identifiers import text_of
from tests.unit.stand import Stand

CUSTOMER = 1_898_228_475
FILE = "f" * 64


@pytest.fixture
def journal(stand: Stand) -> Journal:
    """One file is sent, with one witness."""
    journal = Journal(stand.staging.state)
    send = Send(
        file=FILE,
        attempt=1,
        run="a-run",
        label="0001",
        rows=250,
        size=6000,
        counts_from=stand.clock.now().timestamp(),
        outcome=Outcome.ACCEPTED,
        witnesses=(Witness(customer_id=CUSTOMER),),
    )
    journal.intend(send, pack(np.array([CUSTOMER]), np.array([1])))
    return journal


def trigger(**changes: Any) -> KfrLoadingTrigger:
    given = {
        "kfr_conn_id": "kfr_default",
        "staging_url": staging_url(),
        "files": [FILE],
        "grace": 60.0,
        "share": 0.5,
        "until_settled": False,
    }
    return KfrLoadingTrigger(**given | changes)


def run(trigger_: KfrLoadingTrigger) -> dict[str, Any]:
    async def first() -> Any:
        return await anext(trigger_.run())

    return asyncio.run(first()).payload


def register(stand: Stand) -> None:
    from kfr.hooks.kfr import KfrHook

    with KfrHook().get_conn() as client:
        client.register_one(CUSTOMER)


def test_a_trigger_is_made_again_from_what_it_serialises(stand: Stand):
    path, arguments = trigger().serialize()
    again = import_string(path)(**arguments)
    assert again.serialize() == (path, arguments)


def test_its_arguments_and_its_event_hold_no_customer(stand: Stand, journal: Journal):
    register(stand)
    shown = f"{trigger().serialize()} {run(trigger())}"
    assert text_of(CUSTOMER) not in shown
    assert str(CUSTOMER) not in shown


def test_a_file_whose_witness_is_found_is_proven_and_nothing_is_written(stand: Stand, journal: Journal):
    register(stand)
    before = journal.sends()
    event = run(trigger())
    assert event == {
        "proven": {before[0].name: (pytest.approx(stand.clock.now().timestamp()), 0.0)},
        "late": [],
    }
    assert journal.sends() == before


def test_a_file_that_does_not_appear_is_late(stand: Stand, journal: Journal):
    assert run(trigger()) == {"proven": {}, "late": [FILE]}


def test_it_can_wait_until_a_second_copy_would_be_loaded_too(stand: Stand, journal: Journal):
    register(stand)
    began = stand.clock.monotonic()
    run(trigger())
    proven = stand.clock.monotonic() - began
    run(trigger(until_settled=True))
    assert stand.clock.monotonic() - began > max(proven, 11.0)


def test_its_log_says_how_far_the_file_is(stand: Stand, journal: Journal, monkeypatch: pytest.MonkeyPatch):
    said: list[str] = []
    log = SimpleNamespace(info=said.append)
    monkeypatch.setattr(KfrLoadingTrigger, "log", property(lambda _: log))
    register(stand)
    run(trigger(until_settled=True))
    assert "File 0001: " in said[0]
    assert "Waiting until" in said[-1]
    assert text_of(CUSTOMER) not in str(said)


def test_a_passing_fault_is_waited_out(stand: Stand, journal: Journal):
    register(stand)
    stand.simulator.faults.add(Fault(kind=FaultKind.STATUS, operation="look_up", nth=1, times=3))
    assert run(trigger())["late"] == []


def test_an_error_comes_back_as_an_event_for_the_task_to_raise(stand: Stand, journal: Journal):
    stand.simulator.faults.add(Fault(kind=FaultKind.STATUS, operation="look_up", nth=1, times=99, status=403))
    assert run(trigger())["error"].startswith("AccessRefused: ")
