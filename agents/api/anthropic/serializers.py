"""The body of `POST /v1/messages`, checked, and turned into what a model is sent.

https://docs.anthropic.com/en/api/messages. Thoughts that a client sends back are dropped: they were signed for one
model, and any model may answer here.
"""

from typing import Any

import orjson
from rest_framework import serializers

from atom.ground.api.doors import QuickSerializer
from atom.ground.errors import BadRequest, MissingUserMessage
from llm.messages import Image, Message, Part, Request, Role, Text, Thinking, Tool, ToolCall, ToolResult
from llm.thinking import split

# Whose words this wire uses when it says how much to think.
FAMILY = "anthropic"
THOUGHTS = frozenset({"thinking", "redacted_thinking"})
# This wire's words for `tool_choice`, in ours.
CHOICES = {"auto": "auto", "any": "required", "none": "none"}


class CountTokens(QuickSerializer):
    """What a conversation is made of; unknown fields are ignored."""

    model = serializers.CharField(max_length=200)
    messages = serializers.ListField(child=serializers.DictField(), allow_empty=True)
    system = serializers.JSONField(required=False, allow_null=True)
    tools = serializers.ListField(child=serializers.DictField(), required=False, allow_null=True, max_length=256)
    tool_choice = serializers.DictField(required=False, allow_null=True)
    thinking = serializers.DictField(required=False, allow_null=True)

    def validate_messages(self, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if not any(message.get("role") == "user" for message in messages):
            raise MissingUserMessage("messages: at least one message with the role 'user' is required.")
        return messages


class CreateMessage(CountTokens):
    """An explicit 0 is 0."""

    max_tokens = serializers.IntegerField(min_value=1)
    stream = serializers.BooleanField(default=False)
    temperature = serializers.FloatField(min_value=0, max_value=1, required=False, allow_null=True)
    top_p = serializers.FloatField(min_value=0, max_value=1, required=False, allow_null=True)
    stop_sequences = serializers.ListField(
        child=serializers.CharField(trim_whitespace=False), required=False, allow_null=True, max_length=16
    )
    metadata = serializers.DictField(required=False, allow_null=True)
    output_config = serializers.DictField(required=False, allow_null=True)


def request_of(data: dict[str, Any]) -> Request:
    """The typed request; raises BadRequest with the place of what it cannot read."""
    named = split(data["model"], family=FAMILY)
    config = data.get("output_config") or {}
    user = (data.get("metadata") or {}).get("user_id")
    return Request(
        model=named.model,
        messages=(*_system(data.get("system")), *_messages(data["messages"])),
        tools=tuple(_tool(tool, f"tools.{place}") for place, tool in enumerate(data.get("tools") or ())),
        tool_choice=_choice(data.get("tool_choice")),
        max_tokens=data.get("max_tokens"),
        temperature=data.get("temperature"),
        top_p=data.get("top_p"),
        stop=tuple(data.get("stop_sequences") or ()),
        response_format=_format(config.get("format")),
        thinking=named.thinking or _thinking(data.get("thinking"), config.get("effort")),
        extra={"user": user} if isinstance(user, str) else {},
    )


def _format(given: Any) -> dict[str, Any] | None:
    """The schema of the answer, in the words of `Request.response_format`."""
    if given is None:
        return None
    if not isinstance(given, dict) or given.get("type") != "json_schema" or not isinstance(given.get("schema"), dict):
        raise BadRequest("output_config.format: must be a json_schema with a schema.", param="output_config.format")
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": given["schema"]}}


def _thinking(given: dict[str, Any] | None, effort: Any) -> Thinking | None:
    """How much to think; an effort without `thinking` is a wish of the same kind."""
    if effort is not None and not isinstance(effort, str):
        raise BadRequest("output_config.effort: must be a level such as low, medium or high.", param="output_config")
    match (given or {}).get("type"):
        case "enabled":
            budget = (given or {}).get("budget_tokens")
            if not isinstance(budget, int) or isinstance(budget, bool):
                raise BadRequest("thinking.budget_tokens: must be a number of tokens.", param="thinking.budget_tokens")
            return Thinking(budget_tokens=budget, family=FAMILY)
        case "disabled":
            return Thinking(level="none", family=FAMILY)
        case "adaptive":
            return Thinking(level=effort or "auto", family=FAMILY)
        case None if not given:
            return Thinking(level=effort, family=FAMILY) if effort else None
        case _:
            raise BadRequest("thinking.type: must be enabled, disabled or adaptive.", param="thinking.type")


def _choice(given: dict[str, Any] | None) -> str | dict[str, Any] | None:
    if given is None:
        return None
    if given.get("type") == "tool" and isinstance(given.get("name"), str):
        return {"type": "function", "function": {"name": given["name"]}}
    if given.get("type") not in CHOICES:
        raise BadRequest("tool_choice: must be auto, any, none, or a tool with its name.", param="tool_choice")
    return CHOICES[given["type"]]


def _tool(raw: dict[str, Any], place: str) -> Tool:
    if raw.get("type") not in (None, "custom"):
        # A tool that the provider runs would be run unjudged.
        raise BadRequest(f"{place}.type: only custom tools, which the client runs, are taken.", param=f"{place}.type")
    if not isinstance(raw.get("name"), str) or not raw["name"]:
        raise BadRequest(f"{place}.name: is missing.", param=f"{place}.name")
    schema = raw.get("input_schema")
    if not isinstance(schema, dict):
        raise BadRequest(f"{place}.input_schema: must be a JSON schema object.", param=f"{place}.input_schema")
    return Tool(raw["name"], str(raw.get("description") or ""), schema)


# --- Messages -------------------------------------------------------------------------------------------
def _system(given: Any) -> list[Message]:
    if not given:
        return []
    parts = _parts(given, "system")
    if not all(isinstance(part, Text) for part in parts):
        raise BadRequest("system: must be a string or text blocks.", param="system")
    return [Message("system", parts)]


def _messages(given: list[dict[str, Any]]) -> list[Message]:
    found: list[Message] = []
    for number, raw in enumerate(given):
        place, role = f"messages.{number}", raw.get("role")
        if role not in ("user", "assistant", "system"):
            raise BadRequest(f"{place}.role: must be user or assistant.", param=f"{place}.role")
        found += _of_role(role, _parts(raw.get("content"), f"{place}.content"))
    return found


def _of_role(role: Role, parts: tuple[Part, ...]) -> list[Message]:
    """One message, or two: results of tools stand apart from what the person says, and before it."""
    results = tuple(part for part in parts if isinstance(part, ToolResult))
    said = tuple(part for part in parts if not isinstance(part, ToolResult))
    return [*([Message("tool", results)] if results else []), *([Message(role, said)] if said else [])]


def _parts(content: Any, place: str) -> tuple[Part, ...]:
    """A string, or a list of blocks."""
    if isinstance(content, str):
        return (Text(content),)
    if not isinstance(content, list):
        raise BadRequest(f"{place}: must be a string or a list of blocks.", param=place)
    found: list[Part] = []
    for number, block in enumerate(content):
        if not isinstance(block, dict):
            raise BadRequest(f"{place}.{number}: must be a block with a type.", param=f"{place}.{number}")
        found += _blocks(block, f"{place}.{number}")
    return tuple(found)


def _blocks(block: dict[str, Any], place: str) -> list[Part]:
    """The parts that one block becomes: none for thoughts, several for a result with images."""
    match block.get("type"):
        case "text" if isinstance(block.get("text"), str):
            return [Text(block["text"])]
        case "image":
            return [_image(block.get("source"), place)]
        case "document":
            return [_document(block, place)]
        case "tool_use" if isinstance(block.get("id"), str) and isinstance(block.get("name"), str):
            return [ToolCall(block["id"], block["name"], orjson.dumps(block.get("input") or {}).decode())]
        case "tool_result" if isinstance(block.get("tool_use_id"), str):
            return _result(block, place)
        case kind if kind in THOUGHTS:
            return []
        case kind:
            raise BadRequest(f"{place}: a block of type '{kind}' cannot be read here.", param=place)


def _image(source: Any, place: str) -> Image:
    match source:
        case {"type": "base64", "media_type": str(kind), "data": str(data)} if kind.startswith("image/"):
            return Image(f"data:{kind};base64,{data}")
        case {"type": "url", "url": str(url)} if url.startswith("https://"):
            return Image(url)
        case _:
            message = f"{place}.source: must be base64 with a media_type of images, or an https: URL."
            raise BadRequest(message, param=f"{place}.source")


def _document(block: dict[str, Any], place: str) -> Text:
    match block.get("source"):
        case {"type": "text", "data": str(data)}:
            title = block.get("title")
            return Text(f"{title}\n\n{data}" if isinstance(title, str) and title else data)
        case _:
            raise BadRequest(f"{place}.source: only documents of plain text are read.", param=f"{place}.source")


def _result(block: dict[str, Any], place: str) -> list[Part]:
    """A tool's result as text; its images follow it, because other wires take no images inside a result."""
    content = block.get("content")
    parts = () if content is None else _parts(content, f"{place}.content")
    text = "\n".join(part.text for part in parts if isinstance(part, Text))
    if block.get("is_error"):
        text = f"Error: {text}"
    return [ToolResult(block["tool_use_id"], text), *(part for part in parts if isinstance(part, Image))]
