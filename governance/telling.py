"""Telling a waiting run what became of its approval: once, and again until it has heard."""

from uuid import UUID

import structlog
from django.utils import timezone
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from agents.models import Run, RunStatus
from agents.runs import records
from agents.runs.live import LEASE_S, lease_key, wake
from agents.tasks import continue_run
from atom.ground.errors import Unavailable
from atom.ground.store import sync_store
from governance.models import CLOSED_STATUSES, Approval, ApprovalStatus

log = structlog.get_logger(__name__)

# How the store and the broker say that they are away. What could not be said is said by the sweeper.
AWAY = (RedisError, OperationalError, Unavailable)


def result_text(approval: Approval) -> str:
    """What the model reads in place of the tool's result."""
    because = f": {approval.note}" if approval.note else "."
    by = approval.decided_by.username if approval.decided_by else "nobody"
    match approval.status:
        case ApprovalStatus.EXECUTED:
            return str(approval.result)
        case ApprovalStatus.FAILED:
            return f"Approved by {by}, but it failed: {approval.error}"
        case ApprovalStatus.REJECTED:
            return f"Refused: rejected by {by}{because}"
        case ApprovalStatus.CANCELLED:
            return f"Refused: cancelled by {by}{because}"
        case _:
            return "Not done: the approval expired before anybody decided. Nobody said no."


def tell_run(approval_id: UUID) -> None:
    """Answer the run's call with what happened, and let the run go on when this was its last open one.

    Does nothing when the run has heard already. A run whose call is not written down yet (the decision was quicker
    than the round) is told by the sweeper, and so is everybody while the store is away.
    """
    approval = Approval.objects.select_related("decided_by").get(pk=approval_id)
    if approval.run_id is None or approval.told_at is not None or approval.status not in CLOSED_STATUSES:
        return
    try:
        heard = _answer(approval, approval.run_id)
    except AWAY:
        log.warning("run_not_told", approval=str(approval_id), run=str(approval.run_id))
        return
    if heard:
        Approval.objects.filter(pk=approval_id).update(told_at=timezone.now())


def _answer(approval: Approval, run_id: UUID) -> bool:
    """True once the run has the result, or has ended and wants none."""
    # From the answer until the worker takes the run up it has no process: the lease keeps it from counting as lost.
    had_no_process = sync_store().set(lease_key(run_id), b"1", px=int(LEASE_S * 1000), nx=True)
    goes_on = records.answer_call(run_id=run_id, call_id=approval.call_id, content=result_text(approval))
    run = Run.objects.get(pk=run_id)
    if goes_on or (had_no_process and run.status == RunStatus.RUNNING and not records.unanswered_calls(run)):
        sync_store().set(lease_key(run_id), b"1", px=int(LEASE_S * 1000))
        continue_run.apply_async((str(run_id),), retry=False)
    answered = {result.call_id for result in records.parked_results(run)}
    return approval.call_id in answered or not run.is_open


def tell_waiting(approval_id: UUID) -> None:
    """Tell whoever waits for this approval that it was decided. For after the commit."""
    approval = Approval.objects.get(pk=approval_id)
    if approval.run_id is None:
        return
    if approval.is_run_by_atom:
        tell_run(approval_id)
        return
    try:
        wake(approval.run_id)
    except AWAY:
        # The run holds its client's call and looks again by itself every few seconds.
        log.warning("run_not_woken", run=str(approval.run_id))
