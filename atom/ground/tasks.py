"""Celery's way in: nothing is decided here."""

from celery import shared_task
from django.conf import settings

from atom.ground import checkpoints, idempotency


@shared_task
def write_checkpoints() -> int:
    """Sign where every chain stands and leave it off the box; nothing where no place is named."""
    if not settings.ATOM_AUDIT_CHECKPOINTS:
        return 0
    lines = checkpoints.signed_lines()
    checkpoints.deliver(lines)
    return len(lines)


@shared_task
def forget_idempotency_keys() -> int:
    return idempotency.forget_old()
