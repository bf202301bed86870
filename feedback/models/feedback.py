"""What people said about answers, what they had said before, and who judges it."""

import uuid

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
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
    # One part was accepted, the other rejected; `kept` says which.
    SPLIT = "split"


class Part(models.TextChoices):
    """What feedback can consist of, as reviewers see it: the thumb and rating, or the better answer."""

    OPINION = "opinion"
    CORRECTION = "correction"


class FeedbackLink(models.Model):
    """An address at which somebody without an account may judge one answer, until it expires or is taken back."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="+")
    message = models.ForeignKey(Message, on_delete=models.CASCADE, related_name="feedback_links")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"link until {self.expires_at:%Y-%m-%d %H:%M}"

    @property
    def is_usable(self) -> bool:
        return self.revoked_at is None and self.expires_at > timezone.now()


class Feedback(models.Model):
    """One person's current word on one answer: at least one of thumb, rating, correction, comment.

    The person is `user`, or whoever holds `link`. Saying something else changes the row; what was said before stays in
    its revisions. A withdrawn row counts nowhere.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="feedback")
    agent = models.ForeignKey(Agent, on_delete=models.CASCADE, related_name="feedback")
    session = models.ForeignKey(Session, null=True, blank=True, on_delete=models.CASCADE, related_name="feedback")
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="feedback")
    message = models.ForeignKey(Message, on_delete=models.CASCADE, related_name="feedback")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL)
    link = models.ForeignKey(FeedbackLink, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    thumb = models.CharField(max_length=4, choices=Thumb, blank=True)
    rating = models.PositiveSmallIntegerField(
        null=True, blank=True, validators=[MinValueValidator(1), MaxValueValidator(5)]
    )
    correction = models.TextField(blank=True)
    comment = models.TextField(blank=True)
    category = models.CharField(max_length=60, blank=True)
    tags = models.JSONField(default=list, blank=True)
    revision = models.PositiveIntegerField(default=1)
    # Who answered, kept here so that sums need no other table. Nano-dollars and milliseconds add up exactly.
    provider = models.CharField(max_length=40, blank=True)
    model = models.CharField(max_length=200, blank=True)
    prompt_version = models.CharField(max_length=12, blank=True)
    variant = models.UUIDField(null=True, blank=True)
    cost_nano_usd = models.BigIntegerField(null=True, blank=True)
    latency_ms = models.PositiveIntegerField(null=True, blank=True)
    status = models.CharField(max_length=10, choices=FeedbackStatus, default=FeedbackStatus.PENDING)
    kept = models.CharField(max_length=10, choices=Part, blank=True)
    assignee = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    adjudicated_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    adjudicated_at = models.DateTimeField(null=True, blank=True)
    note = models.TextField(blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(default=timezone.now, editable=False)
    withdrawn_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at"]
        verbose_name_plural = "feedback"
        indexes = [
            models.Index(fields=["workspace", "-created_at"]),
            models.Index(fields=["agent", "created_at"]),
            models.Index(fields=["workspace", "status", "created_at"]),
            models.Index(fields=["variant"]),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["message", "user"], condition=Q(user__isnull=False), name="one_feedback_per_person_and_message"
            ),
            models.UniqueConstraint(
                fields=["message", "link"], condition=Q(link__isnull=False), name="one_feedback_per_link"
            ),
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

    @property
    def is_withdrawn(self) -> bool:
        return self.withdrawn_at is not None

    @property
    def has_opinion(self) -> bool:
        return bool(self.thumb or self.rating)

    @property
    def can_split(self) -> bool:
        return self.has_opinion and bool(self.correction)

    def is_accepted(self, part: Part) -> bool:
        """Whether this part counts as evidence: it was said, is not withdrawn, and was accepted."""
        was_said = self.has_opinion if part == Part.OPINION else bool(self.correction)
        accepted = self.status == FeedbackStatus.ACCEPTED or (self.status == FeedbackStatus.SPLIT and self.kept == part)
        return was_said and accepted and not self.is_withdrawn


class FeedbackToJudge(Feedback):
    """The same rows, for the admin's page of what waits for a reviewer."""

    class Meta:
        proxy = True
        verbose_name = "feedback to judge"
        verbose_name_plural = "feedback to judge"


class FeedbackRevision(models.Model):
    """What a feedback said before it was changed or withdrawn."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    feedback = models.ForeignKey(Feedback, on_delete=models.CASCADE, related_name="revisions")
    revision = models.PositiveIntegerField()
    said = models.JSONField()
    status = models.CharField(max_length=10, choices=FeedbackStatus)
    replaced_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-revision"]
        constraints = [models.UniqueConstraint(fields=["feedback", "revision"], name="feedback_revision_once")]

    def __str__(self) -> str:
        return f"revision {self.revision}"


class Reviewer(models.Model):
    """A member who may judge feedback of one category though their role may not; an empty category means all."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="feedback_reviewers")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    category = models.CharField(max_length=60, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(fields=["workspace", "user", "category"], name="one_specialty_per_reviewer")
        ]

    def __str__(self) -> str:
        return f"{self.user} on {self.category or 'everything'}"
