"""Reads of what agents learn and earn, always for somebody; a foreign row is NotFound."""

from typing import TypeVar
from uuid import UUID

from django.db.models import Model, QuerySet

from agents import queries as agents
from agents.models import Agent
from atom.ground.errors import NotFound
from atom.ground.models import Scope
from atom.ground.principal import Principal
from governance.models import ConfidenceChange, LevelChange, Proposal, Review, TrainingTask, TriggeredRun

Row = TypeVar("Row", bound=Model)


def _of_agent(rows: QuerySet[Row], principal: Principal, agent: str | None) -> QuerySet[Row]:
    return rows.filter(agent=agents.get_agent(principal, agent)) if agent else rows


def _one(rows: QuerySet[Row], row_id: UUID, what: str) -> Row:
    found = rows.filter(pk=row_id).first()
    if found is None:
        raise NotFound(f"There is no such {what}.")
    return found


def proposals_of(principal: Principal, *, agent: str | None = None) -> QuerySet[Proposal]:
    principal.require(Scope.CHAT)
    rows = Proposal.objects.filter(workspace_id=principal.workspace_id).select_related("agent", "decided_by")
    return _of_agent(rows, principal, agent)


def get_proposal(principal: Principal, proposal_id: UUID) -> Proposal:
    return _one(proposals_of(principal), proposal_id, "proposal")


def reviews_of(principal: Principal, *, agent: str | None = None) -> QuerySet[Review]:
    principal.require(Scope.APPROVE)
    rows = Review.objects.filter(workspace_id=principal.workspace_id)
    return _of_agent(rows.select_related("agent", "decision", "reviewed_by"), principal, agent)


def get_review(principal: Principal, review_id: UUID) -> Review:
    return _one(reviews_of(principal), review_id, "review")


def training_of(principal: Principal, *, agent: str | None = None) -> QuerySet[TrainingTask]:
    principal.require(Scope.CHAT)
    rows = TrainingTask.objects.filter(workspace_id=principal.workspace_id)
    return _of_agent(rows.select_related("agent", "completed_by"), principal, agent)


def get_training(principal: Principal, task_id: UUID) -> TrainingTask:
    return _one(training_of(principal), task_id, "training task")


def triggered_runs_of(principal: Principal, agent: str) -> QuerySet[TriggeredRun]:
    principal.require(Scope.CHAT)
    rows = TriggeredRun.objects.filter(workspace_id=principal.workspace_id).select_related("agent")
    return _of_agent(rows, principal, agent)


def confidence_of(principal: Principal, agent: str) -> QuerySet[ConfidenceChange]:
    principal.require(Scope.CHAT)
    rows = ConfidenceChange.objects.filter(workspace_id=principal.workspace_id).select_related("agent")
    return _of_agent(rows, principal, agent)


def levels_of(agent: Agent) -> QuerySet[LevelChange]:
    return LevelChange.objects.filter(agent=agent)
