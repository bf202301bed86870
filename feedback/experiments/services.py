"""An experiment's life: draft, running, completed, and its winner promoted. All for owners, all audited."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.utils import timezone

from agents.models import Agent
from agents.services import update_agent
from atom.ground import audit
from atom.ground.errors import BadRequest, Conflict
from atom.ground.models import Scope
from atom.ground.principal import Principal
from feedback.experiments.advice import advise
from feedback.experiments.results import LEAST_PER_ARM, results_of
from feedback.models import Experiment, ExperimentStatus, Metric, Unit, Variant

MOST_ARMS = 6
CHANGES = ("system_prompt", "models", "temperature")


@transaction.atomic
def create_experiment(
    *,
    principal: Principal,
    agent: Agent,
    name: str,
    variants: Sequence[Mapping[str, Any]],
    metric: str = Metric.POSITIVE,
    unit: str = Unit.SESSION,
    min_effect: float = 0.1,
    planned_per_arm: int | None = None,
) -> Experiment:
    """A draft. The first variant is what the others are compared with; without a size, the advised one is planned."""
    principal.require(Scope.ADMIN)
    _check(variants, min_effect)
    if planned_per_arm is None:
        planned_per_arm = advise(agent, metric=metric, min_effect=min_effect, arms=len(variants)).per_arm
    made = Experiment.objects.create(
        workspace_id=agent.workspace_id,
        agent=agent,
        name=name,
        metric=metric,
        unit=unit,
        min_effect=min_effect,
        planned_per_arm=max(planned_per_arm, LEAST_PER_ARM),
        created_by_id=principal.user_id,
    )
    for place, each in enumerate(variants):
        Variant.objects.create(experiment=made, place=place, **each)
    _audited(made, principal, "created", {"variants": [each["name"] for each in variants]})
    return made


def _check(variants: Sequence[Mapping[str, Any]], min_effect: float) -> None:
    if not 2 <= len(variants) <= MOST_ARMS:
        raise BadRequest(f"An experiment has from 2 to {MOST_ARMS} variants.", param="variants")
    if len({each["name"] for each in variants}) < len(variants):
        raise BadRequest("Each variant needs a name of its own.", param="variants")
    settings = [tuple(repr(each.get(name)) for name in CHANGES) for each in variants]
    if len(set(settings)) < len(settings):
        raise BadRequest("Two variants are the same: nothing could be learned from them.", param="variants")
    if min_effect <= 0:
        raise BadRequest("The smallest effect of interest is above 0.", param="min_effect")


@transaction.atomic
def start_experiment(*, experiment: Experiment, principal: Principal) -> Experiment:
    """Conversations that begin from now on take part. Conflict when it is no draft, or another one runs."""
    principal.require(Scope.ADMIN)
    try:
        with transaction.atomic():
            _move(experiment, ExperimentStatus.DRAFT, ExperimentStatus.RUNNING, started_at=timezone.now())
    except IntegrityError as exc:
        raise Conflict("Another experiment with this agent is running.") from exc
    _audited(experiment, principal, "started", {})
    return experiment


@transaction.atomic
def stop_experiment(*, experiment: Experiment, principal: Principal, reason: str = "") -> Experiment:
    """The agent answers everybody as it is again; what was seen stays."""
    principal.require(Scope.ADMIN)
    _move(experiment, ExperimentStatus.RUNNING, ExperimentStatus.COMPLETED, ended_at=timezone.now())
    found = results_of(experiment)
    _audited(experiment, principal, "stopped", {"reason": reason, "state": found.state, "winner": found.winner})
    return experiment


@transaction.atomic
def promote_winner(*, experiment: Experiment, principal: Principal) -> Agent:
    """Let the agent be as the winning variant was. Conflict while it runs, without a winner, or a second time."""
    principal.require(Scope.ADMIN)
    experiment = Experiment.objects.select_for_update().get(pk=experiment.pk)
    if experiment.status != ExperimentStatus.COMPLETED:
        raise Conflict("Stop the experiment before its winner is promoted.")
    if experiment.promoted_id is not None:
        raise Conflict("The winner of this experiment was promoted already.")
    winner = results_of(experiment).winner
    if winner is None:
        raise Conflict("This experiment has no winner: no difference is proven.")
    variant = experiment.variants.get(pk=winner)
    changes = {name: value for name in CHANGES if (value := getattr(variant, name)) is not None}
    agent = update_agent(agent=experiment.agent, by=principal.username, **changes)
    experiment.promoted = variant
    experiment.save(update_fields=["promoted"])
    _audited(experiment, principal, "promoted", {"variant": variant.name, "fields": sorted(changes)})
    return agent


@transaction.atomic
def delete_draft(*, experiment: Experiment, principal: Principal) -> None:
    principal.require(Scope.ADMIN)
    if not Experiment.objects.filter(pk=experiment.pk, status=ExperimentStatus.DRAFT).exists():
        raise Conflict("Only drafts can be deleted.")
    _audited(experiment, principal, "deleted", {})
    experiment.delete()


def _move(experiment: Experiment, before: str, after: str, **times: Any) -> None:
    moved = Experiment.objects.filter(pk=experiment.pk, status=before).update(status=after, **times)
    if not moved:
        raise Conflict(f"This experiment is not {before}.")
    experiment.refresh_from_db()


def _audited(experiment: Experiment, principal: Principal, what: str, details: Mapping[str, Any]) -> None:
    facts: dict[str, UUID | str] = {"experiment": experiment.id, "agent": experiment.agent_id, "name": experiment.name}
    audit.append(
        workspace_id=experiment.workspace_id,
        actor=principal.username,
        event=f"experiment.{what}",
        details={**facts, **details},
    )
