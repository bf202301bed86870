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
    # It could not be judged, and was denied for that: counted apart from what was refused.
    is_error = models.BooleanField(default=False)
    # What the rules may ask about beyond the action itself, as it was then.
    session = models.TextField(blank=True)
    cost_usd = models.FloatField(null=True, blank=True)
    # What the policy that judges beside the effective one said, without effect.
    shadow_decision = models.CharField(max_length=5, choices=DECISION_CHOICES, blank=True)
    shadow_rule = models.CharField(max_length=100, blank=True)
    shadow_policy_version = models.CharField(max_length=60, blank=True)
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
