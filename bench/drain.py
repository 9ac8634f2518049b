"""A server that takes a request in and answers 201: what an upload costs without what the register does with it."""

import asyncio
import re


class Drain(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._left = -1
        self._head = b""

    def data_received(self, data: bytes) -> None:
        if self._left < 0:
            self._head += data
            head, end, body = self._head.partition(b"\r\n\r\n")
            if not end:
                return
            length = re.search(rb"(?i)content-length: (\d+)", head)
            self._left = (int(length[1]) if length else 0) - len(body)
            if b"100-continue" in head:
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        else:
            self._left -= len(data)
        if self._left == 0:
            self._left, self._head = -1, b""
            self._transport.write(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Drain, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with asyncio.timeout(3600):
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
