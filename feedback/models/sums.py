"""Sums of feedback by hour and day, and the marks that say which hours must be summed again."""

from django.db import models
from django.utils import timezone

from agents.models import Agent
from atom.ground.models import Workspace

# What tells one row of sums from another, beside its agent and time.
DIMENSIONS = ("provider", "model", "prompt_version", "category")


class Sums(models.Model):
    """Counts of what was said about one agent's answers in a stretch of time, by who answered and what it was about.

    Whole numbers only, so that sums made in any order are equal. `costed` and `timed` count the rows behind the cost
    and the latency, `rated` those with a thumb or a rating.
    """

    # The database makes these rows itself, many at a time, and nobody ever names one.
    id = models.BigAutoField(primary_key=True)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="+")
    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="+")
    provider = models.CharField(max_length=40, blank=True)
    model = models.CharField(max_length=200, blank=True)
    prompt_version = models.CharField(max_length=12, blank=True)
    category = models.CharField(max_length=60, blank=True)
    total = models.PositiveIntegerField(default=0)
    positive = models.PositiveIntegerField(default=0)
    negative = models.PositiveIntegerField(default=0)
    neutral = models.PositiveIntegerField(default=0)
    rated = models.PositiveIntegerField(default=0)
    corrections = models.PositiveIntegerField(default=0)
    corrections_accepted = models.PositiveIntegerField(default=0)
    comments = models.PositiveIntegerField(default=0)
    pending = models.PositiveIntegerField(default=0)
    rejected = models.PositiveIntegerField(default=0)
    rating_1 = models.PositiveIntegerField(default=0)
    rating_2 = models.PositiveIntegerField(default=0)
    rating_3 = models.PositiveIntegerField(default=0)
    rating_4 = models.PositiveIntegerField(default=0)
    rating_5 = models.PositiveIntegerField(default=0)
    costed = models.PositiveIntegerField(default=0)
    cost_nano_usd = models.BigIntegerField(default=0)
    timed = models.PositiveIntegerField(default=0)
    latency_ms = models.BigIntegerField(default=0)

    class Meta:
        abstract = True


class FeedbackHour(Sums):
    """Always made again whole from its rows, so repeating that is harmless."""

    hour = models.DateTimeField()

    class Meta:
        ordering = ["-hour"]
        indexes = [models.Index(fields=["workspace", "hour"])]
        constraints = [
            models.UniqueConstraint(fields=["agent", "hour", *DIMENSIONS], name="one_feedback_hour_per_agent")
        ]

    def __str__(self) -> str:
        return f"{self.agent_id} {self.hour:%Y-%m-%d %H}h"


class FeedbackDay(Sums):
    """The sums of a day (UTC), made from its hours."""

    day = models.DateField()

    class Meta:
        ordering = ["-day"]
        indexes = [models.Index(fields=["workspace", "day"])]
        constraints = [models.UniqueConstraint(fields=["agent", "day", *DIMENSIONS], name="one_feedback_day_per_agent")]

    def __str__(self) -> str:
        return f"{self.agent_id} {self.day}"


class DirtyHour(models.Model):
    """An hour of an agent whose sums must be made again; written in the transaction that changes its feedback.

    Several rows for one hour are fine: whoever sums it takes away, in the same transaction, those it saw before. The
    oldest mark is the watermark: whatever was said before it is in the sums.
    """

    id = models.BigAutoField(primary_key=True)
    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="+")
    hour = models.DateTimeField()
    marked_at = models.DateTimeField(default=timezone.now)

    class Meta:
        indexes = [models.Index(fields=["agent", "hour"])]

    def __str__(self) -> str:
        return f"{self.agent_id} {self.hour:%Y-%m-%d %H}h"
