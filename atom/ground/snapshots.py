"""Snapshots: what every call or verdict needs, held in the process and thrown away when it changes.

A change announces itself in the store before it commits: it counts the version of (kind, workspace) up and leaves a
mark for a while. Every process compares the version twice a second. While the mark stands, whatever is loaded counts
for that half second only, because the change may not have committed yet; so no message after the commit can be lost,
and a process that dies between the two loses nothing. Without the store every half second reads the database.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar, cast
from uuid import UUID

import redis
import structlog
from django.db import transaction

from atom.ground.errors import Unavailable
from atom.ground.store import sync_store

log = structlog.get_logger(__name__)

T = TypeVar("T")
CHECK_EVERY_S = 0.5
# Longer than any transaction that changes what is held.
MARK_S = 30
# However the store fares, nothing is older than this.
MAX_AGE_S = 10.0
HOLD_MOST = 5_000
_AWAY = (redis.RedisError, Unavailable)


@dataclass(frozen=True, slots=True)
class Figures:
    """How a kind of snapshot fares: `hits` were answered from memory, `loads` read the database; ages in seconds."""

    hits: int
    loads: int
    size: int
    oldest_age_s: float

    @property
    def hit_rate(self) -> float:
        return self.hits / (self.hits + self.loads) if self.hits + self.loads else 0.0


@dataclass(frozen=True, slots=True)
class _Held(Generic[T]):
    value: T
    loaded_at: float
    # The store's version when this was loaded; None when it may be outdated by the next look.
    version: bytes | None


class Snapshots(Generic[T]):
    """One snapshot a workspace, made by `load`. `kind` names it in the store and in the metrics."""

    def __init__(self, kind: str, load: Callable[[UUID], T]) -> None:
        self.kind = kind
        self._load = load
        self._held: dict[UUID, _Held[T]] = {}
        self._checked_at: dict[UUID, float] = {}
        # Counts changes made in this process, so that a load that began before one is not kept after it.
        self._changes = 0
        self._lock = threading.Lock()
        self._hits = self._loads = 0
        _KINDS[kind] = self

    def get(self, workspace_id: UUID) -> T:
        """The workspace's snapshot, at most CHECK_EVERY_S behind what has been committed anywhere."""
        held = self._held.get(workspace_id)
        now = time.monotonic()
        if held is not None and now - self._checked_at.get(workspace_id, 0.0) < CHECK_EVERY_S:
            self._hits += 1
            return held.value
        changes = self._changes
        version = self._version(workspace_id)
        is_current = held is not None and version is not None and held.version == version
        if held is None or not is_current or now - held.loaded_at >= MAX_AGE_S:
            held = _Held(self._load(workspace_id), now, version)
            self._loads += 1
        else:
            self._hits += 1
        self._keep(workspace_id, held, now, changes)
        return held.value

    def recalled(self, workspace_id: UUID) -> T | None:
        """The snapshot if it was looked at just now, without asking anybody: for the event loop. None: `get` it."""
        held = self._held.get(workspace_id)
        if held is None or time.monotonic() - self._checked_at.get(workspace_id, 0.0) >= CHECK_EVERY_S:
            return None
        self._hits += 1
        return held.value

    def _keep(self, workspace_id: UUID, held: _Held[T], now: float, changes: int) -> None:
        with self._lock:
            if changes != self._changes:
                return
            if len(self._held) >= HOLD_MOST:
                self._held.clear()
                self._checked_at.clear()
            self._held[workspace_id], self._checked_at[workspace_id] = held, now

    def _version(self, workspace_id: UUID) -> bytes | None:
        """The version in the store; None while a change is under way, and when the store cannot say."""
        try:
            version, mark = cast(list[bytes | None], sync_store().mget(*self._keys(workspace_id)))
        except _AWAY:
            return None
        return None if mark else bytes(version or b"0")

    def _keys(self, workspace_id: UUID) -> tuple[str, str]:
        key = f"atom:snapshot:{self.kind}:{workspace_id}"
        return key, f"{key}:mark"

    def changing(self, workspace_id: UUID) -> None:
        """To be called in the transaction that changes what `load` reads, before it writes."""
        version, mark = self._keys(workspace_id)
        try:
            with sync_store().pipeline() as pipe:
                pipe.incr(version)
                pipe.set(mark, b"1", ex=MARK_S)
                pipe.execute()
        except _AWAY:
            log.warning("change_not_announced", kind=self.kind, workspace=str(workspace_id))
        self.forget(workspace_id)
        transaction.on_commit(partial(self.forget, workspace_id))

    def forget(self, workspace_id: UUID) -> None:
        """Drop what this process holds of the workspace."""
        with self._lock:
            self._changes += 1
            self._held.pop(workspace_id, None)
            self._checked_at.pop(workspace_id, None)

    def figures(self) -> Figures:
        now = time.monotonic()
        ages = [now - held.loaded_at for held in list(self._held.values())]
        return Figures(self._hits, self._loads, len(ages), max(ages, default=0.0))


_KINDS: dict[str, Snapshots[Any]] = {}


def figures() -> dict[str, Figures]:
    """How every kind of snapshot fares in this process."""
    return {kind: snapshots.figures() for kind, snapshots in _KINDS.items()}
