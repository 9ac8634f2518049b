import pytest

from kfr.hooks.mail import SmtpMailer
from kfr.load.world import MailNotSent
from kfr.register.errors import OutcomeUnknown
from tests.simulator import Fault, FaultKind
from tests.unit.stand import Stand

MAIL = {
    "to": "bits@bits.example",
    "subject": "Innlasting æøå",
    "text": "Tall.\n",
    "message_id": "<1@kfr.invalid>",
}


def strike(stand: Stand, kind: FaultKind, **more: int) -> None:
    stand.simulator.faults.add(Fault(kind=kind, operation="mail", nth=1, **more))


def test_a_mail_leaves_as_it_is_with_our_own_message_id(stand: Stand):
    SmtpMailer().send(**MAIL)
    (mail,) = stand.simulator.mails
    assert (mail.recipients, mail.subject, mail.message_id) == (
        ("bits@bits.example",),
        "Innlasting æøå",
        "<1@kfr.invalid>",
    )
    assert mail.text.strip() == "Tall."
    assert mail.sender == "kfr@bank.example"


def test_a_mail_that_the_server_refuses_surely_did_not_leave_and_is_not_tried_again(stand: Stand):
    strike(stand, FaultKind.STATUS, status=451, times=1)
    with pytest.raises(MailNotSent, match="Nothing was sent"):
        SmtpMailer().send(**MAIL)
    assert stand.simulator.mails == []


@pytest.mark.parametrize(
    ("kind", "kept"), [(FaultKind.CLOSED_AFTER_WORK, 1), (FaultKind.CLOSED_BEFORE_WORK, 0)]
)
def test_a_server_that_hangs_up_may_have_taken_the_mail_and_it_is_not_sent_twice(stand: Stand, kind, kept):
    strike(stand, kind)
    with pytest.raises(OutcomeUnknown, match="may have left"):
        SmtpMailer().send(**MAIL)
    assert len(stand.simulator.mails) == kept


def test_a_server_that_is_not_there_is_named_by_its_connection(stand: Stand, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(
        "AIRFLOW_CONN_SMTP_DEFAULT",
        '{"conn_type": "smtp", "host": "127.0.0.1", "port": 1, "extra": {"disable_tls": true, "disable_ssl": true, '
        '"from_email": "kfr@bank.example", "retry_limit": 1}}',
    )
    for call in (lambda: SmtpMailer().send(**MAIL), SmtpMailer().check):
        with pytest.raises(MailNotSent, match=r"smtp_default cannot be reached.*Nothing was sent"):
            call()


def test_a_connection_that_does_not_exist_is_a_mail_not_sent():
    with pytest.raises(MailNotSent, match="smtp_nowhere"):
        SmtpMailer("smtp_nowhere").check()


def test_a_check_sends_nothing(stand: Stand):
    SmtpMailer().check()
    assert stand.simulator.mails == []
