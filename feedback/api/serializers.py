"""Shapes of feedback at the edge."""

from typing import Any

from rest_framework import serializers

from feedback.models import Feedback, Thumb

MAX_TEXT_CHARS = 50_000


class NewFeedback(serializers.Serializer[Any]):
    message_id = serializers.UUIDField(required=False)
    run_id = serializers.UUIDField(required=False)
    thumb = serializers.ChoiceField(choices=Thumb.choices, required=False, allow_blank=True, default="")
    rating = serializers.IntegerField(min_value=1, max_value=5, required=False, allow_null=True)
    correction = serializers.CharField(required=False, allow_blank=True, default="", max_length=MAX_TEXT_CHARS)
    comment = serializers.CharField(required=False, allow_blank=True, default="", max_length=MAX_TEXT_CHARS)
    category = serializers.CharField(required=False, allow_blank=True, default="", max_length=60)


class Adjudication(serializers.Serializer[Any]):
    accepted = serializers.BooleanField()
    note = serializers.CharField(required=False, allow_blank=True, default="", max_length=2000)


class FeedbackFilter(serializers.Serializer[Any]):
    agent = serializers.CharField(required=False)
    session = serializers.UUIDField(required=False)
    run = serializers.UUIDField(required=False)


class AnalyticsFilter(serializers.Serializer[Any]):
    agent = serializers.CharField(required=False)
    days = serializers.IntegerField(min_value=1, max_value=366, default=30)


class FeedbackOut(serializers.ModelSerializer[Feedback]):
    agent = serializers.SlugRelatedField[Any](slug_field="slug", read_only=True)
    user = serializers.SlugRelatedField[Any](slug_field="username", read_only=True)

    class Meta:
        model = Feedback
        fields = [
            "id",
            "run_id",
            "session_id",
            "message_id",
            "agent",
            "user",
            "thumb",
            "rating",
            "correction",
            "comment",
            "category",
            "status",
            "note",
            "created_at",
        ]
