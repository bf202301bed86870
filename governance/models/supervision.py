"""What people did to runs while they supervised them."""

import uuid

from django.conf import settings
from django.db import models
from django.utils import timezone

from agents.models import Agent, Run
from atom.ground.models import Workspace


class InterventionKind(models.TextChoices):
    PAUSE = "pause"
    RESUME = "resume"
    CORRECT = "correct"
    TERMINATE = "terminate"


class Intervention(models.Model):
    """One thing that an operator did to a run. `text` is the correction, or why the run was terminated."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="interventions")
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="interventions")
    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="interventions")
    operator = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    kind = models.CharField(max_length=9, choices=InterventionKind)
    text = models.TextField(blank=True)
    at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["at"]
        indexes = [models.Index(fields=["agent", "-at"])]
        constraints = [
            models.UniqueConstraint(
                fields=["run"], condition=models.Q(kind="terminate"), name="run_terminated_once_by_people"
            )
        ]

    def __str__(self) -> str:
        return f"{self.kind} of {self.run_id}"
