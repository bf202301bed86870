"""The body of `POST /v1/chat/completions`, checked, and turned into what a model is sent."""

from typing import Any

import orjson
from rest_framework import serializers

from atom.ground.api.doors import QuickSerializer
from atom.ground.errors import BadRequest, MissingUserMessage
from llm.messages import Image, Message, Part, Request, Text, Thinking, Tool, ToolCall, ToolResult
from llm.thinking import split

# Whose words this wire uses when it says how much to think.
FAMILY = "openai"
# Fields that are passed on as they came to providers that know them.
PASSED_ON = (
    "n",
    "logprobs",
    "top_logprobs",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "parallel_tool_calls",
    "user",
)
# Each answer costs what one costs.
MOST_ANSWERS = 16


class StreamOptions(serializers.Serializer[Any]):
    include_usage = serializers.BooleanField(default=False)


class ChatCompletion(QuickSerializer):
    """Unknown fields are ignored; an explicit 0 is 0."""

    model = serializers.CharField(max_length=200)
    messages = serializers.ListField(child=serializers.DictField(), allow_empty=True)
    stream = serializers.BooleanField(default=False)
    stream_options = StreamOptions(required=False, allow_null=True)
    max_tokens = serializers.IntegerField(min_value=1, required=False, allow_null=True)
    max_completion_tokens = serializers.IntegerField(min_value=1, required=False, allow_null=True)
    temperature = serializers.FloatField(min_value=0, max_value=2, required=False, allow_null=True)
    top_p = serializers.FloatField(min_value=0, max_value=1, required=False, allow_null=True)
    stop = serializers.JSONField(required=False, allow_null=True)
    n = serializers.IntegerField(min_value=1, max_value=MOST_ANSWERS, required=False, allow_null=True)
    seed = serializers.IntegerField(required=False, allow_null=True)
    tools = serializers.ListField(child=serializers.DictField(), required=False, allow_null=True, max_length=256)
    tool_choice = serializers.JSONField(required=False, allow_null=True)
    response_format = serializers.DictField(required=False, allow_null=True)

    def validate_messages(self, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if not any(message.get("role") == "user" for message in messages):
            raise MissingUserMessage("At least one message must have the role 'user'.", param="messages")
        return messages

    def validate_stop(self, stop: Any) -> tuple[str, ...]:
        found = [stop] if isinstance(stop, str) else stop
        if found is None:
            return ()
        if not isinstance(found, list) or len(found) > 16 or not all(isinstance(text, str) and text for text in found):
            raise BadRequest("stop must be a string, or a list of at most 16 strings.", param="stop")
        return tuple(found)


def request_of(data: dict[str, Any], body: dict[str, Any]) -> Request:
    """The typed request; raises BadRequest with the place of what it cannot read."""
    named = split(data["model"], family=FAMILY)
    return Request(
        model=named.model,
        messages=tuple(_message(message, f"messages.{place}") for place, message in enumerate(data["messages"])),
        tools=tuple(_tool(tool, f"tools.{place}") for place, tool in enumerate(data.get("tools") or ())),
        tool_choice=data.get("tool_choice"),
        max_tokens=data.get("max_completion_tokens") or data.get("max_tokens"),
        temperature=data.get("temperature"),
        top_p=data.get("top_p"),
        stop=data.get("stop") or (),
        seed=data.get("seed"),
        response_format=data.get("response_format"),
        thinking=named.thinking or _thinking(body),
        extra={name: data.get(name, body[name]) for name in PASSED_ON if body.get(name) is not None},
        is_chat=True,
    )


def _thinking(body: dict[str, Any]) -> Thinking | None:
    """How much to think: `reasoning_effort`, or `reasoning` with an `effort` or `max_tokens`."""
    effort, budget, param = body.get("reasoning_effort"), None, "reasoning_effort"
    if effort is None and isinstance(body.get("reasoning"), dict):
        effort, budget, param = body["reasoning"].get("effort"), body["reasoning"].get("max_tokens"), "reasoning"
    if effort is not None and not isinstance(effort, str):
        raise BadRequest(f"{param} must be a level such as low, medium or high.", param=param)
    if budget is not None and (not isinstance(budget, int) or isinstance(budget, bool)):
        raise BadRequest("reasoning.max_tokens must be a number of tokens.", param=param)
    if effort:
        return Thinking(level=effort, family=FAMILY)
    return None if budget is None else Thinking(budget_tokens=budget, family=FAMILY)


def _message(message: dict[str, Any], place: str) -> Message:
    content = message.get("content")
    match message.get("role"):
        case "system" | "developer":
            return Message("system", _content(content, place))
        case "user":
            return Message("user", _content(content, place))
        case "assistant":
            calls = message.get("tool_calls") or []
            said = _content(content, place) if content else ()
            return Message("assistant", (*said, *(_call(call, place) for call in calls)))
        case "tool":
            call_id = message.get("tool_call_id")
            if not isinstance(call_id, str):
                raise BadRequest(f"{place}.tool_call_id is missing.", param=f"{place}.tool_call_id")
            text = "\n".join(part.text for part in _content(content, place) if isinstance(part, Text))
            return Message("tool", (ToolResult(call_id, text),))
        case _:
            raise BadRequest(f"{place}.role must be system, developer, user, assistant or tool.", param=f"{place}.role")


def _content(content: Any, place: str) -> tuple[Part, ...]:
    """A string, or a list of parts; neighbouring text parts are joined by a newline."""
    if content is None or isinstance(content, str):
        return (Text(content or ""),)
    if not isinstance(content, list):
        raise BadRequest(f"{place}.content must be a string or a list of parts.", param=f"{place}.content")
    parts: list[Part] = []
    for number, raw in enumerate(content):
        part = _part(raw, f"{place}.content.{number}")
        if isinstance(part, Text) and parts and isinstance(parts[-1], Text):
            parts[-1] = Text(f"{parts[-1].text}\n{part.text}")
        else:
            parts.append(part)
    return tuple(parts) or (Text(""),)


def _part(raw: Any, place: str) -> Part:
    kind = raw.get("type") if isinstance(raw, dict) else None
    if kind in {"text", "input_text", "output_text"} and isinstance(raw.get("text"), str):
        return Text(raw["text"])
    if kind == "image_url":
        image = raw.get("image_url")
        url = image.get("url") if isinstance(image, dict) else image
        if isinstance(url, str) and url.startswith(("data:image/", "https://")):
            return Image(url)
        raise BadRequest(f"{place}.image_url must be a data: or https: URL.", param=place)
    raise BadRequest(f"{place} must be a text or image_url part.", param=place)


def _call(raw: Any, place: str) -> ToolCall:
    try:
        return ToolCall(str(raw["id"]), str(raw["function"]["name"]), str(raw["function"].get("arguments") or "{}"))
    except (KeyError, TypeError, AttributeError) as exc:
        raise BadRequest(f"{place}.tool_calls has a call without id or function.", param=place) from exc


def _tool(raw: dict[str, Any], place: str) -> Tool:
    function = raw.get("function")
    if raw.get("type") != "function" or not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise BadRequest(f"{place} must be a function with a name.", param=place)
    parameters = function.get("parameters") or {"type": "object", "properties": {}}
    if not isinstance(parameters, dict):
        raise BadRequest(f"{place}.function.parameters must be a JSON schema object.", param=place)
    return Tool(function["name"], str(function.get("description") or ""), orjson.loads(orjson.dumps(parameters)))
