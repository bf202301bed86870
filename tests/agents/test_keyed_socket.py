"""`idempotency_key` on `/ws/chat/`: the same key is the same run, from its first event."""

import asyncio
import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
import redis
from websockets.asyncio.client import ClientConnection, connect

from agents.models import Agent, Message, Run, Session
from agents.runs.streams import events_key
from atom.ground.database import in_db
from atom.ground.principal import Principal
from tests.simulators.openai import OpenAISimulator

MakeAgent = Callable[..., Agent]
Connect = Callable[..., AbstractAsyncContextManager[ClientConnection]]
ASK: dict[str, Any] = {"type": "message.create", "agent": "helper", "content": "hi"}


@pytest.fixture
def socket(server: str, alice: Principal, token_of: Callable[[Principal], str]) -> Connect:
    """Open `/ws/chat/` as Alice, or with the given token."""
    alices = token_of(alice)

    def open_socket(token: str = alices) -> AbstractAsyncContextManager[ClientConnection]:
        url = f"{server.replace('http', 'ws')}/ws/chat/"
        return connect(url, subprotocols=["atom.v1", f"bearer.{token}"], proxy=None)  # type: ignore[list-item]

    return open_socket


async def ask(opened: ClientConnection, key: str = "k1", last: str = "run_ended", **given: Any) -> list[dict[str, Any]]:
    """Frames up to and with the last, or an error."""
    await opened.send(json.dumps({**ASK, "idempotency_key": key, **given}))
    found: list[dict[str, Any]] = []
    async for raw in opened:
        found.append(json.loads(raw))
        if found[-1]["type"] in {last, "error"}:
            return found
    raise AssertionError(f"closed before {last}: {found}")


def counts() -> tuple[int, int, int]:
    return Run.objects.count(), Session.objects.count(), Message.objects.filter(role="user").count()


async def test_a_repeated_key_replays_its_run(socket: Connect, make_agent: MakeAgent) -> None:
    await in_db(make_agent, "helper")
    async with socket() as opened:
        first = await ask(opened)
        assert await ask(opened) == first
    async with socket() as other:
        assert await ask(other, '"k1"') == first
    assert await in_db(counts) == (1, 1, 1)


async def test_a_run_at_work_is_attached_to_from_its_first_event(
    socket: Connect, make_agent: MakeAgent, openai_simulator: OpenAISimulator
) -> None:
    await in_db(make_agent, "helper")
    openai_simulator.will_say("one two three four five", delay_s=0.2)
    async with socket() as opened, socket() as other:
        first, second = await asyncio.gather(ask(opened), ask(other))
    assert first == second
    assert await in_db(counts) == (1, 1, 1)


async def test_a_replay_comes_from_the_database_when_the_store_has_forgotten(
    socket: Connect, make_agent: MakeAgent, openai_simulator: OpenAISimulator, store: redis.Redis
) -> None:
    await in_db(make_agent, "helper")
    openai_simulator.will_say("Hello over websocket")
    async with socket() as opened:
        first = await ask(opened)
        store.delete(events_key(first[0]["run_id"]))
        accepted, *events = await ask(opened)
    assert accepted == first[0]
    assert [event["text"] for event in events if event["type"] == "text_delta"] == ["Hello over websocket"]
    assert events[-1]["status"] == "succeeded"


async def test_another_message_under_the_key_is_refused(socket: Connect, make_agent: MakeAgent) -> None:
    await in_db(make_agent, "helper")
    async with socket() as opened:
        await ask(opened)
        refused = await ask(opened, last="error", content="something else")
        assert refused[-1]["error"]["code"] == "idempotency_key_reused"
        assert (await ask(opened))[-1]["type"] == "run_ended"


@pytest.mark.parametrize("key", ["", "k" * 256], ids=["empty", "256"])
async def test_a_key_that_is_too_long_or_empty_is_refused(socket: Connect, make_agent: MakeAgent, key: str) -> None:
    await in_db(make_agent, "helper")
    async with socket() as opened:
        refused = await ask(opened, key, last="error")
    assert refused[-1]["error"]["param"] == "idempotency_key"


async def test_a_refused_message_leaves_the_key_free(socket: Connect, make_agent: MakeAgent) -> None:
    async with socket() as opened:
        assert (await ask(opened, last="error"))[-1]["error"]["type"] == "not_found_error"
        await in_db(make_agent, "helper")
        assert (await ask(opened))[-1]["status"] == "succeeded"


async def test_mallory_has_keys_of_her_own(
    socket: Connect, make_agent: MakeAgent, mallory: Principal, token_of: Callable[[Principal], str]
) -> None:
    await in_db(make_agent, "helper")
    hers = await in_db(token_of, mallory)
    async with socket() as opened, socket(hers) as foreign:
        first = await ask(opened)
        refused = await ask(foreign, last="error")
    assert first[0]["run_id"] not in json.dumps(refused)
    assert await in_db(counts) == (1, 1, 1)
