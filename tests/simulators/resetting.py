"""A TCP proxy on loopback that resets each connection after so many bytes, and stops after so many resets."""

import asyncio
import contextlib
import socket
import struct
from collections import Counter
from types import TracebackType
from typing import Self

# With this a close is a reset: what was not delivered is thrown away.
LINGER_ZERO = struct.pack("ii", 1, 0)


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


class ResettingProxy:
    """In front of `port`. The first bytes that a client sends name it (`client_of`); each gets `resets` resets."""

    def __init__(self, port: int, *, resets: int, after_bytes: int) -> None:
        self.upstream_port = port
        self.resets, self.after_bytes = resets, after_bytes
        self.cut: Counter[str] = Counter()
        self.serving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self.server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.server.close()
        for task in self.serving:
            task.cancel()
        await asyncio.gather(*self.serving, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self.serving.add(task)
        try:
            await asyncio.wait([task])
        finally:
            self.serving.discard(task)
            await closed(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            client = self.client_of(head)
            upstream_reader, upstream = await asyncio.open_connection("127.0.0.1", self.upstream_port)
            upstream.write(head)
            sending = asyncio.create_task(self._copy(reader, upstream))
            try:
                await self._answer(client, upstream_reader, writer)
            finally:
                sending.cancel()
                await closed(upstream)

    @staticmethod
    def client_of(head: bytes) -> str:
        """Whose connection it is, as its `x-client` header says; connections without one are left alone."""
        for line in head.decode("latin-1").split("\r\n"):
            name, _, value = line.partition(": ")
            if name.lower() == "x-client":
                return value
        return ""

    @staticmethod
    async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()

    async def _answer(self, client: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        passed = 0
        while data := await reader.read(4096):
            writer.write(data)
            await writer.drain()
            passed += len(data)
            if client and passed >= self.after_bytes and self.cut[client] < self.resets:
                self.cut[client] += 1
                raw: socket.socket = writer.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
                writer.transport.abort()
                return
