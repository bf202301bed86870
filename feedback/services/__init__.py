"""Writes of feedback: saying it, judging it, and links for people without an account."""

from feedback.services.giving import change_feedback, give_batch, give_by_link, give_feedback, withdraw_feedback
from feedback.services.judging import adjudicate

__all__ = ["adjudicate", "change_feedback", "give_batch", "give_by_link", "give_feedback", "withdraw_feedback"]
