"""Shapes of the control plane at the edge."""

from typing import Any

from rest_framework import serializers

from agents.models import Message
from agents.runs.turns import Standing
from atom.ground.errors import BadRequest

MAX_TEXT_CHARS = 1_000_000


class MessageIn(serializers.Serializer[Any]):
    content = serializers.CharField(required=False, allow_blank=True, trim_whitespace=False, max_length=MAX_TEXT_CHARS)
    message = serializers.CharField(required=False, allow_blank=True, trim_whitespace=False, max_length=MAX_TEXT_CHARS)
    type = serializers.ChoiceField(choices=["user", "raw"], default="user")
    session_id = serializers.CharField(required=False, allow_null=True, max_length=64)
    agent = serializers.CharField(required=False, allow_null=True, max_length=100)
    capability = serializers.CharField(required=False, allow_blank=True, allow_null=True, max_length=100)
    queue = serializers.BooleanField(default=False)

    def validate(self, data: dict[str, Any]) -> dict[str, Any]:
        text = data.get("content") or data.get("message") or ""
        # `raw` is given to the agent as it came.
        data["text"] = text if data["type"] == "raw" else text.strip()
        if not data["text"].strip() and not (data.get("capability") or "").strip():
            raise BadRequest("Send a message, or a capability to go on with.", param="content")
        return data


class StartIn(serializers.Serializer[Any]):
    agent = serializers.CharField(max_length=100)
    model = serializers.CharField(required=False, allow_blank=True, default="", max_length=200)
    prompt = serializers.CharField(required=False, allow_blank=True, default="", max_length=MAX_TEXT_CHARS)


def message_json(message: Message) -> dict[str, Any]:
    found: dict[str, Any] = {
        "id": str(message.id),
        "role": message.role,
        "content": message.text,
        "time": message.created_at,
    }
    if message.role == Message.Role.USER and message.run is not None and message.run.capability:
        found["capability"] = message.run.capability
    return found


def standing_json(standing: Standing) -> dict[str, Any]:
    return {
        "session_id": str(standing.session.id),
        "status": standing.status,
        "agent": standing.session.agent.slug,
        "message_count": standing.message_count,
        "updated_at": standing.session.updated_at,
    }
