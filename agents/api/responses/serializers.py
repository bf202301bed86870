"""The body of `POST /v1/responses`, checked, and turned into what a model is sent.

https://platform.openai.com/docs/api-reference/responses. Input is kept as items, as this wire shows it again.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

from rest_framework import serializers

from agents.runs.history import all_answered
from atom.ground.errors import BadRequest
from llm.messages import Image, Message, Part, Request, Role, Text, Thinking, Tool, ToolCall, ToolResult
from llm.thinking import split

# Whose words this wire uses when it says how much to think.
FAMILY = "openai"
ID_PREFIX = "resp_"
TEXTS = frozenset({"input_text", "output_text", "text"})


def response_uuid(text: Any) -> UUID | None:
    """The id behind `resp_…`; None for what is no id of ours."""
    if not isinstance(text, str) or not text.startswith(ID_PREFIX):
        return None
    try:
        return UUID(hex=text.removeprefix(ID_PREFIX))
    except ValueError:
        return None


class CreateResponse(serializers.Serializer[Any]):
    """Unknown fields are ignored; an explicit 0 is 0."""

    model = serializers.CharField(max_length=200)
    input = serializers.JSONField(required=False, allow_null=True)
    instructions = serializers.CharField(required=False, allow_null=True, allow_blank=True, trim_whitespace=False)
    stream = serializers.BooleanField(default=False)
    store = serializers.BooleanField(required=False, allow_null=True)
    background = serializers.BooleanField(required=False, allow_null=True)
    previous_response_id = serializers.CharField(required=False, allow_null=True, max_length=100)
    max_output_tokens = serializers.IntegerField(min_value=1, required=False, allow_null=True)
    temperature = serializers.FloatField(min_value=0, max_value=2, required=False, allow_null=True)
    top_p = serializers.FloatField(min_value=0, max_value=1, required=False, allow_null=True)
    tools = serializers.ListField(child=serializers.DictField(), required=False, allow_null=True, max_length=256)
    tool_choice = serializers.JSONField(required=False, allow_null=True)
    text = serializers.DictField(required=False, allow_null=True)
    reasoning = serializers.DictField(required=False, allow_null=True)
    metadata = serializers.DictField(
        child=serializers.CharField(allow_blank=True, max_length=512), required=False, allow_null=True
    )
    user = serializers.CharField(required=False, allow_null=True, max_length=200)
    conversation = serializers.JSONField(required=False, allow_null=True)
    prompt = serializers.JSONField(required=False, allow_null=True)

    def validate_conversation(self, given: Any) -> None:
        if given is not None:
            raise BadRequest("conversation is not supported: use previous_response_id.", param="conversation")

    def validate_prompt(self, given: Any) -> None:
        if given is not None:
            raise BadRequest("prompt is not supported: there are no stored prompts here.", param="prompt")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        attrs["store"] = attrs.get("store") is not False
        attrs["background"] = bool(attrs.get("background"))
        if attrs["background"] and not attrs["store"]:
            raise BadRequest("A response in the background must be stored.", param="background")
        return attrs


def request_of(data: dict[str, Any], conversation: Sequence[Message]) -> Request:
    """The typed request; `conversation` is all that was said until now, without this turn's instructions."""
    named = split(data["model"], family=FAMILY)
    instructions = [Message("system", (Text(data["instructions"]),))] if data.get("instructions") else []
    return Request(
        model=named.model,
        messages=(*instructions, *all_answered(conversation)),
        tools=tuple(_tool(tool, f"tools.{place}") for place, tool in enumerate(data.get("tools") or ())),
        tool_choice=_choice(data.get("tool_choice")),
        max_tokens=data.get("max_output_tokens"),
        temperature=data.get("temperature"),
        top_p=data.get("top_p"),
        response_format=_format((data.get("text") or {}).get("format")),
        thinking=named.thinking or _thinking(data.get("reasoning") or {}),
        extra={"user": data["user"]} if data.get("user") else {},
    )


def _thinking(reasoning: dict[str, Any]) -> Thinking | None:
    effort = reasoning.get("effort")
    if effort is not None and not isinstance(effort, str):
        raise BadRequest("reasoning.effort must be a level such as low, medium or high.", param="reasoning.effort")
    return Thinking(level=effort, family=FAMILY) if effort else None


def _format(given: Any) -> dict[str, Any] | None:
    """`text.format` as `Request.response_format` has it: with a box around the schema."""
    match given:
        case None | {"type": "text"}:
            return None
        case {"type": "json_object"}:
            return {"type": "json_object"}
        case {"type": "json_schema", "schema": dict(), **rest}:
            named = {name: value for name, value in rest.items() if name in ("name", "description", "strict")}
            return {"type": "json_schema", "json_schema": {**named, "schema": given["schema"]}}
        case _:
            raise BadRequest(
                "text.format must be text, json_object, or json_schema with a schema.", param="text.format"
            )


def _choice(given: Any) -> str | dict[str, Any] | None:
    match given:
        case None | "auto" | "none" | "required":
            return given
        case {"type": "function", "name": str(name)}:
            return {"type": "function", "function": {"name": name}}
        case _:
            raise BadRequest("tool_choice must be auto, none, required, or a function.", param="tool_choice")


def _tool(raw: dict[str, Any], place: str) -> Tool:
    if raw.get("type") != "function" or not isinstance(raw.get("name"), str):
        # A tool that the provider runs would be run unjudged.
        raise BadRequest(f"{place} must be a function with a name, which the client runs.", param=place)
    parameters = raw.get("parameters") or {"type": "object", "properties": {}}
    if not isinstance(parameters, dict):
        raise BadRequest(f"{place}.parameters must be a JSON schema object.", param=f"{place}.parameters")
    return Tool(raw["name"], str(raw.get("description") or ""), parameters)


# --- Items ----------------------------------------------------------------------------------------------
def items_of(given: Any) -> list[dict[str, Any]]:
    """The input as items with ids, ready to be kept; raises BadRequest with the place of what it cannot read."""
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    given = [] if given is None else given
    if not isinstance(given, list):
        raise BadRequest("input must be a string or a list of items.", param="input")
    return [_item(raw, f"input.{place}") for place, raw in enumerate(given)]


def _item(raw: Any, place: str) -> dict[str, Any]:
    match raw:
        case {"type": "function_call", "call_id": str(), "name": str(), **rest}:
            kept = {"call_id": raw["call_id"], "name": raw["name"], "arguments": str(rest.get("arguments") or "{}")}
            return {"type": "function_call", **_id(raw, "fc"), **kept, "status": "completed"}
        case {"type": "function_call_output", "call_id": str(), **rest}:
            kept = {"call_id": raw["call_id"], "output": _output(rest.get("output"), place)}
            return {"type": "function_call_output", **_id(raw, "fco"), **kept, "status": "completed"}
        case {"type": "reasoning", **rest}:
            return {"type": "reasoning", **_id(raw, "rs"), "summary": rest.get("summary") or []}
        case {"role": "user" | "system" | "developer" | "assistant" as role, **rest} if (
            rest.get("type", "message") == "message"
        ):
            content = _content(rest.get("content"), role, f"{place}.content")
            return {"type": "message", **_id(raw, "msg"), "role": role, "content": content, "status": "completed"}
        case _:
            message = "must be a message, a function_call, a function_call_output or a reasoning item."
            raise BadRequest(f"{place} {message}", param=place)


def _id(raw: dict[str, Any], prefix: str) -> dict[str, str]:
    given = raw.get("id")
    return {"id": given if isinstance(given, str) and given else f"{prefix}_{uuid4().hex}"}


def _output(given: Any, place: str) -> Any:
    """A tool's result: text, or a list of text parts."""
    if isinstance(given, str):
        return given
    if isinstance(given, list) and all(isinstance(part, dict) and isinstance(part.get("text"), str) for part in given):
        return given
    raise BadRequest(f"{place}.output must be a string or a list of text parts.", param=f"{place}.output")


def _content(given: Any, role: str, place: str) -> list[dict[str, Any]]:
    kind = "output_text" if role == "assistant" else "input_text"
    if isinstance(given, str):
        return [_text_part(kind, given)]
    if not isinstance(given, list):
        raise BadRequest(f"{place} must be a string or a list of parts.", param=place)
    return [_part(raw, kind, f"{place}.{number}") for number, raw in enumerate(given)]


def _text_part(kind: str, text: str) -> dict[str, Any]:
    return {"type": kind, "text": text, **({"annotations": []} if kind == "output_text" else {})}


def _part(raw: Any, kind: str, place: str) -> dict[str, Any]:
    match raw:
        case {"type": named, "text": str(text)} if named in TEXTS:
            return _text_part(kind, text)
        case {"type": "refusal", "refusal": str(text)}:
            return {"type": "refusal", "refusal": text}
        case {"type": "input_image", "image_url": str(url)} if url.startswith(("data:image/", "https://")):
            return {"type": "input_image", "image_url": url, "detail": raw.get("detail") or "auto"}
        case _:
            message = "must be a text, or an input_image with a data: or https: URL."
            raise BadRequest(f"{place} {message}", param=place)


def messages_of(items: Sequence[dict[str, Any]]) -> list[Message]:
    """What the items say to a model; calls and results in a row are one message each. Thoughts are left out."""
    found: list[Message] = []
    for item in items:
        match item["type"]:
            case "message":
                role: Role = "system" if item["role"] == "developer" else item["role"]
                found.append(Message(role, tuple(_model_part(part) for part in item["content"])))
            case "function_call":
                call = ToolCall(item["call_id"], item["name"], item["arguments"])
                said = found.pop().parts if found and found[-1].role == "assistant" else ()
                found.append(Message("assistant", (*said, call)))
            case "function_call_output":
                output = item["output"]
                text = output if isinstance(output, str) else "\n".join(part["text"] for part in output)
                found.append(Message("tool", (ToolResult(item["call_id"], text),)))
    return found


def _model_part(part: dict[str, Any]) -> Part:
    if part["type"] == "input_image":
        return Image(part["image_url"])
    return Text(part.get("text") or part.get("refusal") or "")
