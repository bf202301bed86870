"""A workspace's opened keys, remembered for a second: a call must not wait for a query."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
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
    priority: int = 100


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
    keys = tuple(opened(row) for row in rows)
    if len(_remembered) >= REMEMBER_MOST:
        _remembered.clear()
    _remembered[workspace_id] = (time.monotonic() + REMEMBER_S, keys)
    return keys


def forget(workspace_id: UUID) -> None:
    """After a change: at once in this process, within REMEMBER_S elsewhere."""
    _remembered.pop(workspace_id, None)


# When this process last used a key, counted in uses.
_turns: dict[UUID, int] = {}
_uses = count(1)


def in_turn(keys: Sequence[OpenKey], *, prefer: UUID | None = None) -> list[OpenKey]:
    """Lower priority first; among equals the preferred one, then the one that has not been used for longest, so that
    they take turns."""
    return sorted(keys, key=lambda key: (key.priority, key.id != prefer, _turns.get(key.id, 0)))


def take_turn(key_id: UUID | None) -> None:
    """A call begins with this key."""
    if key_id is None:
        return
    if len(_turns) >= REMEMBER_MOST:
        _turns.clear()
    _turns[key_id] = next(_uses)


def opened(row: ProviderKey) -> OpenKey:
    """The key with its secret, if it opens; nothing is remembered."""
    secret: str | None
    try:
        secret = row.secret()
    except Undecryptable:
        log.warning("provider_key_undecryptable", key_id=str(row.id), provider=row.provider)
        secret = None
    return OpenKey(
        id=row.id,
        provider=row.provider,
        name=row.name,
        base_url=row.base_url,
        secret=secret,
        priority=row.priority,
    )
