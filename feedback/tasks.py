"""Celery's way in."""

from celery import shared_task

from feedback.rollups import sum_dirty_hours


@shared_task
def aggregate_feedback() -> int:
    """Sum the hours that changed; gives how many."""
    return sum_dirty_hours()
