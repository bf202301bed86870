"""Webhooks and their deliveries, always for somebody."""

from uuid import UUID

from django.db.models import QuerySet

from atom.ground.errors import NotFound
from atom.ground.principal import Principal
from feedback.models import Webhook, WebhookDelivery


def webhooks_of(principal: Principal) -> QuerySet[Webhook]:
    return Webhook.objects.filter(workspace_id=principal.workspace_id)


def get_webhook(principal: Principal, webhook_id: UUID) -> Webhook:
    found = webhooks_of(principal).filter(pk=webhook_id).first()
    if found is None:
        raise NotFound("There is no such webhook.")
    return found


def deliveries_of(principal: Principal) -> QuerySet[WebhookDelivery]:
    return WebhookDelivery.objects.filter(workspace_id=principal.workspace_id).select_related("webhook")


def get_delivery(principal: Principal, delivery_id: UUID) -> WebhookDelivery:
    found = deliveries_of(principal).filter(pk=delivery_id).first()
    if found is None:
        raise NotFound("There is no such delivery.")
    return found
