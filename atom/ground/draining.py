"""Whether this process is on its way out, for readiness, for endless streams, and for what must end with it."""

import time
from collections.abc import Awaitable, Callable

_since: float | None = None
_first_things: list[Callable[[], Awaitable[None]]] = []
_last_things: list[Callable[[], Awaitable[None]]] = []


def start_draining() -> None:
    """From now on `/readyz` says 503, and streams that would never end by themselves may end."""
    global _since  # noqa: PLW0603  # one fact about the whole process
    _since = _since or time.monotonic()


def is_draining() -> bool:
    return _since is not None


def draining_s() -> float:
    """For how many seconds this process has been draining; 0 when it is not."""
    return 0.0 if _since is None else time.monotonic() - _since


def on_drain(callback: Callable[[], Awaitable[None]]) -> None:
    """Have `callback` awaited while the last requests are still being answered."""
    _first_things.append(callback)


def on_shutdown(callback: Callable[[], Awaitable[None]]) -> None:
    """Have `callback` awaited after the last request, in the order of registration."""
    _last_things.append(callback)


async def do_first_things() -> None:
    for callback in _first_things:
        await callback()


async def do_last_things() -> None:
    for callback in _last_things:
        await callback()
