"""Whether this process is on its way out, for readiness, for endless streams, and for what must end with it."""

from collections.abc import Awaitable, Callable

_draining = False
_last_things: list[Callable[[], Awaitable[None]]] = []


def start_draining() -> None:
    """From now on `/readyz` says 503, and streams that would never end by themselves may end."""
    global _draining  # noqa: PLW0603  # one flag of the whole process
    _draining = True


def is_draining() -> bool:
    return _draining


def on_shutdown(callback: Callable[[], Awaitable[None]]) -> None:
    """Have `callback` awaited once, after the last request, in the order of registration."""
    if callback not in _last_things:
        _last_things.append(callback)


async def do_last_things() -> None:
    for callback in _last_things:
        await callback()
