"""The store's client."""

import asyncio

import redis

from atom.ground import store as connections


async def test_more_callers_than_connections_take_their_turn(store: redis.Redis) -> None:
    client = connections.store()
    try:
        counts = await asyncio.gather(*[client.incr("turns") for _ in range(300)])
    finally:
        await connections.close_store()
    assert sorted(counts) == list(range(1, 301))
