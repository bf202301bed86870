"""Training: what a student may not do yet becomes a task, done with a person, who rates it."""

from decimal import Decimal
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils import timezone

from agents import gate
from agents.models import Agent, Maturity
from atom.ground import audit
from atom.ground.errors import AlreadyDecided
from atom.ground.models import Scope
from atom.ground.principal import Principal
from governance.maturity.confidence import Cause, apply_change
from governance.models import ConfidenceEvent, Decision, Source, TrainingStatus, TrainingTask
from governance.signals import evidence_gained

# From this performance on, what the task is worth; GOVERNANCE's table.
WORTH = (
    (0.7, Decimal("0.20")),
    (0.5, Decimal("0.15")),
    (0.3, Decimal("0.10")),
    (0.0, Decimal("0.05")),
)


def worth_of(performance: float) -> Decimal:
    return next(worth for least, worth in WORTH if performance >= least)


def teach(agent: Agent, decision: Decision) -> None:
    """Make a task of what a student was denied because of its level. In the transaction that decided it."""
    is_level = decision.rule.startswith(f"matrix:{Maturity.STUDENT}:")
    if agent.maturity == Maturity.STUDENT and decision.decision == gate.Decision.DENY and is_level:
        add_task(agent, action=decision.action, arguments=decision.arguments, reason=decision.reason, decision=decision)


def add_task(
    agent: Agent, *, action: str, arguments: dict[str, Any], reason: str, decision: Decision | None = None
) -> TrainingTask:
    """The agent's open task for this action: a new one, or the open one once more."""
    latest = {"arguments": arguments, "reason": reason, "decision": decision}
    is_open = TrainingTask.objects.filter(agent=agent, action=action, status=TrainingStatus.OPEN)
    if not is_open.update(times=F("times") + 1, **latest):
        try:
            with transaction.atomic():
                return TrainingTask.objects.create(
                    workspace_id=agent.workspace_id, agent=agent, action=action, **latest
                )
        except IntegrityError:
            # Somebody else made it just now.
            is_open.update(times=F("times") + 1, **latest)
    return is_open.get()


@transaction.atomic
def complete(*, task: TrainingTask, principal: Principal, performance: float, note: str = "") -> TrainingTask:
    """The agent did it under a person's eyes, this well (0 to 1); once. Raises Forbidden or AlreadyDecided."""
    principal.require(Scope.SUPERVISE)
    done = TrainingTask.objects.filter(pk=task.pk, status=TrainingStatus.OPEN).update(
        status=TrainingStatus.COMPLETED,
        performance=performance,
        completed_by_id=principal.user_id,
        completed_at=timezone.now(),
        note=note,
    )
    if not done:
        raise AlreadyDecided("This training task was completed already.")
    reason = f"The training task '{task.action}' was completed with a performance of {performance:.2f}."
    cause = Cause(ConfidenceEvent.TRAINING_COMPLETED, worth_of(performance), reason, Source.TRAINING, task.pk)
    apply_change(task.agent_id, cause)
    audit.append(
        workspace_id=task.workspace_id,
        actor=principal.username,
        event="training.completed",
        details={"task": task.pk, "agent": task.agent_id, "performance": performance, "note": note},
    )
    transaction.on_commit(lambda: evidence_gained.send(sender=TrainingTask, agent_id=task.agent_id))
    return TrainingTask.objects.select_related("agent", "completed_by").get(pk=task.pk)
