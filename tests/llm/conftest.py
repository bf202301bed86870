from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import httpx
import pytest

from atom.ground.http import GuardedClient, build_client
from llm import http
from llm.events import Event, Meter, TextDelta
from llm.messages import Deadlines, Endpoint, Message, Request, Text
from llm.wires import openai_chat
from tests.simulators.openai import OpenAISimulator

EventsOf = Callable[..., Awaitable[list[Event]]]

SECRET = "sk-test-canary-0123456789"


@pytest.fixture(autouse=True)
async def no_client_left() -> AsyncIterator[None]:
    yield
    await http.close_client()


@pytest.fixture
async def upstream() -> AsyncIterator[GuardedClient]:
    async with build_client(allowed_hosts=["127.0.0.1"], timeout=httpx.Timeout(None)) as made:
        yield made


@pytest.fixture
def endpoint(openai_simulator: OpenAISimulator) -> Endpoint:
    limits = Deadlines(connect_s=2, first_byte_s=5, chunk_s=5, total_s=20)
    return Endpoint(provider="openai", base_url=openai_simulator.base_url, secret=SECRET, deadlines=limits)


def asking(text: str = "hi", **given: Any) -> Request:
    return Request(model="gpt-4o-mini", messages=(Message("user", (Text(text),)),), **given)


def text_of(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


@pytest.fixture
def events_of(upstream: GuardedClient, endpoint: Endpoint) -> EventsOf:
    """All events of one call on the wire; `seen`, if given, has them even when the call fails."""

    async def gather(
        request: Request | None = None, *, at: Endpoint = endpoint, seen: list[Event] | None = None
    ) -> list[Event]:
        seen = [] if seen is None else seen
        async with aclosing(openai_chat.stream(request or asking(), at, upstream, Meter())) as answer:
            async for event in answer:
                seen.append(event)
        return seen

    return gather
