"""What the openai_chat wire sends."""

import pytest

from llm.messages import Image, Message, Request, Text, Tool, ToolCall, ToolResult
from llm.wires.openai_chat import body_of
from tests.llm.conftest import EventsOf, asking
from tests.simulators.openai import OpenAISimulator


def test_absent_fields_are_absent_and_an_explicit_zero_stays() -> None:
    assert set(body_of(asking(), "openai")) == {"model", "messages", "stream", "stream_options"}
    given = body_of(asking(temperature=0, top_p=0, seed=0, max_tokens=0), "openai")
    assert [given[name] for name in ("temperature", "top_p", "seed", "max_tokens")] == [0, 0, 0, 0]


def test_all_fields_of_a_request_with_stop_sequence_are_sent() -> None:
    tool = Tool("look", "Looks.", {"type": "object"})
    request = asking(
        tools=(tool,),
        tool_choice="auto",
        stop=("\n", "END"),
        response_format={"type": "json_object"},
        extra={"user": "u1", "stream_options": {"include_usage": True, "x": 1}},
    )
    body = body_of(request, "openai")
    function = {"name": "look", "description": "Looks.", "parameters": {"type": "object"}}
    assert body["tools"] == [{"type": "function", "function": function}]
    assert body["tool_choice"] == "auto"
    assert body["stop"] == ["\n", "END"]
    assert body["response_format"] == {"type": "json_object"}
    assert body["user"] == "u1"
    assert body["stream_options"]["x"] == 1


@pytest.mark.parametrize(
    ("provider", "model", "name"),
    [
        ("openai", "gpt-4o", "max_tokens"),
        ("openai", "gpt-5-mini", "max_completion_tokens"),
        ("openai", "o3", "max_completion_tokens"),
        ("vllm", "gpt-5", "max_tokens"),
    ],
)
def test_the_limit_has_the_name_that_the_model_takes(provider: str, model: str, name: str) -> None:
    request = Request(model=model, messages=(), max_tokens=9)
    assert body_of(request, provider)[name] == 9


def test_a_conversation_with_tools_and_an_image_is_written_as_the_wire_has_it() -> None:
    messages = (
        Message("system", (Text("Be brief."),)),
        Message("user", (Text("a"), Image("data:image/png;base64,AA=="))),
        Message("assistant", (ToolCall("c1", "f", "{}"), ToolCall("c2", "g", '{"x":1}'))),
        Message("tool", (ToolResult("c1", "one"), ToolResult("c2", "two"))),
        Message("assistant", (Text("so"), ToolCall("c3", "f", "{}"))),
        Message("assistant", ()),
    )
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    other = {"id": "c2", "type": "function", "function": {"name": "g", "arguments": '{"x":1}'}}
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    assert body_of(Request(model="m", messages=messages), "openai")["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "a"}, image]},
        {"role": "assistant", "content": None, "tool_calls": [call, other]},
        {"role": "tool", "tool_call_id": "c1", "content": "one"},
        {"role": "tool", "tool_call_id": "c2", "content": "two"},
        {"role": "assistant", "content": "so", "tool_calls": [{**call, "id": "c3"}]},
        {"role": "assistant", "content": ""},
    ]


async def test_a_very_long_context_goes_out_whole(events_of: EventsOf, openai_simulator: OpenAISimulator) -> None:
    openai_simulator.will_say("ok")
    await events_of(asking("word " * 400_000))
    assert len(openai_simulator.requests[0].json["messages"][0]["content"]) == 2_000_000
