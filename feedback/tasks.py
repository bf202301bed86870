"""Celery's way in: nothing is decided here."""

from celery import shared_task

from feedback import digest
from feedback.rollups import sum_dirty_hours
from feedback.webhooks import sending


@shared_task
def aggregate_feedback() -> int:
    """Sum the hours that changed; gives how many."""
    return sum_dirty_hours()


@shared_task
def deliver_webhooks() -> int:
    """Send the deliveries whose time has come; gives how many were tried."""
    return sending.send_due()


@shared_task
def send_digests() -> int:
    """Mail the last day's or week's figures to whoever wants them; gives how many workspaces were told."""
    return digest.send_due()
