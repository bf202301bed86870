"""Connections to the store (Valkey or Redis). Each event loop has one client; sync code has one a process."""

import asyncio
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

import redis
import redis.asyncio
from django.conf import settings
from redis.asyncio.client import Pipeline
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialBackoff
from redis.commands.core import AsyncScript
from redis.connection import HiredisRespSerializer
from redis.exceptions import NoScriptError
from redis.typing import ScriptTextT

from atom.ground.errors import Unavailable

# Many more wait their turn than talk at once: an answer takes well under a millisecond.
CONNECTIONS = 64
TURN_WITHIN_S = 10

# Commands that may wait in the store for as long as they like; they get a connection of their own.
BLOCKING = frozenset({"XREAD", "XREADGROUP", "BLPOP", "BRPOP", "BLMOVE"})

Command: TypeAlias = tuple[tuple[Any, ...], Mapping[str, Any]]


class QuickConnection(redis.asyncio.Connection):
    """Leaves the packing of commands to hiredis, as the client for sync code does by itself."""

    _serializer = HiredisRespSerializer()

    def pack_command(self, *args: Any) -> list[bytes]:
        packed: list[bytes] = self._serializer.pack(*args)
        return packed


class GatheringStore(redis.asyncio.Redis):
    """A client whose commands go out together: what comes while others are on their way shares the next write.

    Under load many calls ask the store at once, and a way there and back costs far more than a command.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._waiting: list[tuple[Sequence[Command], asyncio.Future[list[Any]]]] = []
        self._sender: asyncio.Task[None] | None = None
        self._scripts: dict[ScriptTextT, AsyncScript] = {}

    @classmethod
    def of(cls, pool: redis.asyncio.ConnectionPool) -> "GatheringStore":
        """A client that closes the pool with itself."""
        client = cls(connection_pool=pool)
        client.auto_close_connection_pool = True
        return client

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        if args[0] in BLOCKING:
            return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]  # redis is not
        [answer] = await self.gathered([(args, options)])
        if isinstance(answer, Exception):
            raise answer
        return answer

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:
        if transaction:
            return super().pipeline(transaction, shard_hint)
        return GatheredPipeline(self)

    def register_script(self, script: ScriptTextT) -> AsyncScript:  # type: ignore[override]  # redis is async here
        """Made once: each one reckons the script's hash."""
        if script not in self._scripts:
            self._scripts[script] = QuickScript(self, script)
        return self._scripts[script]

    async def gathered(self, commands: Sequence[Command]) -> list[Any]:
        """The commands' answers, in their order; an answer may be the store's error. Raises what the way there does."""
        answers: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._waiting.append((commands, answers))
        if self._sender is None or self._sender.done():
            self._sender = asyncio.create_task(self._send())
        return await answers

    async def _send(self) -> None:
        while self._waiting:
            together, self._waiting = self._waiting, []
            pipe = super().pipeline(transaction=False)
            pipe.command_stack = [command for commands, _ in together for command in commands]
            try:
                answers = iter(await pipe.execute(raise_on_error=False))
            except BaseException as exc:
                # Who cancels the sender ends the loop; nobody may wait for it any longer.
                told = exc if isinstance(exc, Exception) else redis.ConnectionError("The connection was closed.")
                for _, future in together:
                    if not future.done():
                        future.set_exception(told)
                if told is not exc:
                    raise
                continue
            for commands, future in together:
                theirs = [next(answers) for _ in commands]
                # Who was cancelled does not wait any more.
                if not future.done():
                    future.set_result(theirs)


class QuickScript(AsyncScript):
    async def __call__(self, keys: Any = (), args: Any = (), client: Any = None) -> Any:
        """Nearly always the store knows the script; what has to be done when it does not is redis's to know."""
        if client is None:
            try:
                return await self.registered_client.evalsha(self.sha, len(keys), *keys, *args)
            except NoScriptError:
                pass
        return await super().__call__(keys, args, client)


class GatheredPipeline(Pipeline):
    """Several commands of one caller, sent with those of the others."""

    def __init__(self, store: GatheringStore) -> None:
        super().__init__(store.connection_pool, store.response_callbacks, False, None)
        self._store = store

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        commands, self.command_stack = self.command_stack, []
        answers = await self._store.gathered(commands) if commands else []
        if raise_on_error:
            self.raise_first_error(commands, answers)
        return answers


_clients: "WeakKeyDictionary[asyncio.AbstractEventLoop, GatheringStore]" = WeakKeyDictionary()


def _url() -> str:
    if not settings.REDIS_URL:
        raise Unavailable("The store is not running. Start Atom with `make up`, or set REDIS_URL.")
    return str(settings.REDIS_URL)


def store() -> redis.asyncio.Redis:
    """This event loop's client; bytes in, bytes out."""
    loop = asyncio.get_running_loop()
    found = _clients.get(loop)
    if found is None:
        pool = redis.asyncio.BlockingConnectionPool.from_url(
            _url(),
            connection_class=QuickConnection,
            max_connections=CONNECTIONS,
            timeout=TURN_WITHIN_S,
            # A blocking read may wait as long as it likes.
            socket_timeout=None,
            socket_connect_timeout=5,
            retry=AsyncRetry(ExponentialBackoff(cap=1), 3),
        )
        found = _clients[loop] = GatheringStore.of(pool)
    return found


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
