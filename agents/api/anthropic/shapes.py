"""Answers of the Anthropic wire, as its description shows them."""

from typing import Any

from rest_framework import serializers


class AnthropicUsageOut(serializers.Serializer[Any]):
    input_tokens = serializers.IntegerField()
    cache_creation_input_tokens = serializers.IntegerField()
    cache_read_input_tokens = serializers.IntegerField()
    output_tokens = serializers.IntegerField()


class BlockOut(serializers.Serializer[Any]):
    """`text`, `thinking` or `tool_use`, each with its own fields."""

    type = serializers.ChoiceField(choices=["text", "thinking", "tool_use"])
    text = serializers.CharField(required=False)
    thinking = serializers.CharField(required=False)
    signature = serializers.CharField(required=False)
    id = serializers.CharField(required=False)
    name = serializers.CharField(required=False)
    input = serializers.DictField(required=False)


class AnthropicMessageOut(serializers.Serializer[Any]):
    """The whole message; a stream has the wire's own events, from `message_start` to `message_stop`."""

    id = serializers.CharField()
    type = serializers.CharField()
    role = serializers.CharField()
    model = serializers.CharField()
    content = BlockOut(many=True)
    stop_reason = serializers.CharField(allow_null=True)
    stop_sequence = serializers.CharField(allow_null=True)
    usage = AnthropicUsageOut()


class TokenCountOut(serializers.Serializer[Any]):
    input_tokens = serializers.IntegerField()


class AnthropicModelOut(serializers.Serializer[Any]):
    type = serializers.CharField()
    id = serializers.CharField()
    display_name = serializers.CharField()
    created_at = serializers.DateTimeField()


class AnthropicModelsOut(serializers.Serializer[Any]):
    data = AnthropicModelOut(many=True)  # type: ignore[assignment]  # DRF keeps fields apart from `data`
    has_more = serializers.BooleanField()
    first_id = serializers.CharField(allow_null=True)
    last_id = serializers.CharField(allow_null=True)
