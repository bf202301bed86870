"""Models that never call a tool by themselves are held to JSON: either an answer, which streams, or a call."""

import json
from typing import Any

import pytest

from atom.ground.http import GuardedClient
from llm.events import Event, Finished, Meter, TextDelta, ToolCallReady
from llm.messages import Deadlines, Endpoint, Message, Request, Text, Tool, ToolCall, ToolResult
from llm.registry import PROVIDERS
from llm.wires import WHOLE, WIRES
from llm.wires.emulated_tools import told
from tests.llm.conftest import asking, text_of
from tests.simulators.openai import OpenAISimulator

LOOK = Tool("look", "Looks.", {"type": "object", "properties": {"at": {"type": "string"}}, "required": ["at"]})
NOW = Tool("now", "The time.", {"properties": {}})
BOTH = pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])


class Talk:
    def __init__(self, simulator: OpenAISimulator, client: GuardedClient) -> None:
        self.simulator = simulator
        self._client = client

    async def events(self, request: Request, *, streamed: bool = True) -> list[Event]:
        limits = Deadlines(connect_s=2, first_byte_s=5, chunk_s=5, total_s=20)
        endpoint = Endpoint("local", self.simulator.base_url, "sk-local", limits)
        wire = (WIRES if streamed else WHOLE)["emulated_tools"]
        return [event async for event in wire(request, endpoint, self._client, Meter())]

    @property
    def sent(self) -> Any:
        return self.simulator.requests[-1].json


@pytest.fixture
async def talk(openai_simulator: OpenAISimulator, upstream: GuardedClient) -> Talk:
    return Talk(openai_simulator, upstream)


def asked(*tools: Tool, **given: Any) -> Request:
    return asking("Where am I?", tools=tools or (LOOK, NOW), **given)


def schema_of(body: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = body["response_format"]["json_schema"]["schema"]["anyOf"]
    return found


def test_the_local_model_speaks_this_wire() -> None:
    assert PROVIDERS["local"].wire_of("smollm2") == "emulated_tools"


@BOTH
async def test_a_call_in_json_is_a_tool_call(talk: Talk, streamed: bool) -> None:
    talk.simulator.will_say('{"tool": "look", "arguments": {"at": "me \\u00e4"}}')
    events = await talk.events(asked(), streamed=streamed)
    [call] = [event.call for event in events if isinstance(event, ToolCallReady)]
    assert (call.name, json.loads(call.arguments)) == ("look", {"at": "me ä"})
    assert text_of(events) == ""
    assert isinstance(events[-1], Finished)
    assert events[-1].reason == "tool_calls"


@BOTH
async def test_an_answer_comes_out_of_its_json(talk: Talk, streamed: bool) -> None:
    said = 'One "two"\n \\ three 🌱 ä'
    talk.simulator.will_say(json.dumps({"answer": said}))
    events = await talk.events(asked(), streamed=streamed)
    assert text_of(events) == said
    assert isinstance(events[-1], Finished)
    assert events[-1].reason == "stop"


@pytest.mark.parametrize("ascii_only", [True, False])
async def test_an_answer_streams_however_it_is_cut(talk: Talk, ascii_only: bool) -> None:
    said = 'One "two"\n \\ three 🌱 ä'
    pieces = list(json.dumps({"answer": said}, ensure_ascii=ascii_only))
    talk.simulator.will_say("x").pieces = pieces
    deltas = [event.text for event in await talk.events(asked()) if isinstance(event, TextDelta)]
    assert "".join(deltas) == said
    assert len(deltas) == len(said)


async def test_text_without_tools_is_left_as_it_is(talk: Talk) -> None:
    talk.simulator.will_say('{"answer": "as it is"}')
    assert text_of(await talk.events(asking())) == '{"answer": "as it is"}'
    assert "response_format" not in talk.sent


async def test_what_is_no_json_is_said_as_it_is(talk: Talk) -> None:
    talk.simulator.will_say("I know no schemas")
    talk.simulator.will_say('{"something": "else"}')
    events = await talk.events(asked())
    assert next(event.text for event in events if isinstance(event, TextDelta)) == "I"
    assert text_of(events) == "I know no schemas"
    assert text_of(await talk.events(asked())) == '{"something": "else"}'


async def test_an_answer_that_ran_out_of_tokens_keeps_what_came(talk: Talk) -> None:
    talk.simulator.will_say('{"answer": "one two', finish="length")
    events = await talk.events(asked())
    assert text_of(events) == "one two"
    assert isinstance(events[-1], Finished)
    assert events[-1].reason == "length"


async def test_the_model_is_told_of_the_tools_and_held_to_their_schemas(talk: Talk) -> None:
    talk.simulator.will_say('{"answer": "x"}')
    await talk.events(asked())
    assert not talk.sent.keys() & {"tools", "tool_choice"}
    [system, user] = talk.sent["messages"]
    assert "Looks." in system["content"]
    assert user == {"role": "user", "content": "Where am I?"}
    answer, look, now = schema_of(talk.sent)
    assert look["properties"]["tool"] == {"const": "look"}
    assert look["properties"]["arguments"] == LOOK.parameters
    assert now["properties"]["arguments"] == {"type": "object", "properties": {}}
    assert answer["properties"] == {"answer": {"type": "string"}}


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ("auto", [None, "look", "now"]),
        ("required", ["look", "now"]),
        ({"type": "function", "function": {"name": "now"}}, ["now"]),
    ],
)
def test_the_tool_choice_is_kept(choice: Any, names: list[str | None]) -> None:
    body = {"response_format": told(asked(tool_choice=choice)).response_format}
    assert [way["properties"].get("tool", {}).get("const") for way in schema_of(body)] == names


def test_no_tools_are_offered_when_none_is_to_be_called() -> None:
    assert told(asked(tool_choice="none")).response_format is None


async def test_after_a_tool_the_model_answers_in_plain_words(talk: Talk) -> None:
    messages = (
        Message("system", (Text("Be brief."),)),
        Message("user", (Text("Where am I?"),)),
        Message("assistant", (ToolCall("c1", "look", '{"at": "me"}'),)),
        Message("tool", (ToolResult("c1", "at home"),)),
    )
    talk.simulator.will_say("You are at home")
    assert text_of(await talk.events(Request("smollm2", messages, tools=(LOOK,)))) == "You are at home"
    assert "response_format" not in talk.sent
    assert [message["role"] for message in talk.sent["messages"]] == ["system", "user", "assistant", "user"]
    assert "look" in talk.sent["messages"][2]["content"]
    assert talk.sent["messages"][3]["content"].startswith("look says: at home")


async def test_an_answer_may_have_a_schema_of_its_own(talk: Talk) -> None:
    wanted = {"type": "object", "properties": {"age": {"type": "integer"}}}
    given = {"type": "json_schema", "json_schema": {"name": "person", "schema": wanted}}
    talk.simulator.will_say('{"answer": {"age": 7}}')
    events = await talk.events(asked(response_format=given))
    assert json.loads(text_of(events)) == {"age": 7}
    assert schema_of(talk.sent)[0]["properties"]["answer"] == wanted
