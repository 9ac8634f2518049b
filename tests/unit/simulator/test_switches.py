"""Every switch shows in what the register answers or holds."""

import pytest

from tests.simulator import Switches
from tests.unit.simulator.caller import ORGANISATION, ORGANISATIONS, Caller, make_frame, make_simulator

TODAY, YESTERDAY, TOMORROW = "2026-11-23", "2026-11-22", "2026-11-24"
A_DAY = 86_400


def play(**switches):
    return Caller(make_simulator(switches=Switches(**switches)))


def load(caller, customers):
    """Send a file and wait until it is loaded."""
    assert caller.send(customers).status_code == 201
    caller.simulator.clock.sleep(60)


def test_a_switch_has_only_the_values_that_it_has():
    with pytest.raises(ValueError, match="removal is one of ends_yesterday"):
        Switches(removal="forgets")
    with pytest.raises(ValueError, match="look_up_lag"):
        Switches(look_up_lag=-1)


@pytest.mark.parametrize(
    ("form", "status", "body"),
    [("empty_banks", 200, {"banks": []}), ("no_banks", 200, {})],
)
def test_no_relationship_can_be_an_empty_or_absent_list(form, status, body):
    answer = play(no_relationship=form).look_up()
    assert (answer.status_code, answer.json()) == (status, body)


@pytest.mark.parametrize(("form", "family"), [("not_found_kfr", "KFR"), ("not_found_err", "ERR")])
def test_no_relationship_can_be_a_404_with_a_code(form, family):
    caller = play(no_relationship=form)
    answer = caller.look_up()
    assert (answer.status_code, answer.json()["errorCode"][:3]) == (404, family)
    event = caller.simulator.log[-1]
    assert (event.kind, event.found) == ("look_up", False)
    caller.register()
    assert caller.finds()


@pytest.mark.parametrize("form", ["empty_banks", "not_found_kfr"])
def test_another_bank_can_stand_in_every_answer(form):
    caller = play(other_bank=True, no_relationship=form)
    assert len(caller.look_up().json()["banks"]) == 1
    assert not caller.finds()
    caller.register()
    assert len(caller.look_up().json()["banks"]) == 2
    assert caller.finds()


@pytest.mark.parametrize(
    ("removal", "end", "found_today", "found_yesterday"),
    [
        ("ends_yesterday", YESTERDAY, False, True),
        ("ends_today_inclusive", TODAY, True, True),
        ("ends_today_exclusive", TODAY, False, True),
        ("erases", None, False, False),
    ],
)
def test_a_delete_ends_the_relationship_or_erases_it(removal, end, found_today, found_yesterday):
    caller = play(removal=removal)
    load(caller, f"{ORGANISATION}#2020-01-01")
    assert caller.remove().status_code == 204
    ends = [end.isoformat() for _, end in caller.simulator.relationships().values() if end]
    assert ends == ([end] if end else [])
    assert caller.finds(ORGANISATION, TODAY) is found_today
    assert caller.finds(ORGANISATION, YESTERDAY) is found_yesterday
    assert not caller.finds(ORGANISATION, TOMORROW)
    assert caller.starts() == {}


def test_a_relationship_that_ended_before_it_began_is_never_found():
    caller = play(removal="ends_yesterday")
    caller.register()
    caller.remove()
    assert not caller.finds(ORGANISATION, YESTERDAY, TOMORROW)


@pytest.mark.parametrize(
    ("re_registration", "status", "start"),
    [("revives", 201, "2020-01-01"), ("new_start", 201, "2026-11-25"), ("no_effect", 200, None)],
)
def test_registering_after_a_delete_revives_or_starts_anew_or_does_nothing(re_registration, status, start):
    caller = play(re_registration=re_registration)
    load(caller, f"{ORGANISATION}#2020-01-01")
    caller.remove()
    caller.simulator.clock.sleep(2 * A_DAY)
    assert caller.register().status_code == status
    assert caller.starts() == ({ORGANISATION: start} if start else {})
    assert caller.finds(ORGANISATION, "2021-01-01")  # what was before is still told


def test_a_new_start_leaves_the_gap_open():
    caller = play(re_registration="new_start")
    load(caller, f"{ORGANISATION}#2020-01-01")
    caller.remove()
    caller.simulator.clock.sleep(2 * A_DAY)
    caller.register()
    assert not caller.finds(ORGANISATION, "2026-11-24")
    assert caller.finds(ORGANISATION, "2026-11-25")


@pytest.mark.parametrize(
    ("re_registration", "start"),
    [("revives", "2020-01-01"), ("new_start", "2022-02-02"), ("no_effect", None)],
)
def test_a_files_row_after_a_delete_is_a_registration_as_well(re_registration, start):
    caller = play(re_registration=re_registration)
    load(caller, f"{ORGANISATION}#2020-01-01")
    caller.remove()
    load(caller, f"{ORGANISATION}#2022-02-02")
    assert caller.starts() == ({ORGANISATION: start} if start else {})


@pytest.mark.parametrize("re_registration", ["revives", "new_start", "no_effect"])
def test_after_an_erasure_every_registration_is_the_first(re_registration):
    caller = play(re_registration=re_registration, removal="erases")
    load(caller, f"{ORGANISATION}#2020-01-01")
    caller.remove()
    assert caller.register().status_code == 201
    assert caller.starts() == {ORGANISATION: TODAY}


@pytest.mark.parametrize(
    ("second_file", "start"), [("keeps_start", "2020-01-01"), ("changes_start", "2019-09-09")]
)
def test_a_second_file_keeps_or_changes_the_start(second_file, start):
    caller = play(second_file=second_file)
    load(caller, f"{ORGANISATION}#2020-01-01")
    load(caller, f"{ORGANISATION}#2019-09-09")
    assert caller.starts() == {ORGANISATION: start}
    load(caller, ORGANISATION)  # without a date there is nothing to change it to
    assert caller.starts() == {ORGANISATION: start}


@pytest.mark.parametrize(
    ("file_after_single", "start"), [("keeps_start", TODAY), ("changes_start", "2020-01-01")]
)
def test_a_pending_files_row_keeps_or_changes_the_start_of_a_single_registration(file_after_single, start):
    caller = play(file_after_single=file_after_single)
    caller.send(f"{ORGANISATION}#2020-01-01")
    assert caller.register().status_code == 201
    caller.simulator.clock.sleep(10)
    assert caller.starts() == {ORGANISATION: start}


def test_a_single_registration_can_queue_behind_the_files():
    caller = play(single="after_files", file_order="parallel")
    caller.send(",".join(ORGANISATIONS[1:]))
    assert caller.register(ORGANISATION).status_code == 201
    caller.simulator.clock.sleep(2)
    assert not caller.finds(ORGANISATION)
    assert caller.remove(ORGANISATION).status_code == 404
    caller.simulator.clock.sleep(1)
    assert caller.finds(ORGANISATION)


def test_without_pending_files_a_single_registration_never_queues():
    caller = play(single="after_files")
    caller.register()
    assert caller.finds()


@pytest.mark.parametrize(("duplicates", "start"), [("first", "2020-01-01"), ("last", "2021-01-01")])
@pytest.mark.parametrize("second_file", ["keeps_start", "changes_start"])
def test_of_duplicates_in_a_file_the_first_or_the_last_date_counts(duplicates, second_file, start):
    caller = play(duplicates=duplicates, second_file=second_file)
    load(caller, f"{ORGANISATION}#2020-01-01,{ORGANISATION}#2021-01-01")
    assert caller.starts() == {ORGANISATION: start}


def test_duplicates_in_a_second_file_do_not_undo_that_it_keeps_the_start():
    caller = play(duplicates="last", second_file="keeps_start")
    load(caller, f"{ORGANISATION}#2020-01-01")
    load(caller, f"{ORGANISATION}#2021-01-01,{ORGANISATION}#2022-01-01")
    assert caller.starts() == {ORGANISATION: "2020-01-01"}


def test_a_file_with_duplicates_can_be_refused():
    answer = play(duplicates="refused").send(f"{ORGANISATION},{ORGANISATION}")
    assert (answer.status_code, answer.json()["errorCode"]) == (400, "KFR-004")


def test_look_ups_can_lag_behind_every_write():
    caller = play(look_up_lag=30)
    caller.register()
    caller.simulator.clock.sleep(29)
    assert not caller.finds()
    assert caller.register().status_code == 200  # a write sees the register as it is
    caller.simulator.clock.sleep(1)
    assert caller.finds()
    caller.remove()
    assert caller.finds()
    caller.simulator.clock.sleep(30)
    assert not caller.finds()


def test_look_ups_can_lag_behind_loading():
    caller = play(look_up_lag=30)
    caller.send(ORGANISATION)
    caller.simulator.clock.sleep(30.9)
    assert not caller.finds()
    caller.simulator.clock.sleep(0.1)
    assert caller.finds()


FRAME_BYTES = len(make_frame(b""))


@pytest.mark.parametrize(
    ("size_limit", "largest_body"),
    [
        ("decimal_body", 10_000_000),
        ("binary_body", 10 * 2**20),
        ("decimal_file", 10_000_000 + FRAME_BYTES),
        ("binary_file", 10 * 2**20 + FRAME_BYTES),
    ],
)
def test_ten_megabytes_can_mean_four_things(size_limit, largest_body):
    caller = play(size_limit=size_limit)
    statuses = []
    for length in (largest_body, largest_body + 1):
        customers = (b"%s," % ORGANISATION.encode() * (length // 10))[: length - FRAME_BYTES]
        statuses.append(caller.send(customers).status_code)
    assert statuses[0] != 413  # the last row may be cut off; only the size is asked about
    assert statuses[1] == 413


def test_switches_can_be_replaced_at_any_time(caller):
    caller.simulator.switches = Switches(no_relationship="no_banks")
    assert caller.look_up().json() == {}
    caller.simulator.switches = Switches()
    assert caller.look_up().json() == {"banks": []}
