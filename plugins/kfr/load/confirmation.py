"""The mails to Bits: the notice before more than 100,000 rows in a day (ONB D-3), and D-4 when it is done.

A mail's intention is recorded before it is sent, its sending after. Between the two a crash leaves it
unknown whether it left: for D-4 a person is asked; for the notice the same mail, with the same Message-ID,
goes again.
"""

from collections.abc import Callable
from email.utils import make_msgid
from typing import Any, Protocol

from kfr.load import lease, planning, report, verification
from kfr.load.papers import Mail, preview
from kfr.load.staging import Place
from kfr.load.world import Mailer, MailNotSent, World
from kfr.register.errors import Fatal

BITS = "DSOP@bits.no"
MESSAGE_ID_DOMAIN = "kfr.invalid"  # RFC 2606: an id needs no host that exists


class DeliveryUnknown(Fatal):
    """A mail may or may not have left; a person looks before it is sent again."""


def announce_volume(world: World) -> list[str]:
    """Send the notice for each day of the forecast that needs one, once; return those days."""
    plan = planning.read(world)
    days = plan.forecast.notice_days
    for day in days:
        deliver(world, f"notice-{day}", report.notice(world, plan, day), ask=False)
    return days


def preview_volume(world: World) -> list[str]:
    """The notices as they would be sent, for a dry run."""
    plan = planning.read(world)
    return [
        preview(report.notice(world, plan, day), report.notice(world, plan, day, "en"), world.mail_to)
        for day in plan.forecast.notice_days
    ]


def send_confirmation(world: World) -> str:
    """Send D-4 for a load that is proven; return the Message-ID.

    :raises DeliveryUnknown: an earlier attempt may have sent it; clearing the task sends it again.
    """
    lease.check(world)
    proof = verification.read(world)
    if any(s.misses for s in proof.strata):
        raise Fatal("The load is not proven, so D-4 is not sent. Clear verify_register first.")
    return deliver(world, "d-4", report.confirmation(world), ask=True)


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


def deliver(world: Outbox, what: str, mail: Mail, *, ask: bool) -> str:
    """Send a mail once; a delivery that was recorded is not repeated."""
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
    if ask and entry["intended"] and not entry["asked"]:
        world.state.write_json(name, {**entry, "asked": True})
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
