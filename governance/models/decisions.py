"""Decisions, each with everything it was made from."""

import uuid

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
