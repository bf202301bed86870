"""What people said about answers, and its hourly sums."""

import uuid

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone

from agents.models import Agent, Message, Run, Session
from atom.ground.models import Workspace


class Thumb(models.TextChoices):
    UP = "up"
    DOWN = "down"


class FeedbackStatus(models.TextChoices):
    PENDING = "pending"
    ACCEPTED = "accepted"
    REJECTED = "rejected"


class Feedback(models.Model):
    """One person's word on one answer: at least one of thumb, rating, correction, comment."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="feedback")
    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="feedback")
    session = models.ForeignKey(Session, null=True, blank=True, on_delete=models.CASCADE, related_name="feedback")
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="feedback")
    message = models.ForeignKey(Message, on_delete=models.CASCADE, related_name="feedback")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL)
    thumb = models.CharField(max_length=4, choices=Thumb, blank=True)
    rating = models.PositiveSmallIntegerField(
        null=True, blank=True, validators=[MinValueValidator(1), MaxValueValidator(5)]
    )
    correction = models.TextField(blank=True)
    comment = models.TextField(blank=True)
    category = models.CharField(max_length=60, blank=True)
    status = models.CharField(max_length=10, choices=FeedbackStatus, default=FeedbackStatus.PENDING)
    adjudicated_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    adjudicated_at = models.DateTimeField(null=True, blank=True)
    note = models.TextField(blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["-created_at"]
        verbose_name_plural = "feedback"
        indexes = [
            models.Index(fields=["workspace", "-created_at"]),
            models.Index(fields=["agent", "created_at"]),
        ]

    def __str__(self) -> str:
        return f"{self.get_sentiment()} on {self.agent}"

    def get_sentiment(self) -> str:
        """positive = thumb up or rating ≥ 4; negative = thumb down or rating ≤ 2; neutral otherwise.

        Where thumb and rating disagree the thumb speaks: it is the plainer word.
        """
        if self.thumb:
            return "positive" if self.thumb == Thumb.UP else "negative"
        if self.rating is None or self.rating == 3:
            return "neutral"
        return "positive" if self.rating >= 4 else "negative"


class FeedbackHour(models.Model):
    """The sums of one agent's feedback in one hour; always recomputed whole, so repeating that is harmless."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="+")
    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="feedback_hours")
    hour = models.DateTimeField()
    total = models.PositiveIntegerField(default=0)
    positive = models.PositiveIntegerField(default=0)
    negative = models.PositiveIntegerField(default=0)
    neutral = models.PositiveIntegerField(default=0)
    corrections = models.PositiveIntegerField(default=0)
    rating_1 = models.PositiveIntegerField(default=0)
    rating_2 = models.PositiveIntegerField(default=0)
    rating_3 = models.PositiveIntegerField(default=0)
    rating_4 = models.PositiveIntegerField(default=0)
    rating_5 = models.PositiveIntegerField(default=0)

    class Meta:
        ordering = ["-hour"]
        constraints = [models.UniqueConstraint(fields=["agent", "hour"], name="one_feedback_hour_per_agent")]

    def __str__(self) -> str:
        return f"{self.agent} {self.hour:%Y-%m-%d %H}h"


class DirtyHour(models.Model):
    """An hour of an agent whose sums must be made again; written in the transaction that changes its feedback.

    Several rows for one hour are fine: whoever sums it takes away those it saw before it began.
    """

    id = models.BigAutoField(primary_key=True)
    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="+")
    hour = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.agent_id} {self.hour:%Y-%m-%d %H}h"
