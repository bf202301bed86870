"""Policies, their versions, which of them is in force, and trials of drafts on what happened."""

import uuid
from datetime import timedelta

from django.conf import settings
from django.db import models
from django.utils import timezone

from atom.ground.models import Workspace

# A replay that has told nothing for so long has lost its worker.
STALLED_AFTER = timedelta(minutes=5)


class Policy(models.Model):
    """A named policy; what it says stands in its versions, which never change."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="policies")
    name = models.CharField(max_length=40)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["-created_at"]
        verbose_name_plural = "policies"
        constraints = [models.UniqueConstraint(fields=["workspace", "name"], name="policy_name_once")]

    def __str__(self) -> str:
        return self.name

    @property
    def latest(self) -> "PolicyVersion":
        return self.versions.order_by("-number")[0]


class PolicyVersion(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    policy = models.ForeignKey(Policy, on_delete=models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()
    # As it was written, comments and all; a JSON object as indented JSON.
    source = models.TextField()
    language = models.CharField(max_length=5)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL)
    # When it was last put into force.
    activated_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["-created_at"]
        constraints = [models.UniqueConstraint(fields=["policy", "number"], name="policy_version_once")]

    def __str__(self) -> str:
        return f"{self.policy.name}@{self.number}"


class PolicyInForce(models.Model):
    """What a workspace is governed by, and what only judges beside it. Its row is the lock of every change."""

    workspace = models.OneToOneField(Workspace, primary_key=True, on_delete=models.CASCADE, related_name="in_force")
    active = models.ForeignKey(PolicyVersion, null=True, on_delete=models.SET_NULL, related_name="+")
    shadow = models.ForeignKey(PolicyVersion, null=True, on_delete=models.SET_NULL, related_name="+")

    def __str__(self) -> str:
        return str(self.active or "the matrix")


class ReplayStatus(models.TextChoices):
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    STALLED = "stalled"


class PolicyReplay(models.Model):
    """A version tried on stored decisions: how far it is, and what would have been otherwise."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    version = models.ForeignKey(PolicyVersion, on_delete=models.CASCADE, related_name="replays")
    status = models.CharField(max_length=7, choices=ReplayStatus, default=ReplayStatus.QUEUED)
    since = models.DateTimeField()
    until = models.DateTimeField(default=timezone.now)
    rows_total = models.PositiveIntegerField(default=0)
    rows_done = models.PositiveIntegerField(default=0)
    result = models.JSONField(default=dict)
    error = models.TextField(blank=True)
    updated_at = models.DateTimeField(default=timezone.now)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.version} on {self.rows_total} decisions"

    @property
    def is_open(self) -> bool:
        return self.status in {ReplayStatus.QUEUED, ReplayStatus.RUNNING}

    @property
    def current_status(self) -> str:
        """The status as of now: a worker that was killed cannot say so."""
        is_silent = timezone.now() - self.updated_at > STALLED_AFTER
        return ReplayStatus.STALLED if self.is_open and is_silent else ReplayStatus(self.status)
