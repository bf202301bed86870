"""Run events as server-sent events: `id:` is the `seq`, silence is filled with comments."""

from collections.abc import AsyncIterator
from uuid import UUID

import orjson
import structlog
from django.http import StreamingHttpResponse

from agents.runs.events import Recorded
from agents.runs.streams import follow
from atom.ground.api.errors import as_atom_error
from atom.ground.draining import is_draining

log = structlog.get_logger(__name__)

KEEP_ALIVE = b": keep-alive\n\n"
KEEP_ALIVE_S = 15.0
HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


def frame(recorded: Recorded) -> bytes:
    return b"id: %d\ndata: %s\n\n" % (recorded.seq, recorded.raw)


def sse_response(frames: AsyncIterator[bytes], headers: dict[str, str] | None = None) -> StreamingHttpResponse:
    return StreamingHttpResponse(
        _told(frames), content_type="text/event-stream", headers={**HEADERS, **(headers or {})}
    )


async def _told(frames: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The frames; a failure on our own side, such as a store that is away, is said in a last one."""
    try:
        async for one in frames:
            yield one
    except Exception as exc:
        log.exception("stream_failed")
        yield b"data: %s\n\n" % orjson.dumps(as_atom_error(exc).body(), default=str)


async def run_frames(run_id: UUID, after: int) -> AsyncIterator[bytes]:
    """The run's events after `after`; a parked run's silence ends when the server drains: the cursor comes back."""
    async for recorded in follow(run_id, after=after, idle_s=KEEP_ALIVE_S):
        if recorded is not None:
            yield frame(recorded)
        elif is_draining():
            return
        else:
            yield KEEP_ALIVE
