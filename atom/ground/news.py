"""News: a word that something has changed, for every process that listens. What has changed stands in the database."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

import orjson
import structlog
from redis.exceptions import RedisError

from atom.ground.errors import Unavailable
from atom.ground.store import store, sync_store

log = structlog.get_logger(__name__)

News: TypeAlias = "asyncio.Queue[dict[str, Any] | None]"
PREFIX = "atom:news:"
LOOK_UP_S = 5.0
# A listener that is so far behind is told to look for itself.
WAITING_MOST = 100


def tell(topic: str, news: dict[str, Any]) -> None:
    """Tell all who listen to `topic`. For sync code, after its commit; the store being away harms nobody."""
    try:
        sync_store().publish(PREFIX + topic, orjson.dumps(news, default=str))
    except (RedisError, Unavailable):
        log.warning("news_not_told", topic=topic)


class Hub:
    """The listeners of one event loop, behind one connection."""

    def __init__(self) -> None:
        self.listeners: dict[str, set[News]] = {}
        self.task: asyncio.Task[None] | None = None

    def join(self, topic: str) -> News:
        queue: News = asyncio.Queue(WAITING_MOST)
        # Whatever was told until now has not been heard.
        queue.put_nowait(None)
        self.listeners.setdefault(topic, set()).add(queue)
        if self.task is None or self.task.done():
            self.task = asyncio.create_task(self._listen())
        return queue

    def leave(self, topic: str, queue: News) -> None:
        waiting = self.listeners.get(topic, set())
        waiting.discard(queue)
        if not waiting:
            self.listeners.pop(topic, None)

    async def _listen(self) -> None:
        while self.listeners:
            try:
                async with store().pubsub(ignore_subscribe_messages=True) as channel:
                    await channel.psubscribe(PREFIX + "*")
                    # Whatever was told before this connection stood has not been heard.
                    for topic in list(self.listeners):
                        self._offer(topic, None)
                    while self.listeners:
                        message = await channel.get_message(timeout=LOOK_UP_S)
                        if message is not None:
                            topic = message["channel"].decode().removeprefix(PREFIX)
                            self._offer(topic, orjson.loads(message["data"]))
            except RedisError:
                log.warning("news_channel_lost", exc_info=True)
                await asyncio.sleep(0.5)

    def _offer(self, topic: str, news: dict[str, Any] | None) -> None:
        for queue in self.listeners.get(topic, ()):
            if queue.full():
                while not queue.empty():
                    queue.get_nowait()
                news = None
            queue.put_nowait(news)


_hubs: "WeakKeyDictionary[asyncio.AbstractEventLoop, Hub]" = WeakKeyDictionary()


class Ear:
    """What one listener hears."""

    def __init__(self, queue: News) -> None:
        self._queue = queue

    async def next(self, within_s: float | None = None) -> dict[str, Any] | None:
        """The next news; None when some may have been missed, or nothing was told in time: look for yourself."""
        try:
            return await asyncio.wait_for(self._queue.get(), within_s)
        except TimeoutError:
            return None


@contextmanager
def listening(topic: str) -> Iterator[Ear]:
    """Hear the news of `topic`, from a first None on: what was told before the ear was there is not repeated."""
    hub = _hubs.setdefault(asyncio.get_running_loop(), Hub())
    queue = hub.join(topic)
    try:
        yield Ear(queue)
    finally:
        hub.leave(topic, queue)
