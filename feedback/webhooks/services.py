"""Webhooks: made, changed, removed; deliveries repeated."""

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
    _check_events(events)
    check_address(url)
    secret, sealed = _new_secret(principal)
    with transaction.atomic():
        if Webhook.objects.filter(workspace_id=principal.workspace_id).count() >= MOST_WEBHOOKS:
            raise BadRequest(f"A workspace has at most {MOST_WEBHOOKS} webhooks.")
        made = Webhook.objects.create(
            workspace_id=principal.workspace_id, url=url, events=sorted(set(events)), secret=sealed
        )
        _audited(principal, made, "created")
    return made, secret


def change_webhook(
    *,
    principal: Principal,
    webhook: Webhook,
    url: str | None = None,
    events: Sequence[str] | None = None,
    is_active: bool | None = None,
) -> Webhook:
    """What is not named stays. One that is switched off is told of nothing, and what still waits for it waits on.

    BadRequest as for a new one.
    """
    principal.require(Scope.ADMIN)
    if events is not None:
        _check_events(events)
        events = sorted(set(events))
    if url is not None and url != webhook.url:
        check_address(url)
    wanted = {"url": url, "events": events, "is_active": is_active}
    with transaction.atomic():
        kept = Webhook.objects.select_for_update().get(pk=webhook.pk)
        changes = {name: value for name, value in wanted.items() if value is not None and value != getattr(kept, name)}
        if not changes:
            return kept
        for name, value in changes.items():
            setattr(kept, name, value)
        kept.save(update_fields=list(changes))
        _audited(principal, kept, "changed", **changes)
        transaction.on_commit(send_soon)
    return kept


@transaction.atomic
def rotate_secret(*, principal: Principal, webhook: Webhook) -> str:
    """A new secret, shown this once; from now on everything is signed with it, also what waits already."""
    principal.require(Scope.ADMIN)
    secret, sealed = _new_secret(principal)
    Webhook.objects.filter(pk=webhook.pk).update(secret=sealed)
    _audited(principal, webhook, "secret_rotated")
    return secret


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


def check_address(url: str) -> None:
    """BadRequest for an address that may not be called from here."""
    try:
        guard_resolved(url, settings.ATOM_ALLOWED_TOOL_HOSTS)
    except ForbiddenAddress as exc:
        raise BadRequest(exc.message, param="url") from exc


def _check_events(events: Sequence[str]) -> None:
    if unknown := set(events) - set(EVENTS):
        raise BadRequest(f"Unknown events: {', '.join(sorted(unknown))}.", param="events")


def _new_secret(principal: Principal) -> tuple[str, bytes]:
    """As it is shown once, and as it is kept."""
    secret = "whsec_" + secrets.token_hex(32)
    return secret, sealing.seal(secret, workspace_id=principal.workspace_id, provider=SEALED_AS)


def _audited(principal: Principal, webhook: Webhook, what: str, **details: object) -> None:
    audit.append(
        workspace_id=principal.workspace_id,
        actor=principal.username,
        event=f"feedback.webhook_{what}",
        details={"webhook": webhook.id, "url": webhook.url, **details},
    )
