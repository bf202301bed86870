"""Facts from lower rooms become tasks. What cannot be queued is found by the sweeps."""

from typing import Any
from uuid import UUID

import structlog
from django.dispatch import receiver

from agents.signals import runs_ended
from feedback.signals import feedback_given, feedback_judged
from governance.maturity import runs, tasks
from governance.signals import approval_closed, evidence_gained, run_wanted
from governance.telling import AWAY

log = structlog.get_logger(__name__)


def _queue(task: Any, row_id: UUID) -> None:
    try:
        task.apply_async((str(row_id),), retry=False)
    except AWAY:
        log.warning("not_queued", task=task.name, row=str(row_id))


@receiver(runs_ended)
def on_runs_ended(run_ids: list[UUID], **_: Any) -> None:
    for run_id in runs.that_count(run_ids):
        _queue(tasks.settle_run, run_id)


@receiver([feedback_given, feedback_judged])
def on_feedback(feedback_id: UUID, **_: Any) -> None:
    _queue(tasks.settle_feedback, feedback_id)


@receiver(approval_closed)
def on_approval_closed(approval_id: UUID, **_: Any) -> None:
    _queue(tasks.settle_approval, approval_id)


@receiver(evidence_gained)
def on_evidence_gained(agent_id: UUID, **_: Any) -> None:
    _queue(tasks.consider_level, agent_id)


@receiver(run_wanted)
def on_run_wanted(triggered_id: UUID, **_: Any) -> None:
    _queue(tasks.start_triggered_run, triggered_id)
