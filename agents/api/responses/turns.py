"""A turn on the responses wire, however it came: begun as a run, kept for those who come back, read again."""

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from django.utils import timezone

from agents import queries, responses
from agents.api.answers import Opened, Told, started
from agents.api.keyed import earlier_run
from agents.api.responses.serializers import FAMILY, items_of, messages_of, request_of, response_uuid
from agents.api.responses.writing import Event, Writer, repeated
from agents.models import StoredResponse
from agents.responses import PreviousResponseNotFound
from agents.runs.events import RunEnded, RunEvent, TextDelta, ThinkingDelta, ToolCall
from agents.runs.following import follow
from agents.runs.past import past_events
from agents.runs.runner import Runner
from agents.runs.start import Attached
from agents.runs.streams import recorded_events
from atom.ground.database import in_db
from atom.ground.draining import is_draining
from atom.ground.errors import BadRequest
from atom.ground.idempotency import Claim
from atom.ground.principal import Principal
from llm.messages import Message
from llm.thinking import split


@dataclass(frozen=True, slots=True)
class Asking:
    """Which run a client asks for again: one that waited for an approval, or that of its Idempotency-Key."""

    approval_id: UUID | None = None
    claim: Claim | None = None
    is_joining: bool = False


PLAIN = Asking()
# Silence in a stream is looked at this often.
IDLE_S = 15.0


@dataclass(slots=True)
class Turn:
    """A response that has begun: its run's events, and the items that led to it."""

    opened: Opened
    writer: Writer
    items: list[dict[str, Any]]
    warning: str = ""

    async def events(self) -> AsyncIterator[Event | None]:
        """The response's events from the first to the last; None is silence."""
        for event in self.writer.begin():
            yield event
        async for told in self.opened.told():
            if told is None:
                yield None
                continue
            for event in self.writer.tell(told):
                yield event


def previous_of(data: dict[str, Any]) -> UUID | None:
    """The response that the request goes on from; what is no id of ours was never there."""
    given = data.get("previous_response_id")
    if not given:
        return None
    if (found := response_uuid(given)) is None:
        raise PreviousResponseNotFound("The previous response was not found.", param="previous_response_id")
    return found


async def begin(
    principal: Principal,
    data: dict[str, Any],
    *,
    door: str,
    previous_id: UUID | None,
    before: Sequence[dict[str, Any]] = (),
    asking: Asking = PLAIN,
) -> Turn:
    """Start the run, or go on with the one that the client asks for again.

    `before` are items of turns that were not stored, which the input goes on from.
    """
    items = [*before, *items_of(data.get("input"))]
    earlier = await earlier_run(asking.claim, is_joining=asking.is_joining)
    if isinstance(earlier, Attached):
        runner: Runner | Attached = earlier
    else:
        history = await in_db(conversation, principal, previous_id) if previous_id else []
        runner = await started(
            principal,
            request_of(data, [*history, *messages_of(items)]),
            door=door,
            approval_id=asking.approval_id or earlier,
            claim=asking.claim,
            is_background=data["background"],
        )
    writer = await keep(principal, data, items, runner=runner, after=previous_id)
    return Turn(Opened(runner), writer, items, split(data["model"], family=FAMILY).warning)


async def prewarm(
    principal: Principal,
    data: dict[str, Any],
    *,
    previous_id: UUID | None,
    before: Sequence[dict[str, Any]] = (),
) -> tuple[Writer, list[dict[str, Any]]]:
    """A response that only opens a conversation: checked and kept like any other, and nobody is called."""
    items = [*before, *items_of(data.get("input"))]
    history = await in_db(conversation, principal, previous_id) if previous_id else []
    asked = request_of(data, [*history, *messages_of(items)])
    await in_db(queries.agent_for_model, principal, asked.model)
    return await keep(principal, data, items, runner=None, after=previous_id), items


async def keep(
    principal: Principal,
    data: dict[str, Any],
    items: Sequence[dict[str, Any]],
    *,
    runner: Runner | Attached | None,
    after: UUID | None,
) -> Writer:
    """The response's writer; stored unless the client wants it forgotten. Without a runner nobody is asked."""
    request = repeated(data)
    run_id = runner.run_id if runner else None
    response_id = run_id or uuid4()
    if not data["store"]:
        return Writer(response_id, runner.created_at if runner else timezone.now(), request)
    stored = await in_db(
        responses.keep_response,
        response_id=response_id,
        workspace_id=principal.workspace_id,
        run_id=run_id,
        previous_id=after,
        request=request,
        items=items,
    )
    return Writer(response_id, stored.created_at, request)


def conversation(principal: Principal, response_id: UUID) -> list[Message]:
    """All that was said until and with this response."""
    turns = responses.conversation_until(principal, response_id)
    answers = responses.answers_of(turns)
    found: list[Message] = []
    for turn in turns:
        found += messages_of(turn.input)
        found += answers.get(turn.run_id, []) if turn.run_id else []
    return found


# --- Coming back ------------------------------------------------------------------------------------------
async def replay(stored: StoredResponse) -> Writer:
    """The response as it stands now: from the run's stream, or from the database when that is gone."""
    writer = Writer(stored.id, stored.created_at, stored.request)
    if stored.run is None:
        writer.prewarmed()
        return writer
    writer.begin()
    told = shown(recorded.event for recorded in await recorded_events(stored.run.id))
    for event in told or shown(await in_db(past_events, stored.run)):
        writer.tell(event)
    return writer


def shown(events: Iterable[RunEvent]) -> list[Told]:
    """Those of a run's events that a client of this wire is told."""
    return [event for event in events if isinstance(event, TextDelta | ThinkingDelta | ToolCall | RunEnded)]


async def resumed(stored: StoredResponse, after: int) -> AsyncIterator[Event | None]:
    """The response's events later than number `after`, once and in order; None is silence."""
    async for event in _all_events(stored):
        if event is None or event["sequence_number"] > after:
            yield event


async def check_cursor(stored: StoredResponse, after: int) -> None:
    """Raise BadRequest for a number that no event of the response has yet."""
    if after >= (await replay(stored)).sent:
        raise BadRequest("The cursor is later than any event of this response.", param="starting_after")


async def _all_events(stored: StoredResponse) -> AsyncIterator[Event | None]:
    writer = Writer(stored.id, stored.created_at, stored.request)
    if stored.run is None:
        for event in writer.prewarmed():
            yield event
        return
    for event in writer.begin():
        yield event
    # An ended run whose stream is gone is told from the database.
    kept = [] if await recorded_events(stored.run.id) else shown(await in_db(past_events, stored.run))
    for told in kept:
        for event in writer.tell(told):
            yield event
    if kept:
        return
    async for recorded in follow(stored.run.id, idle_s=IDLE_S):
        if recorded is None:
            if is_draining():
                # A run that waits for people is waited for somewhere else: the cursor comes back.
                return
            yield None
            continue
        for told in shown([recorded.event]):
            for event in writer.tell(told):
                yield event
