"""Feedback, experiments and what is sent out, in the admin."""

from feedback.admin.digest import DigestAdmin
from feedback.admin.experiments import ExperimentAdmin
from feedback.admin.outbox import DeliveryAdmin
from feedback.admin.reviewers import ReviewerAdmin
from feedback.admin.rows import FeedbackAdmin, QueueAdmin
from feedback.admin.webhooks import WebhookAdmin

__all__ = [
    "DeliveryAdmin",
    "DigestAdmin",
    "ExperimentAdmin",
    "FeedbackAdmin",
    "QueueAdmin",
    "ReviewerAdmin",
    "WebhookAdmin",
]
