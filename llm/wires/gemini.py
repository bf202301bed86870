"""The Gemini wire, `POST {base_url}/v1beta/models/{model}:streamGenerateContent?alt=sse`; the base URL is a root.

https://ai.google.dev/api/generate-content. Schemas go out as JSON Schema, which newer models take as it is.
"""

import mimetypes
import re
import uuid
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Any
from urllib.parse import quote

import httpx
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
    tool_names,
    turns_of,
    wants_json,
)
from llm.wires.transport import error_of_status, post_json, post_sse

# Reasons outside this table are all about what may not be said.
_REASONS: dict[str, FinishReason] = {
    "STOP": "stop",
    "FINISH_REASON_UNSPECIFIED": "stop",
    "OTHER": "stop",
    "MAX_TOKENS": "length",
}
# The model tried to call a tool and could not: nothing that a caller can use.
_BROKEN = {"MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "MALFORMED_RESPONSE", "TOO_MANY_TOOL_CALLS"}
# Gemini 3 demands the signature of the thought behind a turn's first call. For calls of other models Google names this
# word instead:
# https://ai.google.dev/gemini-api/docs/thought-signatures
_WANTS_SIGNATURES = re.compile(r"gemini-([3-9]|\d\d)")
_NO_SIGNATURE = "skip_thought_signature_validator"


async def stream(
    request: Request, endpoint: Endpoint, client: GuardedClient, meter: Meter
) -> AsyncGenerator[Event, None]:
    """Call the model; see `llm.wires.Wire`."""
    url, headers = _address(request, endpoint, "streamGenerateContent?alt=sse")
    answer = _Answer(endpoint.provider, request.model, meter)
    async with aclosing(post_sse(url, body_of(request), headers, endpoint, client)) as chunks:
        try:
            async for data in chunks:
                for event in answer.read(data):
                    yield event
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
    url, headers = _address(request, endpoint, "generateContent")
    answer = _Answer(endpoint.provider, request.model, meter)
    found = await post_json(url, body_of(request), headers, endpoint, client)
    for event in [*answer.read_whole(found), *answer.end()]:
        yield event


def _address(request: Request, endpoint: Endpoint, method: str) -> tuple[str, dict[str, str]]:
    headers = {"x-goog-api-key": endpoint.secret} if endpoint.secret else {}
    model = quote(request.model.removeprefix("models/"), safe="")
    return f"{endpoint.base_url.rstrip('/')}/v1beta/models/{model}:{method}", headers


# --- What goes out ------------------------------------------------------------------------------------
def body_of(request: Request) -> dict[str, Any]:
    """The JSON body of a call, streamed or not. Absent fields are absent; an explicit 0 stays."""
    names = tool_names(request.messages)
    wants_signatures = _WANTS_SIGNATURES.match(request.model.removeprefix("models/")) is not None
    system = system_text(request.messages)
    config = _config(request)
    fields: dict[str, Any] = {
        "systemInstruction": {"parts": [{"text": system}]} if system else None,
        "tools": _tools_json(request),
        "toolConfig": _choice_json(request),
        "generationConfig": config or None,
    }
    return {
        "contents": [_turn_json(turn, names, wants_signatures) for turn in turns_of(request.messages)],
        **{name: value for name, value in fields.items() if value is not None},
    }


def _config(request: Request) -> dict[str, Any]:
    config: dict[str, Any] = {
        "maxOutputTokens": request.max_tokens,
        "temperature": request.temperature,
        "topP": request.top_p,
        "stopSequences": list(request.stop) or None,
        "seed": request.seed,
        "responseMimeType": "application/json" if wants_json(request) else None,
        "responseJsonSchema": json_schema_of(request),
        "thinkingConfig": None if request.thinking is None else _thinking_json(request.thinking),
        "presencePenalty": request.extra.get("presence_penalty"),
        "frequencyPenalty": request.extra.get("frequency_penalty"),
    }
    return {name: value for name, value in config.items() if value is not None}


def _thinking_json(thinking: Thinking) -> dict[str, Any]:
    if thinking.budget_tokens is not None:
        return {"thinkingBudget": thinking.budget_tokens, "includeThoughts": thinking.budget_tokens != 0}
    match thinking.level:
        case "none":
            return {"thinkingBudget": 0, "includeThoughts": False}
        case None | "auto":
            return {"thinkingBudget": -1, "includeThoughts": True}
        case level:
            return {"thinkingLevel": level, "includeThoughts": True}


def _tools_json(request: Request) -> list[dict[str, Any]] | None:
    if not request.tools:
        return None
    rows = []
    for tool in request.tools:
        row: dict[str, Any] = {"name": tool.name, "description": tool.description}
        # An object schema without properties is refused; no schema at all is not.
        if tool.parameters.get("properties"):
            row["parametersJsonSchema"] = tool.parameters
        rows.append(row)
    return [{"functionDeclarations": rows}]


def _choice_json(request: Request) -> dict[str, Any] | None:
    if not request.tools or request.tool_choice is None:
        return None
    forced = chosen_tool(request.tool_choice)
    if forced:
        return {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": [forced]}}
    modes = {"auto": "AUTO", "required": "ANY", "none": "NONE"}
    return {"functionCallingConfig": {"mode": modes.get(str(request.tool_choice), "AUTO")}}


def _turn_json(turn: Turn, names: dict[str, str], wants_signatures: bool) -> dict[str, Any]:
    thoughts = {part.call_id: part.data for part in turn.parts if isinstance(part, Thought)}
    parts = [_part_json(part, names, thoughts) for part in turn.parts if not isinstance(part, Thought)]
    first_call = next((part for part in parts if "functionCall" in part), None)
    if wants_signatures and first_call is not None:
        first_call.setdefault("thoughtSignature", _NO_SIGNATURE)
    return {"role": "model" if turn.is_model else "user", "parts": parts}


def _part_json(part: Part, names: dict[str, str], thoughts: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """`thoughts`: the signatures of calls, by their ids."""
    match part:
        case Text(text):
            return {"text": text}
        case Image(url):
            return _image_json(url)
        case ToolCall(id_, name, _):
            return {"functionCall": {"name": name, "args": arguments_of(part)}, **thoughts.get(id_, {})}
        case Thought(_, data):
            return data
        case ToolResult(call_id, content):
            # Results find their calls by name and order; ids of other providers would confuse them.
            name = names.get(call_id, call_id)
            return {"functionResponse": {"name": name, "response": {"result": content}}}


def _image_json(url: str) -> dict[str, Any]:
    inline = inline_image(url)
    if inline is None:
        kind = mimetypes.guess_type(httpx.URL(url).path)[0] or "image/jpeg"
        return {"fileData": {"mimeType": kind, "fileUri": url}}
    return {"inlineData": {"mimeType": inline[0], "data": inline[1]}}


# --- What comes back ----------------------------------------------------------------------------------
class _Answer:
    """Reads chunks in order and remembers what is only known at the end: calls and the reason."""

    def __init__(self, provider: str, model: str, meter: Meter) -> None:
        self.reason: FinishReason | None = None
        self._provider = provider
        self._meter = meter
        self._counts: dict[str, int] = {}
        self._maker = f"{provider}/{model}"
        self._calls: list[ToolCall] = []
        # The signatures of calls, by their ids.
        self._thoughts: dict[str, Thought] = {}

    def read(self, data: str) -> list[Event]:
        """The events in one chunk; raise BadResponse when it is not this wire's language."""
        try:
            return self.read_whole(orjson.loads(data))
        except orjson.JSONDecodeError as exc:
            raise BadResponse(f"{self._provider} sent a chunk that is not in the wire's language.") from exc

    def read_whole(self, found: dict[str, Any]) -> list[Event]:
        """The events in an answer that was not streamed: it looks like one chunk."""
        try:
            return list(self._read(found))
        except (AttributeError, KeyError, TypeError) as exc:
            raise BadResponse(f"{self._provider} sent a chunk that is not in the wire's language.") from exc

    def _read(self, chunk: dict[str, Any]) -> Iterator[Event]:
        if chunk.get("error"):
            raise self._error(chunk["error"])
        # Counts are cumulative: a later one replaces an earlier one, but 0 does not take one back.
        said = chunk.get("usageMetadata") or {}
        for name, value in said.items():
            self._counts[name] = count_of(value) or self._counts.get(name, 0)
        if said:
            self._meter.usage = self._usage()
        if (chunk.get("promptFeedback") or {}).get("blockReason"):
            self.reason = "content_filter"
        # Only the first candidate: Atom never asks for several.
        for candidate in (chunk.get("candidates") or [])[:1]:
            for part in (candidate.get("content") or {}).get("parts") or []:
                yield from self._read_part(part)
            self._finish(candidate.get("finishReason"))

    def _read_part(self, part: dict[str, Any]) -> Iterator[Event]:
        if part.get("functionCall"):
            call = part["functionCall"]
            arguments = orjson.dumps(call.get("args") or {}).decode()
            id_ = text_of(call.get("id") or f"call_{uuid.uuid4().hex[:24]}")
            self._calls.append(ToolCall(id_, text_of(call["name"]), arguments))
            if part.get("thoughtSignature"):
                seal = {"thoughtSignature": text_of(part["thoughtSignature"])}
                self._thoughts[id_] = Thought(self._maker, seal, id_)
        elif part.get("text"):
            text = text_of(part["text"])
            yield ThinkingDelta(text) if part.get("thought") else TextDelta(text)

    def _finish(self, said: str | None) -> None:
        if said in _BROKEN:
            raise BadResponse(f"{self._provider} could not put its tool call together.")
        if said:
            self.reason = _REASONS.get(said, "content_filter")

    def _error(self, error: dict[str, Any]) -> LLMError:
        """An error inside a stream carries its status as a number."""
        if isinstance(error.get("code"), int) and error["code"] >= 400:
            return error_of_status(self._provider, error["code"], {})
        return ProviderFailed(f"{self._provider} reported an error in the middle of its answer.")

    def end(self) -> Iterator[Event]:
        """The tool calls and the finish; BadResponse if the stream stopped before it."""
        if self.reason is None:
            raise BadResponse(f"{self._provider} ended its answer without finishing it.")
        for call in self._calls:
            if call.id in self._thoughts:
                yield ThoughtReady(self._thoughts[call.id])
            yield ToolCallReady(call)
        yield Finished(finish_of(self.reason, has_calls=bool(self._calls)), self._meter.usage or NO_USAGE)

    def _usage(self) -> Usage:
        """This wire counts thoughts apart from what is said, and the cached within the sent."""
        counts = self._counts
        thoughts = counts.get("thoughtsTokenCount", 0)
        return Usage(
            input_tokens=counts.get("promptTokenCount", 0) + counts.get("toolUsePromptTokenCount", 0),
            output_tokens=counts.get("candidatesTokenCount", 0) + thoughts,
            cached_tokens=counts.get("cachedContentTokenCount", 0),
            reasoning_tokens=thoughts,
        )
