"""Feedback in the admin."""

from feedback.admin import rows

__all__ = ["rows"]
