"""Experiments, always for somebody."""

from uuid import UUID

from django.db.models import QuerySet

from agents import queries as agent_queries
from atom.ground.errors import NotFound
from atom.ground.principal import Principal
from feedback.models import Experiment


def experiments_of(principal: Principal, *, agent: str = "", status: str = "") -> QuerySet[Experiment]:
    found = Experiment.objects.filter(workspace_id=principal.workspace_id)
    found = found.select_related("agent").prefetch_related("variants")
    if agent:
        found = found.filter(agent=agent_queries.get_agent(principal, agent))
    return found.filter(status=status) if status else found


def get_experiment(principal: Principal, experiment_id: UUID) -> Experiment:
    found = experiments_of(principal).filter(pk=experiment_id).first()
    if found is None:
        raise NotFound("There is no such experiment.")
    return found
