"""The store's client."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis

from atom.ground import store as connections


@pytest.fixture
async def client(store: redis.Redis) -> AsyncIterator[Any]:
    # Untyped, because a pipeline's commands are typed as if they were answers.
    yield connections.store()
    await connections.close_store()


def begun(asked: Any) -> "asyncio.Task[Any]":
    return asyncio.create_task(asked)


async def test_more_callers_than_connections_take_their_turn(store: redis.Redis) -> None:
    client = connections.store()
    try:
        counts = await asyncio.gather(*[client.incr("turns") for _ in range(300)])
    finally:
        await connections.close_store()
    assert sorted(counts) == list(range(1, 301))


async def test_what_many_ask_at_once_goes_out_together(client: Any, store: redis.Redis) -> None:
    await client.get("a")
    before = store.info("stats")
    pipes = [client.pipeline(transaction=False).incr("a").get("a") for _ in range(50)]
    single, together = await asyncio.gather(
        asyncio.gather(*[client.incr("b") for _ in range(50)]), asyncio.gather(*[pipe.execute() for pipe in pipes])
    )
    assert sorted(single) == list(range(1, 51))
    assert sorted(counted for counted, _ in together) == list(range(1, 51))
    assert all(int(read) >= counted for counted, read in together)
    after = store.info("stats")
    assert after["total_connections_received"] == before["total_connections_received"]
    assert after["total_reads_processed"] - before["total_reads_processed"] < 10


async def test_one_callers_mistake_is_no_other_callers(client: Any) -> None:
    await client.set("text", "no list")
    pipe = client.pipeline(transaction=False).set("x", 1).lpush("text", "y").get("x")
    asked: list[Any] = [client.lpush("text", "x"), client.get("text"), pipe.execute()]
    wrong, right, several = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(wrong, redis.ResponseError)
    assert right == b"no list"
    assert isinstance(several, redis.ResponseError)
    pipe = client.pipeline(transaction=False).get("x").lpush("text", "y").get("text")
    first, second, third = await pipe.execute(raise_on_error=False)
    assert (first, type(second), third) == (b"1", redis.ResponseError, b"no list")


async def test_who_is_cancelled_takes_nobody_with_it(client: Any) -> None:
    asked = [begun(client.incr("turns")) for _ in range(20)]
    await asyncio.sleep(0)
    for one in asked[::2]:
        one.cancel()
    told = await asyncio.gather(*asked, return_exceptions=True)
    assert sum(isinstance(one, asyncio.CancelledError) for one in told) == 10
    assert all(isinstance(one, int) for one in told[1::2])
    assert await client.get("turns") == b"20"


async def test_a_command_that_waits_in_the_store_holds_up_no_other(client: Any) -> None:
    waiting = begun(client.xread({"news": "$"}, block=20_000))
    for _ in range(20):
        await asyncio.wait_for(client.incr("turns"), 5)
    assert not waiting.done()
    await client.xadd("news", {"a": "b"})
    assert await asyncio.wait_for(waiting, 5)


async def test_a_store_that_is_away_is_told_to_all_who_ask_and_found_again(client: Any) -> None:
    pool = client.connection_pool
    port, pool.connection_kwargs["port"] = pool.connection_kwargs["port"], 1
    told = await asyncio.gather(*[begun(client.incr("turns")) for _ in range(20)], return_exceptions=True)
    assert all(isinstance(one, redis.ConnectionError) for one in told)
    pool.connection_kwargs["port"] = port
    await pool.disconnect()
    pool.reset()
    assert await client.incr("turns") == 1
