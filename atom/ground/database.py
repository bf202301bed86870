"""Database work from async code, on threads and connections of its own.

Django gives each request a thread for sync code; a run outlives its request, so it may not lean on that thread.
"""

import functools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

from channels.db import DatabaseSyncToAsync
from django.db import connection

from atom.ground.together import together

P = ParamSpec("P")
T = TypeVar("T")

# More threads than this only queue at the database.
_POOL = ThreadPoolExecutor(max_workers=8, thread_name_prefix="atom-db")


async def in_db(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run sync code that touches the database, without blocking the event loop."""
    call = functools.partial(function, *args, **kwargs)
    result: T = await DatabaseSyncToAsync(call, thread_sensitive=False, executor=_POOL)()
    return result


async def in_db_once(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """`in_db` for reading what many want at the same moment, see `together`. The arguments must be hashable."""
    question = function, args, tuple(kwargs.items())
    return await together(question, lambda: in_db(function, *args, **kwargs))


_WRITING = threading.Lock()


@contextmanager
def one_writer() -> Iterator[None]:
    """Around a transaction of which many come at once: on SQLite this process begins them one after the other.

    SQLite has one writer anyway, but whoever finds it busy sleeps for up to 100 ms before looking again, however
    short the other's work was.
    """
    # Whoever is in a transaction has SQLite's own lock already, and may not wait for who waits for that.
    if connection.vendor != "sqlite" or connection.in_atomic_block:
        yield
        return
    with _WRITING:
        yield
