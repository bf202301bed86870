"""Fifty streams through a network that resets every connection five times: no text loses or doubles a byte."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.events import bearer
from tests.live.calls import client_of, upstream_of
from tests.live.instance import Instance
from tests.simulators.openai import OpenAISimulator
from tests.simulators.resetting import ResettingProxy

pytestmark = [pytest.mark.chaos, pytest.mark.xdist_group("live"), pytest.mark.timeout(300)]

STREAMS, TOKENS, RESETS = 50, 400, 5
# Some 60 events of a run; an upgrade's answer and a stream's headers count too.
AFTER_BYTES = 6_000
Event = dict[str, Any]


@pytest.fixture(scope="module")
def atom(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """Its upstream says again what it was told, word for word."""
    with OpenAISimulator(delay_s=0.01) as upstream:
        settings = upstream_of(upstream.base_url, ATOM_LOCAL_MODEL="off")
        instance = Instance(tmp_path_factory.mktemp("resets") / "home", **settings)
        instance.start()
        try:
            yield instance
        finally:
            instance.kill()


@pytest.fixture
async def proxy(atom: Instance) -> AsyncIterator[ResettingProxy]:
    async with ResettingProxy(atom.port, resets=RESETS, after_bytes=AFTER_BYTES) as running:
        yield running


def said_to(name: str) -> str:
    """A text of its own for each, so that a piece of another's would be seen."""
    return " ".join(f"{name}-wörd{number}…" for number in range(TOKENS))


def echo_of(name: str) -> str:
    return f"You said: {said_to(name)}"


class Listener:
    """What one client has heard of its run, over as many connections as it took."""

    def __init__(self, name: str) -> None:
        self.name, self.run_id, self.connections = name, "", 0
        self.events: list[Event] = []

    @property
    def seq(self) -> int:
        return self.events[-1]["seq"] if self.events else 0

    @property
    def has_ended(self) -> bool:
        return bool(self.events) and self.events[-1]["type"] == "run_ended"

    @property
    def text(self) -> str:
        return "".join(event["text"] for event in self.events if event["type"] == "text_delta")

    def hear(self, event: Event) -> None:
        if event["type"] == "message.accepted":
            self.run_id = event["run_id"]
        else:
            assert event["seq"] == self.seq + 1, (self.name, event)
            self.events.append(event)

    async def over_websocket(self, port: int, token: str, *, run_id: str = "") -> "Listener":
        self.run_id = run_id
        while not self.has_ended:
            self.connections += 1
            headers = {**bearer(token), "x-client": self.name}
            url = f"ws://127.0.0.1:{port}/ws/chat/"
            try:
                async with connect(url, additional_headers=headers, proxy=None, compression=None) as socket:
                    first = {"type": "run.resume", "run_id": self.run_id, "after": self.seq}
                    created = {"type": "message.create", "agent": "direct", "content": said_to(self.name)}
                    await socket.send(json.dumps(first if self.run_id else created))
                    while not self.has_ended:
                        self.hear(json.loads(await socket.recv()))
            except (ConnectionClosed, OSError):
                await asyncio.sleep(0.05)
        return self

    async def over_sse(self, client: httpx.AsyncClient, run_id: str) -> "Listener":
        self.run_id = run_id
        while not self.has_ended:
            self.connections += 1
            headers = {"x-client": self.name, "Last-Event-ID": str(self.seq)}
            try:
                async with client.stream("GET", f"/api/runs/{run_id}/events/", headers=headers) as answer:
                    assert answer.status_code == 200
                    async for line in answer.aiter_lines():
                        if line.startswith("data: "):
                            self.hear(json.loads(line[6:]))
            except httpx.TransportError:
                await asyncio.sleep(0.05)
        return self


async def test_fifty_websockets_that_are_reset_five_times_each_hear_their_whole_text(
    atom: Instance, proxy: ResettingProxy
) -> None:
    token = atom.credentials()["access_token"]
    listeners = [Listener(f"socket-{number}") for number in range(STREAMS)]
    await asyncio.gather(*(one.over_websocket(proxy.port, token) for one in listeners))
    assert [one.name for one in listeners if one.text != echo_of(one.name)] == []
    assert {one.events[-1]["status"] for one in listeners} == {"succeeded"}
    assert dict(proxy.cut) == {one.name: RESETS for one in listeners}
    assert len({one.run_id for one in listeners}) == STREAMS


async def begin_run(client: httpx.AsyncClient, name: str) -> str:
    """A run whose first listener leaves at once."""
    body = {"message": said_to(name), "stream": True}
    async with client.stream("POST", "/api/agents/direct/chat/", json=body) as answer:
        return answer.headers["x-atom-run"]


async def test_fifty_event_streams_that_are_reset_five_times_each_carry_their_whole_text(
    atom: Instance, proxy: ResettingProxy
) -> None:
    listeners = [Listener(f"sse-{number}") for number in range(STREAMS)]
    async with client_of(atom) as direct:
        runs = await asyncio.gather(*(begin_run(direct, one.name) for one in listeners))
    async with client_of(atom) as client:
        client.base_url = httpx.URL(f"http://127.0.0.1:{proxy.port}")
        await asyncio.gather(*(one.over_sse(client, run) for one, run in zip(listeners, runs, strict=True)))
    assert [one.name for one in listeners if one.text != echo_of(one.name)] == []
    assert dict(proxy.cut) == {one.name: RESETS for one in listeners}


async def test_two_that_resume_one_run_at_once_both_hear_all_of_it(atom: Instance, proxy: ResettingProxy) -> None:
    token = atom.credentials()["access_token"]
    async with client_of(atom) as client:
        run_id = await begin_run(client, "one")
        client.base_url = httpx.URL(f"http://127.0.0.1:{proxy.port}")
        both = [Listener("one"), Listener("other"), Listener("third")]
        await asyncio.gather(
            both[0].over_websocket(proxy.port, token, run_id=run_id),
            both[1].over_websocket(proxy.port, token, run_id=run_id),
            both[2].over_sse(client, run_id),
        )
    assert [one.text for one in both] == [echo_of("one")] * 3
    assert [proxy.cut[one.name] for one in both] == [RESETS] * 3
