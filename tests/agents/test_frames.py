"""Odd frames on every socket under `/ws/`: read, or closed with the code that says why; never a failure of ours."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

from atom.ground.principal import Principal
from tests.events import bearer

Connect = Callable[..., Any]
SOCKETS = ["chat", "inbox", "supervise"]


@pytest.fixture(params=SOCKETS)
def socket(
    request: pytest.FixtureRequest, server: str, alice: Principal, token_of: Callable[[Principal], str]
) -> Connect:
    """Open one of the sockets as Alice."""
    url, headers = f"{server.replace('http', 'ws')}/ws/{request.param}/", bearer(token_of(alice))

    @asynccontextmanager
    async def open_socket() -> AsyncIterator[ClientConnection]:
        async with connect(url, additional_headers=headers, proxy=None, max_size=None) as opened:
            yield opened

    return open_socket


async def error_of(opened: ClientConnection) -> dict[str, Any]:
    """The next error frame; what the socket says by itself is passed over."""
    async for raw in opened:
        frame: dict[str, Any] = json.loads(raw)
        if frame["type"] == "error":
            return frame
    raise AssertionError("closed without an error")


async def close_code(opened: ClientConnection) -> int | None:
    try:
        async for _ in opened:
            pass
    except ConnectionClosed:
        pass
    return opened.close_code


def failures(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")]


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b'{"type": "no.such"}', id="text as bytes"),
        pytest.param(['{"ty', 'pe": "', "", 'no.such"}'], id="fragments"),
        pytest.param(b"\xff\xfe", id="bytes that are no text"),
        pytest.param("no json", id="no json"),
        pytest.param("[]", id="no object"),
        pytest.param("", id="nothing"),
        pytest.param('{"type": "\\ud800"}', id="half a character"),
        pytest.param("[" * 10_000, id="too deep"),
    ],
)
async def test_what_cannot_be_read_is_an_error_frame_and_the_socket_stays(
    socket: Connect, raw: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with socket() as opened:
        for _ in range(2):
            await opened.send(raw)
            assert (await error_of(opened))["error"]["type"] == "invalid_request_error"
    assert failures(caplog) == []


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        pytest.param(Frame(Opcode.TEXT, b"\xff\xfe").serialize(mask=True), 1007, id="invalid UTF-8"),
        pytest.param(Frame(Opcode.CONT, b"x").serialize(mask=True), 1002, id="a fragment of nothing"),
        pytest.param(b"\x83\x80\x00\x00\x00\x00", 1002, id="unknown opcode"),
        pytest.param(b"\xf1\x80\x00\x00\x00\x00", 1002, id="reserved bits"),
        pytest.param(Frame(Opcode.TEXT, b"x" * 2_000_000).serialize(mask=True), 1009, id="too large"),
    ],
)
async def test_a_frame_outside_the_protocol_closes_with_the_code_that_says_why(
    socket: Connect, raw: bytes, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with socket() as opened:
        opened.transport.write(raw)
        assert await close_code(opened) == code
    assert failures(caplog) == []
