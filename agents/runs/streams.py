"""Run events in the store: a run's process appends, and any process reads from any `seq`, see `agents.runs.following`.

One stream per run. An entry carries a batch of events as JSON lines and its id is the batch's last `seq`, so a
cursor is simply a `seq`.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from redis.exceptions import RedisError

from agents.runs.events import Recorded, RunEnded, RunEvent, decode, encode
from atom.ground.store import store

log = structlog.get_logger(__name__)

# Batches a slow follower may leave waiting before it is sent back to the store for them.
QUEUE_BATCHES = 1024
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


def entries_of(entries: Iterable[tuple[bytes, dict[bytes, bytes]]], after: int) -> list[Recorded]:
    found = (decode(line) for _, fields in entries for line in fields[b"e"].split(b"\n"))
    return [recorded for recorded in found if recorded.seq > after]


async def recorded_events(run_id: UUID, after: int = 0) -> list[Recorded]:
    """Every event of the run later than `after` that the store still has."""
    found: Any = await store().xrange(events_key(run_id), min=f"({after}-0")
    return entries_of(found, after)


async def page_of(run_id: UUID, after: int) -> tuple[list[Recorded], bool]:
    """The next events later than `after`, and whether there may be more: a reader far behind gets them bit by bit."""
    found: Any = await store().xrange(events_key(run_id), min=f"({after}-0", count=QUEUE_BATCHES)
    return entries_of(found, after), len(found) == QUEUE_BATCHES


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
        if not self._has_news:
            # A whole `asyncio.timeout` would take longer than most of these waits.
            timer = asyncio.get_running_loop().call_later(idle_s, self._news.set)
            try:
                await self._news.wait()
            finally:
                timer.cancel()
        return self._has_news

    @property
    def _has_news(self) -> bool:
        return bool(self.queue) or self.is_behind or self.is_left

    def taken(self) -> list[Recorded]:
        """All that has come; what did not fit is in the store."""
        found = [recorded for batch in self.queue for recorded in batch]
        self.queue.clear()
        return found
