"""What is sent out: webhooks with their deliveries, and the e-mail digest."""

import uuid

from django.db import models
from django.utils import timezone

from atom.ground.models import Workspace


class Webhook(models.Model):
    """An address that is told of feedback. `events` empty: of everything."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="feedback_webhooks")
    url = models.CharField(max_length=2000)
    events = models.JSONField(default=list, blank=True)
    # Sealed; whoever made the webhook has seen it once.
    secret = models.BinaryField()
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return self.url


class DeliveryStatus(models.TextChoices):
    WAITING = "waiting"
    DELIVERED = "delivered"
    FAILED = "failed"


class WebhookDelivery(models.Model):
    """One event for one webhook: written with the fact it tells, sent later, again and again until it is taken."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="+")
    webhook = models.ForeignKey(Webhook, on_delete=models.CASCADE, related_name="deliveries")
    event = models.CharField(max_length=40)
    # Exactly what is sent and signed.
    body = models.TextField()
    status = models.CharField(max_length=10, choices=DeliveryStatus, default=DeliveryStatus.WAITING)
    attempts = models.PositiveIntegerField(default=0)
    next_attempt_at = models.DateTimeField(default=timezone.now)
    http_status = models.PositiveSmallIntegerField(null=True, blank=True)
    problem = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    delivered_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at"]
        verbose_name_plural = "webhook deliveries"
        indexes = [models.Index(fields=["status", "next_attempt_at"])]

    def __str__(self) -> str:
        return f"{self.event} {self.status}"


class Frequency(models.TextChoices):
    OFF = "off"
    DAILY = "daily"
    WEEKLY = "weekly"


class Digest(models.Model):
    """Whether and to whom a workspace's figures are mailed; off until somebody turns it on."""

    workspace = models.OneToOneField(
        Workspace, primary_key=True, on_delete=models.CASCADE, related_name="feedback_digest"
    )
    frequency = models.CharField(max_length=10, choices=Frequency, default=Frequency.OFF)
    recipients = models.JSONField(default=list)
    # The last day it was about; moving it forward is what lets only one worker send.
    sent_for = models.DateField(null=True, blank=True)

    def __str__(self) -> str:
        return self.frequency
