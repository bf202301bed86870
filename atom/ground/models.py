"""People, workspaces, access tokens and the audit trail."""

import uuid
from typing import ClassVar

from django.contrib.auth.models import AbstractUser
from django.core.validators import MaxValueValidator
from django.db import models
from django.utils import timezone


class Role(models.TextChoices):
    OWNER = "owner"
    APPROVER = "approver"
    OPERATOR = "operator"
    MEMBER = "member"


class Scope(models.TextChoices):
    """What a token may be used for."""

    CHAT = "chat"
    FEEDBACK = "feedback"
    APPROVE = "approve"
    SUPERVISE = "supervise"
    ADMIN = "admin"
    METRICS = "metrics"


ROLE_SCOPES: dict[str, frozenset[str]] = {
    Role.OWNER: frozenset(Scope.values),
    Role.APPROVER: frozenset({Scope.CHAT, Scope.FEEDBACK, Scope.APPROVE, Scope.SUPERVISE}),
    Role.OPERATOR: frozenset({Scope.CHAT, Scope.FEEDBACK, Scope.SUPERVISE}),
    Role.MEMBER: frozenset({Scope.CHAT, Scope.FEEDBACK}),
}


class User(AbstractUser):
    """A person who may sign in."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)


class Workspace(models.Model):
    """The tenant: every other row belongs to one."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=100)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    def __str__(self) -> str:
        return self.name


class Membership(models.Model):
    """A person in a workspace, with a role."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=Role, default=Role.MEMBER)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["workspace", "user"], name="one_membership_per_workspace")]

    def __str__(self) -> str:
        return f"{self.user} ({self.role})"


# Longer than clients keep a request open.
LONGEST_HOLD_S = 600


class AccessToken(models.Model):
    """`sk-atom-<random>`: only its start and its SHA-256 are kept."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="tokens")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="tokens")
    name = models.CharField(max_length=100)
    prefix = models.CharField(max_length=16, editable=False)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    scopes = models.JSONField(default=list)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    # How long a request waits for an approval before it answers that one is pending; None: as the installation says.
    approval_hold_seconds = models.PositiveIntegerField(
        null=True, blank=True, validators=[MaxValueValidator(LONGEST_HOLD_S)]
    )
    # `provider/model` each; None: every model. Last, because from here on the name no longer means Django's module.
    models = models.JSONField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    @property
    def is_revoked(self) -> bool:
        return self.revoked_at is not None

    @property
    def is_usable(self) -> bool:
        return not self.is_revoked and (self.expires_at is None or self.expires_at > timezone.now())


class AuditEntry(models.Model):
    """One fact, chained to the one before it. Appended by `atom.ground.audit`, never changed (triggers refuse)."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.PROTECT, related_name="audit_entries")
    seq = models.PositiveBigIntegerField()
    at = models.DateTimeField()
    event = models.CharField(max_length=60)
    actor = models.CharField(max_length=200)
    # Canonical JSON of everything that happened; the hash covers this text.
    entry = models.TextField()
    previous_hash = models.CharField(max_length=64)
    hash = models.CharField(max_length=64)

    class Meta:
        ordering = ["-at"]
        verbose_name = "audit entry"
        verbose_name_plural = "audit trail"
        constraints = [models.UniqueConstraint(fields=["workspace", "seq"], name="audit_seq_once_per_workspace")]

    def __str__(self) -> str:
        return f"{self.seq} {self.event}"


class AuditHead(models.Model):
    """The last entry of a workspace's chain, sealed with the secret key: a removed last entry is noticed."""

    workspace = models.OneToOneField(Workspace, primary_key=True, on_delete=models.PROTECT)
    seq = models.PositiveBigIntegerField(default=0)
    hash = models.CharField(max_length=64, default="0" * 64)
    seal = models.CharField(max_length=64, default="")

    objects: ClassVar[models.Manager["AuditHead"]]

    def __str__(self) -> str:
        return f"{self.workspace_id} at {self.seq}"


class IdempotencyKey(models.Model):
    """A client's Idempotency-Key on one door, and what became of its request. Written by `atom.ground.idempotency`."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="+")
    # Digest of workspace, principal, method, path and key; the key itself is not kept.
    scope = models.CharField(max_length=64, unique=True)
    # Digest of the body that came with the key.
    fingerprint = models.CharField(max_length=64)
    # The request that has the key now, and until when it is believed to live.
    holder = models.UUIDField()
    lease_until = models.DateTimeField()
    # The run that answers, once there is one: from then on the run tells whether the key is in flight.
    bound_to = models.UUIDField(null=True)
    # The answer, once it is final; the body is sealed, for it may hold a token that is shown once.
    status = models.PositiveSmallIntegerField(null=True)
    headers = models.JSONField(default=dict)
    body = models.BinaryField(null=True)
    created_at = models.DateTimeField(default=timezone.now, db_index=True)

    def __str__(self) -> str:
        return f"{self.scope[:8]} {self.status or 'open'}"


class JournalMark(models.Model):
    """Which entry of the journal was written last; one row, the writers' lock too. See `atom.ground.journal`."""

    life = models.CharField(max_length=32, default="")
    last_id = models.CharField(max_length=42, default="0-0")

    def __str__(self) -> str:
        return f"{self.life[:8]} {self.last_id}"
