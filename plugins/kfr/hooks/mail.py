"""Mail to Bits, over the SMTP connection, with a Message-ID of our own."""

import smtplib
from collections.abc import Sequence
from email.message import EmailMessage
from email.utils import formatdate

from airflow.providers.smtp.hooks.smtp import SmtpHook

from kfr.load.world import Attachment, MailNotSent
from kfr.register.errors import OutcomeUnknown

NOT_SENT = (
    smtplib.SMTPRecipientsRefused,
    smtplib.SMTPSenderRefused,
    smtplib.SMTPDataError,  # the server answered the message itself with a refusal
    smtplib.SMTPHeloError,
    smtplib.SMTPNotSupportedError,
)


class SmtpMailer:
    """Sends one plain mail at a time; never tries by itself again, since that could send it twice."""

    def __init__(self, smtp_conn_id: str = "smtp_default") -> None:
        self.smtp_conn_id = smtp_conn_id

    def send(
        self, *, to: str, subject: str, text: str, message_id: str, attachments: Sequence[Attachment] = ()
    ) -> None:
        """Send; MailNotSent when it surely did not leave, OutcomeUnknown when it may have."""
        hook = self._connect()
        message = EmailMessage()
        message["Subject"], message["From"], message["To"] = subject, hook.from_email, to
        message["Date"], message["Message-ID"] = formatdate(localtime=True), message_id
        message.set_content(text)
        for attachment in attachments:
            kind, _, subtype = attachment.media_type.partition("/")
            message.add_attachment(
                attachment.content, maintype=kind, subtype=subtype, filename=attachment.name
            )
        with hook:
            client = hook._smtp_client  # noqa: SLF001 - the hook's own sending repeats itself on any error
            try:
                client.send_message(message)  # type: ignore[union-attr]
            except NOT_SENT as error:
                raise MailNotSent(
                    f"The mail server refused the mail ({type(error).__name__}). Nothing was sent."
                ) from error
            except (smtplib.SMTPException, OSError) as error:
                raise OutcomeUnknown(
                    f"The mail server did not answer ({type(error).__name__}): the mail may have left."
                ) from error

    def check(self) -> None:
        """Raise MailNotSent unless the server answers and takes the connection's login."""
        with self._connect() as hook:
            answers, text = hook.test_connection()
        if not answers:
            raise MailNotSent(f"The mail server of connection {self.smtp_conn_id} does not answer: {text}")

    def _connect(self) -> SmtpHook:
        try:
            return SmtpHook(self.smtp_conn_id).get_conn()
        except Exception as error:
            raise MailNotSent(
                f"The mail server of connection {self.smtp_conn_id} cannot be reached ({type(error).__name__}). "
                "Nothing was sent. Make the connection if there is none, mend it if there is, then clear this task."
            ) from error
