"""Shapes of actions and approvals at the edge."""

from typing import Any

from rest_framework import serializers

from agents.gate import Verdict
from governance.approvals import bulk
from governance.approvals.bulk import Done
from governance.approvals.reviewers import Reviewer
from governance.models import Approval, Decision, Outcome


class NewAction(serializers.Serializer[Any]):
    agent = serializers.CharField(max_length=60)
    action = serializers.CharField(max_length=200)
    arguments = serializers.DictField(required=False, default=dict)
    # The field's name is also an attribute of every serializer, which rest framework keeps apart by itself.
    # DRF's own `context` is a property.
    context = serializers.DictField(required=False, default=dict)  # type: ignore[assignment]
    expires_in = serializers.FloatField(required=False, default=None, allow_null=True)


class VerdictOut(serializers.Serializer[Verdict]):
    id = serializers.UUIDField(source="decision_id")
    decision = serializers.CharField()
    reason = serializers.CharField()
    complexity = serializers.IntegerField()
    required_maturity = serializers.CharField()
    rule = serializers.CharField()
    policy_version = serializers.CharField()
    approval_id = serializers.UUIDField(allow_null=True)
    is_error = serializers.BooleanField()


class NewOutcome(serializers.Serializer[Any]):
    status = serializers.ChoiceField(choices=Outcome.choices)
    result = serializers.JSONField(required=False, default=None)
    error = serializers.CharField(required=False, default="", allow_blank=True, max_length=10_000)


class OutcomeOut(serializers.ModelSerializer[Decision]):
    status = serializers.CharField(source="outcome")
    result = serializers.JSONField(source="outcome_result")

    class Meta:
        model = Decision
        fields = ["id", "decision", "status", "result", "outcome_at"]


class DecisionOut(serializers.ModelSerializer[Decision]):
    """A verdict as it was stored."""

    agent = serializers.CharField(source="agent.slug")

    class Meta:
        model = Decision
        fields = [
            "id",
            "agent",
            "maturity",
            "action",
            "tool",
            "arguments",
            "decision",
            "reason",
            "rule",
            "policy_version",
            "is_error",
            "run_id",
            "outcome",
            "created_at",
        ]


class DecisionOfPeople(serializers.Serializer[Any]):
    """What somebody says to one revision of an approval."""

    revision = serializers.IntegerField(min_value=1, max_value=2**31 - 1)
    note = serializers.CharField(required=False, default="", allow_blank=True, max_length=10_000)


class Edit(serializers.Serializer[Any]):
    """Other arguments for one revision of an approval."""

    revision = serializers.IntegerField(min_value=1, max_value=2**31 - 1)
    arguments = serializers.DictField()


class BulkItem(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    revision = serializers.IntegerField(min_value=1, max_value=2**31 - 1)


class Bulk(serializers.Serializer[Any]):
    """The same decision on many approvals."""

    decision = serializers.ChoiceField(choices=sorted(bulk.DECISIONS))
    items = serializers.ListField(child=BulkItem(), allow_empty=False, max_length=bulk.MOST)
    note = serializers.CharField(required=False, default="", allow_blank=True, max_length=10_000)


class DoneOut(serializers.Serializer[Done]):
    """One item of a bulk decision: the approval, or the error in our one shape."""

    def to_representation(self, instance: Done) -> dict[str, Any]:
        if instance.error is not None:
            return {"id": instance.approval_id, "status": None, **instance.error.body()}
        return {**ApprovalOut(instance.approval).data, "error": None}


class ReviewerOut(serializers.Serializer[Reviewer]):
    username = serializers.CharField()
    decisions = serializers.IntegerField()
    approved = serializers.IntegerField()
    share_approved = serializers.FloatField()
    mean_seconds = serializers.FloatField()
    under_two_seconds = serializers.IntegerField()


class ApprovalOut(serializers.ModelSerializer[Approval]):
    status = serializers.CharField(source="current_status")
    agent = serializers.CharField(source="agent.slug")
    reason = serializers.CharField(source="decision.reason")
    complexity = serializers.IntegerField(source="decision.complexity")
    decided_by = serializers.CharField(source="decided_by.username", default=None, allow_null=True)
    edited_by = serializers.CharField(source="edited_by.username", default=None, allow_null=True)
    votes = serializers.SerializerMethodField()

    def get_votes(self, approval: Approval) -> list[str]:
        """Who has approved this revision so far."""
        return [vote.user.username for vote in approval.votes.all() if vote.revision == approval.revision]

    class Meta:
        model = Approval
        fields = [
            "id",
            "status",
            "agent",
            "action",
            "tool",
            "arguments",
            "digest",
            "revision",
            "priority",
            "quorum",
            "four_eyes",
            "votes",
            "edited_by",
            "reminded_at",
            "escalated_at",
            "run_id",
            "complexity",
            "reason",
            "expires_at",
            "created_at",
            "decided_by",
            "decided_at",
            "note",
            "executed_at",
            "progress",
            "result",
            "error",
        ]


class BulkOut(serializers.Serializer[Any]):
    """An item is an approval with `error` null, or `id`, `status` null and the error."""

    results = serializers.ListField(child=serializers.DictField())
