"""Writing down what is to be sent, in the transaction of the fact itself."""

from typing import Any

import orjson
from django.db import transaction
from django.utils import timezone

from atom.ground.queueing import queue
from feedback.models import Feedback, Webhook, WebhookDelivery
from feedback.tasks import deliver_webhooks

EVENTS = (
    "feedback.given",
    "feedback.changed",
    "feedback.withdrawn",
    "feedback.accepted",
    "feedback.rejected",
    "feedback.split",
)


def send_soon() -> None:
    """Have what waits sent now if the broker is there, at the latest by the schedule."""
    queue(deliver_webhooks)


def announce(given: Feedback, event: str) -> None:
    """One delivery for each of the workspace's webhooks that wants this event."""
    hooks = Webhook.objects.filter(workspace_id=given.workspace_id, is_active=True)
    wanted = [hook for hook in hooks if not hook.events or event in hook.events]
    if not wanted:
        return
    body = orjson.dumps({"event": event, "at": timezone.now(), "feedback": _facts(given)}, default=str).decode()
    WebhookDelivery.objects.bulk_create(
        [WebhookDelivery(workspace_id=given.workspace_id, webhook=hook, event=event, body=body) for hook in wanted]
    )
    transaction.on_commit(send_soon)


def _facts(given: Feedback) -> dict[str, Any]:
    return {
        "id": given.id,
        "run_id": given.run_id,
        "session_id": given.session_id,
        "message_id": given.message_id,
        "agent": given.agent.slug,
        "thumb": given.thumb,
        "rating": given.rating,
        "correction": given.correction,
        "comment": given.comment,
        "category": given.category,
        "tags": given.tags,
        "status": given.status,
        "revision": given.revision,
        "created_at": given.created_at,
    }
