"""Answers of the responses wire, as its description shows them."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers

STREAMED = OpenApiParameter("stream", bool, description="Its events, instead of the response as it is.")
STARTING_AFTER = OpenApiParameter("starting_after", int, description="The `sequence_number` to go on after.")
LIMIT = OpenApiParameter("limit", int, description="Items of a page, 100 at most.")
ORDER = OpenApiParameter("order", str, enum=["asc", "desc"])
AFTER_ITEM = OpenApiParameter("after", str, description="The id of the item to go on after.")


class InputDetailsOut(serializers.Serializer[Any]):
    cached_tokens = serializers.IntegerField()
    cache_write_tokens = serializers.IntegerField()


class OutputDetailsOut(serializers.Serializer[Any]):
    reasoning_tokens = serializers.IntegerField()


class ResponseUsageOut(serializers.Serializer[Any]):
    input_tokens = serializers.IntegerField()
    input_tokens_details = InputDetailsOut()
    output_tokens = serializers.IntegerField()
    output_tokens_details = OutputDetailsOut()
    total_tokens = serializers.IntegerField()


class ItemOut(serializers.Serializer[Any]):
    """`message`, `reasoning` or `function_call`, each with its own fields."""

    id = serializers.CharField()
    type = serializers.ChoiceField(choices=["message", "reasoning", "function_call"])
    status = serializers.ChoiceField(choices=["in_progress", "completed", "incomplete"])
    role = serializers.CharField(required=False)
    content = serializers.ListField(child=serializers.DictField(), required=False)
    summary = serializers.ListField(child=serializers.DictField(), required=False)
    call_id = serializers.CharField(required=False)
    name = serializers.CharField(required=False)
    arguments = serializers.CharField(required=False)


class ResponseErrorOut(serializers.Serializer[Any]):
    code = serializers.CharField()
    message = serializers.CharField()


class IncompleteOut(serializers.Serializer[Any]):
    reason = serializers.CharField()


class ResponseOut(serializers.Serializer[Any]):
    """The response; a stream has the wire's own events, from `response.created` to its last word."""

    id = serializers.RegexField(r"^resp_")
    object = serializers.CharField()
    created_at = serializers.IntegerField()
    status = serializers.ChoiceField(choices=["in_progress", "completed", "incomplete", "cancelled", "failed"])
    model = serializers.CharField()
    background = serializers.BooleanField()
    instructions = serializers.CharField(allow_null=True)
    max_output_tokens = serializers.IntegerField(allow_null=True)
    metadata = serializers.DictField(child=serializers.CharField())
    previous_response_id = serializers.CharField(allow_null=True)
    reasoning = serializers.DictField()
    store = serializers.BooleanField()
    temperature = serializers.FloatField(allow_null=True)
    text = serializers.DictField()
    tool_choice = serializers.JSONField()
    tools = serializers.ListField(child=serializers.DictField())
    top_p = serializers.FloatField(allow_null=True)
    user = serializers.CharField(allow_null=True)
    error = ResponseErrorOut(allow_null=True)
    incomplete_details = IncompleteOut(allow_null=True)
    output = ItemOut(many=True)
    parallel_tool_calls = serializers.BooleanField()
    truncation = serializers.CharField()
    usage = ResponseUsageOut(allow_null=True)


class DeletedOut(serializers.Serializer[Any]):
    id = serializers.CharField()
    object = serializers.CharField()
    deleted = serializers.BooleanField()


class InputItemsOut(serializers.Serializer[Any]):
    """Items as they were given, each with its id."""

    object = serializers.CharField()
    data = serializers.ListField(child=serializers.DictField())  # type: ignore[assignment]  # DRF keeps fields apart from `data`
    first_id = serializers.CharField(allow_null=True)
    last_id = serializers.CharField(allow_null=True)
    has_more = serializers.BooleanField()
