"""What many ask at the same moment is asked once."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from contextvars import Context
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")

_asking: "WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Hashable, asyncio.Task[Any]]]" = WeakKeyDictionary()


async def together(question: Hashable, ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """The answer of `ask`; whoever has the same question meanwhile waits for the one that asks.

    For answers whose age has a bound anyway: the one that asks may have begun earlier.
    """
    asking = _asking.setdefault(asyncio.get_running_loop(), {})
    if question not in asking:
        # In no request's context: the one that asked first may be gone before the others have their answer.
        task = asyncio.create_task(ask(), context=Context())
        asking[question] = task
        task.add_done_callback(lambda _: asking.pop(question, None))
    # Who waits may be cancelled; the others wait on.
    found: T = await asyncio.shield(asking[question])
    return found
