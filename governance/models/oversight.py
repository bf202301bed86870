"""People over agents: a workspace's rules for them, spot checks, training tasks, and runs that nobody was asked for."""

import uuid
from decimal import Decimal

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone

from agents.models import Agent, Run
from atom.ground.models import Workspace
from governance.models.approvals import Approval
from governance.models.decisions import Decision


class Oversight(models.Model):
    """What a workspace demands of all its agents, and whether it has stopped them. Without a row: the defaults."""

    workspace = models.OneToOneField(Workspace, primary_key=True, on_delete=models.CASCADE, related_name="oversight")
    supervision_required = models.BooleanField(
        default=False, help_text="What may happen under watch asks a person while nobody is watching."
    )
    spot_check_share = models.DecimalField(
        max_digits=4,
        decimal_places=3,
        default=Decimal("0.05"),
        validators=[MinValueValidator(Decimal(0)), MaxValueValidator(Decimal(1))],
        help_text="Of the actions that were allowed, the share that people are asked to review: 0 to 1.",
    )
    actions_per_hour = models.PositiveIntegerField(default=60)
    usd_per_day = models.DecimalField("USD per day", max_digits=12, decimal_places=2, default=Decimal(10))
    transfer_most = models.DecimalField("largest transfer", max_digits=16, decimal_places=2, default=Decimal(500))
    batch_most = models.PositiveIntegerField("largest batch delete", default=10)
    is_stopped = models.BooleanField(default=False)
    stopped_reason = models.TextField(blank=True)
    stopped_by = models.CharField(max_length=200, blank=True)
    stopped_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"oversight of {self.workspace_id}"


class ReviewStatus(models.TextChoices):
    PENDING = "pending"
    RIGHT = "right"
    WRONG = "wrong"


class Review(models.Model):
    """A spot check: an action that was allowed, for a person to look at afterwards."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="+")
    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="reviews")
    decision = models.OneToOneField(Decision, on_delete=models.CASCADE, related_name="review")
    status = models.CharField(max_length=7, choices=ReviewStatus, default=ReviewStatus.PENDING)
    reviewed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    reviewed_at = models.DateTimeField(null=True, blank=True)
    note = models.TextField(blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["-created_at"]
        indexes = [models.Index(fields=["workspace", "status", "-created_at"])]

    def __str__(self) -> str:
        return f"{self.decision.action}: {self.status}"


class TrainingStatus(models.TextChoices):
    OPEN = "open"
    COMPLETED = "completed"


class TrainingTask(models.Model):
    """Something that a student wanted to do and may not yet: to be done with a person, who rates it."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="+")
    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="training_tasks")
    action = models.TextField()
    arguments = models.JSONField(default=dict)
    reason = models.TextField()
    # The newest attempt; a student who tries again while the task is open adds to it instead of making another.
    decision = models.ForeignKey(Decision, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    times = models.PositiveIntegerField(default=1)
    status = models.CharField(max_length=9, choices=TrainingStatus, default=TrainingStatus.OPEN)
    # 0 to 1.
    performance = models.FloatField(null=True, blank=True)
    completed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    completed_at = models.DateTimeField(null=True, blank=True)
    note = models.TextField(blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["agent", "action"], condition=models.Q(status="open"), name="one_open_training_task_per_action"
            )
        ]

    def __str__(self) -> str:
        return f"{self.agent}: {self.action}"


class TriggerKind(models.TextChoices):
    MANUAL = "manual"
    SCHEDULE = "schedule"
    EVENT = "event"
    AGENT = "agent"


class TriggerStatus(models.TextChoices):
    TRAINING = "training"
    WAITING_APPROVAL = "waiting_approval"
    WAITING_OPERATOR = "waiting_operator"
    QUEUED = "queued"
    STARTED = "started"
    REFUSED = "refused"
    EXPIRED = "expired"
    FAILED = "failed"


class TriggeredRun(models.Model):
    """A run that something other than a conversation wants, and what became of the wish."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="+")
    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="triggered_runs")
    trigger = models.CharField(max_length=8, choices=TriggerKind)
    message = models.TextField()
    requested_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    status = models.CharField(max_length=16, choices=TriggerStatus)
    reason = models.TextField()
    training = models.ForeignKey(TrainingTask, null=True, on_delete=models.SET_NULL, related_name="+")
    approval = models.OneToOneField(Approval, null=True, on_delete=models.SET_NULL, related_name="triggered_run")
    run = models.OneToOneField(Run, null=True, on_delete=models.SET_NULL, related_name="triggered_by")
    tries = models.PositiveSmallIntegerField(default=0)
    # The lease of the worker that starts it.
    claimed_until = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField()
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["-created_at"]
        indexes = [models.Index(fields=["status", "expires_at"])]

    def __str__(self) -> str:
        return f"{self.trigger}: {self.agent} ({self.status})"
