"""Experiments: the same agent with another model, prompt or temperature, side by side."""

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from agents.models import Agent
from atom.ground.models import Workspace


class ExperimentStatus(models.TextChoices):
    DRAFT = "draft"
    RUNNING = "running"
    COMPLETED = "completed"


class Metric(models.TextChoices):
    """What is compared: the share of positive feedback, or an average."""

    POSITIVE = "positive"
    RATING = "rating"
    COST = "cost"
    LATENCY = "latency"


class Unit(models.TextChoices):
    """Who keeps the same variant: a conversation, or a person."""

    SESSION = "session"
    USER = "user"


class Experiment(models.Model):
    """One question about one agent: draft, running, completed. At most one runs for an agent at a time."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="experiments")
    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="experiments")
    name = models.CharField(max_length=100)
    metric = models.CharField(max_length=10, choices=Metric, default=Metric.POSITIVE)
    unit = models.CharField(max_length=10, choices=Unit, default=Unit.SESSION)
    # The difference worth finding, in the metric's own unit: 0.1 is ten points of the positive ratio.
    min_effect = models.FloatField(default=0.1)
    planned_per_arm = models.PositiveIntegerField(default=100)
    status = models.CharField(max_length=10, choices=ExperimentStatus, default=ExperimentStatus.DRAFT)
    promoted = models.ForeignKey("Variant", null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["agent"], condition=Q(status=ExperimentStatus.RUNNING), name="one_running_experiment_per_agent"
            )
        ]

    def __str__(self) -> str:
        return self.name


class Variant(models.Model):
    """One arm. What is None stays as the agent has it; the first arm is what the others are compared with."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    experiment = models.ForeignKey(Experiment, on_delete=models.CASCADE, related_name="variants")
    place = models.PositiveSmallIntegerField()
    name = models.CharField(max_length=60)
    weight = models.PositiveSmallIntegerField(default=1)
    system_prompt = models.TextField(null=True, blank=True)  # noqa: DJ001  # an empty prompt is not "as the agent has it"
    temperature = models.FloatField(null=True, blank=True)
    # Last, because from here on the name no longer means Django's module.
    models = models.JSONField(null=True, blank=True)

    class Meta:
        ordering = ["place"]

    def __str__(self) -> str:
        return self.name
