"""Approvals: questions to people, bound to exactly what they were shown."""

import uuid
from datetime import timedelta

from django.conf import settings
from django.db import models
from django.utils import timezone

from agents.models import Agent, Run
from atom.ground.models import Workspace
from governance.models.decisions import Decision


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
    # How many different people must approve, and whether whoever caused it may be one of them.
    quorum = models.PositiveSmallIntegerField(default=1)
    four_eyes = models.BooleanField(default=False)
    expires_at = models.DateTimeField()
    # When people were told again at half time, and the owners at three quarters.
    reminded_at = models.DateTimeField(null=True, blank=True)
    escalated_at = models.DateTimeField(null=True, blank=True)
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
    # Who wrote the present arguments, if not the agent.
    edited_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="edited_approvals"
    )
    note = models.TextField(blank=True)
    # The lease of the worker that executes it; when it has run out, another one takes over.
    claimed_at = models.DateTimeField(null=True, blank=True)
    claimed_until = models.DateTimeField(null=True, blank=True)
    executed_at = models.DateTimeField(null=True, blank=True)
    # What the running tool said last of how far it is: progress, total, message.
    progress = models.JSONField(null=True, blank=True)
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


class ApprovalVote(models.Model):
    """One person's yes to one revision; a quorum of them approves."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    approval = models.ForeignKey(Approval, on_delete=models.CASCADE, related_name="votes")
    revision = models.PositiveIntegerField()
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    note = models.TextField(blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["created_at"]
        constraints = [models.UniqueConstraint(fields=["approval", "revision", "user"], name="approval_vote_once")]

    def __str__(self) -> str:
        return f"{self.user}: {self.approval_id}"


class ApprovalRevision(models.Model):
    """What an approval asked before somebody edited it."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    approval = models.ForeignKey(Approval, on_delete=models.CASCADE, related_name="revisions")
    revision = models.PositiveIntegerField()
    arguments = models.JSONField(default=dict)
    digest = models.CharField(max_length=64)
    replaced_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    replaced_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["revision"]
        constraints = [models.UniqueConstraint(fields=["approval", "revision"], name="approval_revision_once")]

    def __str__(self) -> str:
        return f"{self.approval_id} (revision {self.revision})"
