"""One model call: choose whom to ask, ask, and try the next key while nothing has been said yet."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from uuid import UUID

import structlog
from django.db import DatabaseError

from atom.ground.database import in_db
from llm import http, keyring, routing, services
from llm.errors import KeyRefused, LLMError, TimedOut
from llm.events import Event
from llm.messages import Request
from llm.routing import Candidate
from llm.wires import WIRES

log = structlog.get_logger(__name__)

# How often, at most, one process writes down that a key still works (or still does not).
NOTE_EVERY_S = 60.0
_noted: dict[UUID, tuple[str, float]] = {}


class Call:
    """A call in progress. `request.model` is what the caller named: `provider/model`, a bare id, or `auto`.

    Once events flow, `provider` and `model` say who serves; `attempts` counts the upstream calls made.
    """

    def __init__(self, *, workspace_id: UUID, request: Request) -> None:
        self.provider = ""
        self.model = ""
        self.attempts = 0
        self._workspace_id = workspace_id
        self._request = request

    async def events(self) -> AsyncGenerator[Event, None]:
        """Deltas as they come, then exactly one `Finished`. Raises ModelNotFound, NoProvider or another LLMError.

        A retryable failure before the first event moves on to the next key of the same model. After the first
        event it is raised: what a reader has seen cannot be taken back.
        """
        found = await self._candidates()
        end = asyncio.get_running_loop().time() + found[0].endpoint.deadlines.total_s
        for place, candidate in enumerate(found):
            has_begun = False
            try:
                async with aclosing(self._ask(candidate, end)) as answer:
                    async for event in answer:
                        has_begun = True
                        yield event
            except LLMError as exc:
                log.warning("model_call_failed", provider=candidate.provider, model=candidate.model, code=exc.code)
                if isinstance(exc, KeyRefused):
                    await _note(candidate, exc.message)
                if has_begun or not exc.retryable or place == len(found) - 1:
                    raise
            else:
                return

    async def _candidates(self) -> list[Candidate]:
        keys = keyring.recalled(self._workspace_id)
        if keys is None:
            keys = await in_db(keyring.open_keys, self._workspace_id)
        return routing.choose(keys, self._request.model)

    async def _ask(self, candidate: Candidate, end: float) -> AsyncGenerator[Event, None]:
        """One attempt, within what is left of the whole."""
        limits = candidate.endpoint.deadlines
        left = end - asyncio.get_running_loop().time()
        if left <= 0:
            raise TimedOut(f"{candidate.provider} was not asked any more: {limits.total_s:g} s had passed.")
        self.provider, self.model = candidate.provider, candidate.model
        self.attempts += 1
        endpoint = replace(candidate.endpoint, deadlines=replace(limits, total_s=left))
        request = replace(self._request, model=candidate.model)
        async with aclosing(WIRES[candidate.wire](request, endpoint, http.client())) as answer:
            has_begun = False
            async for event in answer:
                if not has_begun:
                    has_begun = True
                    await _note(candidate, "")
                yield event


async def _note(candidate: Candidate, error: str) -> None:
    """Write down how the key fares, when that is news; failing to is no reason to fail the call."""
    if candidate.key_id is None:
        return
    said, at = _noted.get(candidate.key_id, ("", 0.0))
    if at and said == error and time.monotonic() - at < NOTE_EVERY_S:
        return
    _noted[candidate.key_id] = (error, time.monotonic())
    try:
        await in_db(services.record_key_health, key_id=candidate.key_id, error=error)
    except DatabaseError:
        log.exception("key_health_not_recorded", key_id=str(candidate.key_id))
