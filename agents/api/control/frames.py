"""A session's events: how it stands first, then every message, change of status, approval and failure.

An event's id is the last message that was told before it, so a client that comes back misses none.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any
from uuid import UUID

import orjson
from django.utils import timezone

from agents.api.control.serializers import message_json
from agents.api.sse import KEEP_ALIVE, KEEP_ALIVE_S
from agents.models import Message, Run, RunStatus
from agents.runs.events import ApprovalNeeded, RunEnded
from agents.runs.following import follow
from agents.runs.turns import Standing, listed_messages, standing_of
from atom.ground.database import in_db
from atom.ground.draining import is_draining
from atom.ground.principal import Principal

# How soon a listener hears of a turn that begins while it listens to an idle session.
LOOK_EVERY_S = 0.5


class SessionEvents:
    """What one listener of a session is told, from its cursor on."""

    def __init__(self, principal: Principal, session_id: UUID, after: Message | None) -> None:
        self.principal, self.session_id = principal, session_id
        self.last = after
        self.status = ""
        self.failed: UUID | None = None

    async def frames(self) -> AsyncGenerator[bytes, None]:
        told_at, is_first = time.monotonic(), True
        while not is_draining():
            standing, fresh = await in_db(self._look)
            told = [self._message(message) for message in fresh]
            if not is_first:
                told += self._failure(standing.run)
            elif standing.run is not None and not standing.run.is_open:
                # A failure of before the listener came is history.
                self.failed = standing.run.id
            if standing.status != self.status:
                self.status = standing.status
                told.append(self._frame("status_change", {"status": self.status, "agent": standing.session.agent.slug}))
            is_first = False
            if told:
                told_at = time.monotonic()
                yield b"".join(told)
            elif time.monotonic() - told_at > KEEP_ALIVE_S:
                told_at = time.monotonic()
                yield KEEP_ALIVE
            async for frame in self._meanwhile(standing.run):
                yield frame

    async def _meanwhile(self, run: Run | None) -> AsyncIterator[bytes]:
        """Until the open run ends or waits, or for a while."""
        if run is None or not run.is_open:
            await asyncio.sleep(LOOK_EVERY_S)
            return
        async for recorded in follow(run.id, idle_s=KEEP_ALIVE_S):
            match recorded.event if recorded else None:
                case ApprovalNeeded() as needed:
                    about = {"approval_id": needed.approval_id, "tool": needed.name, "reason": needed.reason}
                    yield self._frame("approval_needed", {**about, "run_id": str(run.id)})
                    if self.status != RunStatus.WAITING_APPROVAL and (await in_db(self._look))[0].status != self.status:
                        self.status = "waiting_approval"
                        yield self._frame("status_change", {"status": self.status})
                case RunEnded():
                    return
                case None:
                    if is_draining():
                        return
                    yield KEEP_ALIVE
                case _:
                    pass

    def _look(self) -> tuple[Standing, list[Message]]:
        standing = standing_of(self.principal, self.session_id)
        return standing, list(later_than(standing, self.last))

    def _message(self, message: Message) -> bytes:
        self.last = message
        shown = message_json(message)
        shown["message"] = shown.pop("content")
        return self._frame("message_update", shown)

    def _failure(self, run: Run | None) -> list[bytes]:
        if run is None or run.is_open or run.id == self.failed or not run.error_code:
            return []
        self.failed = run.id
        level = "warning" if run.status == RunStatus.CANCELLED else "error"
        about = {"message": run.error_message, "level": level, "time": run.ended_at or timezone.now()}
        return [self._frame("agent_error", about)]

    def _frame(self, name: str, data: dict[str, Any]) -> bytes:
        place = b"id: %s\n" % str(self.last.id).encode() if self.last else b""
        return b"%sevent: %s\ndata: %s\n\n" % (place, name.encode(), orjson.dumps(data))


def later_than(standing: Standing, after: Message | None) -> Any:
    """The session's messages after this one; all of them without."""
    found = listed_messages(standing.session)
    if after is None:
        return found
    return found.filter(created_at__gte=after.created_at).exclude(created_at=after.created_at, id__lte=after.id)
