"""One candidate's turn in a call: asked, timed, and settled with the breaker, the metrics and its key's health."""

import asyncio
import time
from collections.abc import AsyncGenerator, Coroutine, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import structlog
from django.db import DatabaseError
from django.utils import timezone

from atom.ground.database import in_db
from llm import breaker, cooldown, http, metrics, rates, services
from llm.breaker import Permit
from llm.errors import KeyRefused, LLMError, RequestRefused
from llm.events import NO_USAGE, Event, Finished, Meter, Usage
from llm.failures import Failure
from llm.messages import Deadlines, Request
from llm.prices import cost_usd
from llm.redaction import Redactor
from llm.routing import Candidate
from llm.spending import Hold
from llm.standing import circuit_of
from llm.wires import WHOLE, WIRES, Wire

log = structlog.get_logger(__name__)

SUCCEEDED = "succeeded"
LEFT = "left"
# A probe in progress says at least this often that it is still there.
RENEW_EVERY_S = 5.0
# How often, at most, one process writes down that a key still works (or still does not).
NOTE_EVERY_S = 60.0
_noted: dict[UUID, tuple[str, float]] = {}
# What is written down after a client went away; the loop itself holds tasks only weakly.
_in_background: set[asyncio.Task[None]] = set()


@dataclass(frozen=True, slots=True)
class Attempt:
    """How a candidate's turn ended. `outcome` is `succeeded`, `left` (the client went away) or an error's code.

    `was_called` is False when the breaker, a rest or the deadline kept the call from going out at all.
    `usage` is what the provider said until then, and `cost_usd` its price; None where no price is known.
    """

    provider: str
    model: str
    key_id: UUID | None
    outcome: str
    started_at: datetime
    message: str = ""
    usage: Usage = NO_USAGE
    # False: the provider said nothing of tokens, which is not the same as saying zero.
    has_usage: bool = False
    cost_usd: Decimal | None = Decimal(0)
    time_to_first_token_s: float | None = None
    duration_s: float = 0.0
    streamed: bool = True
    was_called: bool = True


def probe_s(limits: Deadlines) -> float:
    """How long a probe may be silent before another takes its place."""
    return limits.connect_s + max(limits.first_byte_s, limits.chunk_s) + RENEW_EVERY_S


async def ask(
    turn: "Turn", request: Request, *, left_s: float, tried: list[Attempt], wire: Wire | None = None
) -> AsyncGenerator[Event, None]:
    """The answer of the turn's candidate within `left_s` seconds; how it ended is added to `tried`."""
    endpoint = turn.candidate.endpoint
    endpoint = replace(endpoint, deadlines=replace(endpoint.deadlines, total_s=left_s), heard=turn.heard)
    wire = wire or (WIRES if turn.streamed else WHOLE)[turn.candidate.wire]
    redactor = Redactor(endpoint.secret)
    try:
        async with aclosing(wire(request, endpoint, http.client(), turn.meter)) as answer:
            async for event in answer:
                await turn.saw(event)
                for said in redactor.events(event):
                    yield said
    except LLMError as exc:
        turn.error = exc
        raise
    finally:
        tried.append(turn.attempt())
        if turn.is_left:
            # The client's going must not wait for the store, nor can what is cancelled.
            _later(turn.settle())
        else:
            await turn.settle()


def passed_over(failure: Failure) -> Attempt:
    """The turn of a candidate that was not called."""
    return Attempt(
        provider=failure.candidate.provider,
        model=failure.candidate.model,
        key_id=failure.candidate.key_id,
        outcome=failure.error.code,
        started_at=timezone.now(),
        message=failure.error.message,
        streamed=failure.streamed,
        was_called=False,
    )


class Turn:
    """What is seen of one call, and what becomes of it.

    `was_resting`: its key was in a cooldown, which a good answer ends.
    """

    def __init__(
        self,
        candidate: Candidate,
        permit: Permit | None,
        hold: Hold | None,
        workspace_id: UUID,
        *,
        streamed: bool,
        was_resting: bool,
    ) -> None:
        self.candidate = candidate
        self.streamed = streamed
        self.meter = Meter()
        self.error: LLMError | None = None
        self._permit = permit
        self._hold = hold
        self._workspace_id = workspace_id
        self._was_resting = was_resting
        self._watch = metrics.Watch()
        self._started_at = timezone.now()
        self._is_finished = False
        self._renewed = time.monotonic()
        self._priced: tuple[Usage, Decimal | None] | None = None

    @property
    def is_left(self) -> bool:
        return self.error is None and not self._is_finished

    def heard(self, headers: Mapping[str, str]) -> None:
        """What the provider says beside its answer."""
        rates.note(circuit_of(self._workspace_id, self.candidate).key, headers)

    async def saw(self, event: Event) -> None:
        self._watch.tick()
        if isinstance(event, Finished):
            self._is_finished = True
        if self._permit is not None and self._permit.is_probe and time.monotonic() - self._renewed > RENEW_EVERY_S:
            self._renewed = time.monotonic()
            await breaker.renew(self._permit, probe_s=probe_s(self.candidate.endpoint.deadlines))

    @property
    def usage(self) -> Usage:
        """What the provider said of tokens so far. A call that failed before its first word used nothing."""
        if self.meter.usage is None or (self.error is not None and self._watch.first_s is None):
            return NO_USAGE
        return self.meter.usage

    @property
    def cost_usd(self) -> Decimal | None:
        usage = self.usage
        if usage == NO_USAGE and not self._is_finished:
            return Decimal(0)
        # Asked for several times of one usage, and it is no small calculation.
        if self._priced is None or self._priced[0] != usage:
            self._priced = usage, self._price_of(usage)
        return self._priced[1]

    def _price_of(self, usage: Usage) -> Decimal | None:
        return cost_usd(self.candidate.provider, self.candidate.model, usage, workspace_id=self._workspace_id)

    def attempt(self) -> Attempt:
        """How it ended, or how it stands: a call still going on looks like one that was left now."""
        return Attempt(
            provider=self.candidate.provider,
            model=self.candidate.model,
            key_id=self.candidate.key_id,
            outcome=LEFT if self.is_left else self.error.code if self.error else SUCCEEDED,
            message=self.error.message if self.error else "",
            started_at=self._started_at,
            usage=self.usage,
            has_usage=self.meter.usage is not None,
            cost_usd=self.cost_usd,
            time_to_first_token_s=self._watch.first_s,
            duration_s=self._watch.total_s,
            streamed=self.streamed,
        )

    async def settle(self) -> None:
        """Tell the breaker, the purse, the metrics and the key."""
        if self._hold is None:
            await self._judge()
        else:
            await asyncio.gather(self._judge(), self._hold.settle(self.cost_usd or Decimal(0)))
        self._count()
        await self._care_for_key()

    async def _judge(self) -> None:
        if self._permit is None:
            return
        # A request that the provider refuses says nothing about the provider's health.
        is_silent = self.is_left or isinstance(self.error, RequestRefused)
        verdict: breaker.Verdict = "left" if is_silent else "failed" if self.error else "succeeded"
        await breaker.record(self._permit, verdict)

    def _count(self) -> None:
        provider, model = self.candidate.provider, self.candidate.model
        sent = replace(self.usage, output_tokens=0, reasoning_tokens=0)
        cost = self.cost_usd or Decimal(0)
        cost_in = (self._price_of(sent) if cost else None) or Decimal(0)
        metrics.record(
            workspace_id=self._workspace_id,
            provider=provider,
            model=model,
            outcome="left" if self.is_left else "failed" if self.error else "succeeded",
            watch=self._watch,
            usage=self.usage,
            cost_in=cost_in,
            cost_out=cost - cost_in,
        )

    async def _care_for_key(self) -> None:
        name = cooldown.name_of(self.candidate.provider, self.candidate.key_id)
        if self.error is not None:
            await cooldown.cool(name, self.error)
        elif self._was_resting and self._is_finished:
            await cooldown.wake(name)
        if isinstance(self.error, KeyRefused):
            await _note(self.candidate, self.error.message)
        elif self._watch.first_s is not None:
            await _note(self.candidate, "")


def _later(work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.get_running_loop().create_task(work)
    _in_background.add(task)
    task.add_done_callback(_in_background.discard)


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
