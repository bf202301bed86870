"""The Anthropic wire, `POST {base_url}/v1/messages`; the base URL is a root, as the official SDK takes it.

https://docs.anthropic.com/en/api/messages. It has no seed; everything else of a request is translated.
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
)
from llm.messages import Endpoint, Image, Part, Request, Text, Thinking, Thought, ToolCall, ToolResult
from llm.wires.shapes import (
    Turn,
    arguments_of,
    chosen_tool,
    count_of,
    finish_of,
    inline_image,
    json_schema_of,
    system_text,
    text_of,
    turns_of,
    wants_json,
)
from llm.wires.transport import error_of_status, post_json, post_sse

VERSION = "2023-06-01"
# The wire demands a limit. This one is within what every current model can say.
DEFAULT_MAX_TOKENS = 8192
# What every model that thinks can say with its thoughts; a limit above a model's own is refused.
MOST_WITH_THOUGHTS = 64_000
# https://docs.anthropic.com/en/docs/build-with-claude/extended-thinking
MIN_BUDGET = 1024

_REASONS: dict[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
# Newer models refuse to be told how to sample; those before them take one of the two, not both.
_TAKES_NO_SAMPLING = re.compile(r"claude-(opus-4-[7-9]|\w+-[5-9](\b|-))")
_TAKES_ONE_SAMPLING = re.compile(r"claude-\w+-4-[1-6]")
# An error inside a stream has no status, but a type that stands for one.
_STATUSES = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "overloaded_error": 529,
}
_JSON_ONLY = "Answer with one JSON object and nothing else."


async def stream(
    request: Request, endpoint: Endpoint, client: GuardedClient, meter: Meter
) -> AsyncGenerator[Event, None]:
    """Call the model; see `llm.wires.Wire`."""
    url, headers = _address(endpoint)
    answer = _Answer(endpoint.provider, request.model, meter)
    async with aclosing(post_sse(url, body_of(request), headers, endpoint, client)) as chunks:
        try:
            async for data in chunks:
                for event in answer.read(data):
                    yield event
                if answer.is_over:
                    break
        except LLMError:
            # Once the model has said why it stopped, all is said.
            if answer.reason is None:
                raise
    for event in answer.end():
        yield event


async def whole(
    request: Request, endpoint: Endpoint, client: GuardedClient, meter: Meter
) -> AsyncGenerator[Event, None]:
    """The same call without streaming: all its events at once."""
    url, headers = _address(endpoint)
    answer = _Answer(endpoint.provider, request.model, meter)
    found = await post_json(url, body_of(request, streamed=False), headers, endpoint, client)
    for event in [*answer.read_whole(found), *answer.end()]:
        yield event


def _address(endpoint: Endpoint) -> tuple[str, dict[str, str]]:
    headers = {"anthropic-version": VERSION}
    if endpoint.secret:
        headers["x-api-key"] = endpoint.secret
    return f"{endpoint.base_url.rstrip('/')}/v1/messages", headers


# --- What goes out ------------------------------------------------------------------------------------
def body_of(request: Request, *, streamed: bool = True) -> dict[str, Any]:
    """The JSON body of a call. Absent fields are absent; an explicit 0 stays."""
    turns = turns_of(request.messages)
    thinking = None if _lacks_thoughts(turns) else request.thinking
    max_tokens, thoughts = _limits(request.max_tokens, thinking)
    does_think = thoughts.get("thinking", {}).get("type") in ("enabled", "adaptive")
    schema = json_schema_of(request)
    output = {**thoughts.pop("output_config", {}), **({"format": _format(schema)} if schema else {})}
    user = request.extra.get("user")
    fields: dict[str, Any] = {
        "system": _system(request) or None,
        **_sampling(request, does_think=does_think),
        "stop_sequences": [stop for stop in request.stop if stop.strip()] or None,
        "tools": [_tool_json(tool.name, tool.description, tool.parameters) for tool in request.tools] or None,
        "tool_choice": _choice_json(request, does_think=does_think),
        "output_config": output or None,
        "metadata": {"user_id": user} if user else None,
        "stream": True if streamed else None,
        **thoughts,
    }
    return {
        "model": request.model,
        "max_tokens": max_tokens,
        "messages": [_turn_json(turn) for turn in turns],
        **{name: value for name, value in fields.items() if value is not None},
    }


def _system(request: Request) -> str:
    said = system_text(request.messages)
    if wants_json(request) and json_schema_of(request) is None:
        # The wire knows schemas, but no JSON without one.
        return f"{said}\n\n{_JSON_ONLY}" if said else _JSON_ONLY
    return said


def _sampling(request: Request, *, does_think: bool) -> dict[str, float | None]:
    """Temperature and top_p, as far as the model takes them: https://docs.anthropic.com/en/api/messages."""
    temperature, top_p = request.temperature, request.top_p
    if _TAKES_NO_SAMPLING.match(request.model):
        return {}
    if does_think:
        # A thinking model takes top_p from 0.95 on only.
        return {"top_p": None if (top_p or 0) < 0.95 else top_p}
    if temperature is not None and _TAKES_ONE_SAMPLING.match(request.model):
        top_p = None
    # OpenAI's scale goes to 2, this one to 1.
    return {"temperature": None if temperature is None else min(temperature, 1), "top_p": top_p}


def _format(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "schema": schema}


def _tool_json(name: str, description: str, parameters: dict[str, Any]) -> dict[str, Any]:
    # The wire demands an object schema; a tool without parameters may come with an empty one.
    return {"name": name, "description": description, "input_schema": {"type": "object", **parameters}}


def _choice_json(request: Request, *, does_think: bool) -> dict[str, Any] | None:
    if not request.tools or request.tool_choice is None:
        return None
    forced = chosen_tool(request.tool_choice)
    if does_think and (forced or request.tool_choice == "required"):
        # A thinking model cannot be forced to call.
        return {"type": "auto"}
    if forced:
        return {"type": "tool", "name": forced}
    words = {"auto": "auto", "required": "any", "none": "none"}
    return {"type": words.get(str(request.tool_choice), "auto")}


def _limits(max_tokens: int | None, thinking: Thinking | None) -> tuple[int, dict[str, Any]]:
    """`max_tokens`, and the fields about thinking; a budget always stays below the limit."""
    limit = DEFAULT_MAX_TOKENS if max_tokens is None else max_tokens
    if thinking is None:
        return limit, {}
    if thinking.level == "none" or thinking.budget_tokens == 0:
        return limit, {"thinking": {"type": "disabled"}}
    budget = thinking.budget_tokens
    if budget is None or budget < 0:
        if thinking.level in (None, "auto"):
            return limit, {"thinking": {"type": "adaptive"}}
        effort = "low" if thinking.level == "minimal" else thinking.level
        return limit, {"thinking": {"type": "adaptive"}, "output_config": {"effort": effort}}
    if max_tokens is None:
        # Nobody set a limit, so the thoughts need not take from the answer.
        limit = min(budget + DEFAULT_MAX_TOKENS, MOST_WITH_THOUGHTS)
        budget = min(budget, limit - DEFAULT_MAX_TOKENS)
    budget = min(budget, limit - 1)
    if budget < MIN_BUDGET:
        return limit, {}
    return limit, {"thinking": {"type": "enabled", "budget_tokens": budget}}


def _lacks_thoughts(turns: list[Turn]) -> bool:
    """Whether tools have just answered calls whose signed thoughts are not here: the wire refuses to think then."""
    if len(turns) < 2 or not any(isinstance(part, ToolResult) for part in turns[-1].parts):
        return False
    return not any(isinstance(part, Thought) for part in turns[-2].parts)


def _turn_json(turn: Turn) -> dict[str, Any]:
    # Results come before anything else that the user says, thoughts before anything else that the model said.
    parts = sorted(turn.parts, key=lambda part: not isinstance(part, ToolResult | Thought))
    return {"role": "assistant" if turn.is_model else "user", "content": [_part_json(part) for part in parts]}


def _part_json(part: Part) -> dict[str, Any]:
    match part:
        case Text(text):
            return {"type": "text", "text": text}
        case Thought(_, data):
            return data
        case Image(url):
            return {"type": "image", "source": _source_json(url)}
        case ToolCall(id_, name, _):
            return {"type": "tool_use", "id": _id(id_), "name": name, "input": arguments_of(part)}
        case ToolResult(call_id, content):
            return {"type": "tool_result", "tool_use_id": _id(call_id), "content": content}


def _source_json(url: str) -> dict[str, str]:
    inline = inline_image(url)
    if inline is None:
        return {"type": "url", "url": url}
    return {"type": "base64", "media_type": inline[0], "data": inline[1]}


def _id(given: str) -> str:
    """Another provider's call id in the letters that this wire takes."""
    return re.sub(r"[^\w-]", "_", given, flags=re.ASCII) or "call"


# --- What comes back ----------------------------------------------------------------------------------
class _Answer:
    """Reads events in order and remembers what is only known at the end: calls and the reason."""

    def __init__(self, provider: str, model: str, meter: Meter) -> None:
        self.reason: FinishReason | None = None
        self.is_over = False
        self._provider = provider
        self._meter = meter
        self._counts: dict[str, int] = {}
        self._maker = f"{provider}/{model}"
        self._calls: dict[int, _Pieces] = {}
        self._thoughts: dict[int, dict[str, Any]] = {}

    def read(self, data: str) -> list[Event]:
        """The events in one chunk; raise BadResponse when it is not this wire's language."""
        try:
            return list(self._read(orjson.loads(data)))
        except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError) as exc:
            raise BadResponse(f"{self._provider} sent a chunk that is not in the wire's language.") from exc

    def read_whole(self, found: dict[str, Any]) -> list[Event]:
        """The events in an answer that was not streamed."""
        try:
            if found.get("type") == "error":
                raise self._error(found)
            events: list[Event] = []
            for index, block in enumerate(found["content"]):
                events += self._begin(index, block)
            self._finish(found, found)
            return events
        except (AttributeError, KeyError, TypeError) as exc:
            raise BadResponse(f"{self._provider} sent an answer that is not in the wire's language.") from exc

    def _read(self, chunk: dict[str, Any]) -> Iterator[Event]:
        match chunk.get("type"):
            case "message_start":
                self._count(chunk["message"].get("usage"))
            case "content_block_start":
                yield from self._begin(chunk["index"], chunk["content_block"])
            case "content_block_delta":
                yield from self._delta(chunk["index"], chunk["delta"])
            case "message_delta":
                self._finish(chunk["delta"], chunk)
            case "message_stop":
                self.is_over = True
            case "error":
                raise self._error(chunk)

    def _begin(self, index: int, block: dict[str, Any]) -> Iterator[Event]:
        """A block, whole or to be continued by deltas."""
        match block["type"]:
            case "text" if block.get("text"):
                yield TextDelta(text_of(block["text"]))
            case "thinking":
                self._thought(index).update(block)
                if block.get("thinking"):
                    yield ThinkingDelta(text_of(block["thinking"]))
            case "redacted_thinking":
                self._thoughts[index] = block
            case "tool_use":
                whole = orjson.dumps(block["input"]).decode() if block.get("input") else ""
                self._calls[index] = _Pieces(text_of(block.get("id") or ""), text_of(block["name"]), whole)

    def _delta(self, index: int, delta: dict[str, Any]) -> Iterator[Event]:
        match delta["type"]:
            case "text_delta" if delta["text"]:
                yield TextDelta(text_of(delta["text"]))
            case "thinking_delta" if delta["thinking"]:
                self._thought(index)["thinking"] += text_of(delta["thinking"])
                yield ThinkingDelta(text_of(delta["thinking"]))
            case "signature_delta":
                self._thought(index)["signature"] += text_of(delta["signature"])
            case "input_json_delta" if index in self._calls:
                self._calls[index].arguments += text_of(delta["partial_json"])

    def _thought(self, index: int) -> dict[str, Any]:
        return self._thoughts.setdefault(index, {"type": "thinking", "thinking": "", "signature": ""})

    def _finish(self, delta: dict[str, Any], chunk: dict[str, Any]) -> None:
        self._count(chunk.get("usage"))
        if delta.get("stop_reason"):
            self.reason = _REASONS.get(delta["stop_reason"], "stop")

    def _count(self, usage: dict[str, Any] | None) -> None:
        """Counts are cumulative: a later one replaces an earlier one, but 0 or nothing does not take one back."""
        said = usage or {}
        details = said.get("output_tokens_details") or {}
        for name, value in [*said.items(), *details.items()]:
            self._counts[name] = count_of(value) or self._counts.get(name, 0)
        if said:
            self._meter.usage = self._usage()

    def _error(self, chunk: dict[str, Any]) -> LLMError:
        kind = (chunk.get("error") or {}).get("type")
        if kind in _STATUSES:
            return error_of_status(self._provider, _STATUSES[kind], {})
        return ProviderFailed(f"{self._provider} reported an error in the middle of its answer.")

    def end(self) -> Iterator[Event]:
        """The completed tool calls and the finish; BadResponse if the stream stopped before it."""
        if self.reason is None:
            raise BadResponse(f"{self._provider} ended its answer without finishing it.")
        for _, thought in sorted(self._thoughts.items()):
            # Only calls have a next round, and what is not signed is not taken back.
            if self._calls and (thought.get("signature") or thought.get("data")):
                yield ThoughtReady(Thought(self._maker, thought))
        for _, call in sorted(self._calls.items()):
            yield ToolCallReady(
                ToolCall(call.id or f"toolu_{uuid.uuid4().hex[:24]}", call.name, call.arguments or "{}")
            )
        yield Finished(finish_of(self.reason, has_calls=bool(self._calls)), self._meter.usage or NO_USAGE)

    def _usage(self) -> Usage:
        """This wire counts what came from or went into its cache apart from the other input."""
        counts = self._counts
        cached = counts.get("cache_read_input_tokens", 0)
        return Usage(
            input_tokens=counts.get("input_tokens", 0) + cached + counts.get("cache_creation_input_tokens", 0),
            output_tokens=counts.get("output_tokens", 0),
            cached_tokens=cached,
            reasoning_tokens=counts.get("thinking_tokens", 0),
        )


class _Pieces:
    """A tool call while it arrives."""

    def __init__(self, id_: str, name: str, arguments: str) -> None:
        self.id = id_
        self.name = name
        self.arguments = arguments
