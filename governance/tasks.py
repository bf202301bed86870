"""Celery's way in: nothing is decided here."""

from uuid import UUID

from celery import shared_task

from governance import execution
from governance.approvals import reminders
from governance.budgets import ledger
from governance.policies import replay
from governance.telling import tell_run


@shared_task
def execute_approved(approval_id: str) -> None:
    execution.execute(UUID(approval_id))


@shared_task
def dispatch_approved() -> int:
    """Queue what was approved and never started or lost its worker, and tell the runs that have not heard."""
    due = execution.due_ids()
    for approval_id in due:
        execute_approved.delay(str(approval_id))
    for approval_id in execution.untold_ids():
        tell_run(approval_id)
    return len(due)


@shared_task
def expire_approvals() -> int:
    return execution.close_overdue()


@shared_task
def remind_approvals() -> int:
    return reminders.remind_due()


@shared_task
def rebuild_budgets() -> int:
    return ledger.rebuild()


@shared_task
def replay_policy(replay_id: str) -> None:
    replay.run_replay(UUID(replay_id))
