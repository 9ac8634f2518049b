import re

import pytest

from kfr.load import arrivals, forecast, lease, upload, verification, volume
from kfr.load.confirmation import send_confirmation
from kfr.load.deliveries import DeliveryUnknown, deliver
from kfr.load.report import Mail
from kfr.load.volume import announce_before, announce_volume
from kfr.load.world import MailNotSent
from kfr.register.errors import Fatal, OutcomeUnknown
from kfr.relationships.packing import text_of
from tests.simulator import FaultKind
from tests.unit.load.one_load import TEN_ROWS, OneLoad, verify

MAIL = Mail(subject="A subject", text="Some figures")


@pytest.fixture
def proven(load: OneLoad) -> OneLoad:
    """A load of thirty customers, proven, not confirmed."""
    load.join(30)
    load.load()
    load.finish()
    return load


def mails(load: OneLoad) -> list[str]:
    return [m.message_id for m in load.institution.simulator.mails]


def entry(load: OneLoad, what: str = "d-4") -> dict:
    return load.world.state.read_json(f"deliveries/{what}")


def test_a_proven_load_is_confirmed_once_however_often_it_is_asked(proven):
    message_id = send_confirmation(proven.world)
    assert send_confirmation(proven.world) == message_id
    assert mails(proven) == [message_id]
    assert entry(proven)["sent_at"]


def test_d4_has_figures_in_norwegian_and_no_identifier(proven):
    send_confirmation(proven.world)
    (mail,) = proven.institution.simulator.mails
    assert mail.recipients == ("onboarding@bank.example",)
    assert mail.subject == "D-4: Alle kundeforhold er lastet inn, org.nr. 312345676"
    for words in (
        "Kundeforhold lastet inn: 30",
        "Antall filer: 1",
        "Miljø: test",
        "Alle kundeforhold er kontrollert ved oppslag",
    ):
        assert words in mail.text
    assert not [c for c in proven.registered if text_of(c) in mail.subject + mail.text]


def test_a_sample_claims_no_more_than_it_shows(load):
    load.join(300)
    load.load()
    proof = load.finish()
    send_confirmation(load.world)
    (mail,) = load.institution.simulator.mails
    assert f"med 95 % sikkerhet at høyst {proof.wrong_at_most} kundeforhold kan være feil" in mail.text
    assert "Alle kundeforhold er kontrollert" not in mail.text


def test_a_load_that_is_not_proven_is_not_confirmed(load):
    load.join(3)
    load.plan()
    load.send()
    (new,) = load.join(1, days_ago=0)
    load.close()
    load.institution.simulator.plant_defect("missing", new)
    with pytest.raises(verification.NotEqual):
        verify(load.world)
    with pytest.raises(Fatal, match="not proven, so D-4 is not sent"):
        send_confirmation(load.world)
    assert mails(load) == []


def test_a_mail_that_surely_did_not_leave_is_sent_again_with_the_same_message_id(proven):
    proven.fault(FaultKind.STATUS, "mail", status=451)
    with pytest.raises(MailNotSent):
        send_confirmation(proven.world)
    first = entry(proven)
    assert (first["intended"], first["sent_at"]) == (False, None)
    assert send_confirmation(proven.world) == first["message_id"]
    assert mails(proven) == [first["message_id"]]


@pytest.mark.parametrize("left", [True, False])
def test_after_an_unknown_outcome_a_person_is_asked_and_then_the_same_mail_goes(proven, left):
    proven.fault(FaultKind.CLOSED_AFTER_WORK if left else FaultKind.CLOSED_BEFORE_WORK, "mail")
    with pytest.raises(OutcomeUnknown):
        send_confirmation(proven.world)
    with pytest.raises(
        DeliveryUnknown, match=r"Look for Message-ID <.*> in the mail server's log.*clear this task"
    ):
        send_confirmation(proven.world)
    proven.acquire()  # a person has looked, and cleared
    message_id = send_confirmation(proven.world)
    assert mails(proven) == [message_id] * (2 if left else 1)


def test_a_person_who_was_not_asked_since_the_worker_died_is_asked_once_more(proven):
    proven.acquire()
    proven.fault(FaultKind.CLOSED_AFTER_WORK, "mail", times=2)
    with pytest.raises(OutcomeUnknown):
        send_confirmation(proven.world)
    for touches in range(1, 40):
        try:
            died = proven.crash(touches, lambda: send_confirmation(proven.world))
        except DeliveryUnknown:
            break
        assert died
    assert touches > 2  # before the question is written down, and after it
    with pytest.raises(DeliveryUnknown):
        send_confirmation(proven.world)
    assert len(mails(proven)) == 1
    proven.acquire()  # a person says that it did not leave
    with pytest.raises(OutcomeUnknown):
        send_confirmation(proven.world)
    with pytest.raises(DeliveryUnknown):
        send_confirmation(proven.world)
    assert len(mails(proven)) == 2


def test_a_crash_at_any_touch_of_confirming_sends_at_most_one_duplicate_and_the_same_one(proven):
    for touches in range(1, 40):
        proven.world.state.delete("deliveries/d-4")
        proven.institution.simulator.mails.clear()
        died = proven.crash(touches, lambda: send_confirmation(proven.world))
        before = len(mails(proven))
        asked = 0
        while True:
            try:
                send_confirmation(proven.world)
                break
            except DeliveryUnknown:
                asked += 1
                proven.acquire()
        assert 1 <= len(mails(proven)) <= 2
        assert len(set(mails(proven))) == 1
        assert before == 0 or asked or len(mails(proven)) == 1  # a person is asked before a second one
        if not died:
            return
    pytest.fail("confirming touches the world for ever")


def test_nobody_is_told_by_a_run_that_lost_the_register(proven):
    lease.release(proven.world)
    with pytest.raises(lease.LeaseLost):
        send_confirmation(proven.world)
    assert mails(proven) == []


def test_the_intention_stands_before_the_mail_leaves(load):
    seen = []
    world = load.world
    send = world.mailer.send

    def look_and_send(**mail: str) -> None:
        seen.append(entry(load, "x"))
        send(**mail)

    world.mailer.send = look_and_send
    message_id = deliver(world, "x", MAIL, ask=True)
    assert [(e["message_id"], e["intended"], e["sent_at"]) for e in seen] == [(message_id, True, None)]


def big(load: OneLoad, rows: int) -> None:
    """A plan that sends so many rows today."""
    load.join(1)
    plan = load.plan()
    forecast = {"rows": rows, "files": 1, "size": 1, "hours": 1.5, "ends_at": "2026-11-23T23:05:00+00:00"}
    stored = load.world.place.read_json("plan.json") | {
        "forecast": forecast | {"rows_by_day": {load.today.isoformat(): rows, "2026-11-24": 10}}
    }
    load.world.place.write_json("plan.json", stored)
    assert plan.forecast.notice_days == []


@pytest.mark.parametrize(("rows", "told"), [(100_000, 0), (100_001, 1)])
def test_bits_is_told_before_more_than_100_000_rows_in_a_day_and_not_otherwise(load, rows, told):
    big(load, rows)
    assert len(announce_volume(load.world)) == told
    assert len(mails(load)) == told


def test_the_notice_goes_once_a_day_and_says_how_many_rows_that_day_has(load):
    big(load, 250_000)
    assert announce_volume(load.world) == ["2026-11-23"]
    assert announce_volume(load.world) == []  # who is on call is told once, too
    load.world.state.delete("deliveries/notice-2026-11-23")
    load.institution.clock.advance(24 * 3600)
    assert (
        announce_volume(load.world) == []
    )  # the plan was approved on the next day: whoever sends counts anew
    (mail,) = load.institution.simulator.mails
    assert "23.11.2026" in mail.subject
    assert "Kundeforhold som sendes 23.11.2026: 250 000" in mail.text
    assert "Beregnet tid: 1,5 timer" in mail.text
    assert "ferdig lastet inn: 24.11.2026 kl. 00:05" in mail.text  # in Oslo
    assert re.search(r"\d{9,}", mail.text.replace(load.institution.settings.fid, "")) is None


def sent_before_today(load: OneLoad, rows: int) -> None:
    """So many rows left earlier today."""
    load.world.state.write_json(f"history/{load.today.isoformat()}-singles-earlier", {"rows": rows})


def test_a_plan_that_is_carried_out_on_another_day_than_forecast_tells_bits_first(load):
    """An approval that came after midnight, when other files had gone that day."""
    load.join(3)
    load.plan()
    sent_before_today(load, 99_998)
    load.send()
    kinds = [e.operation for e in load.calls("mail", "register_file")]
    assert kinds == ["mail", "register_file"]
    (mail,) = load.institution.simulator.mails
    assert "100 001" in mail.text
    announce_before(load.world, 3)
    assert len(mails(load)) == 1


def test_of_a_plan_that_was_approved_on_a_later_day_bits_is_told_once_before_two_files_leave_together(
    load, monkeypatch
):
    for module in (volume, forecast):
        monkeypatch.setattr(module, "NOTICE_ROWS_PER_DAY", 8)
    load.join(20)
    load = load.with_run(max_batch_bytes=TEN_ROWS)
    load.plan()
    load.pass_days(1)
    assert announce_volume(load.world) == [load.today.isoformat()]
    for label in ("0001", "0002"):
        load.send(label)
    (mail,) = load.institution.simulator.mails
    assert f"Kundeforhold som sendes {load.today:%d.%m.%Y}: 20" in mail.text


def test_nobody_is_told_of_a_day_that_stays_below_the_limit(load):
    load.join(3)
    load.plan()
    sent_before_today(load, 99_997)
    load.send()
    assert mails(load) == []


def test_single_additions_count_for_the_notice_too(load):
    load.join(2)
    load.load()
    sent_before_today(load, 100_000)
    load.join(1, days_ago=0)
    arrivals.register_arrivals(load.world)
    assert [e.operation for e in load.calls("mail", "register_one")] == ["mail", "register_one"]


def test_nothing_leaves_when_the_notice_does_not(load):
    load.join(3)
    load.plan()
    sent_before_today(load, 100_000)
    load.fault(FaultKind.CLOSED_BEFORE_WORK, "mail")
    with pytest.raises(OutcomeUnknown):
        upload.upload(load.world, "0001")
    assert load.calls("register_file") == []


def test_a_notice_whose_outcome_is_unknown_goes_again_without_a_person(load):
    """Twice told is better than not told; it is the same mail."""
    big(load, 250_000)
    load.fault(FaultKind.CLOSED_AFTER_WORK, "mail")
    with pytest.raises(OutcomeUnknown):
        announce_volume(load.world)
    announce_volume(load.world)
    assert len(mails(load)) == 2
    assert len(set(mails(load))) == 1


def test_two_mails_never_share_a_message_id(load):
    assert deliver(load.world, "a", MAIL, ask=True) != deliver(load.world, "b", MAIL, ask=True)
