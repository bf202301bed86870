"""What the Anthropic, Gemini and responses wires send, and that their official clients' types accept it."""

from typing import Any

import pytest

from llm.messages import Image, Message, Request, Text, Thinking, Tool, ToolCall, ToolResult
from llm.registry import PROVIDERS
from llm.wires import anthropic_messages, gemini, openai_chat, openai_responses
from llm.wires.anthropic_messages import DEFAULT_MAX_TOKENS, MOST_WITH_THOUGHTS
from llm.wires.openai_responses import StopAt
from tests.llm.conftest import asking
from tests.llm.judges import judge_anthropic, judge_chat, judge_gemini, judge_responses

SCHEMA = {"type": "object", "properties": {"at": {"type": "string"}}, "additionalProperties": False}
LOOK = Tool("look", "Looks.", SCHEMA)
NOW = Tool("now", "The time.", {"type": "object", "properties": {}})
PERSON = {"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA, "strict": True}}
IMAGE = "data:image/png;base64,iVBORw0KGgo="
TALK = (
    Message("system", (Text("Be brief."),)),
    Message("user", (Text("a"), Image(IMAGE), Image("https://example.com/cat.png"))),
    Message("assistant", (Text("so"), ToolCall("call:1", "look", '{"at": "you"}'), ToolCall("c2", "now", ""))),
    Message("tool", (ToolResult("call:1", "one"),)),
    Message("tool", (ToolResult("c2", "two"),)),
    Message("assistant", ()),
    Message("user", (Text(""), Text("b"))),
    Message("system", (Text("And kind."),)),
)
FULL: dict[str, Any] = {
    "tools": (LOOK, NOW),
    "max_tokens": 99,
    "temperature": 1.5,
    "top_p": 0.5,
    "stop": ("END", " "),
    "seed": 7,
    "response_format": PERSON,
    "extra": {"user": "u1", "n": 1},
}


def request(**given: Any) -> Request:
    return Request("m", TALK, **{**FULL, **given})


# --- Anthropic ------------------------------------------------------------------------------------------
def test_anthropic_gets_the_conversation_in_alternating_turns() -> None:
    body = anthropic_messages.body_of(request())
    call = {"type": "tool_use", "id": "call_1", "name": "look", "input": {"at": "you"}}
    assert body["system"] == "Be brief.\n\nAnd kind."
    assert body["messages"] == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "a"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}},
                {"type": "image", "source": {"type": "url", "url": "https://example.com/cat.png"}},
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "so"},
                call,
                {"type": "tool_use", "id": "c2", "name": "now", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "call_1", "content": "one"},
                {"type": "tool_result", "tool_use_id": "c2", "content": "two"},
                {"type": "text", "text": "b"},
            ],
        },
    ]


def test_anthropic_gets_its_own_fields() -> None:
    body = anthropic_messages.body_of(request())
    assert (body["max_tokens"], body["temperature"], body["top_p"]) == (99, 1, 0.5)
    assert body["stop_sequences"] == ["END"]
    assert body["tools"][0] == {"name": "look", "description": "Looks.", "input_schema": SCHEMA}
    assert body["output_config"] == {"format": {"type": "json_schema", "schema": SCHEMA}}
    assert body["metadata"] == {"user_id": "u1"}
    assert body["stream"] is True
    assert not body.keys() & {"seed", "user", "n"}
    assert "stream" not in anthropic_messages.body_of(request(), streamed=False)


def test_anthropic_gets_a_limit_when_none_is_given() -> None:
    assert set(anthropic_messages.body_of(asking())) == {"model", "messages", "max_tokens", "stream"}
    assert anthropic_messages.body_of(asking())["max_tokens"] == DEFAULT_MAX_TOKENS


@pytest.mark.parametrize(
    ("model", "sent"),
    [
        ("claude-3-haiku-20240307", {"temperature": 0, "top_p": 0.5}),
        ("claude-sonnet-4-0", {"temperature": 0, "top_p": 0.5}),
        ("claude-haiku-4-5", {"temperature": 0}),
        ("claude-opus-4-6", {"temperature": 0}),
        ("claude-opus-4-7", {}),
        ("claude-sonnet-5", {}),
    ],
)
def test_anthropic_is_told_how_to_sample_as_far_as_the_model_takes_it(model: str, sent: dict[str, float]) -> None:
    body = anthropic_messages.body_of(Request(model, TALK, temperature=0, top_p=0.5))
    assert {name: body[name] for name in ("temperature", "top_p") if name in body} == sent


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ("auto", {"type": "auto"}),
        ("required", {"type": "any"}),
        ("none", {"type": "none"}),
        ({"type": "function", "function": {"name": "look"}}, {"type": "tool", "name": "look"}),
    ],
)
def test_anthropic_tool_choice(choice: Any, sent: dict[str, str]) -> None:
    assert anthropic_messages.body_of(asking(tools=(LOOK,), tool_choice=choice))["tool_choice"] == sent
    assert "tool_choice" not in anthropic_messages.body_of(asking(tool_choice=choice))


@pytest.mark.parametrize(
    ("max_tokens", "thinking", "limit", "sent"),
    [
        (None, Thinking(budget_tokens=2048), 2048 + DEFAULT_MAX_TOKENS, 2048),
        (None, Thinking(budget_tokens=128_000), MOST_WITH_THOUGHTS, MOST_WITH_THOUGHTS - DEFAULT_MAX_TOKENS),
        (4000, Thinking(budget_tokens=8192), 4000, 3999),
        (200_000, Thinking(budget_tokens=128_000), 200_000, 128_000),
        (500, Thinking(budget_tokens=8192), 500, None),
    ],
)
def test_anthropic_budget_stays_below_the_limit(
    max_tokens: int | None, thinking: Thinking, limit: int, sent: int | None
) -> None:
    body = anthropic_messages.body_of(asking(max_tokens=max_tokens, thinking=thinking, temperature=0))
    assert body["max_tokens"] == limit
    assert body.get("thinking") == (None if sent is None else {"type": "enabled", "budget_tokens": sent})
    # A thinking model takes no temperature.
    assert ("temperature" in body) is (sent is None)


@pytest.mark.parametrize(
    ("thinking", "sent", "output"),
    [
        (Thinking(budget_tokens=0), {"type": "disabled"}, None),
        (Thinking(level="none"), {"type": "disabled"}, None),
        (Thinking(budget_tokens=-1), {"type": "adaptive"}, None),
        (Thinking(level="minimal"), {"type": "adaptive"}, {"effort": "low"}),
        (Thinking(level="max"), {"type": "adaptive"}, {"effort": "max"}),
    ],
)
def test_anthropic_thinking_without_a_budget(thinking: Thinking, sent: Any, output: Any) -> None:
    body = anthropic_messages.body_of(asking(thinking=thinking))
    assert (body["thinking"], body.get("output_config")) == (sent, output)


def test_anthropic_does_not_think_right_after_a_tool_whose_signed_thoughts_nobody_kept() -> None:
    given = Request("m", TALK[:5], thinking=Thinking(budget_tokens=2048))
    assert "thinking" not in anthropic_messages.body_of(given)


def test_anthropic_forces_no_tool_on_a_thinking_model() -> None:
    given = asking(tools=(LOOK,), tool_choice="required", thinking=Thinking(budget_tokens=2048))
    assert anthropic_messages.body_of(given)["tool_choice"] == {"type": "auto"}


# --- Gemini ---------------------------------------------------------------------------------------------
def test_gemini_gets_the_conversation_in_alternating_turns() -> None:
    body = gemini.body_of(request())
    assert body["systemInstruction"] == {"parts": [{"text": "Be brief.\n\nAnd kind."}]}
    assert body["contents"] == [
        {
            "role": "user",
            "parts": [
                {"text": "a"},
                {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}},
                {"fileData": {"mimeType": "image/png", "fileUri": "https://example.com/cat.png"}},
            ],
        },
        {
            "role": "model",
            "parts": [
                {"text": "so"},
                {"functionCall": {"name": "look", "args": {"at": "you"}}},
                {"functionCall": {"name": "now", "args": {}}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"name": "look", "response": {"result": "one"}}},
                {"functionResponse": {"name": "now", "response": {"result": "two"}}},
                {"text": "b"},
            ],
        },
    ]


def test_gemini_gets_its_own_fields() -> None:
    body = gemini.body_of(request(tool_choice={"type": "function", "function": {"name": "look"}}))
    assert body["generationConfig"] == {
        "maxOutputTokens": 99,
        "temperature": 1.5,
        "topP": 0.5,
        "stopSequences": ["END", " "],
        "seed": 7,
        "responseMimeType": "application/json",
        "responseJsonSchema": SCHEMA,
    }
    look = {"name": "look", "description": "Looks.", "parametersJsonSchema": SCHEMA}
    assert body["tools"] == [{"functionDeclarations": [look, {"name": "now", "description": "The time."}]}]
    assert body["toolConfig"] == {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["look"]}}
    assert set(gemini.body_of(asking())) == {"contents"}


@pytest.mark.parametrize(
    ("thinking", "sent"),
    [
        (Thinking(budget_tokens=0), {"thinkingBudget": 0, "includeThoughts": False}),
        (Thinking(budget_tokens=-1), {"thinkingBudget": -1, "includeThoughts": True}),
        (Thinking(budget_tokens=8192), {"thinkingBudget": 8192, "includeThoughts": True}),
        (Thinking(level="none"), {"thinkingBudget": 0, "includeThoughts": False}),
        (Thinking(level="high"), {"thinkingLevel": "high", "includeThoughts": True}),
    ],
)
def test_gemini_thinking(thinking: Thinking, sent: dict[str, Any]) -> None:
    assert gemini.body_of(asking(thinking=thinking))["generationConfig"]["thinkingConfig"] == sent


def test_gemini_3_gets_a_signature_for_the_first_call_of_a_turn() -> None:
    parts = gemini.body_of(Request("gemini-3-pro-preview", TALK))["contents"][1]["parts"]
    assert ["thoughtSignature" in part for part in parts] == [False, True, False]


# --- OpenAI's responses ---------------------------------------------------------------------------------
def test_responses_gets_the_conversation_as_items() -> None:
    body = openai_responses.body_of(request())
    assert body["instructions"] == "Be brief.\n\nAnd kind."
    images = [
        {"type": "input_image", "image_url": url, "detail": "auto"} for url in (IMAGE, "https://example.com/cat.png")
    ]
    user, said, look, now, one, two, last = body["input"]
    assert user == {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a"}, *images]}
    assert said == {"type": "message", "role": "assistant", "content": "so"}
    assert look == {"type": "function_call", "call_id": "call:1", "name": "look", "arguments": '{"at": "you"}'}
    assert (now["call_id"], now["arguments"]) == ("c2", "{}")
    assert one == {"type": "function_call_output", "call_id": "call:1", "output": "one"}
    assert two["output"] == "two"
    assert last["content"] == [{"type": "input_text", "text": "b"}]


def test_responses_gets_its_own_fields() -> None:
    given = request(thinking=Thinking(level="high"), tool_choice={"type": "function", "function": {"name": "look"}})
    body = openai_responses.body_of(given)
    assert body["text"] == {"format": {"type": "json_schema", "name": "person", "schema": SCHEMA, "strict": True}}
    assert body["tools"][0] == {
        "type": "function",
        "strict": False,
        "name": "look",
        "description": "Looks.",
        "parameters": SCHEMA,
    }
    assert body["tool_choice"] == {"type": "function", "name": "look"}
    assert (body["reasoning"], body["store"], body["user"]) == ({"effort": "high"}, False, "u1")
    assert (body["max_output_tokens"], body["temperature"], body["top_p"]) == (99, 1.5, 0.5)
    assert not body.keys() & {"stop", "seed", "n", "max_tokens"}
    assert set(openai_responses.body_of(asking())) == {"model", "input", "store", "stream"}


@pytest.mark.parametrize(
    ("pieces", "stop", "said"),
    [
        (["one EN", "D two"], ["END"], "one "),
        (["one E", "N", "X"], ["END"], "one ENX"),
        (["a", "b", "c"], ["abcd"], "abc"),
        (["xaab"], ["aab", "b"], "x"),
        (["aa", "ab"], ["aab"], "a"),
        (["x"], [], "x"),
    ],
)
def test_a_stop_sequence_in_pieces_ends_the_text_before_it(pieces: list[str], stop: list[str], said: str) -> None:
    gate = StopAt(stop)
    assert "".join([*(gate.feed(piece) for piece in pieces), gate.rest()]) == said


# --- Chat, and the registry -----------------------------------------------------------------------------
def test_chat_sends_the_fitted_level_instead_of_the_callers_word() -> None:
    word = {"reasoning_effort": "max"}
    assert openai_chat.body_of(asking(extra=word), "openai")["reasoning_effort"] == "max"
    given = asking(extra=word, thinking=Thinking(level="high"))
    assert openai_chat.body_of(given, "openai")["reasoning_effort"] == "high"
    assert "reasoning_effort" not in openai_chat.body_of(asking(extra=word, thinking=Thinking()), "openai")


def test_chat_without_streaming_asks_for_no_stream() -> None:
    assert not openai_chat.body_of(asking(), "openai", streamed=False).keys() & {"stream", "stream_options"}


@pytest.mark.parametrize(
    ("provider", "model", "wire"),
    [
        ("openai", "gpt-4o-mini", "openai_chat"),
        ("openai", "gpt-5", "openai_chat"),
        ("openai", "o3", "openai_chat"),
        ("openai", "gpt-5-pro-2025-10-06", "openai_responses"),
        ("openai", "gpt-5.2-pro", "openai_responses"),
        ("openai", "o3-pro", "openai_responses"),
        ("openai", "gpt-5.1-codex-mini", "openai_responses"),
        ("openai", "o4-mini-deep-research", "openai_responses"),
        ("openrouter", "openai/gpt-5-pro", "openai_chat"),
        ("anthropic", "claude-haiku-4-5", "anthropic_messages"),
        ("gemini", "gemini-2.5-flash", "gemini"),
    ],
)
def test_the_wire_of_a_model(provider: str, model: str, wire: str) -> None:
    assert PROVIDERS[provider].wire_of(model) == wire


# --- The official clients' types as judges ----------------------------------------------------------------
def test_anthropics_types_accept_the_body() -> None:
    for thinking in (None, Thinking(budget_tokens=2048), Thinking(level="high"), Thinking(level="none")):
        body = anthropic_messages.body_of(request(max_tokens=None, thinking=thinking))
        judge_anthropic(body)


def test_openais_types_accept_the_body() -> None:
    judge_responses(openai_responses.body_of(request(thinking=Thinking(level="high"))))
    for streamed in (True, False):
        body = openai_chat.body_of(request(thinking=Thinking(level="high")), "openai", streamed=streamed)
        judge_chat(body)


def test_googles_types_accept_the_body() -> None:
    body = gemini.body_of(request(thinking=Thinking(budget_tokens=2048), tool_choice="auto"))
    judge_gemini(body)


@pytest.mark.parametrize(
    ("judge", "body"),
    [
        (judge_chat, {"model": "m", "messages": [{"role": "user", "content": 7}]}),
        (judge_chat, {"model": "m", "messages": [], "max_output_tokens": 7}),
        (judge_responses, {"model": "m", "input": [{"type": "function_call", "name": 7}]}),
        (judge_anthropic, {"model": "m", "max_tokens": 9, "messages": [{"role": "system", "content": 7}]}),
        (judge_gemini, {"contents": [], "seed": 7}),
        (judge_gemini, {"contents": [{"role": "user", "parts": [{"type": "text"}]}]}),
    ],
)
def test_the_judges_refuse_what_is_wrong(judge: Any, body: dict[str, Any]) -> None:
    with pytest.raises((ValueError, AssertionError)):
        judge(body)
