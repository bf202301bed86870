"""Feedback, experiments and webhooks in the admin."""

from feedback.admin.experiments import ExperimentAdmin
from feedback.admin.outbox import DeliveryAdmin
from feedback.admin.rows import FeedbackAdmin, QueueAdmin

__all__ = ["DeliveryAdmin", "ExperimentAdmin", "FeedbackAdmin", "QueueAdmin"]
