"""Other levels: proposed by the evidence, confirmed or declined by a person, who may also act on the evidence alone."""

from dataclasses import asdict
from typing import Any
from uuid import UUID

import orjson
from django.db import transaction
from django.utils import timezone

from agents.models import Agent, Maturity
from agents.services import DIRECT
from atom.ground import audit
from atom.ground.errors import AlreadyDecided, Conflict
from atom.ground.models import Scope
from atom.ground.principal import Principal
from feedback.queries import promotion_evidence
from governance.maturity.confidence import locked
from governance.maturity.facts import facts_of, last_change_at
from governance.maturity.levels import LEVELS, is_above, next_level, set_level
from governance.maturity.readiness import NEEDED, SPEAKS_FROM, Evidence, evidence_of
from governance.models import Proposal, ProposalStatus

# After a "no" the agent is proposed again when it has done so many more runs.
ASK_AGAIN_AFTER_RUNS = 10
# Of the level held, the newest runs speak.
LAST_RUNS = 20


@transaction.atomic
def consider(agent_id: UUID) -> Proposal | None:
    """Propose another level if the evidence says so and nothing is proposed yet."""
    agent = locked(agent_id)
    if agent.slug == DIRECT or Proposal.objects.filter(agent=agent, status=ProposalStatus.OPEN).exists():
        return None
    evidence = evidence_of(agent)
    if evidence.holds and evidence.to is not None:
        return _propose(agent, evidence.to, evidence.runs, as_json(evidence))
    falls = shortfall_of(agent)
    lower = LEVELS[max(0, LEVELS.index(Maturity(agent.maturity)) - 1)]
    return _propose(agent, lower, falls["runs"], falls) if falls else None


def shortfall_of(agent: Agent) -> dict[str, Any]:
    """How the last 20 runs fall under the criteria of the level held; empty when they do not, or are not 20 yet.

    Of the criteria those that 20 runs can show: how often people stepped in, and what reviewers said. And what people
    said of its answers.
    """
    level = Maturity(agent.maturity)
    if level not in NEEDED:
        return {}
    since = last_change_at(agent)
    facts = facts_of(agent, since, SPEAKS_FROM[level], newest=LAST_RUNS)
    if facts.runs < LAST_RUNS:
        return {}
    needed, stepped_in = NEEDED[level], 1 - facts.untouched.value
    why = []
    if stepped_in > needed.intervention_rate:
        why.append(f"People stepped in in {stepped_in:.0%} of the last 20 runs; {needed.intervention_rate:.0%} may be.")
    if facts.right.count and facts.right.value < needed.compliance:
        why.append(f"{facts.right.value:.0%} of the reviewed actions were right; {needed.compliance:.0%} must be.")
    said = promotion_evidence(agent, since=since)
    why += said.against(level)
    return {"runs": facts.runs, "reasons": why, "feedback": asdict(said)} if why else {}


def as_json(evidence: Evidence) -> dict[str, Any]:
    """The evidence as it is kept with a proposal and a change of level."""
    kept: dict[str, Any] = orjson.loads(orjson.dumps(asdict(evidence)))
    return kept


def _propose(agent: Agent, to: str, runs: int, evidence: dict[str, Any]) -> Proposal | None:
    declined = Proposal.objects.filter(
        agent=agent, to=to, status=ProposalStatus.DECLINED, created_at__gte=last_change_at(agent)
    )
    wait = LAST_RUNS if is_above(agent.maturity, to) else ASK_AGAIN_AFTER_RUNS
    if declined.filter(runs__gt=runs - wait).exists():
        return None
    proposal = Proposal.objects.create(
        workspace_id=agent.workspace_id, agent=agent, before=agent.maturity, to=to, runs=runs, evidence=evidence
    )
    audit.append(
        workspace_id=agent.workspace_id,
        actor="atom",
        event="level.proposed",
        details={"proposal": proposal.pk, "agent": agent.slug, "from": agent.maturity, "to": to},
    )
    return proposal


@transaction.atomic
def promote(*, agent: Agent, principal: Principal, to: str, reason: str) -> Agent:
    """Raise an agent by one level, on its evidence.

    Raises Forbidden; Conflict when `to` is not the next level, or a criterion does not hold (its `details` say which).
    """
    principal.require(Scope.APPROVE)
    found = locked(agent.pk)
    if not is_above(to, found.maturity):
        raise Conflict(f"The agent {found.slug} is at the level {found.maturity}; {to} is not above.", param="to")
    if to != next_level(found.maturity):
        raise Conflict(f"A level is never skipped: {next_level(found.maturity)} comes next.", param="to")
    evidence = evidence_of(found)
    if not evidence.holds:
        missing = evidence.missing
        raise Conflict(f"The evidence is missing: {' '.join(missing.values())}", details=missing)
    _close(Proposal.objects.filter(agent=found, to=to).first(), principal, ProposalStatus.CONFIRMED, reason)
    set_level(found, to, reason=reason, by=principal.username, evidence=as_json(evidence))
    return found


@transaction.atomic
def confirm(*, proposal: Proposal, principal: Principal, reason: str = "") -> Proposal:
    """Let the agent have the proposed level. Raises Forbidden, AlreadyDecided, Conflict when the evidence has gone."""
    principal.require(Scope.APPROVE)
    agent = locked(proposal.agent_id)
    if proposal.is_promotion and not evidence_of(agent).holds:
        raise Conflict("The evidence does not hold any more.")
    if not _close(proposal, principal, ProposalStatus.CONFIRMED, reason):
        raise _already(proposal)
    evidence = {**proposal.evidence, "proposal": str(proposal.pk)}
    set_level(agent, proposal.to, reason=reason, by=principal.username, evidence=evidence)
    return _again(proposal)


@transaction.atomic
def decline(*, proposal: Proposal, principal: Principal, reason: str) -> Proposal:
    """Leave the agent where it is, once. Raises Forbidden or AlreadyDecided."""
    principal.require(Scope.APPROVE)
    if not _close(proposal, principal, ProposalStatus.DECLINED, reason):
        raise _already(proposal)
    audit.append(
        workspace_id=proposal.workspace_id,
        actor=principal.username,
        event="level.declined",
        details={"proposal": proposal.pk, "agent": proposal.agent.slug, "to": proposal.to, "reason": reason},
    )
    return _again(proposal)


def _close(proposal: Proposal | None, principal: Principal, status: str, reason: str) -> bool:
    """Open → `status`, for one caller only."""
    if proposal is None:
        return False
    closed = Proposal.objects.filter(pk=proposal.pk, status=ProposalStatus.OPEN).update(
        status=status, decided_by_id=principal.user_id, decided_at=timezone.now(), reason=reason
    )
    return bool(closed)


def _already(proposal: Proposal) -> AlreadyDecided:
    return AlreadyDecided(f"This proposal is {_again(proposal).status} already.")


def _again(proposal: Proposal) -> Proposal:
    return Proposal.objects.select_related("agent", "decided_by").get(pk=proposal.pk)
