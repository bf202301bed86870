"""Webhooks: made, removed; deliveries repeated."""

import secrets
from collections.abc import Sequence

from django.conf import settings
from django.db import transaction

from atom.ground import audit
from atom.ground.errors import BadRequest
from atom.ground.http import ForbiddenAddress, guard_resolved
from atom.ground.models import Scope
from atom.ground.principal import Principal
from feedback.models import Webhook, WebhookDelivery
from feedback.webhooks.outbox import EVENTS, send_soon
from feedback.webhooks.sending import SEALED_AS
from llm import sealing

MOST_WEBHOOKS = 10


def create_webhook(*, principal: Principal, url: str, events: Sequence[str] = ()) -> tuple[Webhook, str]:
    """A new webhook and the secret that its deliveries are signed with, which nobody can read again.

    BadRequest for an address that may not be called from here, or events that do not exist.
    """
    principal.require(Scope.ADMIN)
    if unknown := set(events) - set(EVENTS):
        raise BadRequest(f"Unknown events: {', '.join(sorted(unknown))}.", param="events")
    try:
        guard_resolved(url, settings.ATOM_ALLOWED_TOOL_HOSTS)
    except ForbiddenAddress as exc:
        raise BadRequest(exc.message, param="url") from exc
    secret = "whsec_" + secrets.token_hex(32)
    with transaction.atomic():
        if Webhook.objects.filter(workspace_id=principal.workspace_id).count() >= MOST_WEBHOOKS:
            raise BadRequest(f"A workspace has at most {MOST_WEBHOOKS} webhooks.")
        made = Webhook.objects.create(
            workspace_id=principal.workspace_id,
            url=url,
            events=sorted(set(events)),
            secret=sealing.seal(secret, workspace_id=principal.workspace_id, provider=SEALED_AS),
        )
        _audited(principal, made, "created")
    return made, secret


@transaction.atomic
def delete_webhook(*, principal: Principal, webhook: Webhook) -> None:
    """With its deliveries: what has not been sent is not sent any more."""
    principal.require(Scope.ADMIN)
    _audited(principal, webhook, "deleted")
    webhook.delete()


@transaction.atomic
def replay(*, principal: Principal, delivery: WebhookDelivery) -> WebhookDelivery:
    """Send the same body once more, as a delivery of its own."""
    principal.require(Scope.ADMIN)
    again = WebhookDelivery.objects.create(
        workspace_id=delivery.workspace_id, webhook=delivery.webhook, event=delivery.event, body=delivery.body
    )
    _audited(principal, delivery.webhook, "replayed", delivery=delivery.id)
    transaction.on_commit(send_soon)
    return again


def _audited(principal: Principal, webhook: Webhook, what: str, **details: object) -> None:
    audit.append(
        workspace_id=principal.workspace_id,
        actor=principal.username,
        event=f"feedback.webhook_{what}",
        details={"webhook": webhook.id, "url": webhook.url, **details},
    )
