"""Run events as server-sent events: `id:` is the `seq`, silence is filled with comments."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from uuid import UUID

import orjson
import structlog
from django.conf import settings

from agents.runs.events import Recorded
from agents.runs.following import follow_together
from atom.ground.api.errors import as_atom_error
from atom.ground.draining import is_draining
from atom.ground.errors import AtomError, SlowReader
from atom.ground.hot import EventStream

log = structlog.get_logger(__name__)

KEEP_ALIVE = b": keep-alive\n\n"
KEEP_ALIVE_S = 15.0
HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


def frame(recorded: Recorded) -> bytes:
    return b"id: %d\ndata: %s\n\n" % (recorded.seq, recorded.raw)


def error_frame(error: AtomError) -> bytes:
    return b"data: %s\n\n" % orjson.dumps(error.body(), default=str)


def sse_response(
    frames: AsyncGenerator[bytes, None],
    headers: dict[str, str] | None = None,
    *,
    tell: Callable[[AtomError], bytes] = error_frame,
) -> EventStream:
    """A stream of these frames; `tell` writes an error as a frame of the surface."""
    return EventStream(_told(frames, tell), {**HEADERS, **(headers or {})})


async def _told(frames: AsyncGenerator[bytes, None], tell: Callable[[AtomError], bytes]) -> AsyncGenerator[bytes, None]:
    """The frames; a failure on our own side, such as a store that is away, is said in a last one.

    A reader who takes nothing for `SLOW_READER_S` is let go of: it finds that said behind the frames that it had been
    sent, and comes back with the cursor of the last.
    """
    loop = asyncio.get_running_loop()
    closing: list[asyncio.Task[None]] = []
    try:
        async for one in frames:
            slow = loop.call_later(settings.SLOW_READER_S, lambda: closing.append(loop.create_task(frames.aclose())))
            yield one
            slow.cancel()
            if closing:
                raise SlowReader("The stream was not read for too long. Resume after the last event.")
    except SlowReader as exc:
        yield tell(exc)
    except Exception as exc:
        log.exception("stream_failed")
        yield tell(as_atom_error(exc))


async def run_frames(run_id: UUID, after: int) -> AsyncGenerator[bytes, None]:
    """The run's events after `after`; a parked run's silence ends when the server drains: the cursor comes back."""
    async for batch in follow_together(run_id, after=after, idle_s=KEEP_ALIVE_S):
        if batch is not None:
            yield b"".join(map(frame, batch))
        elif is_draining():
            return
        else:
            yield KEEP_ALIVE
