"""The runs of this process: strongly held tasks with a lease in the store, reachable from every other process.

A run belongs to the server, not to the request that began it. Each event loop has one `Live`; it renews the leases,
listens for what others want of its runs, and ends runs that nobody listens to.
"""

import asyncio
import contextvars
import time
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any, Protocol
from uuid import UUID
from weakref import WeakKeyDictionary

import orjson
import structlog
from django.conf import settings
from redis.exceptions import RedisError

from agents.models import RunStatus
from agents.runs.streams import heard_key
from atom.ground import journal, news
from atom.ground.store import store, sync_store

log = structlog.get_logger(__name__)

# A process that died is noticed when its leases run out.
LEASE_S = 12.0
RENEW_S = 3.0
CONTROL_CHANNEL = "atom:control"
STOP_WORDS = {"cancel": RunStatus.CANCELLED, "terminate": RunStatus.TERMINATED, "kill": RunStatus.TERMINATED}
# The error code of a run that ended because its agent, or all of them, were stopped.
KILLED = "agent_stopped"
# For runs that were judged before a stop and begin after it; later ones are not allowed to begin.
STOPPED_S = 15


def lease_key(run_id: UUID | str) -> str:
    return f"atom:run:{run_id}:lease"


def stop_key(run_id: UUID | str) -> str:
    """There while somebody wants the run stopped; read beside the control channel, which may lose a word."""
    return f"atom:run:{run_id}:stop"


def stopped_key(owner_id: UUID | str) -> str:
    """There for a moment after an agent, or a whole workspace, was stopped."""
    return f"atom:stopped:{owner_id}"


def look_key(run_id: UUID | str) -> str:
    """There for a while after somebody wanted something of the run that stands in the database."""
    return f"atom:run:{run_id}:look"


def topic_of(workspace_id: UUID) -> str:
    """Where a run of the workspace is told of when it begins, or goes on after it was parked."""
    return f"runs:{workspace_id}"


# What stands before a run begins. KEYS: the journal, the run's lease, its first listener's mark, the marks of those who
# were stopped; ARGV: how long lease and mark last (ms), the topic and the word of the run, then each entry's kind and
# data. Gives how many entries are unwritten, and how many of the stopped are the run's.
_LAUNCH = """
for at = 5, #ARGV, 2 do redis.call('XADD', KEYS[1], '*', 'k', ARGV[at], 'd', ARGV[at + 1]) end
redis.call('SET', KEYS[2], '1', 'PX', ARGV[1])
redis.call('SET', KEYS[3], '1', 'PX', ARGV[2])
redis.call('PUBLISH', ARGV[3], ARGV[4])
return {redis.call('XLEN', KEYS[1]), redis.call('EXISTS', KEYS[4], KEYS[5])}
"""


class Steerable(Protocol):
    run_id: UUID
    is_background: bool
    task: asyncio.Task[None] | None

    @property
    def owner_ids(self) -> tuple[UUID, UUID]:
        """Its workspace and its agent."""
        ...

    @property
    def is_paused(self) -> bool: ...

    @property
    def is_heard(self) -> bool:
        """Whether somebody in this process listens."""
        ...

    def stop(self, status: RunStatus, *, reason: str, code: str = "") -> None: ...

    def wake(self) -> None: ...

    def look(self) -> None: ...


class Live:
    """What one event loop runs."""

    def __init__(self) -> None:
        self.runs: dict[UUID, tuple[Steerable, asyncio.Task[None]]] = {}
        self.chores: list[asyncio.Task[None]] = []

    async def launch(
        self, run: Steerable, work: Coroutine[None, None, None], entries: Sequence[journal.Entry] = ()
    ) -> asyncio.Task[None]:
        """Start the run's task. Its lease, its first listener's mark and its entries stand before it begins."""
        keys = [journal.STREAM, lease_key(run.run_id), heard_key(run.run_id), *map(stopped_key, run.owner_ids)]
        lives_ms = int(LEASE_S * 1000), int(settings.ATOM_ABANDON_AFTER * 1000)
        word = news.PREFIX + topic_of(run.owner_ids[0]), orjson.dumps({"run_id": str(run.run_id)})
        noted = [part for entry in entries for part in entry.fields]
        try:
            unwritten, is_stopped = await store().register_script(_LAUNCH)(keys=keys, args=[*lives_ms, *word, *noted])
        except BaseException:
            work.close()
            raise
        journal.told_of(unwritten)
        # A context of its own: the request's would tie the run's database work to the request's thread.
        task = asyncio.create_task(work, context=contextvars.Context(), name=f"run-{run.run_id}")
        run.task = task
        self.runs[run.run_id] = (run, task)
        task.add_done_callback(lambda _: self.runs.pop(run.run_id, None))
        if not self.chores or any(chore.done() for chore in self.chores):
            self.chores = [asyncio.create_task(self._renew()), asyncio.create_task(self._listen())]
        if is_stopped:
            # A task that is cancelled before its first step would end without a word.
            await asyncio.sleep(0)
            _stop(run, "kill")
        return task

    async def rest(self) -> None:
        """Until nothing runs here any more."""
        while self.runs:
            await asyncio.wait([task for _, task in self.runs.values()])

    async def _renew(self) -> None:
        """Keep the leases, and look for wishes and silence, while anything runs."""
        while self.runs:
            await asyncio.sleep(min(RENEW_S, settings.ATOM_ABANDON_AFTER / 4))
            try:
                await self._renew_once()
            except RedisError:
                log.warning("leases_not_renewed", exc_info=True)

    async def _renew_once(self) -> None:
        watched = [run for run, _ in self.runs.values()]
        pipe = store().pipeline(transaction=False)
        for run in watched:
            pipe.set(lease_key(run.run_id), b"1", px=int(LEASE_S * 1000))
            # A mark that is there is kept up only while somebody listens here.
            heard_ms = int(settings.ATOM_ABANDON_AFTER * 1000)
            pipe.set(heard_key(run.run_id), b"1", px=heard_ms) if run.is_heard else pipe.ping()
            pipe.get(stop_key(run.run_id))
            pipe.exists(heard_key(run.run_id))
            pipe.exists(look_key(run.run_id))
        answers = await pipe.execute()
        for place, run in enumerate(watched):
            _, _, stop, heard, is_wanted = answers[5 * place : 5 * place + 5]
            if is_wanted:
                run.look()
            if stop:
                _stop(run, stop.decode())
            elif not (heard or run.is_background or run.is_paused):
                run.stop(RunStatus.CANCELLED, reason="nobody was listening")

    async def _listen(self) -> None:
        """Hear what other processes want, at once."""
        while self.runs:
            try:
                async with store().pubsub(ignore_subscribe_messages=True) as channel:
                    await channel.subscribe(CONTROL_CHANNEL)
                    while self.runs:
                        message = await channel.get_message(timeout=RENEW_S)
                        if message is not None:
                            self._obey(orjson.loads(message["data"]))
            except RedisError:
                log.warning("control_channel_lost", exc_info=True)
                await asyncio.sleep(0.5)

    def _obey(self, wish: dict[str, str]) -> None:
        found = self.runs.get(UUID(wish["run_id"]))
        if found is None:
            return
        if wish["verb"] == "wake":
            found[0].wake()
        elif wish["verb"] == "look":
            found[0].look()
        else:
            _stop(found[0], wish["verb"])

    async def drain(self, timeout_s: float) -> None:
        """Let the runs finish; those that have not by then are interrupted, their text kept."""
        deadline = time.monotonic() + timeout_s
        if self.runs:
            await asyncio.wait([task for _, task in self.runs.values()], timeout=timeout_s)
        for run, _ in list(self.runs.values()):
            run.stop(RunStatus.INTERRUPTED, reason="the server is stopping")
        if self.runs:
            await asyncio.wait([task for _, task in self.runs.values()], timeout=max(5.0, deadline - time.monotonic()))
        for chore in self.chores:
            chore.cancel()
        await asyncio.gather(*self.chores, return_exceptions=True)


def _stop(run: Steerable, verb: str) -> None:
    if verb == "kill":
        run.stop(STOP_WORDS[verb], reason="its agent was stopped", code=KILLED)
    else:
        run.stop(STOP_WORDS[verb], reason="stopped")


_live: "WeakKeyDictionary[asyncio.AbstractEventLoop, Live]" = WeakKeyDictionary()


def live() -> Live:
    """This event loop's runs."""
    return _live.setdefault(asyncio.get_running_loop(), Live())


async def ask_to_stop(run_id: UUID, verb: str = "cancel") -> None:
    """Tell the run's process, whichever it is, to stop it: at once by the channel, surely by the mark."""
    await store().set(stop_key(run_id), verb, ex=60)
    await store().publish(CONTROL_CHANNEL, orjson.dumps({"run_id": str(run_id), "verb": verb}))


async def asked_to_stop(run_id: UUID) -> RunStatus | None:
    """As what somebody wants the run ended; None when nobody does."""
    verb: Any = await store().get(stop_key(run_id))
    return STOP_WORDS[verb.decode()] if verb else None


def wake(run_id: UUID) -> None:
    """Tell a waiting run that something it waits for has changed. For sync code, after its commit."""
    sync_store().publish(CONTROL_CHANNEL, orjson.dumps({"run_id": str(run_id), "verb": "wake"}))


def mark_stopped(owner_id: UUID) -> None:
    """Let no run of this agent or workspace begin that was judged before the stop. For sync code, after its commit."""
    sync_store().set(stopped_key(owner_id), b"1", ex=STOPPED_S)


def clear_stopped(owner_id: UUID) -> None:
    sync_store().delete(stopped_key(owner_id))


def kill_runs(run_ids: Iterable[UUID]) -> None:
    """Tell the runs' processes to end them at once."""
    pipe = sync_store().pipeline(transaction=False)
    for run_id in run_ids:
        pipe.set(stop_key(run_id), "kill", ex=60)
        pipe.publish(CONTROL_CHANNEL, orjson.dumps({"run_id": str(run_id), "verb": "kill"}))
    pipe.execute()


def ask_to_look(run_id: UUID) -> None:
    """Leave the mark that makes the run's process look what is wanted, within seconds. For sync code."""
    sync_store().set(look_key(run_id), b"1", ex=60)


def tell_to_look(run_id: UUID) -> None:
    """Make it look at once, if the word gets there. For sync code, after its commit."""
    try:
        sync_store().publish(CONTROL_CHANNEL, orjson.dumps({"run_id": str(run_id), "verb": "look"}))
    except RedisError:
        log.warning("run_not_told_to_look", run_id=str(run_id))
