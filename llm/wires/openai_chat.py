"""The OpenAI chat wire, `POST {base_url}/chat/completions`, which most providers speak.

https://platform.openai.com/docs/api-reference/chat. Tolerated beyond it: `reasoning_content` and `reasoning` for
thoughts, tool calls without index or id, usage in any chunk, a stream that ends without `[DONE]`.
"""

import re
import uuid
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Any

import orjson

from atom.ground.http import GuardedClient
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
    WireDelta,
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
# What is read here of a chunk, a choice, its delta and a call; the rest is passed on to who speaks this wire.
_OF_CHUNK = frozenset({"id", "object", "created", "model", "choices", "usage", "x_groq", "error", "obfuscation"})
_OF_CHOICE = frozenset({"index", "delta", "message", "finish_reason", "logprobs"})
_OF_WORD = frozenset({"role", "content"})
_OF_DELTA = frozenset({"role", "content", "refusal", "reasoning_content", "reasoning"})
_OF_CALL = frozenset({"index", "id", "type", "function"})
# A call under whatever name is not passed by the gate.
_CALLING = re.compile(r"call|tool|function", re.IGNORECASE)
# OpenAI's thinking models refuse `max_tokens`; other providers do not know its successor.
_NEW_LIMIT_NAME = re.compile(r"(o\d|gpt-[5-9])")


async def stream(
    request: Request, endpoint: Endpoint, client: GuardedClient, meter: Meter
) -> AsyncGenerator[Event, None]:
    """Call the model; see `llm.wires.Wire`."""
    url, headers = _address(endpoint)
    answer = _Answer(endpoint.provider, request.model, meter, is_chat=request.is_chat)
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
    request: Request, endpoint: Endpoint, client: GuardedClient, meter: Meter
) -> AsyncGenerator[Event, None]:
    """The same call without streaming: all its events at once."""
    url, headers = _address(endpoint)
    answer = _Answer(endpoint.provider, request.model, meter, is_chat=request.is_chat)
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

    def __init__(self, provider: str, model: str, meter: Meter, *, is_chat: bool = False) -> None:
        self._reasons: dict[int, FinishReason] = {}
        self._provider = provider
        self._is_chat = is_chat
        self._around: dict[str, Any] = {}
        self._told: dict[str, Any] = {}
        self._seen: set[int] = set()
        self._maker = f"{provider}/{model}"
        self._thoughts = _Thoughts(dialect_of(provider).thoughts)
        self._meter = meter
        self._calls: dict[tuple[int, int], _Pieces] = {}

    @property
    def reason(self) -> FinishReason | None:
        """Why the model stopped, once all its answers have."""
        known = {choice for choice, _ in self._calls} | self._seen
        return self._reasons.get(0) if known <= self._reasons.keys() else None

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
        choices = chunk.get("choices") or []
        if self._is_chat:
            self._around |= unknown_of(chunk, _OF_CHUNK)
        # Who did not ask for several answers is told of the first only.
        for choice in choices if self._is_chat else choices[:1]:
            place = int(choice.get("index") or 0) if self._is_chat else 0
            delta = choice.get(part) or {}
            found = self._read_choice(delta) if place == 0 else self._read_other(place, delta)
            self._seen.add(place)
            for piece in delta.get("tool_calls") or []:
                self._add_piece(place, piece)
            if finish := choice.get("finish_reason"):
                self._reasons[place] = _REASONS.get(finish, "stop")
            yield from found
            if self._is_chat and (self._around or not _is_plain(choice, delta)):
                yield from self._read_rest(place, choice, delta, says_words=bool(found))

    def _read_other(self, place: int, delta: dict[str, Any]) -> list[Event]:
        """A piece of another answer than the first."""
        said = self._read_choice(delta, keeps_thoughts=False)
        text = "".join(event.text for event in said if isinstance(event, TextDelta))
        thinking = "".join(event.text for event in said if isinstance(event, ThinkingDelta))
        return [WireDelta(place, text=text, thinking=thinking)] if text or thinking else []

    def _read_rest(
        self, place: int, choice: dict[str, Any], delta: dict[str, Any], *, says_words: bool
    ) -> Iterator[Event]:
        """Fields that no other wire knows. Nothing of a call that has begun may be among them: it is not judged yet."""
        if any(known == place for known, _ in self._calls):
            return
        beside, within = unknown_of(choice, _OF_CHOICE), unknown_of(delta, _OF_DELTA)
        if says_words and choice.get("logprobs"):
            beside["logprobs"] = choice["logprobs"]
        around = {}
        if self._around:
            around = {name: value for name, value in self._around.items() if self._told.get(name) != value}
        if beside or within or (around and says_words):
            self._told |= around
            yield WireDelta(place, beside=beside, within=within, around=around)

    def _read_choice(self, delta: dict[str, Any], *, keeps_thoughts: bool = True) -> list[Event]:
        content = delta.get("content")
        if isinstance(content, str) and delta.keys() <= _OF_WORD:
            # Nearly all of them.
            return [TextDelta(text_of(content))] if content else []
        return list(self._read_any(delta, keeps_thoughts=keeps_thoughts))

    def _read_any(self, delta: dict[str, Any], *, keeps_thoughts: bool) -> Iterator[Event]:
        details = delta.get("reasoning_details") or []
        thought = delta.get("reasoning_content") or delta.get("reasoning")
        if details and not thought:
            thought = "".join(text_of(detail.get("text") or "") for detail in details)
        if thought:
            yield ThinkingDelta(text_of(thought))
        if keeps_thoughts and (thought or details):
            self._thoughts.take(thought, details)
        for name in ("content", "refusal"):
            if delta.get(name):
                yield from _said(delta[name])

    def _add_piece(self, choice: int, piece: dict[str, Any]) -> None:
        index = piece.get("index")
        if index is None:
            # Servers without an index send each call whole, or begin each with its id.
            known = [place for of, place in self._calls if of == choice]
            index = len(known) if piece.get("id") or not known else max(known)
        call = self._calls.setdefault((choice, index), _Pieces())
        call.extra |= unknown_of(piece, _OF_CALL) if self._is_chat else {}
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
        calls = [(choice, self._calls[choice, index]) for choice, index in sorted(self._calls)]
        if any(not call.name for _, call in calls):
            raise BadResponse(f"{self._provider} called a tool without naming it.")
        if calls and (thoughts := self._thoughts.whole()):
            yield ThoughtReady(Thought(self._maker, thoughts))
        for choice, call in calls:
            call_id = call.id or f"call_{uuid.uuid4().hex[:24]}"
            yield ToolCallReady(ToolCall(call_id, call.name, call.arguments, choice, call.extra))
        with_calls = {choice for choice, _ in calls}
        first, *others = (
            finish_of(self._reasons.get(choice, "stop"), has_calls=choice in with_calls)
            for choice in range(max(self._reasons) + 1)
        )
        yield Finished(first, self._meter.usage or NO_USAGE, tuple(others))


class _Pieces:
    """A tool call while it arrives."""

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.arguments = ""
        self.extra: dict[str, Any] = {}


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


def _is_plain(choice: dict[str, Any], delta: dict[str, Any]) -> bool:
    """Whether there is nothing in it that no other wire knows, as in nearly all of them."""
    return choice.keys() <= _OF_CHOICE and delta.keys() <= _OF_DELTA and not choice.get("logprobs")


def unknown_of(found: dict[str, Any], known: frozenset[str]) -> dict[str, Any]:
    """The fields that are not read here, without nulls and without calls under another name."""
    if found.keys() <= known:
        return {}
    return {
        name: value
        for name, value in found.items()
        if name not in known and value is not None and not _CALLING.search(name)
    }


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
