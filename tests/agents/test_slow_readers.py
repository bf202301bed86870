"""A reader who takes nothing while a run says much: it is let go, can come back, and harms nobody else."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import openai
import pytest
from pytest_django import Settings
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from agents.models import Agent
from atom.ground.database import in_db
from atom.ground.principal import Principal
from atom.supervisor.sockets import Socket
from tests.conftest import WebServer
from tests.events import bearer
from tests.live.instance import wait_until
from tests.simulators.openai import OpenAISimulator

# More than the buffers of both ends hold, and of a kind that does not compress.
PIECES = 24_000
PIECE = "{:0>600}"
SLOW_READER_S = 1.0


@pytest.fixture
def text(openai_simulator: OpenAISimulator, settings: Settings) -> str:
    settings.SLOW_READER_S = SLOW_READER_S
    said = " ".join(PIECE.format(number) for number in range(PIECES))
    openai_simulator.will_say(said)
    return said


@pytest.fixture
def token(alice: Principal, token_of: Callable[[Principal], str]) -> str:
    return token_of(alice)


@pytest.fixture
def client(server: str, token: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=server, headers=bearer(token), timeout=60, trust_env=False)


async def until(true: Callable[[], object], what: str) -> None:
    await asyncio.to_thread(wait_until, true, 60, what)


async def read_nothing(web_server: WebServer) -> None:
    """Until a stream of the server is full to the brim, and then longer than it waits for a reader."""
    await until(lambda: any(one.flow.write_paused for one in streams_of(web_server)), "the stream is full")
    await asyncio.sleep(SLOW_READER_S * 3)


def streams_of(web_server: WebServer) -> list[Any]:
    """The server's ends of its HTTP connections, each of which knows whether it may write (`flow`)."""
    return [one for one in list(web_server.server_state.connections) if getattr(one, "flow", None) is not None]


def sockets_of(web_server: WebServer) -> list[Socket]:
    return [one for one in list(web_server.server_state.connections) if isinstance(one, Socket)]


def socket_to(server: str, token: str, **given: Any) -> connect:
    url = f"{server.replace('http', 'ws')}/ws/chat/"
    return connect(url, additional_headers=bearer(token), proxy=None, compression=None, **given)


async def heard(socket: ClientConnection) -> tuple[list[dict[str, Any]], int]:
    """Run events up to the run's end or the socket's, and the code it was closed with (0 while it is open)."""
    found: list[dict[str, Any]] = []
    try:
        async for raw in socket:
            found.append(json.loads(raw))
            if found[-1]["type"] == "run_ended":
                return found, 0
    except ConnectionClosed:
        pass
    return found, socket.close_code or 0


def text_in(events: list[dict[str, Any]]) -> str:
    return "".join(event["text"] for event in events if event["type"] == "text_delta")


async def test_a_websocket_that_is_not_read_is_closed_with_1013_and_resumes_where_it_was(
    server: str, web_server: WebServer, token: str, make_agent: Callable[..., Agent], text: str
) -> None:
    await in_db(make_agent)
    async with socket_to(server, token, max_queue=1) as slow:
        await slow.send(json.dumps({"type": "message.create", "agent": "helper", "content": "go"}))
        accepted = json.loads(await slow.recv())
        resume = {"type": "run.resume", "run_id": accepted["run_id"], "after": 0}
        async with socket_to(server, token) as other:
            # Nobody reads the first socket while the second hears the whole run.
            await other.send(json.dumps(resume))
            assert text_in((await heard(other))[0]) == text
        await until(lambda: any(one.close_sent for one in sockets_of(web_server)), "the server says goodbye")
        before, code = await heard(slow)
    assert code == 1013
    async with socket_to(server, token) as again:
        await again.send(json.dumps({**resume, "after": before[-1]["seq"]}))
        after, _ = await heard(again)
    assert text_in(before) != text
    assert text_in(before + after) == text


async def lines_of(answer: httpx.Response) -> list[str]:
    return [line async for line in answer.aiter_lines() if line]


async def test_an_event_stream_that_is_not_read_says_so_behind_what_it_sent_and_ends(
    server: str, web_server: WebServer, client: httpx.AsyncClient, make_agent: Callable[..., Agent], text: str
) -> None:
    await in_db(make_agent)
    body = {"message": "go", "stream": True}
    async with client, client.stream("POST", "/api/agents/helper/chat/", json=body) as answer:
        await read_nothing(web_server)
        *lines, last = await lines_of(answer)
        assert json.loads(last.removeprefix("data: "))["error"]["code"] == "slow_reader"
        ids = [int(line[4:]) for line in lines if line.startswith("id: ")]
        before = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
        run = answer.headers["x-atom-run"]
        async with client.stream("GET", f"/api/runs/{run}/events/", headers={"Last-Event-ID": str(ids[-1])}) as more:
            after = [json.loads(line[6:]) for line in await lines_of(more) if line.startswith("data: ")]
    assert text_in(before) != text
    assert text_in(before + after) == text


@pytest.mark.parametrize("surface", ["chat completions", "responses"])
async def test_the_official_client_raises_when_it_comes_back_to_a_stream_too_late(
    server: str, web_server: WebServer, token: str, text: str, surface: str
) -> None:
    async with openai.AsyncOpenAI(base_url=f"{server}/v1", api_key=token, max_retries=0, timeout=30) as theirs:
        model, said = "openai/gpt-4o-mini", [{"role": "user", "content": "hi"}]
        stream: Any
        if surface == "responses":
            stream = await theirs.responses.create(model=model, input="hi", stream=True)
        else:
            stream = await theirs.chat.completions.create(model=model, messages=said, stream=True)  # type: ignore[arg-type]
        await read_nothing(web_server)
        with pytest.raises(openai.APIError, match="not read for too long"):
            async for _ in stream:
                pass
