"""How an agent earns trust: its confidence, what its runs showed, its levels, and proposals to change them."""

import uuid

from django.conf import settings
from django.db import models
from django.utils import timezone

from agents.models import Agent, Maturity, Run
from atom.ground.models import Workspace


class ConfidenceEvent(models.TextChoices):
    """What moves confidence; GOVERNANCE's table says by how much."""

    RUN_SUCCEEDED = "run_succeeded"
    RUN_FAILED = "run_failed"
    CORRECTION_ACCEPTED = "correction_accepted"
    FEEDBACK_POSITIVE = "feedback_positive"
    FEEDBACK_NEGATIVE = "feedback_negative"
    APPROVAL_EDITED = "approval_edited"
    APPROVAL_REJECTED = "approval_rejected"
    RUN_SUPERVISED = "run_supervised"
    TRAINING_COMPLETED = "training_completed"
    VIOLATION = "violation"
    REVERSAL = "reversal"


class Source(models.TextChoices):
    """What kind of row a change of confidence came from."""

    RUN = "run"
    FEEDBACK = "feedback"
    APPROVAL = "approval"
    TRAINING = "training"
    DECISION = "decision"


class ConfidenceChange(models.Model):
    """One move of an agent's confidence. `delta` is what the event is worth, `applied` what was left of it at 0 and 1.

    `key` names the event: the same one delivered twice is one row.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="+")
    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="confidence_changes")
    event = models.CharField(max_length=20, choices=ConfidenceEvent)
    delta = models.DecimalField(max_digits=5, decimal_places=4)
    applied = models.DecimalField(max_digits=5, decimal_places=4)
    confidence = models.DecimalField("confidence after it", max_digits=5, decimal_places=4)
    reason = models.TextField()
    source = models.CharField(max_length=8, choices=Source)
    source_id = models.UUIDField()
    key = models.CharField(max_length=120, unique=True)
    reverses = models.OneToOneField(
        "self", null=True, blank=True, on_delete=models.CASCADE, related_name="reversal", editable=False
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["-created_at"]
        indexes = [models.Index(fields=["agent", "-created_at"]), models.Index(fields=["source_id"])]

    def __str__(self) -> str:
        return f"{self.delta:+} {self.get_event_display()}"


class RunEvidence(models.Model):
    """What one ended run of an agent showed. A run without a row has not been looked at yet."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="+")
    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="run_evidence")
    run = models.OneToOneField(Run, on_delete=models.CASCADE, related_name="evidence")
    # None: it was cancelled or interrupted, which says nothing of the agent.
    is_success = models.BooleanField(null=True)
    complexity = models.PositiveSmallIntegerField()
    interventions = models.PositiveIntegerField(default=0)
    # How well it went, by somebody who watched: 1 to 5.
    rating = models.PositiveSmallIntegerField(null=True, blank=True)
    started_at = models.DateTimeField()
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["-started_at"]
        indexes = [models.Index(fields=["agent", "-started_at"])]

    def __str__(self) -> str:
        return f"evidence of the run {self.run_id}"


class LevelChange(models.Model):
    """An agent moved to another level: who moved it and why. The counters of its evidence start anew here."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="+")
    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="level_changes")
    before = models.CharField(max_length=10, choices=Maturity)
    after = models.CharField(max_length=10, choices=Maturity)
    reason = models.TextField()
    by = models.CharField(max_length=200)
    evidence = models.JSONField(default=dict)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.before} → {self.after}"


class ProposalStatus(models.TextChoices):
    OPEN = "open"
    CONFIRMED = "confirmed"
    DECLINED = "declined"
    # The agent's level changed otherwise, so that there is nothing left to decide.
    OVERTAKEN = "overtaken"


class Proposal(models.Model):
    """A level that the evidence speaks for; a person confirms or declines it."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="+")
    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="proposals")
    before = models.CharField(max_length=10, choices=Maturity)
    to = models.CharField(max_length=10, choices=Maturity)
    evidence = models.JSONField(default=dict)
    # The agent's runs at its level when this was proposed: after a "no", more are wanted before it is asked again.
    runs = models.PositiveIntegerField(default=0)
    status = models.CharField(max_length=9, choices=ProposalStatus, default=ProposalStatus.OPEN)
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    decided_at = models.DateTimeField(null=True, blank=True)
    reason = models.TextField(blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["agent"], condition=models.Q(status="open"), name="one_open_proposal_per_agent"
            )
        ]

    def __str__(self) -> str:
        return f"{self.agent}: {self.before} → {self.to}"

    @property
    def is_promotion(self) -> bool:
        levels = list(Maturity)
        return levels.index(Maturity(self.to)) > levels.index(Maturity(self.before))
