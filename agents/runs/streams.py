"""Run events through the store: a run's process appends, any process follows from any `seq`.

One stream per run. An entry carries a batch of events as JSON lines and its id is the batch's last `seq`, so a
cursor is simply a `seq`. A process reads all the runs it follows with one blocking call.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4
from weakref import WeakKeyDictionary

import structlog
from django.conf import settings
from redis.asyncio.client import Pipeline
from redis.exceptions import RedisError

from agents.runs.events import Recorded, RunEnded, RunEvent, decode, encode
from atom.ground.errors import Unavailable
from atom.ground.store import store

log = structlog.get_logger(__name__)

# Batches a slow follower may leave waiting before it is sent back to the store for them.
QUEUE_BATCHES = 1024
READ_BLOCK_MS = 5_000
# Events of a run whose listener reads along in this process gather for as long.
GATHER_S = 0.02
# Events that may wait for the store before the run itself waits.
UNWRITTEN_EVENTS = 2_000
# A store that dies may forget what it was told in its last second; so long it can be told again.
REMEMBER_S = 3.0
# A run waits this long for a store that went away.
STORE_BACK_WITHIN_S = 30.0
STORE_RETRY_S = 0.2


def events_key(run_id: UUID | str) -> str:
    return f"atom:run:{run_id}:events"


def heard_key(run_id: UUID | str) -> str:
    """There while somebody listens to the run."""
    return f"atom:run:{run_id}:heard"


# An entry goes in when the one before it is there. KEYS: the stream; ARGV: the `seq` before, its own, its events, what
# the run has used, if that is news, and with the last events how long the stream is kept. Gives the newest `seq` that
# is there now.
_APPEND = """
local top = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
local newest = top[1] and tonumber(string.match(top[1][1], '^%d+')) or 0
if newest >= tonumber(ARGV[1]) and newest < tonumber(ARGV[2]) then
    local used = ARGV[4] == '' and {} or {'u', ARGV[4]}
    redis.call('XADD', KEYS[1], ARGV[2] .. '-0', 'e', ARGV[3], unpack(used))
    newest = tonumber(ARGV[2])
end
if ARGV[5] ~= '' then redis.call('EXPIRE', KEYS[1], ARGV[5]) end
return newest
"""


@dataclass(frozen=True, slots=True)
class Batch:
    """Events later than `after` up to `seq`, as they stand in one entry."""

    after: int
    seq: int
    lines: list[bytes]
    used: bytes | None
    at: float = field(default_factory=time.monotonic)


class RunLog:
    """The writing end of one run's stream. The first event goes at once; while it is on its way, others gather.

    With `gather_s` events gather for so many seconds, for runs whose listener reads along here. A store that goes away
    for a while loses none: they wait for it, and what it forgot it is told again.
    """

    def __init__(self, run_id: UUID, *, seq: int = 0, gather_s: float = 0.0) -> None:
        self.run_id = str(run_id)
        self.seq = seq
        self._gather_s = gather_s
        # Somebody waits until all is written.
        self._hurried = asyncio.Event()
        self._is_over = False
        # News of what the run has used, written beside its events; None when there is none.
        self.used: Callable[[], bytes | None] = lambda: None
        self._waiting: list[bytes] = []
        self._recent: deque[Batch] = deque()
        self._written = asyncio.Event()
        self._written.set()
        self._writer: asyncio.Task[None] | None = None
        # Who reads along in this process without the way through the store.
        self.listeners: set[Follower] = set()

    @property
    def is_heard(self) -> bool:
        """Whether somebody for whose sake the run goes on reads along here."""
        return any(listener.counts for listener in self.listeners)

    def let_go(self) -> None:
        """Nothing more comes from this process: whoever still listens goes on in the store."""
        for listener in self.listeners:
            listener.leave_log()

    async def emit(self, event: RunEvent) -> int:
        """Give the event its `seq` and hand it to the store; waits only when the store is far behind."""
        self.seq += 1
        self._is_over = isinstance(event, RunEnded)
        raw = encode(self.seq, self.run_id, event)
        self._waiting.append(raw)
        for listener in self.listeners:
            listener.offer([Recorded(self.seq, raw, event)])
        self._written.clear()
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())
        if len(self._waiting) > UNWRITTEN_EVENTS:
            await self.flush()
        return self.seq

    async def _write(self) -> None:
        while self._waiting:
            await self._gather()
            lines, self._waiting = self._waiting, []
            batch = Batch(self.seq - len(lines), self.seq, lines, self.used())
            try:
                await self._append(batch)
            except RedisError:
                self._waiting = batch.lines + self._waiting
                raise
            self._recent.append(batch)
            while self._recent[0].at < batch.at - REMEMBER_S:
                self._recent.popleft()
        self._written.set()

    async def _gather(self) -> None:
        if self._gather_s and not self._hurried.is_set():
            try:
                async with asyncio.timeout(self._gather_s):
                    await self._hurried.wait()
            except TimeoutError:
                return

    async def _append(self, batch: Batch) -> None:
        give_up_at = time.monotonic() + STORE_BACK_WITHIN_S
        while True:
            try:
                newest = await self._add(batch, batch.after)
                if newest < batch.seq:
                    await self._tell_again(batch, newest)
                return
            except RedisError as exc:
                if time.monotonic() > give_up_at:
                    raise
                log.warning("store_away_events_wait", run_id=self.run_id, reason=type(exc).__name__)
                await asyncio.sleep(STORE_RETRY_S)

    async def _tell_again(self, batch: Batch, newest: int) -> None:
        """The store has been restarted and forgot what came after `newest`. What nobody has any more stays a gap."""
        log.warning("store_forgot_events", run_id=self.run_id, after=newest)
        for one in (*self._recent, batch):
            if one.seq > newest:
                newest = await self._add(one, newest)

    async def _add(self, batch: Batch, after: int) -> int:
        """The newest `seq` in the store then: `batch`'s own, unless the store has forgotten what was before."""
        append = store().register_script(_APPEND)
        is_last = self._is_over and batch.seq == self.seq
        # From the end on, the stream is kept for the window in which a client may come back.
        keep_s = max(1, int(settings.ATOM_STREAM_WINDOW)) if is_last else b""
        entry = [b"\n".join(batch.lines), batch.used or b"", keep_s]
        found: int = await append(keys=[events_key(self.run_id)], args=[after, batch.seq, *entry])
        return found

    async def flush(self) -> None:
        """Wait until every event stands in the store; what the store said of the writing is raised."""
        self._hurried.set()
        while not self._written.is_set():
            if self._writer is None or self._writer.done():
                self._writer = asyncio.create_task(self._write())
            # Who waits may be cancelled; what stands in the line is written all the same.
            await asyncio.shield(self._writer)
        self._hurried.clear()


def _events(entries: Iterable[tuple[bytes, dict[bytes, bytes]]], after: int) -> list[Recorded]:
    found = (decode(line) for _, fields in entries for line in fields[b"e"].split(b"\n"))
    return [recorded for recorded in found if recorded.seq > after]


async def recorded_events(run_id: UUID, after: int = 0) -> list[Recorded]:
    """Every event of the run later than `after` that the store still has."""
    found: Any = await store().xrange(events_key(run_id), min=f"({after}-0")
    return _events(found, after)


async def _page(run_id: UUID, after: int) -> tuple[list[Recorded], bool]:
    """The next events later than `after`, and whether there may be more: a reader far behind gets them bit by bit."""
    found: Any = await store().xrange(events_key(run_id), min=f"({after}-0", count=QUEUE_BATCHES)
    return _events(found, after), len(found) == QUEUE_BATCHES


async def used_of(run_id: UUID) -> bytes | None:
    """The newest that the run's process told of what the run has used."""
    found: Any = await store().xrange(events_key(run_id))
    return next((fields[b"u"] for _, fields in reversed(found) if b"u" in fields), None)


async def last_seq(run_id: UUID | str) -> int:
    """The newest `seq` in the store; 0 when the run's stream is not (or no longer) there."""
    found: Any = await store().xrevrange(events_key(run_id), count=1)
    return int(found[0][0].split(b"-")[0]) if found else 0


class Follower:
    """One listener's queue. When it overflows the listener reads the store again from where it is.

    The run goes on for the sake of those who count; an operator who looks on does not.
    """

    def __init__(self, *, counts: bool = True) -> None:
        self.counts = counts
        self.queue: deque[list[Recorded]] = deque()
        self.is_behind = False
        # The run's own process has nothing more to say.
        self.is_left = False
        self._news = asyncio.Event()

    def offer(self, recorded: list[Recorded]) -> None:
        if len(self.queue) < QUEUE_BATCHES:
            self.queue.append(recorded)
        else:
            self.is_behind = True
        self._news.set()

    def leave_log(self) -> None:
        self.is_left = True
        self._news.set()

    async def wait(self, idle_s: float) -> bool:
        """Until there is news. False after `idle_s` of silence."""
        self._news.clear()
        if self.queue or self.is_behind or self.is_left:
            return True
        try:
            async with asyncio.timeout(idle_s):
                await self._news.wait()
        except TimeoutError:
            return False
        return True

    def taken(self) -> list[Recorded]:
        """All that has come; what did not fit is in the store."""
        found = [recorded for batch in self.queue for recorded in batch]
        self.queue.clear()
        return found


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
        recorded = _events(entries, 0)
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
    """Each event later than `after`, once and in order, up to and with `RunEnded`; None after `idle_s` of silence.

    `counts`: the run goes on for the sake of who reads this. `near`: the run's writing end in this process, for readers
    who never come back with a cursor: they get what is said before it stands in the store. Raises Unavailable when
    events are missing: the store has lost them.
    """
    follower, seq = Follower(counts=counts), after
    if near is not None:
        near.listeners.add(follower)
        try:
            if near.seq != seq:
                await near.flush()
                follower.is_behind = True
            async for recorded in _followed(follower, run_id, seq, idle_s, near):
                if recorded is not None:
                    seq = recorded.seq
                yield recorded
                if recorded is not None and isinstance(recorded.event, RunEnded):
                    return
        finally:
            near.listeners.discard(follower)
        follower = Follower(counts=counts)
    key, hub = str(run_id), reader()
    hub.join(key, follower)
    try:
        follower.is_behind = True
        async for recorded in _followed(follower, run_id, seq, idle_s):
            yield recorded
    finally:
        hub.leave(key, follower)


async def _followed(
    follower: Follower, run_id: UUID, seq: int, idle_s: float, near: RunLog | None = None
) -> AsyncGenerator[Recorded | None, None]:
    """`follow` for one source: ends with `RunEnded`, or when the run's process has nothing more to say."""
    while True:
        if follower.is_behind:
            follower.is_behind = False
            follower.queue.clear()
            if near is not None:
                await near.flush()
            (fresh, follower.is_behind), is_all = await _page(run_id, seq), True
            if near is None and not follower.is_behind:
                await reader().tail(str(run_id), fresh[-1].seq if fresh else seq)
        elif not await follower.wait(idle_s):
            yield None
            continue
        else:
            fresh, is_all = follower.taken(), False
            if not fresh and follower.is_left:
                return
        for recorded in fresh:
            if recorded.seq <= seq:
                continue
            if recorded.seq != seq + 1:
                if is_all:
                    raise Unavailable("A part of this run's events is lost; its message has what was said.")
                # What is between may be in the store.
                follower.is_behind = True
                break
            seq = recorded.seq
            yield recorded
            if isinstance(recorded.event, RunEnded):
                return
