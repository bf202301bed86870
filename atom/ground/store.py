"""Connections to the store (Valkey or Redis). Each event loop has one client; sync code has one a process."""

import asyncio
from functools import cache
from weakref import WeakKeyDictionary

import redis
import redis.asyncio
from django.conf import settings
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialBackoff

from atom.ground.errors import Unavailable

# Many more wait their turn than talk at once: an answer takes well under a millisecond.
CONNECTIONS = 64
TURN_WITHIN_S = 10

_clients: "WeakKeyDictionary[asyncio.AbstractEventLoop, redis.asyncio.Redis]" = WeakKeyDictionary()


def _url() -> str:
    if not settings.REDIS_URL:
        raise Unavailable("The store is not running. Start Atom with `make up`, or set REDIS_URL.")
    return str(settings.REDIS_URL)


def store() -> redis.asyncio.Redis:
    """This event loop's client; bytes in, bytes out."""
    loop = asyncio.get_running_loop()
    if loop not in _clients:
        pool = redis.asyncio.BlockingConnectionPool.from_url(
            _url(),
            max_connections=CONNECTIONS,
            timeout=TURN_WITHIN_S,
            # A blocking read may wait as long as it likes.
            socket_timeout=None,
            socket_connect_timeout=5,
            retry=AsyncRetry(ExponentialBackoff(cap=1), 3),
        )
        _clients[loop] = redis.asyncio.Redis.from_pool(pool)
    return _clients[loop]


async def close_store() -> None:
    """Close this event loop's client, at the end of the process or of a worker's loop."""
    client = _clients.pop(asyncio.get_running_loop(), None)
    if client is not None:
        await client.aclose()


@cache
def _sync_client(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5)


def sync_store() -> redis.Redis:
    """The client for sync code."""
    return _sync_client(_url())
