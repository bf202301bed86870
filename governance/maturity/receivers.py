"""Facts from lower rooms become tasks. What cannot be queued is found by the sweeps."""

from typing import Any
from uuid import UUID

from django.dispatch import receiver

from agents.signals import runs_ended
from atom.ground.queueing import queue
from feedback.signals import feedback_given, feedback_judged
from governance.maturity import runs, tasks
from governance.signals import approval_closed, evidence_gained, run_wanted


@receiver(runs_ended)
def on_runs_ended(run_ids: list[UUID], **_: Any) -> None:
    for run_id in runs.that_count(run_ids):
        queue(tasks.settle_run, str(run_id))


@receiver([feedback_given, feedback_judged])
def on_feedback(feedback_id: UUID, **_: Any) -> None:
    queue(tasks.settle_feedback, str(feedback_id))


@receiver(approval_closed)
def on_approval_closed(approval_id: UUID, **_: Any) -> None:
    queue(tasks.settle_approval, str(approval_id))


@receiver(evidence_gained)
def on_evidence_gained(agent_id: UUID, **_: Any) -> None:
    queue(tasks.consider_level, str(agent_id))


@receiver(run_wanted)
def on_run_wanted(triggered_id: UUID, **_: Any) -> None:
    queue(tasks.start_triggered_run, str(triggered_id))
