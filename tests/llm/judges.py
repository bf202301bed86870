"""The official clients' own types as judges of what the wires send."""

from functools import cache
from typing import Any, get_type_hints

from anthropic.types import ContentBlockParam, ToolUnionParam
from anthropic.types import message_create_params as anthropic_params
from google.genai import types as genai_types
from openai.types.chat import (
    ChatCompletionContentPartParam,
    ChatCompletionMessageParam,
    ChatCompletionToolUnionParam,
)
from openai.types.chat import completion_create_params as chat_params
from openai.types.responses import ResponseIncludable, ResponseInputItemParam, ToolParam
from openai.types.responses import response_create_params as responses_params
from pydantic import BaseModel, TypeAdapter


def judge_chat(body: dict[str, Any]) -> None:
    whole, streamed = chat_params.CompletionCreateParamsNonStreaming, chat_params.CompletionCreateParamsStreaming
    lists = {"messages": ChatCompletionMessageParam, "tools": ChatCompletionToolUnionParam}
    _accept(streamed if body.get("stream") else whole, body, lists)
    for message in body["messages"]:
        if isinstance(message.get("content"), list):
            _accept_all(ChatCompletionContentPartParam, message["content"])


def judge_responses(body: dict[str, Any]) -> None:
    whole, streamed = responses_params.ResponseCreateParamsNonStreaming, responses_params.ResponseCreateParamsStreaming
    lists = {"input": ResponseInputItemParam, "tools": ToolParam, "include": ResponseIncludable}
    _accept(streamed if body.get("stream") else whole, body, lists)


def judge_anthropic(body: dict[str, Any]) -> None:
    whole, streamed = anthropic_params.MessageCreateParamsNonStreaming, anthropic_params.MessageCreateParamsStreaming
    # Older models still take these, though the client's newest types do not name them.
    named = {name: value for name, value in body.items() if name not in ("temperature", "top_p", "messages")}
    _accept(streamed if body.get("stream") else whole, {**named, "messages": []}, {"tools": ToolUnionParam})
    for message in body["messages"]:
        assert message.keys() == {"role", "content"}
        assert message["role"] in ("user", "assistant")
        _accept_all(ContentBlockParam, message["content"])


class _GeminiBody(BaseModel, extra="forbid"):
    """The body as Google's documentation has it, of the client's types, which refuse fields that they do not know."""

    contents: list[genai_types.Content]
    systemInstruction: genai_types.Content | None = None
    tools: list[genai_types.Tool] | None = None
    toolConfig: genai_types.ToolConfig | None = None
    generationConfig: genai_types.GenerationConfig | None = None


def judge_gemini(body: dict[str, Any]) -> None:
    _GeminiBody.model_validate(body)


def _accept(kind: Any, body: dict[str, Any], lists: dict[str, Any]) -> None:
    """The body is one of this kind. `lists` names the kinds of items: the checker leaves lists in these types alone."""
    unknown = body.keys() - _fields(kind)
    assert not unknown, f"{kind.__name__} does not know {unknown}"
    _checker(kind).validate_python({name: [] if name in lists else value for name, value in body.items()})
    for name, item in lists.items():
        _accept_all(item, body.get(name, []))


def _accept_all(kind: Any, items: list[Any]) -> None:
    for item in items:
        _checker(kind).validate_python(item)


@cache
def _fields(kind: Any) -> frozenset[str]:
    return frozenset(get_type_hints(kind))


@cache
def _checker(kind: Any) -> TypeAdapter[Any]:
    """Kept: to make one takes much longer than all it checks."""
    return TypeAdapter(kind)
