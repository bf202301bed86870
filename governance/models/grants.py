"""What people have allowed for a while: actions in bounds (grants), and deciding in somebody's place (delegations)."""

import uuid

from django.conf import settings
from django.db import models
from django.utils import timezone

from agents.models import Agent
from atom.ground.models import Workspace
from governance.models.approvals import Approval


class Grant(models.Model):
    """*Always allow*: this agent, this action, arguments within `bounds`, until a date."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="grants")
    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="grants")
    # In its normal form, as policies name actions.
    action = models.CharField(max_length=200)
    # For each argument that a call may have, what it may be.
    bounds = models.JSONField(default=dict)
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    note = models.TextField(blank=True)
    # The approval that it was made from.
    approval = models.ForeignKey(Approval, null=True, blank=True, on_delete=models.SET_NULL, related_name="grants")
    granted_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    uses = models.PositiveIntegerField(default=0)
    last_used_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["-created_at"]
        indexes = [models.Index(fields=["workspace", "expires_at"])]

    def __str__(self) -> str:
        return f"{self.agent} may {self.action} until {self.expires_at:%Y-%m-%d %H:%M}"

    @property
    def is_in_force(self) -> bool:
        return self.revoked_at is None and self.expires_at > timezone.now()


class ApprovalDelegation(models.Model):
    """An approver is away: until `ends_at` somebody else of the workspace may decide in their place."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="approval_delegations")
    giver = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    delegate = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    starts_at = models.DateTimeField(default=timezone.now)
    ends_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    reason = models.TextField(blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["-created_at"]
        indexes = [models.Index(fields=["workspace", "delegate", "ends_at"])]

    def __str__(self) -> str:
        return f"{self.delegate} decides for {self.giver}"
