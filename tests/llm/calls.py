"""Whole calls in tests: keys at simulators, calls to them, their events."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing

from atom.ground.database import in_db
from atom.ground.models import Workspace
from llm.chat import Call
from llm.events import Event
from llm.messages import Message, Request, Text
from llm.models import ProviderKey
from llm.services import create_key
from tests.simulators.openai import OpenAISimulator
from tests.simulators.server import Simulator

MODEL = "openai/gpt-4o-mini"


async def key_at(
    workspace: Workspace,
    simulator: Simulator,
    *,
    provider: str = "openai",
    name: str = "main",
    priority: int = 100,
) -> ProviderKey:
    """A key of the workspace, `sk-<name>`, whose provider is the simulator."""
    return await in_db(
        create_key,
        workspace_id=workspace.id,
        provider=provider,
        name=name,
        secret=f"sk-{name}",
        base_url=simulator.base_url,
        priority=priority,
        by="test",
    )


def call_of(workspace: Workspace, model: str = MODEL, models: Sequence[str] = ()) -> Call:
    request = Request(model, (Message("user", (Text("hi"),)),))
    return Call(workspace_id=workspace.id, request=request, models=models)


async def events_of(call: Call, seen: list[Event] | None = None) -> list[Event]:
    """All events; `seen`, if given, has them even when the call fails."""
    seen = [] if seen is None else seen
    async with aclosing(call.events()) as events:
        async for event in events:
            seen.append(event)
    return seen


def used(simulator: OpenAISimulator) -> list[str]:
    """The secrets it was asked with, oldest first."""
    return [seen.headers["authorization"].removeprefix("Bearer ") for seen in simulator.requests]


async def until(is_so: Callable[[], bool]) -> None:
    """Wait, at most 5 s, for something that happens elsewhere."""
    async with asyncio.timeout(5):
        while not is_so():  # noqa: ASYNC110  # it happens in another thread, which sets no event of this loop
            await asyncio.sleep(0.01)
