from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest

from kfr.load import extract, lease, mirror, planning, removal, upload
from kfr.load.journal import Outcome
from kfr.load.planning import NotApproved
from kfr.load.upload import NotLoaded
from kfr.register.errors import AccessRefused, OutcomeUnknown, Retriable
from kfr.relationships.packing import date_of, day_number, ids_of, starts_of, text_of
from tests.faults.warehouse import Agreement
from tests.simulator import FaultKind, Switches
from tests.unit.load.one_load import TEN_ROWS, OneLoad, customers_of, spoil


def files_sent(load: OneLoad) -> list[str]:
    return [e.kind for e in load.calls("register_file")]


def test_a_file_is_proven_by_witnesses_who_were_absent_before_it_was_sent(planned):
    result = planned.send()
    assert (result.status, result.rows, result.sends, result.refused) == ("proven", 30, 1, 0)
    (send,) = planned.sends
    assert send.outcome is Outcome.ACCEPTED
    assert send.proven_at
    log = planned.institution.simulator.log
    sent_at = next(n for n, e in enumerate(log) if e.kind == "file_accepted")
    seen = {e.customer_id: e.found for e in log[:sent_at] if e.kind == "look_up"}
    assert {w.customer_id: False for w in send.witnesses}.items() <= seen.items()
    assert len(planned.registered) == 30


def test_the_last_rows_and_the_first_are_among_the_witnesses(planned):
    planned.send()
    rows = ids_of(planned.world.place.read_array("files/0001")).tolist()
    assert {rows[0], *rows[-3:]} <= {w.customer_id for w in planned.sends[0].witnesses}


def test_a_file_that_is_proven_is_not_sent_again(planned):
    planned.send()
    assert upload.upload(planned.world, "0001") == []
    assert planned.send().sends == 1
    assert files_sent(planned) == ["file_accepted"]


def test_a_file_that_is_loading_is_waited_for_and_not_sent_again(planned):
    first = upload.upload(planned.world, "0001")
    assert upload.upload(planned.world, "0001") == first
    assert files_sent(planned) == ["file_accepted"]


def test_the_entry_stands_before_the_file_leaves(planned):
    """A worker that dies at any touch of sending leaves a send that may have left, if it left."""
    for touches in range(1, 200):
        died = planned.crash(touches, lambda: upload.upload(planned.world, "0001"))
        accepted = sum(e.kind == "file_accepted" for e in planned.institution.simulator.log)
        assert len([s for s in planned.sends if s.loads]) >= accepted
        if not died:
            break
    planned.send()
    planned.settle()
    assert planned.sends[-1].proven_at
    assert len(planned.registered) == 30


@pytest.mark.parametrize("kind", [FaultKind.RESET_AFTER_WORK, FaultKind.RESET_BEFORE_WORK])
def test_an_unknown_outcome_sends_the_same_bytes_again_as_a_new_entry_after_looking(planned, kind):
    planned.fault(kind)
    with pytest.raises(OutcomeUnknown):
        upload.upload(planned.world, "0001")
    assert [s.outcome for s in planned.sends] == [Outcome.UNKNOWN]
    looked = len(planned.calls("look_up"))
    files = upload.upload(planned.world, "0001")
    assert len(planned.calls("look_up")) > looked
    assert [(s.attempt, s.outcome) for s in planned.sends] == [(1, Outcome.UNKNOWN), (2, Outcome.ACCEPTED)]
    assert len({s.file for s in planned.sends}) == 1
    assert files == [planned.sends[0].file]


def test_a_file_without_an_answer_that_has_loaded_after_all_is_not_sent_again(planned):
    planned.fault(FaultKind.RESET_AFTER_WORK)
    with pytest.raises(OutcomeUnknown):
        upload.upload(planned.world, "0001")
    planned.institution.clock.advance(60)
    result = planned.send()
    assert (result.status, result.sends) == ("proven", 1)
    assert files_sent(planned) == ["file_accepted"]


@pytest.mark.parametrize(
    ("kind", "more"), [(FaultKind.NO_CONNECTION, {}), (FaultKind.STATUS, {"status": 429, "retry_after": 30})]
)
def test_a_file_that_surely_did_not_leave_leaves_no_entry(planned, kind, more):
    planned.fault(kind, **more)
    with pytest.raises(Retriable):
        upload.upload(planned.world, "0001")
    assert planned.sends == []
    assert planned.send().sends == 1


def test_an_access_problem_is_fatal_and_is_no_matter_of_rows(planned):
    planned.fault(FaultKind.STATUS, status=403, times=5)
    with pytest.raises(AccessRefused):
        upload.upload(planned.world, "0001")
    assert planned.sends == []
    assert files_sent(planned) == ["fault"]


def test_a_file_whose_loading_is_dropped_is_late_and_then_sent_again(planned):
    planned.fault(FaultKind.FILE_DROPPED)
    with pytest.raises(NotLoaded, match=r"same bytes again is safe.*no removal.*CorrelationID") as raised:
        planned.send()
    assert (raised.value.label, raised.value.late, raised.value.done, raised.value.files) == ("0001", 1, 0, 1)
    assert raised.value.correlation_id == planned.sends[-1].correlation_id
    assert planned.registered == {}
    result = planned.send()
    assert (result.status, result.sends) == ("proven", 2)
    assert len(planned.registered) == 30


def test_no_send_is_written_over_by_a_later_one_of_the_same_file(planned):
    """An entry that is closed can be archived while another one is open: that one must not be forgotten."""
    for _ in range(2):
        planned.fault(FaultKind.FILE_DROPPED)
        with pytest.raises(NotLoaded):
            planned.send()
    first, second = planned.sends
    planned.world.journal.archive(first)
    planned.send()
    assert [(s.attempt, s.counts_from) for s in planned.sends][:-1] == [(2, second.counts_from)]
    assert planned.sends[-1].attempt == 3


def test_a_file_that_is_loaded_in_part_is_late_and_then_sent_again(planned):
    planned.fault(FaultKind.FILE_PARTLY_LOADED, share=0.9)
    with pytest.raises(NotLoaded):
        planned.send()
    assert planned.send().sends == 2
    assert len(planned.registered) == 30


def test_a_file_that_is_loaded_twice_is_proven_once_and_open_until_twice_its_time(load):
    load.join(300)
    load.plan()
    load.fault(FaultKind.FILE_LOADED_TWICE)
    assert load.send().status == "proven"
    assert load.world.journal.open_sends(load.rate, load.world.now)
    load.settle()
    assert not load.world.journal.open_sends(load.rate, load.world.now)
    assert load.institution.simulator.pending_rows == 0


def test_a_file_whose_proof_was_contradicted_by_a_row_is_sent_again_for_that_row(planned):
    """The row is no witness of its own accord: it became one when the register did not know it."""
    planned.send()
    missing = ids_of(planned.world.place.read_array("files/0001")).tolist()[10]
    planned.institution.simulator.plant_defect("missing", missing)
    removal._reopen(planned.world, missing)
    for _ in range(2):
        with suppress(NotLoaded):
            planned.send()
    assert missing in planned.registered
    assert [bool(s.proven_at) for s in planned.sends] == [True, True]


def test_a_register_that_stalls_is_waited_for(planned):
    patient = planned.with_run(loading_grace=1800)
    planned.fault(FaultKind.LOADING_STALLED, seconds=1500)
    assert patient.send().status == "proven"
    assert planned.sends[0].missing_until > planned.sends[0].counts_from + 1000
    assert files_sent(planned) == ["file_accepted"]


def test_a_file_of_whom_everyone_was_there_is_waited_out_and_not_proven(planned):
    rows = planned.world.place.read_array("files/0001")
    for customer in ids_of(rows).tolist():
        planned.world.register.register_one(customer)
    assert planned.send().status == "waited out"
    assert planned.sends[0].witnesses == ()
    assert planned.sends[0].proven_at is None


def test_nothing_is_sent_by_a_run_that_lost_the_register(planned):
    lease.release(planned.world)
    with pytest.raises(lease.LeaseLost):
        upload.upload(planned.world, "0001")
    assert planned.sends == []


def test_every_row_of_every_file_reaches_the_register_with_its_start(load):
    load = load.with_run(max_batch_bytes=TEN_ROWS)
    load.institution.populate(60)
    load.institution.warehouse.agreements_held.append(Agreement("312345676", load.today))
    plan = load.plan()
    assert len(plan.labels) > 4
    for label in plan.labels:
        load.send(label)
    active = extract.read(load.world).active
    assert sorted(load.registered) == ids_of(active).tolist()
    known = {
        c: date_of(s) for c, s in zip(ids_of(active).tolist(), starts_of(active).tolist(), strict=True) if s
    }
    assert {c: load.registered[c] for c in known} == known


@pytest.mark.parametrize("way", ["changes_start", "keeps_start"])
def test_a_start_that_moved_is_filed_again_and_proves_nothing_by_itself(load, way):
    """Whether the register takes it is not documented: the file is waited out, and only a look-up says."""
    load.institution.simulator.switches = Switches(second_file=way)
    customers = load.join(5, days_ago=100)
    load.load()
    load.finish()
    again = load.with_run(run_id="again")
    for agreement in load.institution.warehouse.agreements_held:
        agreement.started -= timedelta(days=50)
    lease.release(load.world)
    load.pass_days(1)  # a second copy of the first file can come no more
    assert again.plan().start_changed == 5
    assert again.send().status == "waited out"
    again.close()
    again.finish()
    taken = way == "changes_start"
    start = load.today - timedelta(days=151 if taken else 101)
    assert again.registered == dict.fromkeys(customers, start)
    known = day_number(start) if taken else 0  # not taken once: the file may be lost, too
    assert starts_of(mirror.read(again.world).proven).tolist() == [known] * 5


def test_the_words_of_sending_name_no_customer(planned):
    rows = ids_of(planned.world.place.read_array("files/0001")).tolist()
    spoil(planned, 3)
    planned.send()
    assert not [c for c in map(text_of, rows) if c in " ".join(planned.institution.said)]
    assert planning.read(planned.world).labels == ["0001"]


def test_a_run_that_lost_the_register_while_it_looked_witnesses_up_does_not_send(planned):
    look_up, other = planned.world.register.look_up, planned.with_run(run_id="manual__2")

    def slow(*asked):
        if not lease.is_held(other.world):
            lease.release(planned.world)
            assert other.acquire()
        return look_up(*asked)

    world = replace(planned.world, register=_Register(planned.world.register, slow))
    with pytest.raises(lease.LeaseLost):
        upload.upload(world, "0001")
    assert planned.calls("register_file") == []
    assert planned.sends == []


class _Register:
    """The register's client with another look-up."""

    def __init__(self, client, look_up) -> None:
        self._client, self.look_up = client, look_up

    def __getattr__(self, name: str):
        return getattr(self._client, name)


def test_a_file_is_not_sent_again_after_somebody_of_it_was_removed(loaded):
    one, two = customers_of(loaded)[:2]
    loaded.end([one])
    removal.remove_ended(loaded.world)
    for send in loaded.sends:
        loaded.world.journal.archive(send)
    with pytest.raises(NotApproved, match="1 customers of file 0001 were removed since it was planned"):
        upload.upload(loaded.world, "0001")
    assert one not in loaded.registered
    assert two in loaded.registered
