"""A server on loopback that misbehaves as told: it reads one request a connection, then does one thing."""

import contextlib
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Self

Behaviour = Callable[[socket.socket], object]


class Loopback:
    def __init__(self, *behaviours: Behaviour, reads: bool = True) -> None:
        self._behaviours = list(behaviours)
        self._reads = reads
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(5)
        self._thread = threading.Thread(target=self._serve)
        self.requests: list[bytes] = []
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(5)
        self._listener.close()

    def _serve(self) -> None:
        for behaviour in self._behaviours:
            connection, _ = self._listener.accept()
            connection.settimeout(5)
            with connection, contextlib.suppress(OSError):
                if self._reads:
                    self.requests.append(b"".join(_read(connection)))
                behaviour(connection)


def answer(text: str) -> Behaviour:
    return lambda connection: connection.sendall(text.replace("\n", "\r\n").encode())


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def stay_silent(connection: socket.socket) -> None:
    """Until the other side gives up and closes."""
    waiting = select.poll()
    waiting.register(connection, select.POLLRDHUP)
    waiting.poll(5000)


def hang_up(connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_WR)


def unreachable() -> str:
    """The URL of a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


def _read(connection: socket.socket) -> Iterator[bytes]:
    head = b""
    while b"\r\n\r\n" not in head:
        head += connection.recv(65536)
    yield head
    length = next(
        (
            int(line.split(b":")[1])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length")
        ),
        0,
    )
    left = length - len(head.split(b"\r\n\r\n", 1)[1])
    while left > 0:
        piece = connection.recv(65536)
        left -= len(piece)
        yield piece
