"""A real SMTP server on loopback that keeps every mail in the simulator."""

import asyncio
import socket

from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.simulator.faults import FaultKind
from tests.simulator.simulator import Simulator

ACCEPTED = "250 OK"


class MailHandler:
    """What aiosmtpd calls with a mail, under the names that it wants."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator

    async def handle_DATA(self, server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        content = envelope.content or b""
        raw = content.encode() if isinstance(content, str) else content
        fault = self._simulator.take_mail(envelope.mail_from or "", list(envelope.rcpt_tos), raw)
        if fault is None:
            return ACCEPTED
        if fault.kind is FaultKind.STATUS:
            return f"{fault.status} Planned by a fault"
        if server.transport is not None:
            server.transport.close()
        return ACCEPTED


async def start_mail_server(simulator: Simulator, listening: socket.socket) -> asyncio.Server:
    """Serve SMTP on a bound socket in the running loop."""
    loop = asyncio.get_running_loop()
    handler = MailHandler(simulator)
    return await loop.create_server(lambda: SMTP(handler, hostname="localhost", loop=loop), sock=listening)
