"""Decisions with everything they were made from, and approvals."""

import uuid
from datetime import timedelta

from django.conf import settings
from django.db import models
from django.utils import timezone

from agents.gate import Decision as Kind
from agents.models import Agent, Maturity, Run
from atom.ground.models import Workspace

DECISION_CHOICES = [(kind.value, kind.value) for kind in Kind]


class Outcome(models.TextChoices):
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class Decision(models.Model):
    """One verdict of the gate with its inputs, so that a draft policy can be tried on what really happened."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="decisions")
    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="decisions")
    # What the agent was when this was decided; it may be something else today.
    maturity = models.CharField(max_length=10, choices=Maturity)
    action = models.TextField()
    complexity = models.PositiveSmallIntegerField()
    is_unknown_action = models.BooleanField(default=False)
    arguments = models.JSONField(default=dict)
    arguments_digest = models.CharField(max_length=64)
    context = models.JSONField(default=dict)
    tool = models.TextField(blank=True)
    is_run_by_atom = models.BooleanField(default=False)
    run = models.ForeignKey(Run, null=True, blank=True, on_delete=models.SET_NULL, related_name="decisions")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL)
    decision = models.CharField(max_length=5, choices=DECISION_CHOICES)
    reason = models.TextField()
    rule = models.CharField(max_length=100)
    policy_version = models.CharField(max_length=60)
    latency_us = models.PositiveIntegerField()
    outcome = models.CharField(max_length=9, choices=Outcome, blank=True)
    outcome_result = models.JSONField(null=True, blank=True)
    outcome_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["-created_at"]
        indexes = [models.Index(fields=["workspace", "-created_at"]), models.Index(fields=["agent", "-created_at"])]

    def __str__(self) -> str:
        return f"{self.decision}: {self.action}"


class ApprovalStatus(models.TextChoices):
    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    EXECUTED = "executed"
    FAILED = "failed"


# Nothing more will happen to these; an approved action of Atom's own still has to run.
CLOSED_STATUSES = (
    ApprovalStatus.REJECTED,
    ApprovalStatus.EXPIRED,
    ApprovalStatus.CANCELLED,
    ApprovalStatus.EXECUTED,
    ApprovalStatus.FAILED,
)


class Priority(models.TextChoices):
    URGENT = "urgent"
    NORMAL = "normal"
    LOW = "low"


EXPIRES_AFTER: dict[Priority, timedelta] = {
    Priority.URGENT: timedelta(hours=1),
    Priority.NORMAL: timedelta(hours=24),
    Priority.LOW: timedelta(hours=72),
}


class Approval(models.Model):
    """A question to people. `digest` binds agent, action, arguments and policy: what runs is what was shown."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="approvals")
    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="approvals")
    decision = models.OneToOneField(Decision, on_delete=models.CASCADE, related_name="approval")
    action = models.TextField()
    tool = models.TextField(blank=True)
    arguments = models.JSONField(default=dict)
    digest = models.CharField(max_length=64)
    revision = models.PositiveIntegerField(default=1)
    status = models.CharField(max_length=9, choices=ApprovalStatus, default=ApprovalStatus.PENDING)
    priority = models.CharField(max_length=6, choices=Priority, default=Priority.NORMAL)
    expires_at = models.DateTimeField()
    run = models.ForeignKey(Run, null=True, blank=True, on_delete=models.SET_NULL, related_name="approvals")
    call_id = models.TextField(blank=True)
    is_run_by_atom = models.BooleanField(default=False)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="requested_approvals"
    )
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="decided_approvals"
    )
    decided_at = models.DateTimeField(null=True, blank=True)
    note = models.TextField(blank=True)
    # The lease of the worker that executes it; when it has run out, another one takes over.
    claimed_at = models.DateTimeField(null=True, blank=True)
    claimed_until = models.DateTimeField(null=True, blank=True)
    executed_at = models.DateTimeField(null=True, blank=True)
    result = models.JSONField(null=True, blank=True)
    error = models.TextField(blank=True)
    # When the waiting run got its answer; the sweeper looks for those that did not.
    told_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["-created_at"]
        indexes = [
            models.Index(fields=["workspace", "status", "-created_at"]),
            models.Index(fields=["status", "expires_at"]),
        ]

    def __str__(self) -> str:
        return f"{self.action} ({self.current_status})"

    @property
    def is_overdue(self) -> bool:
        return self.status == ApprovalStatus.PENDING and self.expires_at <= timezone.now()

    @property
    def current_status(self) -> str:
        """The status as of now: expiry counts from its second, not from when the sweeper comes by."""
        return ApprovalStatus.EXPIRED if self.is_overdue else ApprovalStatus(self.status)
