"""System prompts by version: what a run was begun with can be read again after the agent has another one."""

import uuid

from django.db import models
from django.utils import timezone


class Prompt(models.Model):
    """A system prompt that an agent has or had; `version` is what runs name it by."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    agent = models.ForeignKey("agents.Agent", on_delete=models.CASCADE, related_name="prompts")
    version = models.CharField(max_length=12)
    text = models.TextField()
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["agent", "version"], name="prompt_version_once_per_agent")]

    def __str__(self) -> str:
        return self.version
