"""Bob supervises over a real websocket what Alice's agents do; Alice talks to them over another."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect

from agents.models import Agent
from atom.ground.database import in_db
from atom.ground.principal import Principal
from tests.events import bearer
from tests.live.instance import wait_until

# How long something that must not happen is given to happen.
A_WHILE_S = 0.6


class Socket:
    """A websocket with what came over it; `rest` are the frames that `until` has not gone past."""

    def __init__(self, opened: ClientConnection) -> None:
        self.opened = opened

    async def send(self, **frame: object) -> None:
        await self.opened.send(json.dumps(frame, default=str))

    async def until(self, kind: str, **fields: object) -> list[dict[str, Any]]:
        """Frames up to and with the first of this type with these fields."""
        found: list[dict[str, Any]] = []
        async with asyncio.timeout(20):
            async for raw in self.opened:
                found.append(json.loads(raw))
                if found[-1]["type"] == kind and fields.items() <= found[-1].items():
                    return found
        raise AssertionError(f"closed ({self.opened.close_code}) before {kind}: {found}")

    async def in_a_while(self) -> list[dict[str, Any]]:
        """All frames that come within a while."""
        found: list[dict[str, Any]] = []
        try:
            async with asyncio.timeout(A_WHILE_S):
                async for raw in self.opened:
                    found.append(json.loads(raw))
        except TimeoutError:
            pass
        return found


Open = Callable[..., AbstractAsyncContextManager[Socket]]


@pytest.fixture
def open_socket(server: str, token_of: Callable[[Principal], str]) -> Open:
    """Open the socket at a path as somebody."""

    @asynccontextmanager
    async def opening(path: str, who: Principal) -> AsyncIterator[Socket]:
        url = f"{server.replace('http', 'ws')}{path}"
        protocols: Any = ["atom.v1", f"bearer.{await in_db(token_of, who)}"]
        # Without a bound on frames that are not read: at the bound the client would stop to hear even the closing.
        async with connect(url, subprotocols=protocols, proxy=None, max_queue=None) as opened:
            yield Socket(opened)

    return opening


@pytest.fixture
def supervise(open_socket: Open, bob: Principal) -> Open:
    """Open `/ws/supervise/` as Bob, or as somebody else."""
    return lambda who=bob: open_socket("/ws/supervise/", who)


@pytest.fixture
def chat(open_socket: Open, alice: Principal) -> Open:
    return lambda: open_socket("/ws/chat/", alice)


@pytest.fixture
def helper(make_agent: Callable[..., Agent]) -> Agent:
    return make_agent("helper", maturity="supervised")


@pytest.fixture
def rest(server: str, token_of: Callable[[Principal], str]) -> Callable[[Principal], httpx.AsyncClient]:
    """A REST client of somebody."""

    def make(who: Principal) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=server, headers=bearer(token_of(who)), timeout=30, trust_env=False)

    return make


async def ask(talk: Socket, agent: str = "helper", content: str = "go") -> str:
    """Begin a run; its id."""
    await talk.send(type="message.create", agent=agent, content=content)
    run_id: str = (await talk.until("message.accepted"))[-1]["run_id"]
    return run_id


async def until(true: Callable[[], object]) -> None:
    await asyncio.to_thread(wait_until, true, 20, "what the test waits for")
