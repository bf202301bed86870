"""Shapes of agents, sessions, messages and runs at the edge."""

from typing import Any

from django.conf import settings
from django.utils.text import Truncator
from drf_spectacular.extensions import OpenApiSerializerExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import Direction
from rest_framework import serializers

from agents.fields import exact
from agents.models import Agent, Attempt, Maturity, Message, Run, Session
from agents.parts import THOUGHT
from agents.tools.own import LONGEST_S, MOST_BYTES
from atom.ground.errors import BadRequest, TooLarge


class HTTPToolIn(serializers.Serializer[Any]):
    """A tool behind an address: the arguments of a GET go into its query, of anything else into its JSON body."""

    kind = serializers.ChoiceField(choices=["http"])
    name = serializers.RegexField(r"^[A-Za-z0-9_-]{1,64}$")
    description = serializers.CharField(allow_blank=True, default="")
    parameters = serializers.DictField(required=False)
    action = serializers.CharField(max_length=100, required=False)
    url = serializers.URLField(max_length=2000)
    method = serializers.ChoiceField(choices=["GET", "POST", "PUT", "PATCH", "DELETE"], default="POST")
    headers = serializers.DictField(child=serializers.CharField(max_length=4000, allow_blank=True), required=False)
    secret = serializers.CharField(max_length=4000, allow_blank=True, required=False)
    timeout_s = serializers.FloatField(min_value=0.1, max_value=LONGEST_S, required=False)
    max_bytes = serializers.IntegerField(min_value=1, max_value=MOST_BYTES, required=False)
    untrusted = serializers.BooleanField(default=False)


class MCPToolIn(serializers.Serializer[Any]):
    """The approved tools of one of the workspace's MCP servers, or the one called `name`."""

    kind = serializers.ChoiceField(choices=["mcp"])
    server = serializers.CharField(max_length=30)
    name = serializers.CharField(max_length=200, required=False)


class ToolIn(serializers.Serializer[Any]):
    """A tool that Atom runs, of one of two kinds."""

    def to_internal_value(self, data: Any) -> Any:
        kind = data.get("kind") if isinstance(data, dict) else None
        if kind not in KINDS_OF_TOOLS:
            raise serializers.ValidationError({"kind": "A tool is an object whose kind is 'http' or 'mcp'."})
        return KINDS_OF_TOOLS[kind]().run_validation(data)


KINDS_OF_TOOLS: dict[str, type[serializers.Serializer[Any]]] = {"http": HTTPToolIn, "mcp": MCPToolIn}


class NewAgent(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=100)
    slug = serializers.RegexField(r"^[a-z0-9](?:[a-z0-9_-]{0,58}[a-z0-9])?$")
    system_prompt = serializers.CharField(allow_blank=True, default="", max_length=100_000)
    maturity = serializers.ChoiceField(choices=Maturity.choices, default=Maturity.STUDENT)
    models = serializers.ListField(child=serializers.CharField(max_length=200), default=list, max_length=20)
    tools = serializers.ListField(child=ToolIn(), default=list, max_length=100)


class AgentChange(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=100, required=False)
    system_prompt = serializers.CharField(allow_blank=True, required=False, max_length=100_000)
    models = serializers.ListField(child=serializers.CharField(max_length=200), required=False, max_length=20)
    tools = serializers.ListField(child=ToolIn(), required=False, max_length=100)
    temperature = serializers.FloatField(min_value=0, max_value=2, required=False, allow_null=True)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        for name in ("maturity", "confidence"):
            if name in self.initial_data:
                raise serializers.ValidationError({name: "This moves by evidence; it cannot be set."})
        return attrs


class AgentOut(serializers.ModelSerializer[Agent]):
    confidence = serializers.FloatField()

    class Meta:
        model = Agent
        fields = [
            "id",
            "slug",
            "name",
            "maturity",
            "confidence",
            "status",
            "system_prompt",
            "models",
            "tools",
            "temperature",
            "created_at",
        ]


class Reason(serializers.Serializer[Any]):
    reason = serializers.CharField(allow_blank=True, default="", max_length=2000)


class Attachment(serializers.Serializer[Any]):
    type = serializers.ChoiceField(choices=["image"])
    url = serializers.RegexField(r"^(data:image/|https://)")


def check_text(text: str, param: str) -> str:
    """What a person says may not be blank, nor longer than `MAX_MESSAGE_CHARS`."""
    if not text.strip():
        raise BadRequest("The message is empty.", param=param)
    if len(text) > settings.MAX_MESSAGE_CHARS:
        raise TooLarge(f"The message is longer than {settings.MAX_MESSAGE_CHARS} characters.", param=param)
    return text


class ChatIn(serializers.Serializer[Any]):
    """One turn. `context` is anything the agent should know beside the message."""

    message = serializers.CharField(allow_blank=True, trim_whitespace=False)
    session_id = serializers.UUIDField(required=False, allow_null=True)
    stream = serializers.BooleanField(default=False)
    model = serializers.CharField(required=False, allow_blank=True, max_length=200)
    context = serializers.JSONField(required=False)  # type: ignore[assignment]  # DRF's own `context` is a property
    attachments = serializers.ListField(child=Attachment(), default=list, max_length=20)

    def validate_message(self, message: str) -> str:
        return check_text(message, "message")


def tokens_of(row: Run | Attempt) -> dict[str, int]:
    return {
        "input_tokens": row.input_tokens,
        "output_tokens": row.output_tokens,
        "cached_tokens": row.cached_tokens,
        "reasoning_tokens": row.reasoning_tokens,
    }


class NewSession(serializers.Serializer[Any]):
    agent = serializers.CharField(max_length=60)
    title = serializers.CharField(max_length=120, allow_blank=True, default="")


class SessionOut(serializers.ModelSerializer[Session]):
    agent = serializers.SlugRelatedField[Any](slug_field="slug", read_only=True)
    message_count = serializers.IntegerField(default=0)
    preview = serializers.SerializerMethodField()

    class Meta:
        model = Session
        fields = ["id", "agent", "title", "preview", "message_count", "created_at", "updated_at"]

    def get_preview(self, session: Session) -> str:
        parts = getattr(session, "preview", None) or []
        text = " ".join(part["text"] for part in parts if part["type"] == "text")
        return str(Truncator(text).chars(120))


class MessageOut(serializers.ModelSerializer[Message]):
    content = serializers.CharField(source="text")
    parts = serializers.SerializerMethodField()

    class Meta:
        model = Message
        fields = ["id", "role", "content", "parts", "is_complete", "author", "run_id", "session_id", "created_at"]

    def get_parts(self, message: Message) -> list[dict[str, Any]]:
        """All but a model's sealed thoughts, which mean nothing to people."""
        return [part for part in message.parts if part["type"] != THOUGHT]


class AttemptOut(serializers.ModelSerializer[Attempt]):
    """A candidate's turn in a run; `key_id` is None for the installation's own key."""

    cost_usd = serializers.SerializerMethodField()
    usage = serializers.SerializerMethodField()

    class Meta:
        model = Attempt
        fields = [
            "provider",
            "model",
            "key_id",
            "outcome",
            "message",
            "streamed",
            "was_called",
            "started_at",
            "duration_s",
            "time_to_first_token_s",
            "usage",
            "cost_usd",
        ]

    def get_cost_usd(self, attempt: Attempt) -> str | None:
        return None if attempt.cost_usd is None else exact(attempt.cost_usd)

    def get_usage(self, attempt: Attempt) -> dict[str, int] | None:
        """None where the provider said nothing of tokens."""
        return tokens_of(attempt) if attempt.has_usage else None


class RunOut(serializers.ModelSerializer[Run]):
    agent = serializers.SlugRelatedField[Any](slug_field="slug", read_only=True)
    cost_usd = serializers.SerializerMethodField()
    usage = serializers.SerializerMethodField()
    error = serializers.SerializerMethodField()

    class Meta:
        model = Run
        fields = [
            "id",
            "agent",
            "session_id",
            "status",
            "door",
            "provider",
            "model",
            "attempts",
            "usage",
            "cost_usd",
            "time_to_first_token_s",
            "error",
            "created_at",
            "ended_at",
        ]

    def get_cost_usd(self, run: Run) -> str | None:
        return None if run.cost_usd is None else exact(run.cost_usd)

    def get_usage(self, run: Run) -> dict[str, int]:
        return tokens_of(run)

    def get_error(self, run: Run) -> dict[str, str] | None:
        return {"code": run.error_code, "message": run.error_message} if run.error_code else None


class OneRunOut(RunOut):
    """A run by itself also tells whom it tried, in order, and why each did not answer."""

    tried = AttemptOut(many=True, read_only=True)

    class Meta(RunOut.Meta):
        fields = [*RunOut.Meta.fields, "tried"]


class TokensOut(serializers.Serializer[Any]):
    input_tokens = serializers.IntegerField(required=False)
    output_tokens = serializers.IntegerField(required=False)
    cached_tokens = serializers.IntegerField(required=False)
    reasoning_tokens = serializers.IntegerField(required=False)


class AnswerOut(serializers.Serializer[Any]):
    id = serializers.UUIDField(allow_null=True)
    role = serializers.CharField()
    content = serializers.CharField()


class ChatOut(serializers.Serializer[Any]):
    """A turn's answer, as a whole."""

    run_id = serializers.UUIDField()
    session_id = serializers.UUIDField()
    status = serializers.CharField()
    message = AnswerOut()
    usage = TokensOut()
    cost_usd = serializers.CharField(allow_null=True)
    provider = serializers.CharField()
    model = serializers.CharField()
    attempts = serializers.IntegerField()


class NeededOut(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    status = serializers.CharField()
    tool = serializers.CharField()
    reason = serializers.CharField()


class ChatWaitsOut(serializers.Serializer[Any]):
    """A turn that waits for people to decide."""

    run_id = serializers.UUIDField()
    session_id = serializers.UUIDField()
    status = serializers.CharField()
    approval = NeededOut()


class ToolShape(OpenApiSerializerExtension):  # type: ignore[no-untyped-call]  # its metaclass is not typed
    target_class = "agents.api.serializers.ToolIn"

    def map_serializer(self, auto_schema: AutoSchema, direction: Direction) -> dict[str, Any]:
        kinds = [auto_schema.resolve_serializer(kind, direction).ref for kind in (HTTPToolIn, MCPToolIn)]
        return {"oneOf": kinds}
