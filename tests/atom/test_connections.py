"""What the server writes at the same moment goes out together."""

import asyncio
from typing import Any

import pytest
import uvicorn

from atom.supervisor.connections import FULL_BYTES, Connection, Gathered


class Noted(asyncio.Transport):
    """Where bytes leave for the network: each packet, and the end."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 7)})
        self.packets: list[bytes] = []

    def write(self, data: Any) -> None:
        self.packets.append(bytes(data))

    def close(self) -> None:
        self.packets.append(b"(closed)")


@pytest.fixture
async def noted() -> Noted:
    return Noted()


@pytest.fixture
async def gathered(noted: Noted) -> Gathered:
    return Gathered(noted, asyncio.get_running_loop())


async def test_what_is_written_at_the_same_moment_is_one_packet(gathered: Gathered, noted: Noted) -> None:
    for word in (b"head ", b"body ", b"end"):
        gathered.write(word)
    assert noted.packets == []
    await asyncio.sleep(0)
    assert noted.packets == [b"head body end"]
    gathered.write(b"later")
    await asyncio.sleep(0)
    assert noted.packets == [b"head body end", b"later"]


async def test_much_is_not_held_back(gathered: Gathered, noted: Noted) -> None:
    gathered.write(b"first")
    gathered.write(b"x" * FULL_BYTES)
    assert [len(packet) for packet in noted.packets] == [5 + FULL_BYTES]
    await asyncio.sleep(0)
    assert len(noted.packets) == 1


async def test_what_was_written_goes_before_the_end(gathered: Gathered, noted: Noted) -> None:
    gathered.write(b"last words")
    gathered.close()
    assert noted.packets == [b"last words", b"(closed)"]
    assert gathered.get_extra_info("peername") == ("127.0.0.1", 7)


async def test_an_answer_and_its_end_come_whole_through_a_real_server() -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
        for number in range(1000):
            await send({"type": "http.response.body", "body": b"%d " % number * 100, "more_body": True})
        await send({"type": "http.response.body", "body": b"end"})

    config = uvicorn.Config(application, port=0, log_config=None, lifespan="off", http=Connection)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110  # the server has no event for it
        await asyncio.sleep(0.01)
    reader, writer = await asyncio.open_connection(*server.servers[0].sockets[0].getsockname()[:2])
    writer.write(b"GET / HTTP/1.1\r\nhost: atom\r\n\r\n")
    said = await reader.read()
    writer.close()
    server.should_exit = True
    await serving
    assert said.startswith(b"HTTP/1.1 200 OK")
    assert said.endswith(b"3\r\nend\r\n0\r\n\r\n")
    assert all(b"%d " % number * 100 in said for number in range(1000))
