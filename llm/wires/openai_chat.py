"""The OpenAI chat wire, `POST {base_url}/chat/completions`, which most providers speak.

https://platform.openai.com/docs/api-reference/chat. Tolerated beyond it: `reasoning_content` and `reasoning` for
thoughts, tool calls without index or id, usage in any chunk, a stream that ends without `[DONE]`.
"""

import re
import uuid
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Any

import httpx
import orjson

from llm.errors import BadResponse, LLMError, ProviderFailed
from llm.events import (
    NO_USAGE,
    Event,
    Finished,
    FinishReason,
    Meter,
    TextDelta,
    ThinkingDelta,
    ThoughtReady,
    ToolCallReady,
    Usage,
)
from llm.messages import Endpoint, Image, Message, Request, Text, Thought, Tool, ToolCall, ToolResult
from llm.wires.chat_dialects import dialect_of
from llm.wires.shapes import count_of, finish_of, text_of
from llm.wires.transport import post_json, post_sse

_REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}
# OpenAI's thinking models refuse `max_tokens`; other providers do not know its successor.
_NEW_LIMIT_NAME = re.compile(r"(o\d|gpt-[5-9])")


async def stream(
    request: Request, endpoint: Endpoint, client: httpx.AsyncClient, meter: Meter
) -> AsyncGenerator[Event, None]:
    """Call the model; see `llm.wires.Wire`."""
    url, headers = _address(endpoint)
    answer = _Answer(endpoint.provider, request.model, meter)
    async with aclosing(post_sse(url, body_of(request, endpoint.provider), headers, endpoint, client)) as chunks:
        try:
            async for data in chunks:
                if data == "[DONE]":
                    break
                for event in answer.read(data):
                    yield event
        except LLMError:
            # Once the model has said why it stopped, all is said: only the usage can be missing.
            if answer.reason is None:
                raise
    for event in answer.end():
        yield event


async def whole(
    request: Request, endpoint: Endpoint, client: httpx.AsyncClient, meter: Meter
) -> AsyncGenerator[Event, None]:
    """The same call without streaming: all its events at once."""
    url, headers = _address(endpoint)
    answer = _Answer(endpoint.provider, request.model, meter)
    found = await post_json(url, body_of(request, endpoint.provider, streamed=False), headers, endpoint, client)
    for event in [*answer.read_whole(found), *answer.end()]:
        yield event


def _address(endpoint: Endpoint) -> tuple[str, dict[str, str]]:
    headers = {"Authorization": f"Bearer {endpoint.secret}"} if endpoint.secret else {}
    return f"{endpoint.base_url.rstrip('/')}/chat/completions", headers


# --- What goes out ------------------------------------------------------------------------------------
def body_of(request: Request, provider: str, *, streamed: bool = True) -> dict[str, Any]:
    """The JSON body of a call. Absent fields are absent; an explicit 0 stays."""
    limit = "max_tokens"
    if provider == "openai" and _NEW_LIMIT_NAME.match(request.model):
        limit = "max_completion_tokens"
    fields: dict[str, Any] = {
        limit: request.max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "seed": request.seed,
        "response_format": request.response_format,
        "stop": list(request.stop) or None,
        "tools": [_tool_json(tool) for tool in request.tools] or None,
        "tool_choice": request.tool_choice,
    }
    body = {
        "model": request.model,
        "messages": [item for message in request.messages for item in _message_json(message)],
        "stream": True,
        "stream_options": {"include_usage": True},
        **{name: value for name, value in fields.items() if value is not None},
        **request.extra,
    }
    dialect = dialect_of(provider)
    body |= dialect.always(request.model)
    if request.thinking is not None:
        # The caller's own word has been fitted to the model: that counts.
        body.pop("reasoning_effort", None)
        body |= dialect.words(request.thinking, provider, request.model)
    if not streamed:
        del body["stream"], body["stream_options"]
        body |= dialect.whole(request.model)
    return body


def _tool_json(tool: Tool) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "function": function}


def _message_json(message: Message) -> Iterator[dict[str, Any]]:
    """One message; each tool result is a message of its own on this wire."""
    content: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    thoughts: dict[str, Any] = {}
    for part in message.parts:
        match part:
            case Text(text):
                content.append({"type": "text", "text": text})
            case Image(url):
                content.append({"type": "image_url", "image_url": {"url": url}})
            case ToolCall(id_, name, arguments):
                function = {"name": name, "arguments": arguments}
                calls.append({"id": id_, "type": "function", "function": function})
            case Thought(_, data):
                thoughts |= data
            case ToolResult(call_id, text):
                yield {"role": "tool", "tool_call_id": call_id, "content": text}
    if not content and not calls:
        if not message.parts:
            yield {"role": message.role, "content": ""}
        return
    row: dict[str, Any] = {"role": message.role, "content": _content_json(content)}
    if calls:
        row |= {"tool_calls": calls, **thoughts}
    yield row


def _content_json(parts: list[dict[str, Any]]) -> str | list[dict[str, Any]] | None:
    """A lone text as a string: some servers of this wire know nothing else."""
    if not parts:
        return None
    if len(parts) == 1 and parts[0]["type"] == "text":
        text: str = parts[0]["text"]
        return text
    return parts


# --- What comes back ----------------------------------------------------------------------------------
class _Answer:
    """Reads chunks in order and remembers what is only known at the end: calls and the reason."""

    def __init__(self, provider: str, model: str, meter: Meter) -> None:
        self.reason: FinishReason | None = None
        self._provider = provider
        self._maker = f"{provider}/{model}"
        self._thoughts = _Thoughts(dialect_of(provider).thoughts)
        self._meter = meter
        self._calls: dict[int, _Pieces] = {}

    def read(self, data: str) -> list[Event]:
        """The events in one chunk; raise BadResponse when it is not this wire's language."""
        try:
            return list(self._read(orjson.loads(data), "delta"))
        except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError) as exc:
            raise BadResponse(f"{self._provider} sent a chunk that is not in the wire's language.") from exc

    def read_whole(self, found: dict[str, Any]) -> list[Event]:
        """The events in an answer that was not streamed: one chunk with a `message` instead of a `delta`."""
        try:
            return list(self._read(found, "message"))
        except (AttributeError, KeyError, TypeError) as exc:
            raise BadResponse(f"{self._provider} sent an answer that is not in the wire's language.") from exc

    def _read(self, chunk: dict[str, Any], part: str) -> Iterator[Event]:
        if chunk.get("error"):
            raise ProviderFailed(f"{self._provider} reported an error in the middle of its answer.")
        # Groq puts the usage of a stream into a field of its own.
        usage = chunk.get("usage") or (chunk.get("x_groq") or {}).get("usage")
        if usage:
            self._meter.usage = usage_of(usage)
        # Only the first choice: Atom never asks for several.
        for choice in (chunk.get("choices") or [])[:1]:
            yield from self._read_choice(choice.get(part) or {}, choice.get("finish_reason"))

    def _read_choice(self, delta: dict[str, Any], finish: str | None) -> Iterator[Event]:
        details = delta.get("reasoning_details") or []
        thought = delta.get("reasoning_content") or delta.get("reasoning")
        thought = thought or "".join(text_of(detail.get("text") or "") for detail in details)
        if thought:
            yield ThinkingDelta(text_of(thought))
        self._thoughts.take(thought, details)
        for name in ("content", "refusal"):
            if delta.get(name):
                yield from _said(delta[name])
        for piece in delta.get("tool_calls") or []:
            self._add_piece(piece)
        if finish:
            self.reason = _REASONS.get(finish, "stop")

    def _add_piece(self, piece: dict[str, Any]) -> None:
        index = piece.get("index")
        if index is None:
            # Servers without an index send each call whole, or begin each with its id.
            index = len(self._calls) if piece.get("id") or not self._calls else max(self._calls)
        call = self._calls.setdefault(index, _Pieces())
        function = piece.get("function") or {}
        call.id = call.id or text_of(piece.get("id") or "")
        call.name = call.name or text_of(function.get("name") or "")
        arguments = function.get("arguments") or ""
        # Some servers send the arguments as an object instead of as its text.
        call.arguments += arguments if isinstance(arguments, str) else orjson.dumps(arguments).decode()

    def end(self) -> Iterator[Event]:
        """The completed tool calls and the finish; BadResponse if the stream stopped before it."""
        if self.reason is None:
            raise BadResponse(f"{self._provider} ended its answer without finishing it.")
        calls = [self._calls[index] for index in sorted(self._calls)]
        if any(not call.name for call in calls):
            raise BadResponse(f"{self._provider} called a tool without naming it.")
        if calls and (thoughts := self._thoughts.whole()):
            yield ThoughtReady(Thought(self._maker, thoughts))
        for call in calls:
            yield ToolCallReady(ToolCall(call.id or f"call_{uuid.uuid4().hex[:24]}", call.name, call.arguments))
        yield Finished(finish_of(self.reason, has_calls=bool(calls)), self._meter.usage or NO_USAGE)


class _Pieces:
    """A tool call while it arrives."""

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.arguments = ""


class _Thoughts:
    """Thoughts while they arrive, as the server wants them back: in the field `name`; without one they are let go."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._text = ""
        self._details: dict[object, dict[str, Any]] = {}

    def take(self, text: str | None, details: list[dict[str, Any]]) -> None:
        self._text += text or ""
        for detail in details if self._name == "reasoning_details" else ():
            kept = self._details.setdefault((detail.get("index"), detail.get("type")), {})
            for field, value in detail.items():
                # Texts come in pieces; the rest comes once, a signature last.
                grows = field in ("text", "summary", "data") and isinstance(value, str)
                kept[field] = kept.get(field, "") + value if grows else value

    def whole(self) -> dict[str, Any]:
        """The field with all of it; empty when there is nothing to give back."""
        found = {"reasoning_content": self._text, "reasoning_details": list(self._details.values())}.get(self._name)
        return {self._name: found} if found else {}


def _said(content: object) -> Iterator[Event]:
    """A text, or Mistral's list of parts: `{"type": "text", …}` and `{"type": "thinking", "thinking": [texts]}`."""
    if not isinstance(content, list):
        yield TextDelta(text_of(content))
        return
    for part in content:
        if part["type"] == "text" and part["text"]:
            yield TextDelta(text_of(part["text"]))
        elif part["type"] == "thinking":
            thought = "".join(text_of(one["text"]) for one in part["thinking"] if one.get("type") == "text")
            if thought:
                yield ThinkingDelta(thought)


def usage_of(usage: dict[str, Any]) -> Usage:
    """Tokens from a `usage` object; cached and reasoning tokens under the names in use."""
    sent = usage.get("prompt_tokens_details") or {}
    said = usage.get("completion_tokens_details") or {}
    # DeepSeek counts what came from its cache at the top.
    cached = sent.get("cached_tokens") or usage.get("prompt_cache_hit_tokens")
    return Usage(
        input_tokens=count_of(usage.get("prompt_tokens")),
        output_tokens=count_of(usage.get("completion_tokens")),
        cached_tokens=count_of(cached),
        reasoning_tokens=count_of(said.get("reasoning_tokens")),
    )
