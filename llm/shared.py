"""What model calls keep in the store for all processes, and can do without: when the store is away, calls go on."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import redis.asyncio
import structlog
from redis.exceptions import RedisError

from atom.ground.errors import Unavailable
from atom.ground.store import close_store, store

log = structlog.get_logger(__name__)
T = TypeVar("T")

# A call waits this long for the store, and after a failure nobody asks it for as long as that.
PATIENCE_S = 2.0
AWAY_S = 1.0
# Until when (monotonic) each event loop leaves the store alone, and whether it has said so.
_away: "WeakKeyDictionary[asyncio.AbstractEventLoop, float]" = WeakKeyDictionary()


async def asked(question: Callable[[redis.asyncio.Redis], Awaitable[T]]) -> T | None:
    """The store's answer, or None when it is away."""
    loop = asyncio.get_running_loop()
    if time.monotonic() < _away.get(loop, 0.0):
        return None
    try:
        async with asyncio.timeout(PATIENCE_S):
            answer = await question(store())
    except (RedisError, Unavailable, TimeoutError, OSError) as exc:
        if loop not in _away:
            log.warning("store_away_calls_go_on", reason=type(exc).__name__)
        _away[loop] = time.monotonic() + AWAY_S
        return None
    if _away.pop(loop, None) is not None:
        log.info("store_back")
    return answer


async def run_script(script: str, keys: Sequence[str], args: Sequence[str | int]) -> Any:
    """Run a script in the store; None when it is away."""
    return await asked(lambda client: client.register_script(script)(keys=keys, args=args))


def from_sync(work: Coroutine[Any, Any, T]) -> T:
    """Run what asks the store from sync code (the admin, REST), on a loop and a connection of its own."""

    async def alone() -> T:
        try:
            return await work
        finally:
            await close_store()

    return asyncio.run(alone())
