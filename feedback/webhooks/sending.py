"""Sending what waits: signed, one attempt at a time, later and later after each failure.

The signature is that of `timestamp.body` with the webhook's secret, so a receiver can refuse what is forged or old:
`X-Atom-Signature: t=<unix seconds>,v1=<hex HMAC-SHA256>`. A delivery may arrive twice; `X-Atom-Delivery` is the same.
"""

import hashlib
import hmac
import time
from datetime import timedelta

import httpx
import structlog
from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone

from agents.tasks import run_async
from atom.ground.errors import AtomError
from atom.ground.http import build_client
from feedback.models import DeliveryStatus, WebhookDelivery
from llm import sealing

log = structlog.get_logger(__name__)

# What a secret is sealed as: it opens for this use only.
SEALED_AS = "feedback-webhook"
# Who is sending has it to themselves for this long; a worker that dies meanwhile loses nothing.
LEASE_S = 60
TIMEOUT_S = 10.0
# Seconds until the next attempt; after the last one the delivery has failed.
BACK_OFF_S = (10, 60, 300, 1800, 7200, 21600, 43200)
BATCH = 50


def send_due() -> int:
    """Send every delivery whose time has come; gives how many were tried."""
    tried = 0
    while waiting := list(_due()[:BATCH]):
        for delivery in waiting:
            tried += attempt(delivery)
    return tried


def _due() -> QuerySet[WebhookDelivery]:
    now = timezone.now()
    due = WebhookDelivery.objects.filter(
        webhook__is_active=True, status=DeliveryStatus.WAITING, next_attempt_at__lte=now
    )
    return due.select_related("webhook").order_by("next_attempt_at")


def attempt(delivery: WebhookDelivery) -> bool:
    """Send it, and note how that went; False when somebody else has just taken it."""
    taken = WebhookDelivery.objects.filter(
        pk=delivery.pk, status=DeliveryStatus.WAITING, next_attempt_at=delivery.next_attempt_at
    ).update(attempts=delivery.attempts + 1, next_attempt_at=timezone.now() + timedelta(seconds=LEASE_S))
    if not taken:
        return False
    delivery.attempts += 1
    http_status, problem = None, ""
    try:
        http_status = run_async(_post(delivery))
        if not 200 <= http_status < 300:
            problem = f"The address answered with status {http_status}."
    except httpx.TimeoutException:
        problem = f"The address did not answer within {TIMEOUT_S:g} s."
    except httpx.HTTPError:
        problem = "The address could not be reached."
    except AtomError as exc:
        problem = exc.message
    if not problem and http_status is not None:
        _finish(delivery, DeliveryStatus.DELIVERED, "", http_status)
    else:
        _later(delivery, problem, http_status)
    return True


async def _post(delivery: WebhookDelivery) -> int:
    secret = sealing.unseal(bytes(delivery.webhook.secret), workspace_id=delivery.workspace_id, provider=SEALED_AS)
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "Atom",
        "X-Atom-Event": delivery.event,
        "X-Atom-Delivery": str(delivery.id),
        "X-Atom-Signature": signature(secret, int(time.time()), delivery.body),
    }
    timeout = httpx.Timeout(TIMEOUT_S)
    async with build_client(allowed_hosts=settings.ATOM_ALLOWED_TOOL_HOSTS, timeout=timeout) as client:
        # The answer's body is nobody's business: only its status is read.
        request = client.stream("POST", delivery.webhook.url, content=delivery.body.encode(), headers=headers)
        async with request as answer:
            return answer.status_code


def signature(secret: str, at: int, body: str) -> str:
    mac = hmac.new(secret.encode(), f"{at}.{body}".encode(), hashlib.sha256).hexdigest()
    return f"t={at},v1={mac}"


def _later(delivery: WebhookDelivery, problem: str, http_status: int | None) -> None:
    if delivery.attempts > len(BACK_OFF_S):
        _finish(delivery, DeliveryStatus.FAILED, problem, http_status)
        log.warning("webhook_given_up", webhook=str(delivery.webhook_id), delivery=str(delivery.id))
        return
    WebhookDelivery.objects.filter(pk=delivery.pk).update(
        problem=problem,
        http_status=http_status,
        next_attempt_at=timezone.now() + timedelta(seconds=BACK_OFF_S[delivery.attempts - 1]),
    )


def _finish(delivery: WebhookDelivery, status: str, problem: str, http_status: int | None) -> None:
    WebhookDelivery.objects.filter(pk=delivery.pk).update(
        status=status,
        problem=problem,
        http_status=http_status,
        delivered_at=timezone.now() if status == DeliveryStatus.DELIVERED else None,
    )
