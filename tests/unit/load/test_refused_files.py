"""Files that the register, or a gateway before it, turns down: which rows count as refused, and who must look."""

import math
from contextlib import suppress

import pytest

from kfr.load import lease, mirror, refusals, removal, upload
from kfr.load.journal import Outcome, Witness
from kfr.load.upload import FileRefused, NotLoaded, TurnedDown
from kfr.register.client import RegisterClient
from kfr.register.errors import InvalidRequest, OutcomeUnknown
from kfr.relationships.packing import ids_of, text_of
from tests.simulator import FaultKind
from tests.unit.load.one_load import TEN_ROWS, a_send, refuse_all, spoil


@pytest.mark.parametrize("bad", [(4, 21), (0,), (29,), (27, 28, 29)])  # the last rows are witnesses, too
def test_a_refused_file_is_halved_until_the_bad_rows_stand_alone_and_the_rest_is_loaded(planned, bad):
    rows = planned.world.place.read_array("files/0001")
    good = spoil(planned, *bad)
    result = planned.send()
    assert (result.refused, result.rows, result.status) == (len(bad), 30, "proven")
    refused = ids_of(planned.world.place.read_array("refused/0001")).tolist()
    assert refused == [c + 1 for c in ids_of(rows[list(bad)]).tolist()]
    assert sorted(planned.registered) == good
    before = len(planned.calls("register_file"))
    assert planned.send() == result  # what was refused is not asked again
    assert len(planned.calls("register_file")) == before


def test_a_crash_while_halving_goes_on_with_the_same_pieces(load):
    load.join(12)
    load.plan()
    good = spoil(load, 7)
    for touches in range(5, 400, 9):
        if not load.crash(touches, lambda: upload.upload(load.world, "0001")):
            break
    assert load.send().refused == 1
    load.settle()
    assert sorted(load.registered) == good


def test_a_file_of_which_too_many_rows_are_refused_has_another_cause(load, monkeypatch):
    monkeypatch.setattr(upload, "MAX_REFUSED_ROWS", 3)
    load.join(12)
    load.plan()
    spoil(load, *range(12))
    with pytest.raises(FileRefused, match=r"more than 3 single rows.*DSOP@bits.no"):
        upload.upload(load.world, "0001")
    assert load.registered == {}
    assert load.sends == []
    monkeypatch.setattr(upload, "MAX_REFUSED_ROWS", 12)
    assert load.send().refused == 12  # cleared, it asks again


def test_a_file_with_every_row_refused_ends_without_rows(load):
    load.join(1)
    load.plan()
    spoil(load, 0)
    result = load.send()
    assert (result.refused, result.status, result.size) == (1, "proven", 0)


@pytest.mark.parametrize("status", [400, 405, 415, 418])
def test_a_gateway_that_turns_a_file_down_says_nothing_of_its_rows(planned, status):
    """Else everyone in it would be held back for a week, and the load be green."""
    planned.fault(FaultKind.STATUS, status=status, body="html")
    with pytest.raises(
        TurnedDown, match=f"File 0001 was turned down with {status} and without a code"
    ) as caught:
        upload.upload(planned.world, "0001")
    assert caught.value.correlation_id
    assert planned.sends == []
    assert planned.send().refused == 0
    assert len(planned.registered) == 30


def test_a_file_whose_first_copy_may_be_loading_stays_open_when_a_gateway_turns_the_second_one_down(planned):
    rows = planned.world.place.read_array("files/0001")
    piece, customer = upload._piece(planned.world, rows), int(ids_of(rows)[0])
    first = a_send(piece.fingerprint, outcome=Outcome.UNKNOWN, witnesses=(Witness(customer_id=customer),))
    planned.world.journal.intend(first, rows)
    planned.fault(FaultKind.STATUS, status=400, body="html")
    with pytest.raises(TurnedDown):
        upload.upload(planned.world, "0001")
    assert [send.loads for send in planned.sends] == [True]


def test_a_look_up_that_is_turned_down_halves_no_file(planned):
    """It is the look-up of a witness before the file is sent."""
    planned.fault(FaultKind.STATUS, "look_up", status=415, body="html")
    with pytest.raises(InvalidRequest):
        upload.upload(planned.world, "0001")
    assert planned.send().sends == 1


def test_a_file_that_is_too_large_for_a_gateway_is_halved(planned):
    planned.fault(FaultKind.STATUS, status=413, body="html")
    assert planned.send().refused == 0
    assert len(planned.calls("register_file")) == 3
    assert len(planned.registered) == 30


@pytest.mark.parametrize("code", ["KFR-004", "KFR-009"])
def test_a_file_of_which_nothing_is_taken_for_something_that_need_not_be_a_row_is_refused_as_a_whole(
    planned, code, monkeypatch
):
    """As when the interface has changed. A person looks; a clear asks again."""

    def refuse(*_: object) -> str:
        raise InvalidRequest("no", status=400, code=code, correlation_id="their-number")

    with monkeypatch.context() as patch:
        patch.setattr(RegisterClient, "send_file", refuse)
        with pytest.raises(FileRefused, match=f"takes no row of file 0001 and answers with {code}") as caught:
            upload.upload(planned.world, "0001")
    assert caught.value.correlation_id == "their-number"
    said = "\n".join(planned.institution.said)
    assert f"refuses 30 rows as a whole with {code} (CorrelationID their-number)" in said
    assert planned.sends == []
    assert planned.send().refused == 0
    assert len(planned.registered) == 30


def test_the_same_answer_after_a_person_has_looked_into_it_counts_as_the_rows(load, monkeypatch):
    """Else a file of nothing but wrong rows would hold up every load, and the removals with it."""
    load.join(1)
    load.plan()
    monkeypatch.setattr(RegisterClient, "send_file", refuse_all)
    with pytest.raises(FileRefused, match="after a clear the same answer counts as theirs"):
        upload.upload(load.world, "0001")
    assert load.send().refused == 1
    lease.release(load.world)
    load.join(5)
    again = load.with_run(run_id="again")
    assert again.plan().held_back == 1


def test_a_new_plan_of_the_run_was_not_looked_into(load, monkeypatch):
    load.join(1)
    load.plan()
    with monkeypatch.context() as patch:
        patch.setattr(RegisterClient, "send_file", refuse_all)
        for _ in range(2):
            with pytest.raises(FileRefused):
                upload.upload(load.world, "0001")
            load.plan()
    assert load.send().refused == 0


def test_another_file_of_the_run_that_is_taken_shows_that_it_is_the_rows(load, monkeypatch):
    load = load.with_run(max_batch_bytes=TEN_ROWS)
    load.join(11)
    plan = load.plan()
    load.send(plan.labels[0])
    monkeypatch.setattr(RegisterClient, "send_file", refuse_all)
    with pytest.raises(TurnedDown, match="1 rows of file 0002 were refused with KFR-004"):
        upload.upload(load.world, plan.labels[1])
    assert load.send(plan.labels[1]).refused == 1  # asked twice


@pytest.mark.parametrize("calls", range(1, 8))
def test_rows_that_are_turned_down_for_a_minute_are_loaded_by_the_next_try(load, monkeypatch, calls):
    """Else they would be held back for a week, and the load be green."""
    load = load.with_run(max_batch_bytes=TEN_ROWS)
    load.join(13)
    plan = load.plan()
    load.send(plan.labels[0])
    send, down = RegisterClient.send_file, list(range(calls))

    def refuse(self: RegisterClient, content: bytes) -> str:
        if down:
            down.pop()
            refuse_all()
        return send(self, content)

    monkeypatch.setattr(RegisterClient, "send_file", refuse)
    with suppress(TurnedDown):  # where it lasts to a single row
        upload.upload(load.world, plan.labels[1])
    assert load.send(plan.labels[1]).refused == 0
    assert len(load.registered) == 13


def test_one_row_that_is_too_large_for_a_gateway_is_no_refusal(load):
    load.join(1)
    load.plan()
    load.fault(FaultKind.STATUS, status=413, body="html")
    with pytest.raises(TurnedDown):
        upload.upload(load.world, "0001")
    assert load.sends == []
    assert load.send().refused == 0


def test_that_the_file_itself_was_taken_before_says_nothing_against_its_rows(planned, monkeypatch):
    planned.fault(FaultKind.FILE_DROPPED)
    with pytest.raises(NotLoaded):
        planned.send()
    monkeypatch.setattr(RegisterClient, "send_file", refuse_all)
    with pytest.raises(FileRefused):
        upload.upload(planned.world, "0001")


def test_a_worker_that_dies_before_it_says_so_has_looked_into_nothing(load, monkeypatch):
    load.join(3)
    load.plan()
    for touches in range(1, 60):
        with monkeypatch.context() as patch:
            patch.setattr(RegisterClient, "send_file", refuse_all)
            with suppress(FileRefused):
                if load.crash(touches, lambda: upload.upload(load.world, "0001")):
                    continue
        break
    assert touches > 5
    assert load.send().refused == 0


def test_a_copy_that_may_be_loading_outlives_the_refusal_of_another(planned, monkeypatch):
    """Else whom it loads would be registered for ever, and nobody would know of them."""
    rows = planned.world.place.read_array("files/0001")
    piece = upload._piece(planned.world, rows)
    witness = Witness(customer_id=int(ids_of(rows)[0]))
    first = a_send(piece.fingerprint, outcome=Outcome.UNKNOWN, witnesses=(witness,))
    planned.world.journal.intend(first, rows)
    monkeypatch.setattr(RegisterClient, "send_file", refuse_all)
    with pytest.raises(FileRefused):
        upload.upload(planned.world, "0001")
    assert planned.sends == [first]


def test_a_row_that_is_refused_with_such_a_code_counts_as_refused_where_others_are_taken(
    planned, monkeypatch
):
    """Which code a single wrong row is refused with is not documented."""
    send, bad = RegisterClient.send_file, planned.world.place.read_array("files/0001")[7:8]

    def refuse(self: RegisterClient, content: bytes) -> str:
        if text_of(int(ids_of(bad)[0])).encode() in bytes(content):
            raise InvalidRequest("no", status=400, code="KFR-004")
        return send(self, content)

    monkeypatch.setattr(RegisterClient, "send_file", refuse)
    with pytest.raises(TurnedDown, match="1 rows of file 0001 were refused with KFR-004"):
        upload.upload(planned.world, "0001")
    before = len(planned.calls("register_file"))
    assert planned.send().refused == 1
    assert len(planned.registered) == 29
    assert len(planned.calls("register_file")) == before  # nobody else was sent again
    lease.release(planned.world)
    again = planned.with_run(run_id="again")
    again.world.state.delete(f"sends/{planned.sends[0].file[:40]}-1")
    plan = again.plan()
    assert plan.held_back == 1
    planned.pass_days(refusals.RETRY_DAYS)
    plan = again.plan()
    assert [again.send(label).refused for label in plan.labels][-1] == 1  # known as such: alone in its file


@pytest.mark.parametrize("bad", [(0,), (29,), (0, 15), (0, 29), (0, 8, 15, 23), tuple(range(30))])
def test_halving_down_to_k_bad_rows_in_n_takes_at_most_one_and_2_k_log_n_requests(planned, bad):
    spoil(planned, *bad)
    planned.send()
    assert len(planned.calls("register_file")) <= 1 + 2 * len(bad) * math.ceil(math.log2(30))


@pytest.mark.parametrize("status", [502, 504])
def test_a_file_without_an_answer_that_is_refused_when_sent_again_was_refused_before(planned, status):
    """Else its witnesses, found because its good half is loaded, would prove those who were refused, too."""
    rows = ids_of(planned.world.place.read_array("files/0001")).tolist()
    planned.institution.simulator.refuses.add(rows[7])
    planned.fault(FaultKind.STATUS_AFTER_WORK, status=status)
    with pytest.raises(OutcomeUnknown):
        upload.upload(planned.world, "0001")
    assert planned.send().refused == 1
    planned.settle()
    removal.require_closed_sends(planned.world)
    mirror.record(planned.world)
    assert planned.proven == sorted(set(rows) - {rows[7]})
    assert rows[7] not in planned.possible
