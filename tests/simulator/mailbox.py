"""The mails that were handed to the stand-in's mail server."""

import email
import email.policy
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """One mail as it was delivered; `recipients` are the envelope's."""

    at: datetime
    sender: str
    recipients: tuple[str, ...]
    raw: bytes = field(repr=False)
    message_id: str
    subject: str
    text: str

    def as_json(self) -> dict[str, Any]:
        return {
            "at": self.at.isoformat(),
            "sender": self.sender,
            "recipients": list(self.recipients),
            "message_id": self.message_id,
            "subject": self.subject,
            "text": self.text,
        }


def read_mail(at: datetime, sender: str, recipients: list[str], raw: bytes) -> Mail:
    """Read a message (RFC 5322, bytes); a part that is not text is passed over."""
    message = email.message_from_bytes(raw, policy=email.policy.default)
    body = message.get_body(("plain", "html"))
    return Mail(
        at=at,
        sender=sender,
        recipients=tuple(recipients),
        raw=raw,
        message_id=str(message.get("Message-ID", "")),
        subject=str(message.get("Subject", "")),
        text="" if body is None else str(body.get_content()),
    )
