"""Mails that leave once.

A mail's intention is recorded before it is sent, its sending after. Between the two a crash leaves it
unknown whether it left: where it matters a person is asked; else the same mail, with the same Message-ID,
goes again.
"""

from collections.abc import Callable
from email.utils import make_msgid
from typing import Any, Protocol

from kfr.load.papers import Mail
from kfr.load.staging import Place
from kfr.load.world import Mailer, MailNotSent
from kfr.register.errors import Fatal

BITS = "DSOP@bits.no"
MESSAGE_ID_DOMAIN = "kfr.invalid"  # RFC 2606: an id needs no host that exists


class DeliveryUnknown(Fatal):
    """A mail may or may not have left; a person looks before it is sent again."""


class Outbox(Protocol):
    """What a delivery needs of the world."""

    @property
    def state(self) -> Place: ...
    @property
    def mailer(self) -> Mailer: ...
    @property
    def mail_to(self) -> str: ...
    @property
    def now(self) -> float: ...
    @property
    def say(self) -> Callable[[str], None]: ...


def has_left(world: Outbox, what: str) -> bool:
    """Whether a mail is recorded as sent."""
    name = f"deliveries/{what}"
    return world.state.exists(name) and bool(world.state.read_json(name)["sent_at"])


def deliver(world: Outbox, what: str, mail: Mail, *, ask: bool, lease: int | None = None) -> str:
    """Send a mail once; a delivery that was recorded is not repeated.

    :param ask: ask a person before it is sent where it may have been.
    :param lease: the generation of the lease. Whoever clears takes the lease anew, a retry does not: so a worker that
        died before its question was heard has not asked.
    """
    name = f"deliveries/{what}"
    new: dict[str, Any] = {
        "message_id": make_msgid(domain=MESSAGE_ID_DOMAIN),
        "intended": False,
        "asked": False,
        "sent_at": None,
    }
    entry = world.state.read_json(name) if world.state.exists(name) else new
    if entry["sent_at"]:
        world.say(f"Mail {what} was sent before, Message-ID {entry['message_id']}.")
        return str(entry["message_id"])
    if ask and entry["intended"] and entry["asked"] in (False, lease):
        world.state.write_json(name, {**entry, "asked": lease or True})
        raise DeliveryUnknown(
            f"It is not known whether the mail {what} left: the run stopped between sending and recording "
            f"it. Look for Message-ID {entry['message_id']} in the mail server's log. If it left, mark this "
            "task as success. If not, clear this task: the same mail is sent with the same Message-ID."
        )
    world.state.write_json(name, {**entry, "intended": True, "asked": False})
    try:
        world.mailer.send(
            to=world.mail_to,
            subject=mail.subject,
            text=mail.text,
            message_id=entry["message_id"],
            attachments=mail.attachments,
        )
    except MailNotSent:
        world.state.write_json(name, entry)
        raise
    world.state.write_json(
        name, {**entry, "intended": True, "sent_at": world.now, "to": world.mail_to, "subject": mail.subject}
    )
    world.say(f"Mail {what} sent to {world.mail_to}, Message-ID {entry['message_id']}.")
    return str(entry["message_id"])
