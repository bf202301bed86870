"""The one upstream client of each event loop. Nothing else in llm makes an HTTP client."""

import asyncio
import os
from collections.abc import Awaitable
from typing import TypeVar
from weakref import WeakKeyDictionary

import httpx
from django.conf import settings

from atom.ground.http import GuardedClient, build_client
from llm.messages import Deadlines

T = TypeVar("T")
_clients: "WeakKeyDictionary[asyncio.AbstractEventLoop, dict[frozenset[str], GuardedClient]]" = WeakKeyDictionary()


def allowed_hosts() -> frozenset[str]:
    """Private hosts that models may be called on: the configured ones, and the local model's own address."""
    hosts = frozenset(settings.ATOM_ALLOWED_PROVIDER_HOSTS)
    local = os.environ.get("LOCAL_BASE_URL")
    return hosts | {httpx.URL(local).netloc.decode()} if local else hosts


def client() -> GuardedClient:
    """This event loop's client for the hosts that are allowed now; connections are kept alive and shared."""
    hosts = allowed_hosts()
    by_hosts = _clients.setdefault(asyncio.get_running_loop(), {})
    if hosts not in by_hosts:
        # The wires keep the deadlines; here only the parts that they cannot see from outside.
        by_hosts[hosts] = build_client(allowed_hosts=hosts, timeout=httpx.Timeout(None))
    return by_hosts[hosts]


async def close_client() -> None:
    """Close this event loop's client, at the end of the process or of a worker's loop."""
    for made in _clients.pop(asyncio.get_running_loop(), {}).values():
        await made.aclose()


async def and_close(work: Awaitable[T]) -> T:
    """The outcome of work on an event loop that ends with it."""
    try:
        return await work
    finally:
        await close_client()


def deadlines() -> Deadlines:
    """As the settings say."""
    return Deadlines(
        connect_s=settings.ATOM_CONNECT_TIMEOUT,
        first_byte_s=settings.ATOM_FIRST_BYTE_TIMEOUT,
        chunk_s=settings.ATOM_CHUNK_TIMEOUT,
        total_s=settings.ATOM_TOTAL_TIMEOUT,
    )
