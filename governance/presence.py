"""Who is there: people who watch over running agents, and operators who were active a moment ago. In the store.

A live supervision session calls `touch` again and again while it lasts, and `leave` at its end; a session that died
without a word is forgotten by itself. A store that is away knows of nobody: then what is watched asks.
"""

import time
from typing import Any
from uuid import UUID

import structlog
from redis.exceptions import RedisError

from atom.ground.errors import Unavailable
from atom.ground.store import sync_store

log = structlog.get_logger(__name__)

# A session says that it lives at least every third of this.
WATCHING_S = 30.0
# An operator who was active within this is present: triggered runs of supervised agents may start.
PRESENT_S = 300.0


def _watching(workspace_id: UUID) -> str:
    return f"atom:presence:{workspace_id}:watching"


def _active(workspace_id: UUID) -> str:
    return f"atom:presence:{workspace_id}:active"


def touch(workspace_id: UUID, *, session: str, user_id: UUID) -> None:
    """The supervision session `session` (any unique word) of this operator is live."""
    now = time.time()
    pipe = sync_store().pipeline(transaction=False)
    for key, member, lasts in (
        (_watching(workspace_id), session, WATCHING_S),
        (_active(workspace_id), str(user_id), PRESENT_S),
    ):
        pipe.zremrangebyscore(key, "-inf", now - lasts)
        pipe.zadd(key, {member: now})
        pipe.expire(key, int(lasts))
    pipe.execute()


def leave(workspace_id: UUID, *, session: str) -> None:
    """This session watches no longer. Its operator counts as present for a while still."""
    sync_store().zrem(_watching(workspace_id), session)


def is_watched(workspace_id: UUID) -> bool:
    """Whether a live session can see and stop what the workspace's agents do."""
    return _is_anybody(_watching(workspace_id), WATCHING_S)


def is_operator_present(workspace_id: UUID) -> bool:
    """Whether an operator was active within the last five minutes."""
    return _is_anybody(_active(workspace_id), PRESENT_S)


def _is_anybody(key: str, lasts: float) -> bool:
    try:
        return bool(sync_store().zcount(key, time.time() - lasts, "+inf"))
    except (RedisError, Unavailable):
        log.warning("presence_unknown", key=key)
        return False


def operators_present(workspace_id: UUID) -> list[UUID]:
    """The operators who were active within the last five minutes; nobody while the store is away."""
    try:
        found: Any = sync_store().zrangebyscore(_active(workspace_id), time.time() - PRESENT_S, "+inf")
    except (RedisError, Unavailable):
        log.warning("presence_unknown", workspace=str(workspace_id))
        return []
    return [UUID(member.decode()) for member in found]
