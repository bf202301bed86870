"""The server's end of a connection: what is ready at the same moment goes out in one packet."""

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# So much is not held back for anything that may follow.
FULL_BYTES = 64 * 1024


class Gathered:
    """A transport that gathers what is written until the event loop has done what is due.

    The head of an answer, its first words and its end are written one by one, often at the same moment; each packet
    costs both sides more than the words in it.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._waiting: list[bytes] = []
        self._bytes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._waiting:
            self._loop.call_soon(self._send)
        self._waiting.append(data)
        self._bytes += len(data)
        if self._bytes >= FULL_BYTES:
            self._send()

    def close(self) -> None:
        self._send()
        self._transport.close()

    def _send(self) -> None:
        if self._waiting:
            together, self._waiting, self._bytes = self._waiting, [], 0
            self._transport.write(b"".join(together))


class Connection(HttpToolsProtocol):
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(cast(asyncio.Transport, Gathered(transport, self.loop)))
