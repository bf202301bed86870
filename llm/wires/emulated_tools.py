"""The chat wire for servers whose models never call a tool: they are held to JSON that is either an answer or a call.

The answer's text is taken out of the JSON while it arrives. Models that need this are small: they get one round of
tools for each question, or they would call the same tool for ever.
"""

import json
import re
import uuid
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import orjson

from atom.ground.http import GuardedClient
from llm.events import Event, Finished, FinishReason, Meter, TextDelta, ToolCallReady
from llm.messages import Endpoint, Message, Part, Request, Text, Tool, ToolCall, ToolResult
from llm.wires import openai_chat
from llm.wires.shapes import arguments_of, chosen_tool, json_schema_of, tool_names

_ASKED = (
    'Answer with {{"answer": your answer}}. Only if the question needs one of these tools, answer with '
    '{{"tool": its name, "arguments": its arguments}} instead. The tools:\n{tools}'
)
_ANSWER = re.compile(r'\s*\{\s*"answer"\s*:\s*"')
# What a JSON string is made of, escapes whole; a half of a surrogate pair at the end waits for the other.
_IN_STRING = re.compile(r'(?:[^"\\]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*')
_HALF = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}$")


async def stream(
    request: Request, endpoint: Endpoint, client: GuardedClient, meter: Meter
) -> AsyncGenerator[Event, None]:
    """Call the model; see `llm.wires.Wire`."""
    answer = openai_chat.stream(told(request), endpoint, client, meter)
    async with aclosing(answer), aclosing(_read(answer, offered(request))) as events:
        async for event in events:
            yield event


async def whole(
    request: Request, endpoint: Endpoint, client: GuardedClient, meter: Meter
) -> AsyncGenerator[Event, None]:
    """The same call without streaming: all its events at once."""
    answer = openai_chat.whole(told(request), endpoint, client, meter)
    async with aclosing(answer), aclosing(_read(answer, offered(request))) as events:
        async for event in events:
            yield event


# --- What goes out ------------------------------------------------------------------------------------
def offered(request: Request) -> tuple[Tool, ...]:
    """The tools that the model may call now: none right after a tool has answered."""
    is_answered = any(isinstance(part, ToolResult) for part in request.messages[-1].parts)
    forced = chosen_tool(request.tool_choice)
    if is_answered or request.tool_choice == "none":
        return ()
    return tuple(tool for tool in request.tools if forced in (None, tool.name))


def told(request: Request) -> Request:
    """The request in words: tools, calls and results as text, and a schema in place of the tools."""
    names = tool_names(request.messages)
    messages = tuple(_in_words(message, names) for message in request.messages)
    tools = offered(request)
    # Calls stand in the words of one answer: of others, and of each word's chances, nothing could be told apart.
    extra = {name: value for name, value in request.extra.items() if name not in ("n", "logprobs", "top_logprobs")}
    plain = replace(request, messages=messages, tools=(), tool_choice=None, extra=extra, is_chat=False)
    if not tools:
        return plain
    rows = [orjson.dumps({"tool": tool.name, "does": tool.description, "arguments": tool.parameters}) for tool in tools]
    asked = Message("system", (Text(_ASKED.format(tools="\n".join(row.decode() for row in rows))),))
    # One system message, for templates that know no second.
    systems = [message for message in messages if message.role == "system"]
    system = Message("system", (Text("\n\n".join(message.text for message in (*systems, asked))),))
    others = (message for message in messages if message.role != "system")
    return replace(plain, messages=(system, *others), response_format=_format(request, tools))


def _format(request: Request, tools: tuple[Tool, ...]) -> dict[str, Any]:
    """Either a call of one of the tools, or an answer if it may be one."""
    ways = [_object(tool={"const": tool.name}, arguments={"type": "object", **tool.parameters}) for tool in tools]
    if request.tool_choice != "required" and chosen_tool(request.tool_choice) is None:
        ways = [_object(answer=json_schema_of(request) or {"type": "string"}), *ways]
    return {"type": "json_schema", "json_schema": {"name": "answer_or_call", "schema": {"anyOf": ways}}}


def _object(**properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _in_words(message: Message, names: dict[str, str]) -> Message:
    parts = tuple(_part_in_words(part, names) for part in message.parts)
    return replace(message, role="user" if message.role == "tool" else message.role, parts=parts)


def _part_in_words(part: Part, names: dict[str, str]) -> Part:
    match part:
        case ToolCall(_, name, _):
            # In words: shown its own JSON, a small model only says it again.
            return Text(f"I use {name} with {orjson.dumps(arguments_of(part)).decode()}.")
        case ToolResult(call_id, content):
            return Text(f"{names.get(call_id, call_id)} says: {content}\nTell me what that means for my question.")
    return part


# --- What comes back ----------------------------------------------------------------------------------
async def _read(answer: AsyncGenerator[Event, None], tools: tuple[Tool, ...]) -> AsyncGenerator[Event, None]:
    """The events with the answer or the call taken out of its JSON."""
    reader = _Reader() if tools else None
    async for event in answer:
        match event:
            case TextDelta(text) if reader is not None:
                if said := reader.feed(text):
                    yield TextDelta(said)
            case Finished(reason, usage) if reader is not None:
                for last in reader.end():
                    yield last
                yield Finished(reader.finish_of(reason), usage)
            case _:
                yield event


class _Reader:
    """Takes an answer's text out of its JSON as it arrives, and keeps all else for the end."""

    def __init__(self) -> None:
        self._held = ""
        self._mode = "unknown"
        self._has_called = False

    def feed(self, text: str) -> str:
        """What can be said already."""
        self._held += text
        if self._mode == "unknown":
            begin = _ANSWER.match(self._held)
            if begin is not None:
                self._mode, self._held = "answer", self._held[begin.end() :]
            elif self._held.strip() and not self._held.lstrip().startswith("{"):
                # A server that knows no schemas: what it says is said.
                self._mode = "plain"
        if self._mode == "plain":
            said, self._held = self._held, ""
            return said
        return self._of_string() if self._mode == "answer" else ""

    def _of_string(self) -> str:
        found = _IN_STRING.match(self._held)
        whole = _HALF.sub("", found.group()) if found else ""
        rest = self._held[len(whole) :]
        self._held = rest
        if rest.startswith('"'):
            self._mode = "over"
        said: str = json.loads(f'"{whole}"', strict=False)
        # Half a pair cannot be sent on.
        return said.encode("utf-16", "surrogatepass").decode("utf-16", "replace")

    def end(self) -> Iterator[Event]:
        """The call, if it is one; what cannot be read is said as it is."""
        if self._mode != "unknown" or not self._held.strip():
            return
        try:
            found = orjson.loads(self._held)
        except orjson.JSONDecodeError:
            found = None
        if isinstance(found, dict) and isinstance(found.get("tool"), str):
            self._has_called = True
            arguments = orjson.dumps(found.get("arguments") or {}).decode()
            yield ToolCallReady(ToolCall(f"call_{uuid.uuid4().hex[:24]}", found["tool"], arguments))
        elif isinstance(found, dict) and "answer" in found:
            # An answer that was itself asked for as JSON.
            yield TextDelta(orjson.dumps(found["answer"]).decode())
        else:
            yield TextDelta(self._held)

    def finish_of(self, reason: FinishReason) -> FinishReason:
        return "tool_calls" if self._has_called else reason
