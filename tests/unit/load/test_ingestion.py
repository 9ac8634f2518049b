import asyncio
import re
from dataclasses import replace
from datetime import date, datetime, timedelta

import pytest

from kfr.clock import OSLO
from kfr.load import upload
from kfr.load.ingestion import (
    LAST_WITNESSES,
    SAID_EVERY_SECONDS,
    LookUpsUnreliable,
    Progress,
    absent,
    await_loading,
    await_settling,
    candidates,
    give_up_at,
    longest_wait,
    record_proof,
    revisit,
)
from kfr.load.journal import Outcome, Witness, schedule
from kfr.relationships.customers import NOTHING
from kfr.relationships.packing import ids_of, text_of
from tests.simulator import FaultKind
from tests.unit.load.one_load import GRACE_SECONDS, OneLoad, a_send, packed

START = date(2020, 6, 1)
SEED = "5a" * 32


@pytest.fixture
def planned(load: OneLoad) -> OneLoad:
    load.join(300)
    load.plan()
    return load


def test_a_file_s_witnesses_are_its_last_rows_its_first_and_one_of_each_block():
    rows = packed(range(1000, 2600), START)
    found = [w.customer_id for w in candidates(rows, NOTHING, SEED)]
    assert found[:LAST_WITNESSES] == [2599, 2598, 2597]  # the end loads last: they are looked up first
    assert found[-1] == 1000
    assert {(c - 1000) // 100 for c in found} == set(range(16))


def test_a_small_file_s_witnesses_are_all_of_it():
    rows = packed([5, 6, 7], START)
    assert [w.customer_id for w in candidates(rows, NOTHING, SEED)] == [7, 6, 5]


@pytest.mark.parametrize("days", [-1, 0, 1])
def test_a_customer_held_already_proves_nothing_whatever_start_is_filed(days):
    """Whether the register takes another start is not documented."""
    found = candidates(packed([5, 7], START + timedelta(days=days)), packed([3, 5, 9], START), SEED)
    assert found == [Witness(customer_id=7)]


def test_of_few_new_customers_among_many_who_are_filed_again_the_last_ones_prove_the_file():
    rows = packed(range(1000, 9000), START)
    chosen = {w.customer_id for w in candidates(rows, NOTHING, SEED)}
    new = [c for c in range(4000, 9000) if c not in chosen][:40]
    held = packed([c for c in range(1000, 9000) if c not in new], START)
    found = [w.customer_id for w in candidates(rows, held, SEED)]
    assert found == new[::-1][:LAST_WITNESSES]


def test_only_who_is_absent_now_can_prove_anything(load):
    there, not_there = load.join(2), load.join(2)
    for customer in there:
        load.world.register.register_one(customer)
    witnesses = [Witness(customer_id=c) for c in there + not_there]
    assert [w.customer_id for w in absent(load.world, witnesses, NOTHING)] == not_there


def test_nobody_found_means_nothing_while_nobody_who_is_known_is_found_either(load):
    known, new = load.join(3), load.join(2)
    witnesses = [Witness(customer_id=c) for c in new]
    message = (
        "The register finds nobody, not even a customer who is proven to be there: its look-ups cannot be trusted "
        "now. Nothing was sent. Try again later; if it lasts, ask DSOP@bits.no."
    )
    with pytest.raises(LookUpsUnreliable, match=re.escape(message)):
        absent(load.world, witnesses, packed(known, START))
    for customer in known:
        load.world.register.register_one(customer)
    assert len(absent(load.world, witnesses, packed(known, START))) == 2


def test_one_witness_who_is_found_shows_that_look_ups_work_and_nobody_known_is_asked_about(load):
    known, there, not_there = load.join(3), load.join(), load.join()
    load.world.register.register_one(there[0])
    witnesses = [Witness(customer_id=c) for c in there + not_there]
    assert [w.customer_id for w in absent(load.world, witnesses, packed(known, START))] == not_there
    assert [e.customer_id for e in load.calls("look_up")] == there + not_there


def test_waiting_writes_nothing_and_may_start_over(planned):
    files = upload.upload(planned.world, "0001")
    before = planned.sends
    first, second = planned.wait(files), planned.wait(files)
    assert planned.sends == before
    assert first.proven.keys() == second.proven.keys() == {before[0].name}
    assert (first.late, second.late) == ((), ())


def test_waiting_takes_the_time_that_loading_takes_and_asks_seldom(planned):
    files = upload.upload(planned.world, "0001")
    began, asked = planned.world.now, len(planned.calls("look_up"))
    loading = planned.wait(files)
    assert list(loading.proven.values()) == [
        (planned.world.now, 0.0)
    ]  # no witness was missing when it was looked for
    assert 1.0 <= planned.world.now - began < 5.0  # 300 rows at 250 a second
    assert len(planned.calls("look_up")) - asked < 25


def test_nobody_is_asked_about_before_the_rate_says_that_the_file_is_loaded(planned):
    """Files queue: what was sent before, by anyone, is loaded first."""
    planned.world.journal.put(a_send(rows=150_000, counts_from=planned.world.now, proven_at=1.0))
    files = upload.upload(planned.world, "0001")
    began, asked = planned.institution.clock.now(), len(planned.calls("look_up"))
    planned.wait(files)
    assert planned.calls("look_up")[asked].at - began > timedelta(seconds=600)


def test_while_the_last_row_is_missing_the_others_are_not_asked_about(planned):
    planned.fault(FaultKind.LOADING_STALLED, seconds=30)
    files = upload.upload(planned.world, "0001")
    asked = len(planned.calls("look_up"))
    last = int(ids_of(planned.world.place.read_array("files/0001"))[-1])
    planned.wait(files)
    misses = [e.customer_id for e in planned.calls("look_up")[asked:] if not e.found]
    assert misses
    assert set(misses) == {last}


def test_a_witness_that_was_found_is_asked_about_no_more_and_the_others_still_are(load):
    """The order in which a register loads is not documented: the last row may be there before the first."""
    first_row, last_row = 3, 7
    send = a_send(
        counts_from=load.world.now,
        witnesses=(Witness(customer_id=last_row), Witness(customer_id=first_row)),
    )
    load.world.journal.put(send)
    asked = []

    async def look_up(customer, *_):
        asked.append(customer)
        return customer == last_row or asked.count(first_row) == 3

    loading = asyncio.run(
        await_loading(
            load.world.journal,
            [send.file],
            clock=load.institution.clock,
            look_up=look_up,
            rows_per_second=load.rate,
            grace=GRACE_SECONDS,
        )
    )
    assert asked == [last_row, first_row, first_row, first_row]
    assert list(loading.proven) == [send.name]


def test_waiting_tells_when_a_witness_was_last_missing(planned):
    planned.fault(FaultKind.LOADING_STALLED, seconds=30)
    (file,) = upload.upload(planned.world, "0001")
    loading = planned.wait([file])
    ((found_at, missing_until),) = loading.proven.values()
    assert found_at == planned.world.now
    assert 0 < found_at - missing_until < 5
    planned.institution.clock.advance(3600)  # until a worker is free
    record_proof(planned.world.journal, loading.proven)
    assert (planned.sends[0].proven_at, planned.sends[0].missing_until) == (found_at, missing_until)


def test_a_file_that_does_not_appear_is_late_after_its_grace_and_not_before(planned):
    planned.fault(FaultKind.FILE_DROPPED)
    (file,) = upload.upload(planned.world, "0001")
    deadline = schedule(planned.sends, planned.rate)[planned.sends[0].name].settled_at + GRACE_SECONDS
    loading = planned.wait([file])
    assert (loading.proven, loading.late) == ({}, (file,))
    assert deadline <= planned.world.now < deadline + 10


def test_every_file_that_does_not_appear_is_late(load):
    files = ["1" * 64, "2" * 64]
    for file, customer in zip(files, load.join(2), strict=True):
        load.world.journal.put(a_send(file, witnesses=(Witness(customer_id=customer),)))
    assert load.wait(files).late == tuple(files)


def test_a_file_without_witnesses_is_waited_out_without_grace(load):
    began = load.world.now
    load.world.journal.put(a_send("1" * 64, rows=150_000, counts_from=began))
    loading = load.wait(["1" * 64])
    assert (loading.proven, loading.late) == ({}, ())
    assert load.world.now - began == pytest.approx(
        2 * 600 + 10, abs=0.05
    )  # though looks are half a minute apart
    assert load.sends[0].proven_at is None


def test_a_file_that_is_proven_or_was_refused_is_not_waited_for(load):
    now = load.world.now
    load.world.journal.put(a_send("1" * 64, proven_at=1.0, counts_from=now))
    load.world.journal.put(a_send("2" * 64, outcome=Outcome.REFUSED, counts_from=now))
    loading = load.wait(["1" * 64, "2" * 64])
    assert (loading.proven, loading.late) == ({}, ())
    assert load.world.now == now


def test_a_file_sent_twice_is_given_the_time_of_its_later_copy():
    one, other = (
        a_send(counts_from=0.0, witnesses=(Witness(customer_id=1),)),
        a_send(attempt=2, counts_from=500.0),
    )
    plans = schedule([one, other], 250.0)
    assert give_up_at([one, other], plans, 60.0) == plans[other.name].settled_at
    assert give_up_at([one], plans, 60.0) == plans[one.name].settled_at + 60.0


def test_a_proof_is_written_down_once(load):
    send = a_send(witnesses=(Witness(customer_id=1),))
    load.world.journal.put(send)
    record_proof(load.world.journal, {send.name: (100.0, 0.0)})
    record_proof(load.world.journal, {send.name: (200.0, 50.0)})
    assert load.sends == [replace(send, proven_at=100.0)]


def test_earlier_runs_sends_are_looked_for_again_and_this_run_s_own_are_not(load):
    there, absent_ = load.join(1)[0], load.join(1)[0]
    load.world.register.register_one(there)
    journal = load.world.journal
    journal.put(a_send("1" * 64, witnesses=(Witness(customer_id=there),)))
    journal.put(a_send("2" * 64, witnesses=(Witness(customer_id=there), Witness(customer_id=absent_))))
    journal.put(a_send("3" * 64, witnesses=(Witness(customer_id=there),), run=load.run.key))
    journal.put(a_send("4" * 64))
    journal.put(a_send("5" * 64, witnesses=(Witness(customer_id=there),)))
    revisit(load.world)
    proven = [s for s in load.sends if s.proven_at]
    assert [s.file[0] for s in proven] == ["1", "5"]
    assert {s.missing_until for s in proven} == {
        None
    }  # nobody saw a witness missing: no slower than the rate


def test_settling_waits_for_twice_the_time_of_all_sends_of_all_runs(load):
    now = load.world.now
    load.world.journal.put(a_send("1" * 64, rows=2500, counts_from=now, proven_at=now))
    load.world.journal.put(a_send("2" * 64, rows=2500, counts_from=now, run="another"))
    load.settle()
    assert load.world.now - now == pytest.approx(2 * 20 + 10)


def test_settling_takes_what_was_seen_and_is_not_written_down_yet_into_account(load):
    now = load.world.now
    send = a_send(rows=250, counts_from=now)
    load.world.journal.put(send)
    asyncio.run(
        await_settling(
            load.world.journal,
            {send.name: (now + 301, now + 300)},
            clock=load.institution.clock,
            rows_per_second=load.rate,
        )
    )
    assert load.world.now - now == pytest.approx(2 * 300 + 10)


def test_nothing_sent_or_closed_by_a_person_needs_no_settling(load):
    now = load.world.now
    load.world.journal.put(a_send(rows=10**6, counts_from=now, closed_because="Bits"))
    load.settle()
    assert load.world.now == now


def test_the_longest_wait_is_an_absolute_deadline(load):
    load.world.journal.put(a_send(rows=2500, counts_from=load.world.now))
    first = longest_wait(load.world.journal, load.rate, 60.0, load.world.now)
    assert first == 20 + 10 + 60
    load.institution.clock.advance(10)
    assert longest_wait(load.world.journal, load.rate, 60.0, load.world.now) == first - 10


def test_where_nothing_was_sent_the_longest_wait_is_the_grace(load):
    assert longest_wait(load.world.journal, load.rate, 60.0, load.world.now) == 60.0


def test_a_printed_wait_shows_no_customer(planned):
    files = upload.upload(planned.world, "0001")
    witnesses = {w.customer_id for w in planned.sends[0].witnesses}
    shown = repr(planned.wait(files))
    assert not [c for c in witnesses if str(c) in shown]


def test_waiting_says_once_a_minute_how_far_it_is_and_until_when(load):
    customers = load.join(40_000)  # 160 seconds at the register's rate
    load.plan()
    said: list[str] = []
    began = load.world.now
    load.wait(upload.upload(load.world, "0001"), said.append)
    minutes = (load.world.now - began) / SAID_EVERY_SECONDS
    assert 3 <= len(said) <= minutes + 1
    (send,) = load.sends
    due = schedule([send], load.rate)[send.name].loaded_at
    clock = f"{datetime.fromtimestamp(due, OSLO):%H:%M:%S}"
    shares = [int(found[1]) for line in said if (found := re.search(r"(\d+)% of its time has passed", line))]
    assert shares == [0, 38, 75]  # a minute each
    assert all(f"{send.rows:,} rows" in line and clock in line for line in said[: len(shares)])
    assert not [line for line in said if set(re.findall(r"\d{11}", line)) & {text_of(c) for c in customers}]


def test_waiting_for_a_file_that_does_not_appear_says_what_is_missing(planned):
    planned.fault(FaultKind.FILE_DROPPED)
    said: list[str] = []
    began = planned.world.now
    planned.wait(upload.upload(planned.world, "0001"), said.append)
    assert len(said) <= (planned.world.now - began) / SAID_EVERY_SECONDS + 1
    assert re.search(r"should be loaded since \d\d:\d\d:\d\d.*0 of 20 witnesses found", said[-1]), said
    ended = datetime.fromtimestamp(planned.world.now, OSLO)
    assert said[-1].endswith(
        f"looked up again and again until {ended:%H:%M:%S}, {ended.day}.{ended.month}. and if they are not there "
        "by then the file is late, and this try ends."
    )


@pytest.mark.parametrize(
    ("seconds", "says"), [(0.75, ": 50% of its time has passed."), (1.5, ": should be loaded since ")]
)
def test_a_file_is_due_at_the_moment_at_which_the_rate_says_so_and_until_then_its_share_is_told(
    load, seconds, says
):
    send = a_send(rows=375, counts_from=load.world.now)  # a second and a half
    plans = schedule([send], load.rate)
    load.institution.clock.advance(seconds)
    said: list[str] = []
    progress = Progress(clock=load.institution.clock, say=said.append)
    progress.tell([send], plans, set(), GRACE_SECONDS)
    assert [line for line in said if says in line] == said != []


def test_settling_says_until_when_it_waits(load):
    load.world.journal.intend(a_send(counts_from=load.world.now, rows=250), packed([5], START))
    said: list[str] = []
    asyncio.run(
        await_settling(
            load.world.journal, {}, clock=load.institution.clock, rows_per_second=load.rate, say=said.append
        )
    )
    assert [line for line in said if "10:00:12" in line] == said != []
