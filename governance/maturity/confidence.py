"""An agent's confidence: the one place that moves it, each time with a row that says why."""

from collections.abc import Collection
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet

from agents.models import Agent
from agents.services import DIRECT
from governance.models import ConfidenceChange, ConfidenceEvent, Source

LOWEST, HIGHEST = Decimal(0), Decimal(1)


@dataclass(frozen=True, slots=True)
class Cause:
    """What moves confidence: `key` names the event, so that hearing of it twice moves nothing twice."""

    event: ConfidenceEvent
    delta: Decimal
    reason: str
    source: Source
    source_id: UUID

    def key(self, generation: int) -> str:
        """`generation` counts the times that this was taken back before."""
        return f"{self.source}:{self.source_id}:{self.event}:{generation}"


def locked(agent_id: UUID) -> Agent:
    """The agent's row, for this transaction alone. Rows that only point at the agent can be written meanwhile."""
    return Agent.objects.select_for_update(no_key=True).get(pk=agent_id)


def standing(source_id: UUID) -> QuerySet[ConfidenceChange]:
    """The changes of one source that were not taken back."""
    return ConfidenceChange.objects.filter(source_id=source_id, reverses=None, reversal=None)


@transaction.atomic
def apply_change(agent_id: UUID, cause: Cause) -> ConfidenceChange | None:
    """Move the agent's confidence once for this cause, within [0, 1]. Its status and its level stay as they are.

    None when this was counted already, and for the workspace's `direct`, whose calls are those of people.
    """
    agent = locked(agent_id)
    earlier = ConfidenceChange.objects.filter(source_id=cause.source_id, event=cause.event, reverses=None)
    if agent.slug == DIRECT or earlier.filter(reversal=None).exists():
        return None
    return _move(agent, cause, cause.key(earlier.count()))


@transaction.atomic
def reverse_changes(
    agent_id: UUID, source_id: UUID, *, reason: str, but: Collection[ConfidenceEvent] = ()
) -> list[ConfidenceChange]:
    """Take back what this source had moved, as much as had been applied; the events in `but` stand."""
    agent = locked(agent_id)
    made = []
    for change in standing(source_id).filter(agent=agent).exclude(event__in=but):
        cause = Cause(ConfidenceEvent.REVERSAL, -change.applied, reason, Source(change.source), source_id)
        made.append(_move(agent, cause, f"{change.key}:reversal", reverses=change))
    return made


def _move(agent: Agent, cause: Cause, key: str, reverses: ConfidenceChange | None = None) -> ConfidenceChange:
    after = min(HIGHEST, max(LOWEST, agent.confidence + cause.delta))
    change = ConfidenceChange.objects.create(
        workspace_id=agent.workspace_id,
        agent=agent,
        event=cause.event,
        delta=cause.delta,
        applied=after - agent.confidence,
        confidence=after,
        reason=cause.reason,
        source=cause.source,
        source_id=cause.source_id,
        key=key,
        reverses=reverses,
    )
    Agent.objects.filter(pk=agent.pk).update(confidence=after)
    agent.confidence = after
    return change
