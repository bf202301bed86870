"""What the wires other than OpenAI's chat share: a conversation in turns, images and arguments taken apart."""

import base64
import binascii
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import orjson

from llm.events import FinishReason
from llm.messages import Message, Part, Request, Text, ToolCall

_DATA_URL = re.compile(r"data:(?P<type>[\w.+-]+/[\w.+-]+)(?:;[\w=.-]+)*;base64,(?P<data>.*)", re.DOTALL | re.IGNORECASE)

# More than any model reads or says in one call. A server that claims more counts something else, or lies.
MOST_TOKENS = 20_000_000


class Turn(NamedTuple):
    """What one side says before the other does; tool results are the user's side."""

    is_model: bool
    parts: list[Part]


def system_text(messages: Iterable[Message]) -> str:
    """All system messages in one text: these wires have one place for them."""
    return "\n\n".join(message.text for message in messages if message.role == "system" and message.text)


def turns_of(messages: Iterable[Message]) -> list[Turn]:
    """The conversation in alternating turns, without system messages and without empty texts."""
    turns: list[Turn] = []
    for message in messages:
        parts = [part for part in message.parts if not (isinstance(part, Text) and not part.text)]
        if message.role == "system" or not parts:
            continue
        is_model = message.role == "assistant"
        if turns and turns[-1].is_model == is_model:
            turns[-1].parts.extend(parts)
        else:
            turns.append(Turn(is_model, parts))
    return turns


def tool_names(messages: Iterable[Message]) -> dict[str, str]:
    """From the id of a call to the tool it called."""
    return {part.id: part.name for message in messages for part in message.parts if isinstance(part, ToolCall)}


def inline_image(url: str) -> tuple[str, str] | None:
    """Media type and base64 of a `data:` URL; None for an address."""
    found = _DATA_URL.fullmatch(url.strip())
    if found is None:
        return None
    try:
        # Some clients write the URL-safe alphabet or leave the padding out; these wires refuse both.
        raw = re.sub(r"\s|=", "", found["data"]).replace("-", "+").replace("_", "/")
        data = base64.b64encode(base64.b64decode(raw + "=" * (-len(raw) % 4), validate=True)).decode()
    except binascii.Error:
        data = found["data"]
    return found["type"].lower(), data


def arguments_of(call: ToolCall) -> dict[str, Any]:
    """A call's arguments as the object that these wires want back, even when the model wrote something else."""
    if not call.arguments.strip():
        return {}
    try:
        found = orjson.loads(call.arguments)
    except orjson.JSONDecodeError:
        found = call.arguments
    return found if isinstance(found, dict) else {"value": found}


def json_schema_of(request: Request) -> dict[str, Any] | None:
    """The schema that the answer must follow, out of OpenAI's `response_format`; None if none is asked for."""
    given = request.response_format or {}
    if given.get("type") != "json_schema":
        return None
    schema: dict[str, Any] | None = (given.get("json_schema") or {}).get("schema")
    return schema


def wants_json(request: Request) -> bool:
    return (request.response_format or {}).get("type") in ("json_object", "json_schema")


def chosen_tool(choice: str | dict[str, Any] | None) -> str | None:
    """The tool that OpenAI's `tool_choice` forces by name; None for a word or nothing."""
    if not isinstance(choice, dict):
        return None
    name: str | None = (choice.get("function") or choice).get("name")
    return name


def finish_of(reason: FinishReason, *, has_calls: bool) -> FinishReason:
    """Some servers say "stop" although they call tools."""
    return "tool_calls" if has_calls and reason == "stop" else reason


def text_of(value: object) -> str:
    """The value if it is a text; TypeError otherwise."""
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def count_of(value: object) -> int:
    """A count of tokens; 0 for whatever is none."""
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_TOKENS
    return value if isinstance(value, int) and is_count else 0
