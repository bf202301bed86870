"""Tables of feedback: what was said, its sums, experiments, and what is sent out."""

from feedback.models.experiments import Experiment, ExperimentStatus, Metric, Unit, Variant
from feedback.models.feedback import (
    Feedback,
    FeedbackLink,
    FeedbackRevision,
    FeedbackStatus,
    FeedbackToJudge,
    Part,
    Reviewer,
    Thumb,
)
from feedback.models.outbox import DeliveryStatus, Digest, Frequency, Webhook, WebhookDelivery
from feedback.models.sums import DirtyHour, FeedbackDay, FeedbackHour

__all__ = [
    "DeliveryStatus",
    "Digest",
    "DirtyHour",
    "Experiment",
    "ExperimentStatus",
    "Feedback",
    "FeedbackDay",
    "FeedbackHour",
    "FeedbackLink",
    "FeedbackRevision",
    "FeedbackStatus",
    "FeedbackToJudge",
    "Frequency",
    "Metric",
    "Part",
    "Reviewer",
    "Thumb",
    "Unit",
    "Variant",
    "Webhook",
    "WebhookDelivery",
]
