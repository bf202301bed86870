"""Messages between the database (`parts` as JSON) and the typed messages that models are sent."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any, cast

from llm.messages import Image, Message, Part, Request, Role, Text, Thinking, Thought, Tool, ToolCall, ToolResult

# Parts that are between Atom and the provider, and shown to nobody.
THOUGHT = "thought"


def to_json(part: Part) -> dict[str, Any]:
    match part:
        case Text(text):
            return {"type": "text", "text": text}
        case Image(url):
            return {"type": "image", "url": url}
        case ToolCall(id=call_id, name=name, arguments=arguments):
            return {"type": "tool_call", "id": call_id, "name": name, "arguments": arguments}
        case ToolResult(call_id, content):
            return {"type": "tool_result", "call_id": call_id, "content": content}
        case Thought(maker, data, call_id):
            return {"type": THOUGHT, "maker": maker, "data": data, "call_id": call_id}


def from_json(part: dict[str, Any]) -> Part:
    match part["type"]:
        case "text":
            return Text(part["text"])
        case "image":
            return Image(part["url"])
        case "tool_call":
            return ToolCall(part["id"], part["name"], part["arguments"])
        case "tool_result":
            return ToolResult(part["call_id"], part["content"])
        case "thought":
            return Thought(part["maker"], part["data"], part["call_id"])
        case other:
            raise ValueError(f"unknown part type {other!r}")


def message_from(role: str, parts: Iterable[dict[str, Any]]) -> Message:
    return Message(cast(Role, role), tuple(from_json(part) for part in parts))


def request_to_json(request: Request) -> dict[str, Any]:
    """The whole request, so that a parked run can go on in another process."""
    kept = asdict(request)
    kept["messages"] = [
        {"role": message.role, "parts": [to_json(part) for part in message.parts]} for message in request.messages
    ]
    return kept


def request_from_json(kept: dict[str, Any]) -> Request:
    return Request(
        **{
            **kept,
            "messages": tuple(message_from(message["role"], message["parts"]) for message in kept["messages"]),
            "tools": tuple(Tool(**tool) for tool in kept["tools"]),
            "stop": tuple(kept["stop"]),
            "thinking": Thinking(**kept["thinking"]) if kept.get("thinking") else None,
        }
    )
