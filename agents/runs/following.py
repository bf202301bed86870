"""The reading end of the runs' streams: any process follows any run from any `seq`.

A process reads all the runs it follows with one blocking call.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any
from uuid import UUID, uuid4
from weakref import WeakKeyDictionary

import structlog
from django.conf import settings
from redis.asyncio.client import Pipeline
from redis.exceptions import RedisError

from agents.runs.events import Recorded, RunEnded
from agents.runs.streams import Follower, RunLog, entries_of, events_key, heard_key, page_of
from atom.ground.errors import Unavailable
from atom.ground.store import store

log = structlog.get_logger(__name__)

READ_BLOCK_MS = 5_000


class Reader:
    """The reading end of one process: a single task tails the streams of all followed runs."""

    def __init__(self) -> None:
        self.followers: dict[str, set[Follower]] = {}
        self.cursors: dict[str, int] = {}
        self.wake_key = f"atom:reader:{uuid4()}"
        self.wake_cursor = "0"
        self.task: asyncio.Task[None] | None = None
        self.marker: asyncio.Task[None] | None = None

    def join(self, run_id: str, follower: Follower) -> None:
        self.followers.setdefault(run_id, set()).add(follower)

    async def tail(self, run_id: str, seq: int) -> None:
        """Read this run from `seq` on. An earlier cursor wins: followers drop what they have already seen."""
        if self.cursors.get(run_id, seq + 1) <= seq:
            return
        self.cursors[run_id] = seq
        if self.task is None or self.task.done():
            self.task = asyncio.create_task(self._read())
            self.marker = asyncio.create_task(self._mark_heard())
        # The reader may be inside a blocking call that does not know this run yet.
        pipe = store().pipeline(transaction=False)
        pipe.xadd(self.wake_key, {"w": b"1"}, maxlen=10)
        pipe.expire(self.wake_key, 60)
        self._mark(pipe, run_id)
        await pipe.execute()

    def leave(self, run_id: str, follower: Follower) -> None:
        listening = self.followers.get(run_id, set())
        listening.discard(follower)
        if not listening:
            self.followers.pop(run_id, None)
            self.cursors.pop(run_id, None)

    async def _read(self) -> None:
        while self.followers:
            cursors: dict[Any, Any] = {events_key(run): f"{seq}-0" for run, seq in self.cursors.items()}
            cursors[self.wake_key] = self.wake_cursor
            try:
                found: Any = await store().xread(cursors, block=READ_BLOCK_MS)
            except RedisError:
                log.warning("store_unreadable", exc_info=True)
                await asyncio.sleep(0.5)
                continue
            for key, entries in found:
                self._dispatch(key.decode(), entries)

    def _dispatch(self, key: str, entries: list[tuple[bytes, dict[bytes, bytes]]]) -> None:
        if key == self.wake_key:
            self.wake_cursor = entries[-1][0].decode()
            return
        run_id = key.split(":")[2]
        if run_id in self.cursors:
            self.cursors[run_id] = int(entries[-1][0].split(b"-")[0])
        recorded = entries_of(entries, 0)
        for follower in self.followers.get(run_id, ()):
            follower.offer(recorded)

    def _mark(self, pipe: Pipeline, run_id: str) -> None:
        if any(follower.counts for follower in self.followers.get(run_id, ())):
            pipe.set(heard_key(run_id), b"1", px=int(settings.ATOM_ABANDON_AFTER * 1000))

    async def _mark_heard(self) -> None:
        """Tell the runs' processes that somebody listens here."""
        while self.followers:
            pipe = store().pipeline(transaction=False)
            for run_id in self.followers:
                self._mark(pipe, run_id)
            try:
                await pipe.execute()
            except RedisError:
                log.warning("store_unwritable", exc_info=True)
            await asyncio.sleep(settings.ATOM_ABANDON_AFTER / 4)


_readers: "WeakKeyDictionary[asyncio.AbstractEventLoop, Reader]" = WeakKeyDictionary()


def reader() -> Reader:
    """This event loop's reader."""
    return _readers.setdefault(asyncio.get_running_loop(), Reader())


async def follow(
    run_id: UUID, *, after: int = 0, idle_s: float = 15.0, counts: bool = True, near: RunLog | None = None
) -> AsyncGenerator[Recorded | None, None]:
    """`follow_together`, one event after the other."""
    async with aclosing(follow_together(run_id, after=after, idle_s=idle_s, counts=counts, near=near)) as batches:
        async for batch in batches:
            if batch is None:
                yield None
                continue
            for recorded in batch:
                yield recorded


async def follow_together(
    run_id: UUID, *, after: int = 0, idle_s: float = 15.0, counts: bool = True, near: RunLog | None = None
) -> AsyncGenerator[list[Recorded] | None, None]:
    """Each event later than `after`, once and in order, up to and with `RunEnded`; None after `idle_s` of silence.

    What is there at the same time comes together, never an empty list. `counts`: the run goes on for the sake of who
    reads this. `near`: the run's writing end in this process, for readers who never come back with a cursor: they get
    what is said before it stands in the store. Raises Unavailable when events are missing: the store has lost them.
    """
    follower, seq = Follower(counts=counts), after
    if near is not None:
        near.listeners.add(follower)
        try:
            if near.seq != seq:
                await near.flush()
                follower.is_behind = True
            async for batch in _followed(follower, run_id, seq, idle_s, near):
                if batch is not None:
                    seq = batch[-1].seq
                yield batch
                if batch is not None and isinstance(batch[-1].event, RunEnded):
                    return
        finally:
            near.listeners.discard(follower)
        follower = Follower(counts=counts)
    key, hub = str(run_id), reader()
    hub.join(key, follower)
    try:
        follower.is_behind = True
        async for batch in _followed(follower, run_id, seq, idle_s):
            yield batch
    finally:
        hub.leave(key, follower)


async def _followed(
    follower: Follower, run_id: UUID, seq: int, idle_s: float, near: RunLog | None = None
) -> AsyncGenerator[list[Recorded] | None, None]:
    """`follow_together` for one source: ends with `RunEnded`, or when the run's process has nothing more to say."""
    while True:
        if follower.is_behind:
            follower.is_behind = False
            follower.queue.clear()
            if near is not None:
                await near.flush()
            (found, follower.is_behind), is_all = await page_of(run_id, seq), True
            if near is None and not follower.is_behind:
                await reader().tail(str(run_id), found[-1].seq if found else seq)
        elif not await follower.wait(idle_s):
            yield None
            continue
        else:
            found, is_all = follower.taken(), False
            if not found and follower.is_left:
                return
        fresh = _in_order(found, seq)
        if fresh:
            seq = fresh[-1].seq
            yield fresh
            if isinstance(fresh[-1].event, RunEnded):
                return
        if found and found[-1].seq > seq:
            if is_all:
                raise Unavailable("A part of this run's events is lost; its message has what was said.")
            # What is between may be in the store.
            follower.is_behind = True


def _in_order(found: list[Recorded], seq: int) -> list[Recorded]:
    """The events that follow on `seq` without a gap, up to the end of the run."""
    fresh: list[Recorded] = []
    for recorded in found:
        if recorded.seq <= seq:
            continue
        if recorded.seq != seq + 1:
            break
        seq = recorded.seq
        fresh.append(recorded)
        if isinstance(recorded.event, RunEnded):
            break
    return fresh
