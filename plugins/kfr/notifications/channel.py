"""How an alert reaches a person: Apprise if the connection `kfr_alerts` exists, else mail."""

from email.utils import make_msgid

from airflow.sdk import BaseHook, Variable
from airflow.sdk.exceptions import AirflowNotFoundException

from kfr.hooks.mail import SmtpMailer
from kfr.load.deliveries import MESSAGE_ID_DOMAIN
from kfr.notifications.alerts import Severity
from kfr.register.errors import ConfigurationError

CONNECTION = "kfr_alerts"
VARIABLE = "kfr_oncall_mail"
APPRISE_KINDS = {Severity.ACT: "failure", Severity.MORNING: "warning", None: "success"}


def send(subject: str, text: str, severity: Severity | None) -> None:
    """Send; `severity` None says that something is over. Raises whatever the channel raises."""
    try:
        BaseHook.get_connection(CONNECTION)
    except AirflowNotFoundException:
        _mail(subject, text)
        return
    from airflow.providers.apprise.hooks.apprise import AppriseHook
    from apprise import NotifyFormat, NotifyType

    AppriseHook(CONNECTION).notify(
        body=text,
        title=subject,
        notify_type=NotifyType(APPRISE_KINDS[severity]),
        body_format=NotifyFormat.TEXT,
    )


def _mail(subject: str, text: str) -> None:
    to: str | None = Variable.get(VARIABLE, default=None)
    if not to:
        raise ConfigurationError(
            f"Nobody is told: make the Apprise connection {CONNECTION}, or set the Variable {VARIABLE}."
        )
    SmtpMailer().send(to=to, subject=subject, text=text, message_id=make_msgid(domain=MESSAGE_ID_DOMAIN))
