"""Provider keys: made, changed, removed. No audit entry, answer or log ever holds a secret."""

from collections.abc import Sequence
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from atom.ground import audit
from atom.ground.errors import BadRequest
from atom.ground.http import guard_resolved
from llm import breaker, catalog, cooldown, http, keyring, probe, sealing
from llm.breaker import Circuit
from llm.endpoints import Unusable, endpoints_of
from llm.models import ProviderKey
from llm.probe import Probed
from llm.registry import LOCAL, PROVIDERS
from llm.shared import from_sync

# A hint of four characters must not be much of the secret.
MIN_HINTED_CHARS = 12
MAX_SECRET_CHARS = 4000
# Somebody waits on a page for the outcome of a test.
TRY_WITHIN_S = 10.0


def create_key(
    *,
    workspace_id: UUID,
    provider: str,
    name: str,
    secret: str,
    by: str,
    base_url: str = "",
    priority: int = 100,
    is_enabled: bool = True,
) -> ProviderKey:
    """A new key; BadRequest or ForbiddenAddress when something about it is not usable."""
    if provider not in PROVIDERS or provider == LOCAL:
        raise BadRequest(f"'{provider}' is not a provider that takes keys.", param="provider")
    base_url = checked_base_url(base_url)
    if not base_url and not PROVIDERS[provider].base_url:
        raise BadRequest(f"A key for {provider} needs its base URL.", param="base_url")
    secret = _checked_secret(provider, secret)
    with transaction.atomic():
        key = ProviderKey.objects.create(
            workspace_id=workspace_id,
            provider=provider,
            name=name,
            base_url=base_url,
            sealed=sealing.seal(secret, workspace_id=workspace_id, provider=provider),
            hint=_hint_of(secret),
            priority=priority,
            is_enabled=is_enabled,
        )
        _record(key, "provider_key.created", by=by)
    keyring.forget(workspace_id)
    return key


def update_key(
    *,
    key: ProviderKey,
    by: str,
    name: str | None = None,
    secret: str | None = None,
    base_url: str | None = None,
    priority: int | None = None,
    is_enabled: bool | None = None,
) -> ProviderKey:
    """Change what is given; the provider stays, because the secret is bound to it."""
    given = {"name": name, "priority": priority, "is_enabled": is_enabled}
    changes: dict[str, object] = {field: value for field, value in given.items() if value is not None}
    if base_url is not None:
        changes["base_url"] = checked_base_url(base_url)
        if not base_url and not PROVIDERS[key.provider].base_url:
            raise BadRequest(f"A key for {key.provider} needs its base URL.", param="base_url")
    if secret is not None:
        secret = _checked_secret(key.provider, secret)
        changes["sealed"] = sealing.seal(secret, workspace_id=key.workspace_id, provider=key.provider)
        changes["hint"], changes["last_error"] = _hint_of(secret), ""
    changed = sorted(changes.keys() & {*given, "base_url"}) + ["secret"] * (secret is not None)
    for field, value in changes.items():
        setattr(key, field, value)
    with transaction.atomic():
        key.save(update_fields=list(changes))
        _record(key, "provider_key.updated", by=by, changed=changed)
    keyring.forget(key.workspace_id)
    if secret is not None:
        # What the old secret was refused for is not the new one's fault.
        from_sync(cooldown.wake(cooldown.name_of(key.provider, key.id)))
    return key


def delete_key(*, key: ProviderKey, by: str) -> None:
    with transaction.atomic():
        _record(key, "provider_key.deleted", by=by)
        key.delete()
    keyring.forget(key.workspace_id)


def try_key(*, key: ProviderKey, by: str, model: str = "") -> Probed:
    """One cheapest call with this key alone, also when it is disabled or rests; from sync code.

    How it went is the key's health from now on. Breakers and cooldowns hear nothing of it.
    """
    row = PROVIDERS[key.provider]
    own = catalog.catalog_of(key.workspace_id)
    way = endpoints_of(row, [keyring.opened(key)])[0]
    if isinstance(way, Unusable):
        found = Probed(model, 0, way.reason, "unusable_key")
    else:
        asking = probe.probe(row, way, own=own, within_s=TRY_WITHIN_S, model=model)
        found = from_sync(http.and_close(asking))
    with transaction.atomic():
        record_key_health(key_id=key.id, error=found.error)
        _record(key, "provider_key.tested", by=by, model=found.model, outcome=found.code or "ok")
    return found


def reset_breakers(*, workspace_id: UUID, circuits: Sequence[Circuit], by: str) -> None:
    """Close these breakers at once. From sync code; the caller has judged whose they are."""
    for circuit in circuits:
        details = {"provider": circuit.provider, "model": circuit.model, "key": circuit.key_id}
        audit.append(workspace_id=workspace_id, actor=by, event="breaker.reset", details=details)
        from_sync(breaker.reset(circuit))


def record_key_health(*, key_id: UUID, error: str) -> None:
    """The last call with this key worked (`error` is empty) or did not, in our words."""
    changes = {"last_error": error[:300]} if error else {"last_error": "", "last_ok_at": timezone.now()}
    ProviderKey.objects.filter(pk=key_id).update(**changes)


def checked_base_url(url: str) -> str:
    """The URL without a slash at its end, or ForbiddenAddress or BadRequest. Asks DNS."""
    url = url.strip().rstrip("/")
    if not url:
        return ""
    guard_resolved(url, settings.ATOM_ALLOWED_PROVIDER_HOSTS)
    if "?" in url or "#" in url:
        raise BadRequest("The base URL must end with its path.", param="base_url")
    return url


def _checked_secret(provider: str, secret: str) -> str:
    secret = secret.strip()
    if not secret and PROVIDERS[provider].needs_key:
        raise BadRequest("The secret is missing.", param="secret")
    # It travels in a header: anything else would break the call, or smuggle a second header into it.
    if len(secret) > MAX_SECRET_CHARS or not all("!" <= char <= "~" for char in secret):
        raise BadRequest("The secret may hold printable ASCII characters only, and no blanks.", param="secret")
    return secret


def _hint_of(secret: str) -> str:
    return secret[-4:] if len(secret) >= MIN_HINTED_CHARS else ""


def _record(key: ProviderKey, event: str, *, by: str, **more: object) -> None:
    details = {"key": key.id, "provider": key.provider, "name": key.name, "base_url": key.base_url, **more}
    audit.append(workspace_id=key.workspace_id, actor=by, event=event, details=details)
