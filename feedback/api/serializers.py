"""Shapes of feedback at the edge."""

from typing import Any

from drf_spectacular.extensions import OpenApiSerializerExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import Direction, extend_schema_serializer
from rest_framework import serializers

from feedback.diff import compare
from feedback.models import Feedback, FeedbackLink, FeedbackRevision, FeedbackStatus, Part, Reviewer, Thumb
from feedback.queries import rows
from feedback.services.links import DEFAULT_DAYS, MOST_DAYS

MAX_TEXT_CHARS = 50_000
MAX_TAG_CHARS = 40
MAX_BATCH = 500


class Words(serializers.Serializer[Any]):
    """What can be said about an answer."""

    thumb = serializers.ChoiceField(choices=Thumb.choices, required=False, allow_blank=True)
    rating = serializers.IntegerField(min_value=1, max_value=5, required=False, allow_null=True)
    correction = serializers.CharField(required=False, allow_blank=True, max_length=MAX_TEXT_CHARS)
    comment = serializers.CharField(required=False, allow_blank=True, max_length=MAX_TEXT_CHARS)
    category = serializers.CharField(required=False, allow_blank=True, max_length=60)
    tags = serializers.ListField(child=serializers.CharField(max_length=MAX_TAG_CHARS), required=False, max_length=50)


class NewFeedback(Words):
    message_id = serializers.UUIDField(required=False)
    run_id = serializers.UUIDField(required=False)


class Batch(serializers.Serializer[Any]):
    feedback = serializers.ListField(child=NewFeedback(), allow_empty=False, max_length=MAX_BATCH)


class BatchShape(OpenApiSerializerExtension):  # type: ignore[no-untyped-call]  # its metaclass is not typed
    """The list may also be sent bare."""

    target_class = "feedback.api.serializers.Batch"

    def map_serializer(self, auto_schema: AutoSchema, direction: Direction) -> dict[str, Any]:
        rows = {"type": "array", "items": auto_schema.resolve_serializer(NewFeedback, direction).ref}
        boxed = {"type": "object", "required": ["feedback"], "properties": {"feedback": rows}}
        return {"anyOf": [boxed, rows]}


class Adjudication(serializers.Serializer[Any]):
    """`{accepted}` as ever, or `{decision}`, which can also be a split that keeps one part."""

    accepted = serializers.BooleanField(required=False, allow_null=True, default=None)
    decision = serializers.ChoiceField(choices=["accept", "reject", "split"], required=False)
    keep = serializers.ChoiceField(choices=Part.choices, required=False, default="")
    note = serializers.CharField(required=False, allow_blank=True, default="", max_length=2000)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        accepted = attrs.pop("accepted")
        if (accepted is None) == ("decision" not in attrs):
            raise serializers.ValidationError({"accepted": "Give either accepted or decision."})
        if accepted is not None:
            attrs["decision"] = "accept" if accepted else "reject"
        return attrs


class Assignment(serializers.Serializer[Any]):
    """`user`: a member's username, or null for nobody."""

    user = serializers.CharField(max_length=150, allow_null=True)


class NewReviewer(serializers.Serializer[Any]):
    user = serializers.CharField(max_length=150)
    category = serializers.CharField(max_length=60, required=False, allow_blank=True, default="")


class NewLink(serializers.Serializer[Any]):
    expires_in = serializers.IntegerField(min_value=60, max_value=MOST_DAYS * 86_400, default=DEFAULT_DAYS * 86_400)


class FeedbackFilter(serializers.Serializer[Any]):
    agent = serializers.CharField(required=False, max_length=60)
    session = serializers.UUIDField(required=False)
    run = serializers.UUIDField(required=False)
    message = serializers.UUIDField(required=False)
    provider = serializers.CharField(required=False, max_length=40)
    model = serializers.CharField(required=False, max_length=200)
    prompt_version = serializers.CharField(required=False, max_length=12)
    category = serializers.CharField(required=False, max_length=60)
    tag = serializers.CharField(required=False, max_length=40)
    status = serializers.ChoiceField(choices=FeedbackStatus.choices, required=False)
    sentiment = serializers.ChoiceField(choices=list(rows.SENTIMENTS), required=False)
    rating = serializers.IntegerField(min_value=1, max_value=5, required=False)
    is_corrected = serializers.BooleanField(required=False, allow_null=True, default=None)
    mine = serializers.BooleanField(default=False)
    since = serializers.DateField(required=False)
    until = serializers.DateField(required=False)


class QueueFilter(serializers.Serializer[Any]):
    mine = serializers.BooleanField(default=False)


class FeedbackOut(serializers.ModelSerializer[Feedback]):
    agent = serializers.SlugRelatedField[Any](slug_field="slug", read_only=True)
    user = serializers.SlugRelatedField[Any](slug_field="username", read_only=True, allow_null=True)
    assignee = serializers.SlugRelatedField[Any](slug_field="username", read_only=True, allow_null=True)

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
            "tags",
            "status",
            "kept",
            "note",
            "assignee",
            "provider",
            "model",
            "prompt_version",
            "revision",
            "created_at",
            "updated_at",
        ]


class OneFeedbackOut(FeedbackOut):
    """With the correction beside the answer: `diff` lists what stayed, what was removed and what was added."""

    diff = serializers.SerializerMethodField()

    class Meta(FeedbackOut.Meta):
        fields = [*FeedbackOut.Meta.fields, "diff"]

    def get_diff(self, given: Feedback) -> list[dict[str, str]]:
        if not given.correction:
            return []
        return [{"op": piece.op, "text": piece.text} for piece in compare(given.message.text, given.correction)]


class RevisionOut(serializers.ModelSerializer[FeedbackRevision]):
    class Meta:
        model = FeedbackRevision
        fields = ["revision", "said", "status", "replaced_at"]


class LinkOut(serializers.ModelSerializer[FeedbackLink]):
    class Meta:
        model = FeedbackLink
        fields = ["id", "message_id", "expires_at", "revoked_at", "created_at"]


class MadeLinkOut(LinkOut):
    """With its address, which is shown to whoever makes the link."""

    url = serializers.CharField(read_only=True)

    class Meta(LinkOut.Meta):
        fields = [*LinkOut.Meta.fields, "url"]


@extend_schema_serializer(component_name="FeedbackReviewerOut")
class ReviewerOut(serializers.ModelSerializer[Reviewer]):
    user = serializers.SlugRelatedField[Any](slug_field="username", read_only=True)

    class Meta:
        model = Reviewer
        fields = ["id", "user", "category", "created_at"]


class BatchOut(serializers.Serializer[Any]):
    results = FeedbackOut(many=True)
