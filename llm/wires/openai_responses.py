"""The OpenAI responses wire, `POST {base_url}/responses`, for models that the chat wire does not serve.

https://platform.openai.com/docs/api-reference/responses. It has no seed, and no stop sequences either: those are kept
here. Nothing is stored at the provider; Atom sends the conversation each time.
"""

import re
import uuid
from collections.abc import AsyncGenerator, Iterator, Sequence
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
from llm.messages import Endpoint, Image, Message, Request, Text, Thought, Tool, ToolCall, ToolResult
from llm.wires.shapes import chosen_tool, count_of, finish_of, system_text, text_of
from llm.wires.transport import error_of_status, post_json, post_sse

_SAID = {"response.output_text.delta", "response.refusal.delta"}
_THOUGHT = {"response.reasoning_summary_text.delta", "response.reasoning_text.delta"}
_ENDS = {"response.completed", "response.incomplete", "response.failed"}
# OpenAI refuses the seal of thoughts for models that do not think.
_THINKS = re.compile(r"(o\d|gpt-[5-9]|codex)")
# An error inside a stream has no status, but a code that stands for one.
_STATUSES = {
    "invalid_prompt": 400,
    "invalid_request_error": 400,
    "context_length_exceeded": 400,
    "invalid_api_key": 401,
    "insufficient_quota": 402,
    "model_not_found": 404,
    "rate_limit_exceeded": 429,
}


async def stream(
    request: Request, endpoint: Endpoint, client: GuardedClient, meter: Meter
) -> AsyncGenerator[Event, None]:
    """Call the model; see `llm.wires.Wire`."""
    url, headers = _address(endpoint)
    answer = _Answer(endpoint.provider, request, meter)
    async with aclosing(post_sse(url, body_of(request), headers, endpoint, client)) as chunks:
        async for data in chunks:
            for event in answer.read(data):
                yield event
            # Some servers of this wire hold the connection open after the last event.
            if answer.reason is not None:
                break
    for event in answer.end():
        yield event


async def whole(
    request: Request, endpoint: Endpoint, client: GuardedClient, meter: Meter
) -> AsyncGenerator[Event, None]:
    """The same call without streaming: all its events at once."""
    url, headers = _address(endpoint)
    answer = _Answer(endpoint.provider, request, meter)
    found = await post_json(url, body_of(request, streamed=False), headers, endpoint, client)
    for event in [*answer.read_whole(found), *answer.end()]:
        yield event


def _address(endpoint: Endpoint) -> tuple[str, dict[str, str]]:
    headers = {"Authorization": f"Bearer {endpoint.secret}"} if endpoint.secret else {}
    return f"{endpoint.base_url.rstrip('/')}/responses", headers


# --- What goes out ------------------------------------------------------------------------------------
def body_of(request: Request, *, streamed: bool = True) -> dict[str, Any]:
    """The JSON body of a call. Absent fields are absent; an explicit 0 stays."""
    level = None if request.thinking is None else request.thinking.level
    effort = level or request.extra.get("reasoning_effort")
    thinks = _THINKS.match(request.model) is not None or effort is not None
    text = _format_json(request.response_format)
    fields: dict[str, Any] = {
        "instructions": system_text(request.messages) or None,
        "max_output_tokens": request.max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "tools": [_tool_json(tool) for tool in request.tools] or None,
        "tool_choice": _choice_json(request.tool_choice),
        "text": {"format": text} if text else None,
        "reasoning": {"effort": effort} if effort else None,
        "user": request.extra.get("user"),
        # Nothing is stored, so the thoughts between rounds of tools come along sealed.
        "include": ["reasoning.encrypted_content"] if request.tools and thinks else None,
        "stream": True if streamed else None,
    }
    items = (item for message in request.messages if message.role != "system" for item in _items(message))
    return {
        "model": request.model,
        "input": list(items),
        "store": False,
        **{name: value for name, value in fields.items() if value is not None},
    }


def _format_json(given: dict[str, Any] | None) -> dict[str, Any] | None:
    """OpenAI's `response_format` as this wire has it: without the box around the schema."""
    if not given or given.get("type") != "json_schema":
        return given
    return {"type": "json_schema", **(given.get("json_schema") or {})}


def _tool_json(tool: Tool) -> dict[str, Any]:
    # Unlike the chat wire, this one takes schemas as strict unless told otherwise.
    row = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "strict": False, **row}


def _choice_json(choice: str | dict[str, Any] | None) -> str | dict[str, Any] | None:
    forced = chosen_tool(choice)
    return {"type": "function", "name": forced} if forced else choice


def _items(message: Message) -> Iterator[dict[str, Any]]:
    """One message; calls and results are items of their own on this wire, in the order they came."""
    content: list[dict[str, Any]] = []
    after: list[dict[str, Any]] = []
    for part in message.parts:
        match part:
            case Text(text) if text:
                content.append({"type": "input_text", "text": text})
            case Image(url):
                content.append({"type": "input_image", "image_url": url, "detail": "auto"})
            case ToolCall(id_, name, arguments):
                row = {"call_id": id_, "name": name, "arguments": arguments or "{}"}
                after.append({"type": "function_call", **row})
            case Thought(_, data):
                yield data
            case ToolResult(call_id, output):
                yield {"type": "function_call_output", "call_id": call_id, "output": output}
    if message.role == "assistant" and message.text:
        # What the model said goes back as a plain text: a list would have to carry the ids of its first coming.
        yield {"type": "message", "role": "assistant", "content": message.text}
    elif content:
        yield {"type": "message", "role": "user", "content": content}
    yield from after


# --- What comes back ----------------------------------------------------------------------------------
class _Answer:
    """Reads events in order and remembers what is only known at the end: calls and the reason."""

    def __init__(self, provider: str, request: Request, meter: Meter) -> None:
        self.reason: FinishReason | None = None
        self._provider = provider
        self._meter = meter
        self._calls: dict[int, _Pieces] = {}
        self._stop = StopAt(request.stop)
        self._maker = f"{provider}/{request.model}"
        self._thoughts: list[dict[str, Any]] = []

    def read(self, data: str) -> list[Event]:
        """The events in one chunk; raise BadResponse when it is not this wire's language."""
        try:
            return list(self._read(orjson.loads(data)))
        except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError) as exc:
            raise BadResponse(f"{self._provider} sent a chunk that is not in the wire's language.") from exc

    def read_whole(self, found: dict[str, Any]) -> list[Event]:
        """The events in an answer that was not streamed."""
        try:
            events: list[Event] = []
            for index, item in enumerate(found["output"]):
                events += self._read_item(index, item)
            self._end(found)
            return events
        except (AttributeError, KeyError, TypeError) as exc:
            raise BadResponse(f"{self._provider} sent an answer that is not in the wire's language.") from exc

    def _read(self, chunk: dict[str, Any]) -> Iterator[Event]:
        kind = chunk.get("type")
        if kind in _SAID:
            yield from self._say(chunk["delta"])
        elif kind in _THOUGHT and chunk["delta"]:
            yield ThinkingDelta(text_of(chunk["delta"]))
        elif kind in ("response.output_item.added", "response.output_item.done"):
            if chunk["item"]["type"] == "function_call":
                self._call(chunk["output_index"]).take(chunk["item"])
            elif kind.endswith("done"):
                self._keep(chunk["item"])
        elif kind == "response.function_call_arguments.delta":
            self._call(chunk["output_index"]).arguments += text_of(chunk["delta"])
        elif kind in _ENDS:
            self._end(chunk["response"])
        elif chunk.get("response"):
            # A server may count along; OpenAI itself counts at the end only.
            self._count(chunk["response"])
        elif kind == "error":
            raise self._error(chunk.get("error") or chunk)

    def _read_item(self, index: int, item: dict[str, Any]) -> Iterator[Event]:
        match item["type"]:
            case "message":
                for part in item["content"]:
                    yield from self._say(part.get("text") or part.get("refusal") or "")
            case "reasoning":
                self._keep(item)
                for part in [*(item.get("summary") or []), *(item.get("content") or [])]:
                    yield ThinkingDelta(text_of(part["text"]))
            case "function_call":
                self._call(index).take(item)

    def _keep(self, item: dict[str, Any]) -> None:
        """A sealed thought, as it goes back: without its contents in the clear, which the wire does not take back."""
        if item["type"] == "reasoning" and item.get("encrypted_content"):
            kept = {name: item[name] for name in ("type", "id", "encrypted_content") if item.get(name)}
            self._thoughts.append({**kept, "summary": item.get("summary") or []})

    def _say(self, text: object) -> Iterator[Event]:
        said = self._stop.feed(text_of(text))
        if said:
            yield TextDelta(said)

    def _call(self, index: int) -> "_Pieces":
        return self._calls.setdefault(index, _Pieces())

    def _end(self, response: dict[str, Any]) -> None:
        # Before the failure that it may report: what was used until then was used.
        self._count(response)
        if response.get("status") == "failed" or response.get("error"):
            raise self._error(response.get("error") or {})
        why = (response.get("incomplete_details") or {}).get("reason")
        if response.get("status") == "incomplete":
            self.reason = "content_filter" if why == "content_filter" else "length"
        elif response.get("status") == "completed":
            self.reason = "stop"

    def _count(self, response: dict[str, Any]) -> None:
        if response.get("usage"):
            self._meter.usage = usage_of(response["usage"])

    def _error(self, error: dict[str, Any]) -> LLMError:
        status = _STATUSES.get(str(error.get("code"))) or _STATUSES.get(str(error.get("type")))
        if status is not None:
            return error_of_status(self._provider, status, {})
        return ProviderFailed(f"{self._provider} reported an error in the middle of its answer.")

    def end(self) -> Iterator[Event]:
        """What was held back, the completed tool calls and the finish; BadResponse if the stream stopped before it."""
        if self.reason is None:
            raise BadResponse(f"{self._provider} ended its answer without finishing it.")
        rest = self._stop.rest()
        if rest:
            yield TextDelta(rest)
        calls = [] if self._stop.has_stopped else [self._calls[index] for index in sorted(self._calls)]
        if any(not call.name for call in calls):
            raise BadResponse(f"{self._provider} called a tool without naming it.")
        if calls:
            yield from (ThoughtReady(Thought(self._maker, thought)) for thought in self._thoughts)
        for call in calls:
            yield ToolCallReady(ToolCall(call.id or f"call_{uuid.uuid4().hex[:24]}", call.name, call.arguments))
        reason = "stop" if self._stop.has_stopped else finish_of(self.reason, has_calls=bool(calls))
        yield Finished(reason, self._meter.usage or NO_USAGE)


class _Pieces:
    """A tool call while it arrives."""

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.arguments = ""

    def take(self, item: dict[str, Any]) -> None:
        """An item, begun or done; a done one has the arguments whole."""
        self.id = text_of(item.get("call_id") or self.id)
        self.name = text_of(item.get("name") or self.name)
        self.arguments = text_of(item.get("arguments") or self.arguments)


class StopAt:
    """Ends a text before the first of the stop sequences, though they may arrive in pieces."""

    def __init__(self, sequences: Sequence[str]) -> None:
        self.has_stopped = False
        self._sequences = [sequence for sequence in sequences if sequence]
        self._held = ""

    def feed(self, text: str) -> str:
        """What of the text so far is surely before any stop sequence; the rest waits."""
        if self.has_stopped:
            return ""
        text = self._held + text
        found = [place for place in (text.find(sequence) for sequence in self._sequences) if place >= 0]
        if found:
            self.has_stopped, self._held = True, ""
            return text[: min(found)]
        kept = max((_overlap(text, sequence) for sequence in self._sequences), default=0)
        self._held = text[len(text) - kept :]
        return text[: len(text) - kept]

    def rest(self) -> str:
        """What waited for more that did not come."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, sequence: str) -> int:
    """How many letters at the end of the text could begin the sequence."""
    most = min(len(text), len(sequence) - 1)
    return next((length for length in range(most, 0, -1) if text.endswith(sequence[:length])), 0)


def usage_of(usage: dict[str, Any]) -> Usage:
    """Tokens from a `usage` object."""
    return Usage(
        input_tokens=count_of(usage.get("input_tokens")),
        output_tokens=count_of(usage.get("output_tokens")),
        cached_tokens=count_of((usage.get("input_tokens_details") or {}).get("cached_tokens")),
        reasoning_tokens=count_of((usage.get("output_tokens_details") or {}).get("reasoning_tokens")),
    )
