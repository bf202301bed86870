"""Failover from one wire to another: whoever answers, the events are the same."""

from collections.abc import Iterator

import pytest
from pytest_django import Settings

from atom.ground.models import Workspace
from llm.chat import Call
from llm.events import Finished
from llm.messages import Message, Request, Text, Tool, ToolCall, ToolResult
from tests.llm.calls import call_of, events_of, key_at
from tests.llm.conftest import text_of
from tests.simulators.anthropic import AnthropicSimulator
from tests.simulators.gemini import GeminiSimulator
from tests.simulators.openai import OpenAISimulator
from tests.simulators.server import Simulator

pytestmark = pytest.mark.django_db(transaction=True)

MODELS = ("openai/gpt-4o-mini", "anthropic/claude-haiku-4-5", "deepseek/deepseek-chat")
FAILURES = pytest.mark.parametrize("failure", ["error", "timeout", "rate limit", "rubbish"])


@pytest.fixture
def claude() -> Iterator[AnthropicSimulator]:
    with AnthropicSimulator() as simulator:
        yield simulator


@pytest.fixture
def deepseek() -> Iterator[OpenAISimulator]:
    with OpenAISimulator() as simulator:
        yield simulator


@pytest.fixture
def google() -> Iterator[GeminiSimulator]:
    with GeminiSimulator() as simulator:
        yield simulator


def fails(simulator: Simulator, failure: str) -> None:
    match failure:
        case "error":
            simulator.will_fail(500)
        case "rate limit":
            simulator.will_fail(429, retry_after=3)
        case "timeout":
            simulator.will_hang()
        case _:
            simulator.will_fail(200, body="<html>Sign in</html>", content_type="text/html")


@FAILURES
async def test_failover_from_openai_to_anthropic(
    workspace: Workspace,
    openai_simulator: OpenAISimulator,
    claude: AnthropicSimulator,
    settings: Settings,
    failure: str,
) -> None:
    settings.ATOM_FIRST_BYTE_TIMEOUT = 0.3
    await key_at(workspace, openai_simulator)
    await key_at(workspace, claude, provider="anthropic")
    fails(openai_simulator, failure)
    claude.will_say("from Claude")
    call = call_of(workspace, models=MODELS)
    events = await events_of(call)
    assert text_of(events) == "from Claude"
    assert (call.provider, call.attempts) == ("anthropic", 2)
    assert len(openai_simulator.requests) == len(claude.requests) == 1


@FAILURES
async def test_failover_from_anthropic_to_deepseek(
    workspace: Workspace, claude: AnthropicSimulator, deepseek: OpenAISimulator, settings: Settings, failure: str
) -> None:
    settings.ATOM_FIRST_BYTE_TIMEOUT = 0.3
    await key_at(workspace, claude, provider="anthropic")
    await key_at(workspace, deepseek, provider="deepseek")
    fails(claude, failure)
    deepseek.will_say("from DeepSeek")
    call = call_of(workspace, models=MODELS)
    events = await events_of(call)
    assert text_of(events) == "from DeepSeek"
    assert (call.provider, call.attempts) == ("deepseek", 2)
    assert isinstance(events[-1], Finished)


async def test_failover_goes_down_the_whole_list_over_all_wires(
    workspace: Workspace,
    openai_simulator: OpenAISimulator,
    claude: AnthropicSimulator,
    google: GeminiSimulator,
    deepseek: OpenAISimulator,
) -> None:
    keys = {"openai": openai_simulator, "anthropic": claude, "gemini": google, "deepseek": deepseek}
    for provider, simulator in keys.items():
        await key_at(workspace, simulator, provider=provider)
    for simulator in (openai_simulator, claude, google):
        simulator.will_fail(503)
    deepseek.will_say("at last")
    call = call_of(workspace, models=(*MODELS[:2], "gemini/gemini-2.5-flash", MODELS[2]))
    assert text_of(await events_of(call)) == "at last"
    assert [one.provider for one in call.tried] == list(keys)
    assert call.attempts == 4


async def test_a_conversation_with_tools_moves_to_another_wire_whole(
    workspace: Workspace, openai_simulator: OpenAISimulator, claude: AnthropicSimulator
) -> None:
    await key_at(workspace, openai_simulator)
    await key_at(workspace, claude, provider="anthropic")
    openai_simulator.will_fail(500)
    messages = (
        Message("system", (Text("Be brief."),)),
        Message("user", (Text("Where am I?"),)),
        Message("assistant", (ToolCall("call_1", "look", '{"at": "me"}'),)),
        Message("tool", (ToolResult("call_1", "at home"),)),
    )
    request = Request("auto", messages, tools=(Tool("look", "Looks.", {"type": "object", "properties": {}}),))
    await events_of(Call(workspace_id=workspace.id, request=request, models=MODELS[:2]))
    sent = claude.requests[0].json
    assert (sent["system"], sent["model"]) == ("Be brief.", "claude-haiku-4-5")
    assert [message["role"] for message in sent["messages"]] == ["user", "assistant", "user"]
    assert sent["messages"][2]["content"][0]["tool_use_id"] == sent["messages"][1]["content"][0]["id"]
