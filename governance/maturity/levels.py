"""An agent's level: moved by people on evidence, and down at once by a violation. Every move is a row and audited."""

from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from agents.models import Agent, Maturity
from agents.roster import ROSTER
from agents.services import DIRECT
from atom.ground import audit
from atom.ground.errors import Conflict
from atom.ground.models import Scope
from atom.ground.principal import Principal
from governance.maturity.confidence import Cause, apply_change, locked
from governance.models import (
    ConfidenceEvent,
    LevelChange,
    Proposal,
    ProposalStatus,
    Source,
)

LEVELS = list(Maturity)
VIOLATION = Decimal("-0.20")


def is_above(one: str, other: str) -> bool:
    return LEVELS.index(Maturity(one)) > LEVELS.index(Maturity(other))


def next_level(level: str) -> Maturity | None:
    """The level after this one; None above the highest."""
    place = LEVELS.index(Maturity(level)) + 1
    return LEVELS[place] if place < len(LEVELS) else None


def set_level(agent: Agent, to: str, *, reason: str, by: str, evidence: dict[str, Any]) -> LevelChange:
    """Move a locked agent, with its audit entry; the counters of its evidence start anew from here.

    In force with the next action that is judged here, and within a second in every process.
    """
    before = agent.maturity
    ROSTER.changing(agent.workspace_id)
    Agent.objects.filter(pk=agent.pk).update(maturity=to)
    agent.maturity = to
    change = LevelChange.objects.create(
        workspace_id=agent.workspace_id,
        agent=agent,
        before=before,
        after=to,
        reason=reason,
        by=by,
        evidence=evidence,
    )
    Proposal.objects.filter(agent=agent, status=ProposalStatus.OPEN).update(
        status=ProposalStatus.OVERTAKEN, decided_at=timezone.now()
    )
    audit.append(
        workspace_id=agent.workspace_id,
        actor=by,
        event="agent.promoted" if is_above(to, before) else "agent.demoted",
        details={"agent": agent.pk, "slug": agent.slug, "from": before, "to": to, "reason": reason},
    )
    return change


@transaction.atomic
def demote(*, agent: Agent, principal: Principal, to: str, reason: str) -> Agent:
    """Lower an agent's level at once. Raises Forbidden, and Conflict when `to` is not lower."""
    principal.require(Scope.APPROVE)
    found = locked(agent.pk)
    if not is_above(found.maturity, to):
        raise Conflict(f"The agent {found.slug} is at the level {found.maturity}, which is not above {to}.", param="to")
    set_level(found, to, reason=reason, by=principal.username, evidence={})
    return found


def punish(agent: Agent, *, reason: str, source: Source, source_id: UUID) -> None:
    """A locked autonomous agent crossed a guardrail of rate or spend: supervised from now on, and less trusted.

    `direct` stays as it is: what people do through the gateway is nothing that it could have learned better.
    """
    if agent.slug == DIRECT or not is_above(agent.maturity, Maturity.SUPERVISED):
        return
    set_level(agent, Maturity.SUPERVISED, reason=reason, by="atom", evidence={source: str(source_id)})
    apply_change(agent.pk, Cause(ConfidenceEvent.VIOLATION, VIOLATION, reason, source, source_id))
