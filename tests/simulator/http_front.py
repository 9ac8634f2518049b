"""The front on loopback: real HTTP by Starlette and uvicorn, real SMTP by aiosmtpd, in a thread of their own."""

import asyncio
import socket
import struct
import threading
import time
from types import TracebackType
from typing import Self

import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tests.simulator.admin import admin_routes
from tests.simulator.in_process import UnknownHost
from tests.simulator.mail_server import start_mail_server
from tests.simulator.messages import Answer, Break, Request, gateway_page
from tests.simulator.simulator import Simulator

LOOPBACK = "127.0.0.1"
REGISTER_PATH = "/kar-ws/api/v1"
ISSUER_PATH = "/maskinporten/"
START_SECONDS = 10.0
STOP_SECONDS = 10.0
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER without time: the peer gets a reset, not an end


class HttpFront:
    """Serves a simulator on loopback while it is entered.

    The ports are known as soon as it is made (port 0 takes a free one), and the simulator then answers at their
    addresses: `base_url` and `issuer` of the simulator.
    """

    def __init__(self, simulator: Simulator, *, port: int = 0, smtp_port: int = 0) -> None:
        self._simulator = simulator
        self._http, self._smtp = _listen(port), _listen(smtp_port)
        self.port: int = self._http.getsockname()[1]
        self.smtp_port: int = self._smtp.getsockname()[1]
        self.url = f"http://{LOOPBACK}:{self.port}"
        simulator.move_to(base_url=f"{self.url}{REGISTER_PATH}", issuer=f"{self.url}{ISSUER_PATH}")
        app = Starlette(routes=admin_routes(simulator))
        # All else, whatever its path: one may hold a line break, which no pattern of a route matches.
        app.router.default = self._serve
        config = uvicorn.Config(
            app,
            log_config=None,
            log_level="warning",
            access_log=False,
            http="h11",  # always there, and its connections can be found to be broken
            ws="none",
            lifespan="off",
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="simulator", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        give_up = time.monotonic() + START_SECONDS
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > give_up:
                raise RuntimeError("the simulator did not start")
            time.sleep(0.01)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        asyncio.run(self._serve_both())

    async def _serve_both(self) -> None:
        mail_server = await start_mail_server(self._simulator, self._smtp)
        async with mail_server:
            await self._server.serve(sockets=[self._http])

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve what is not an admin endpoint: the register's and Maskinporten's requests (ASGI)."""
        try:
            body = await HttpRequest(scope, receive).body()
        except ClientDisconnect:
            return
        answer = self._handle(scope, body)
        if answer.delay:
            await self._simulator.clock.asleep(answer.delay)
        if answer.broken:
            self._break(scope, answer.broken)
            while (await receive())["type"] != "http.disconnect":
                pass
            return
        headers = dict(answer.headers)
        if answer.content_type is not None:
            headers["Content-Type"] = answer.content_type
        await Response(answer.body, answer.status, headers)(scope, receive, send)

    def _handle(self, scope: Scope, body: bytes) -> Answer:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        request = Request(
            method=scope["method"],
            origin=self.url,
            path=scope["raw_path"].decode("latin-1"),
            query=scope["query_string"].decode("latin-1"),
            headers=headers,
            body=body,
        )
        try:
            return self._simulator.handle(request)
        except UnknownHost:
            return gateway_page(404)

    def _break(self, scope: Scope, how: Break) -> None:
        """End the connection for good: in order, or by a reset."""
        for connection in list(self._server.server_state.connections):
            if getattr(connection, "client", None) != scope["client"]:
                continue
            transport = connection.transport
            if how == "closed":
                transport.close()
                return
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            transport.abort()


def _listen(port: int) -> socket.socket:
    # Said to be TCP, since asyncio turns Nagle's algorithm (40 ms a small answer) off only then.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((LOOPBACK, port))
    return listening
