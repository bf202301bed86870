"""Celery's way in: nothing is decided here. Every task may come twice, or late."""

from uuid import UUID

from celery import shared_task

from governance import killswitch
from governance.maturity import opinions, proposals, runs, triggers


@shared_task
def settle_run(run_id: str) -> None:
    evidence = runs.settle_run(UUID(run_id))
    if evidence is not None:
        proposals.consider(evidence.agent_id)


@shared_task
def settle_feedback(feedback_id: str) -> None:
    agent_id = opinions.settle_feedback(UUID(feedback_id))
    if agent_id is not None:
        proposals.consider(agent_id)


@shared_task
def settle_approval(approval_id: str) -> None:
    triggers.follow_approval(UUID(approval_id))
    agent_id = opinions.settle_approval(UUID(approval_id))
    if agent_id is not None:
        proposals.consider(agent_id)


@shared_task
def consider_level(agent_id: str) -> None:
    proposals.consider(UUID(agent_id))


@shared_task
def start_triggered_run(triggered_id: str) -> None:
    triggers.start(UUID(triggered_id))


@shared_task
def start_due_runs() -> int:
    """Queue the triggered runs that can start now; gives how many."""
    due = triggers.due_ids()
    for triggered_id in due:
        start_triggered_run.delay(str(triggered_id))
    return len(due)


@shared_task
def settle_missed() -> int:
    """Count what was lost between a fact and its task; gives how many that were."""
    found = 0
    for task, missed in (
        (settle_run, runs.missed_run_ids()),
        (settle_feedback, opinions.missed_feedback_ids()),
        (settle_approval, opinions.missed_approval_ids()),
    ):
        found += len(missed)
        for row_id in missed:
            task(str(row_id))
    return found


@shared_task
def enforce_stops() -> int:
    return killswitch.enforce_stops()
