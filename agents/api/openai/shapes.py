"""Answers of the OpenAI wire, as its description shows them."""

from typing import Any

from drf_spectacular.extensions import OpenApiSerializerExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import Direction, OpenApiParameter, PolymorphicProxySerializer
from rest_framework import serializers

from agents.api.anthropic.shapes import AnthropicModelOut, AnthropicModelsOut
from llm.api.serializers import FiguresOfProvider

WINDOW = OpenApiParameter("window", int, description="Seconds back, a day at most.")


class FunctionOut(serializers.Serializer[Any]):
    name = serializers.CharField()
    arguments = serializers.CharField()


class CallOut(serializers.Serializer[Any]):
    id = serializers.CharField()
    type = serializers.CharField()
    function = FunctionOut()


class CompletionMessageOut(serializers.Serializer[Any]):
    """What is not there is absent, as official clients expect."""

    role = serializers.CharField()
    content = serializers.CharField(allow_null=True)
    reasoning_content = serializers.CharField(required=False)
    tool_calls = CallOut(many=True, required=False)


class ChoiceOut(serializers.Serializer[Any]):
    index = serializers.IntegerField()
    message = CompletionMessageOut()
    finish_reason = serializers.CharField()


class CompletionUsageOut(serializers.Serializer[Any]):
    prompt_tokens = serializers.IntegerField()
    completion_tokens = serializers.IntegerField()
    total_tokens = serializers.IntegerField()


class CompletionOut(serializers.Serializer[Any]):
    """`chat.completion`; a stream has `chat.completion.chunk` events and ends with `[DONE]`."""

    id = serializers.RegexField(r"^chatcmpl-")
    object = serializers.CharField()
    created = serializers.IntegerField()
    model = serializers.CharField()
    choices = ChoiceOut(many=True)
    usage = CompletionUsageOut()


class OpenAIModelOut(serializers.Serializer[Any]):
    id = serializers.CharField()
    object = serializers.CharField()
    created = serializers.IntegerField()
    owned_by = serializers.CharField()


class OpenAIModelsOut(serializers.Serializer[Any]):
    object = serializers.CharField()
    data = OpenAIModelOut(many=True)  # type: ignore[assignment]  # DRF keeps fields apart from `data`


# Clients of Anthropic's wire, known by their headers, get its shapes.
ModelsOut = PolymorphicProxySerializer("ModelsOut", [OpenAIModelsOut, AnthropicModelsOut], None)
OneModelOut = PolymorphicProxySerializer("OneModelOut", [OpenAIModelOut, AnthropicModelOut], None)


class ProviderFigures(serializers.Serializer[Any]):
    """Provider → its figures."""


class ProviderFiguresShape(OpenApiSerializerExtension):  # type: ignore[no-untyped-call]  # its metaclass is not typed
    target_class = "agents.api.openai.shapes.ProviderFigures"

    def map_serializer(self, auto_schema: AutoSchema, direction: Direction) -> dict[str, Any]:
        figures = auto_schema.resolve_serializer(FiguresOfProvider, direction)
        return {"type": "object", "additionalProperties": figures.ref}


class EmbeddingUsageOut(serializers.Serializer[Any]):
    prompt_tokens = serializers.IntegerField()
    total_tokens = serializers.IntegerField()


class EmbeddingsOut(serializers.Serializer[Any]):
    """The vectors as the provider sent them."""

    object = serializers.CharField()
    data = serializers.ListField(child=serializers.DictField())  # type: ignore[assignment]  # DRF keeps fields apart from `data`
    model = serializers.CharField()
    usage = EmbeddingUsageOut()
