"""The journal: what a hot door did, kept in the store at once and written to the database a moment later, in batches.

A door notes entries together with what else it tells the store (`agents.runs.live`), so that they cost no round trip
and outlive the process. One writer at a time takes them in their order (`write_batch`): the worker's thread, or whoever
is about to read the database and may not miss them (`settle`). Which entry was written last stands in the database,
changed in the transaction that writes it: each is written exactly once, whoever is killed in between.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias
from uuid import uuid4

import orjson
import redis
import structlog
from django.conf import settings
from django.db import DatabaseError, close_old_connections, transaction

from atom.ground.database import in_db
from atom.ground.errors import Unavailable
from atom.ground.models import JournalMark
from atom.ground.store import store, sync_store

log = structlog.get_logger(__name__)

STREAM = "atom:journal"
# Tells one life of the stream from the next: a store that was emptied counts from the start again.
LIFE = "atom:journal:life"
# Entries that no writer could make sense of; kept for people.
REFUSED = "atom:journal:refused"
BATCH = 500
# With so many entries unwritten the doors write for themselves again.
MOST_WAITING = 20_000
# How long a reader waits at most for what is not written yet.
SETTLE_WITHIN_S = 10.0
# A store that does not answer within so many seconds is left alone for a while: readers take what the database has.
PATIENCE_S = 1.0
AWAY_S = 5.0
# Entries gather for as long before the worker's thread writes them.
GATHER_S = 0.25
LOOK_EVERY_S = 1.0
_AWAY = (redis.RedisError, Unavailable, OSError)

Written: TypeAlias = Mapping[str, Any]
Writer: TypeAlias = Callable[[Sequence[Written]], None]


@dataclass(frozen=True, slots=True)
class Entry:
    """`kind` names the writer; `data` is JSON, with UUIDs and times as texts."""

    kind: str
    data: dict[str, Any]

    @property
    def fields(self) -> tuple[str, bytes]:
        """As they stand in the stream, behind `k` and `d`; whoever notes the entry adds them there."""
        return self.kind, orjson.dumps(self.data, default=str)


@dataclass(frozen=True, slots=True)
class _Kind:
    place: int
    write: Writer


_KINDS: dict[str, _Kind] = {}
# What the store said last of the stream's length, and until when (monotonic) this process leaves the store alone.
_waiting = 0
_away_until = 0.0


def writes(kind: str, *, place: int) -> Callable[[Writer], Writer]:
    """Register who writes entries of this kind, many at a time. Of one batch, lower places are written first."""

    def register(write: Writer) -> Writer:
        _KINDS[kind] = _Kind(place, write)
        return write

    return register


# --- Noting -----------------------------------------------------------------------------------------------------
def is_open() -> bool:
    """Whether entries may be noted; if not, whoever asks writes to the database itself."""
    return settings.ATOM_JOURNAL and _waiting < MOST_WAITING


# --- Writing ----------------------------------------------------------------------------------------------------
def write_batch() -> int:
    """Write the oldest entries, at most BATCH, in one transaction; gives how many there were."""
    with transaction.atomic():
        # The row is the lock: one writer at a time, and who waits for it finds the next entries.
        mark = JournalMark.objects.select_for_update().get_or_create(pk=1)[0]
        life = _life()
        if mark.life != life:
            mark.life, mark.last_id = life, "0-0"
        found: Any = sync_store().xrange(STREAM, min=f"({mark.last_id}", count=BATCH)
        if found:
            _write([(fields[b"k"].decode(), fields[b"d"]) for _, fields in found])
            mark.last_id = found[-1][0].decode()
            mark.save()
        if mark.last_id != "0-0":
            # Only to free the memory: what the mark covers is never written again.
            transaction.on_commit(partial(sync_store().xtrim, STREAM, minid=_after(mark.last_id), approximate=False))
    return len(found)


def _life() -> str:
    client = sync_store()
    client.set(LIFE, uuid4().hex, nx=True)
    found: Any = client.get(LIFE)
    return str(found.decode())


def _after(entry_id: str) -> str:
    time_ms, _, number = entry_id.partition("-")
    return f"{time_ms}-{int(number) + 1}"


def _write(raw: list[tuple[str, bytes]]) -> None:
    by_kind: dict[str, list[bytes]] = {}
    for kind, data in raw:
        by_kind.setdefault(kind, []).append(data)
    for kind in sorted(by_kind, key=lambda name: _KINDS[name].place):
        rows = [orjson.loads(data) for data in by_kind[kind]]
        try:
            with transaction.atomic():
                _KINDS[kind].write(rows)
        except Exception as exc:
            if isinstance(exc, DatabaseError) and not transaction.get_connection().is_usable():
                raise
            log.exception("journal_batch_failed", kind=kind, entries=len(rows))
            _write_singly(kind, rows)


def _write_singly(kind: str, rows: Sequence[Written]) -> None:
    """One bad entry must not hold up the others; it is laid aside for people to look at."""
    for row in rows:
        try:
            with transaction.atomic():
                _KINDS[kind].write([row])
        except Exception:
            if not transaction.get_connection().is_usable():
                raise
            log.exception("journal_entry_refused", kind=kind)
            sync_store().rpush(REFUSED, orjson.dumps({"kind": kind, "data": row}))


# --- Reading ----------------------------------------------------------------------------------------------------
def settle() -> None:
    """Return when all that was noted before stands in the database. For sync code that is about to read it.

    A store that is away holds nobody up: what it keeps is written when it is back.
    """
    if time.monotonic() < _away_until:
        return
    try:
        _write_all()
    except _AWAY:
        _leave_alone()


def _write_all() -> None:
    give_up_at = time.monotonic() + SETTLE_WITHIN_S
    is_empty = not sync_store().xlen(STREAM)
    while not is_empty and time.monotonic() < give_up_at:
        is_empty = write_batch() < BATCH
    told_of(0)


async def written() -> None:
    """`settled` for who cannot go on without: raises Unavailable when the store does not answer."""
    try:
        await in_db(_write_all)
    except _AWAY as exc:
        raise Unavailable("The store does not answer just now.") from exc


async def settled() -> None:
    """`settle` for async code."""
    if time.monotonic() < _away_until:
        return
    try:
        async with asyncio.timeout(PATIENCE_S):
            is_empty = not await store().xlen(STREAM)
    except (*_AWAY, TimeoutError):
        _leave_alone()
        return
    if not is_empty:
        await in_db(settle)


def _leave_alone() -> None:
    global _away_until  # noqa: PLW0603  # one fact of this process
    _away_until = time.monotonic() + AWAY_S
    log.warning("journal_not_settled")


def told_of(length: int) -> None:
    """What the store said of the journal's length, for `is_open`."""
    global _waiting  # noqa: PLW0603  # as above
    _waiting = length


class Keeper(threading.Thread):
    """Writes what others note, until it is told to stop. One in each worker's main process."""

    def __init__(self) -> None:
        super().__init__(name="atom-journal", daemon=True)
        self._stopping = threading.Event()

    def stop(self) -> None:
        self._stopping.set()

    def run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._wait()
                while write_batch() == BATCH and not self._stopping.is_set():
                    pass
            except (*_AWAY, DatabaseError):
                log.warning("journal_not_written", exc_info=True)
                self._stopping.wait(LOOK_EVERY_S)
            finally:
                close_old_connections()

    def _wait(self) -> None:
        """Until there is something to write, and others had a moment to add to it."""
        while not self._stopping.is_set() and not sync_store().xlen(STREAM):
            self._stopping.wait(GATHER_S)
        self._stopping.wait(GATHER_S)
