"""Database work from async code, on threads and connections of its own.

Django gives each request a thread for sync code; a run outlives its request, so it may not lean on that thread.
"""

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from channels.db import DatabaseSyncToAsync

P = ParamSpec("P")
T = TypeVar("T")

# More threads than this only queue at the database.
_POOL = ThreadPoolExecutor(max_workers=8, thread_name_prefix="atom-db")


async def in_db(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run sync code that touches the database, without blocking the event loop."""
    call = functools.partial(function, *args, **kwargs)
    result: T = await DatabaseSyncToAsync(call, thread_sensitive=False, executor=_POOL)()
    return result
