"""A workspace's opened keys, remembered for a second: a call must not wait for a query."""

import time
from dataclasses import dataclass, field
from uuid import UUID

import structlog

from llm.models import ProviderKey
from llm.sealing import Undecryptable

log = structlog.get_logger(__name__)

REMEMBER_S = 1.0
REMEMBER_MOST = 10_000


@dataclass(frozen=True, slots=True)
class OpenKey:
    """A key that is enabled; `secret` is None when it does not open any more."""

    id: UUID
    provider: str
    name: str
    base_url: str
    secret: str | None = field(repr=False)


_remembered: dict[UUID, tuple[float, tuple[OpenKey, ...]]] = {}


def recalled(workspace_id: UUID) -> tuple[OpenKey, ...] | None:
    """The keys if they were read within the last second; no query."""
    found = _remembered.get(workspace_id)
    return found[1] if found and found[0] > time.monotonic() else None


def open_keys(workspace_id: UUID) -> tuple[OpenKey, ...]:
    """The enabled keys, first used first."""
    known = recalled(workspace_id)
    if known is not None:
        return known
    rows = ProviderKey.objects.filter(workspace_id=workspace_id, is_enabled=True).order_by("priority", "created_at")
    keys = tuple(_opened(row) for row in rows)
    if len(_remembered) >= REMEMBER_MOST:
        _remembered.clear()
    _remembered[workspace_id] = (time.monotonic() + REMEMBER_S, keys)
    return keys


def forget(workspace_id: UUID) -> None:
    """After a change: at once in this process, within REMEMBER_S elsewhere."""
    _remembered.pop(workspace_id, None)


def _opened(row: ProviderKey) -> OpenKey:
    secret: str | None
    try:
        secret = row.secret()
    except Undecryptable:
        log.warning("provider_key_undecryptable", key_id=str(row.id), provider=row.provider)
        secret = None
    return OpenKey(id=row.id, provider=row.provider, name=row.name, base_url=row.base_url, secret=secret)
