"""The run's end of what operators want: it stands still while it is paused, and breaks off to be corrected."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

import structlog
from django.db import DatabaseError

from agents.models import Correction
from agents.runs import records
from agents.runs.events import Paused, Resumed, RunEvent
from atom.ground.database import in_db
from llm.messages import Part

log = structlog.get_logger(__name__)

# The word to go on can be lost with the store's connection: a paused run looks by itself as often.
LOOK_AGAIN_S = 2.0


class Steering:
    """Of one run in this process. `emit` tells the run's listeners."""

    def __init__(self, run_id: UUID, emit: Callable[[RunEvent], Awaitable[None]]) -> None:
        self.run_id = run_id
        self.is_paused = False
        # There are corrections that the model has not heard yet.
        self.is_corrected = False
        # The run says nothing more here: it ends, or it parks and another process goes on with it.
        self.is_over = False
        self._emit = emit
        self._turned = asyncio.Event()
        self._cuttable: asyncio.Task[object] | None = None
        self._is_cut = False
        # One look after the other: what was read last is what counts.
        self._order = asyncio.Lock()
        self._looks: set[asyncio.Task[None]] = set()

    def look(self) -> None:
        """Look, soon, what is wanted."""
        task = asyncio.create_task(self.look_now())
        self._looks.add(task)
        task.add_done_callback(self._looks.discard)

    async def look_now(self) -> None:
        async with self._order:
            try:
                wanted = await in_db(records.wanted_of, self.run_id)
            except DatabaseError:
                # Whatever was wanted still is: the mark in the store makes the run look again.
                log.warning("wishes_not_read", run_id=str(self.run_id), exc_info=True)
                return
            if self.is_over:
                return
            if wanted.is_paused != self.is_paused:
                self.is_paused = wanted.is_paused
                self._turned.set()
                await self._emit(Paused() if self.is_paused else Resumed())
            if wanted.is_corrected:
                self.is_corrected = True
                self._cut()

    async def stand_by(self) -> None:
        """Before each thing that the run does or says: wait while it is paused."""
        while self.is_paused:
            self._turned.clear()
            try:
                # Not `wait_for`, which loses a cancellation that comes together with the event.
                async with asyncio.timeout(LOOK_AGAIN_S):
                    await self._turned.wait()
            except TimeoutError:
                await self.look_now()

    def _cut(self) -> None:
        if self._cuttable is not None and not self._is_cut:
            self._is_cut = True
            self._cuttable.cancel()

    @contextmanager
    def until_corrected(self) -> Iterator[None]:
        """What stands inside is broken off, without an error, as soon as somebody corrects the run."""
        task = self._cuttable = asyncio.current_task()
        try:
            yield
        except asyncio.CancelledError:
            if not self._is_cut or task is None:
                raise
            # Whoever stops the run at the same moment has precedence.
            if task.uncancel():
                raise
        finally:
            self._cuttable, self._is_cut = None, False

    async def take(self, said: list[Part], *, is_complete: bool) -> list[Correction]:
        """The corrections that wait, kept in the conversation after what was `said`; the model hears them next."""
        async with self._order:
            self.is_corrected = False
            return await in_db(records.take_corrections, self.run_id, said=said, is_complete=is_complete)
