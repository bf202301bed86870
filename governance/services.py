"""Decisions of people: approve, reject, cancel; and what a client reports of the actions it ran itself."""

from typing import Any
from uuid import UUID

import structlog
from django.db import transaction
from django.utils import timezone

from agents import gate
from agents.models import Agent, AgentStatus, Run
from atom.ground import audit
from atom.ground.errors import AgentPaused, AlreadyDecided, Conflict, Forbidden
from atom.ground.models import Scope
from atom.ground.principal import Principal
from governance.approvals.inbox import announce
from governance.approvals.rights import require_decider
from governance.budgets.spending import is_free, require_left
from governance.execution import finish
from governance.judging import denied_today, is_as_bound, judge_again
from governance.matrix import Ruling
from governance.models import Approval, ApprovalStatus, ApprovalVote, Decision, Outcome
from governance.oversight import oversight_of
from governance.signals import approval_closed
from governance.tasks import execute_approved
from governance.telling import AWAY, tell_waiting

log = structlog.get_logger(__name__)


@transaction.atomic
def approve(*, approval: Approval, principal: Principal, revision: int, note: str = "") -> Approval:
    """Approve this revision, once; under a quorum this is one vote, and the last one approves.

    An action that Atom runs is queued after the commit. Raises Forbidden (also under four eyes for whoever caused it),
    AlreadyDecided (also for an old revision and after the expiry), AgentPaused, OverBudget, or Conflict: a second vote,
    a run that has ended, or what the agent may not do any more. The approval then stays as it is.
    """
    require_decider(principal)
    # Votes are counted one after the other, so that two last ones do not both wait for another.
    approval = Approval.objects.select_for_update().select_related("decision").get(pk=approval.pk)
    if approval.current_status != ApprovalStatus.PENDING or approval.revision != revision:
        raise AlreadyDecided(why_not(approval.pk))
    check_wanted(approval)
    _check_budget(approval)
    if not _vote(approval, principal, judge_again(approval), note):
        return whole(approval.pk)
    decided = _decide(approval, principal, revision, ApprovalStatus.APPROVED, note)
    follow = _queue if approval.is_run_by_atom else tell_waiting
    transaction.on_commit(lambda: follow(approval.pk))
    return decided


@transaction.atomic
def reject(*, approval: Approval, principal: Principal, revision: int, note: str = "") -> Approval:
    """Refuse this revision, once. Raises Forbidden or AlreadyDecided."""
    require_decider(principal)
    decided = _decide(approval, principal, revision, ApprovalStatus.REJECTED, note)
    transaction.on_commit(lambda: tell_waiting(approval.pk))
    return decided


@transaction.atomic
def cancel(*, approval: Approval, principal: Principal, revision: int, note: str = "") -> Approval:
    """Take the question back, once: whoever caused it may, and an approver. Raises Forbidden or AlreadyDecided."""
    if approval.requested_by_id != principal.user_id:
        require_decider(principal)
    decided = _decide(approval, principal, revision, ApprovalStatus.CANCELLED, note)
    transaction.on_commit(lambda: tell_waiting(approval.pk))
    return decided


def _vote(approval: Approval, principal: Principal, now: Ruling, note: str) -> bool:
    """Count this person's yes; True when it completes the quorum.

    The demands are those of the question and of the policy now in force, whichever are stricter.
    """
    if now.decision == gate.Decision.DENY:
        raise Conflict(f"This may not happen any more. {now.reason}")
    _check_eyes(approval, principal, four_eyes=approval.four_eyes or now.four_eyes)
    votes = ApprovalVote.objects.filter(approval=approval, revision=approval.revision)
    if votes.filter(user_id=principal.user_id).exists():
        raise Conflict("You have approved this already; it needs somebody else too.")
    ApprovalVote.objects.create(approval=approval, revision=approval.revision, user_id=principal.user_id, note=note)
    given, needed = votes.count(), max(approval.quorum, now.quorum)
    if given >= needed:
        return True
    audit.append(
        workspace_id=approval.workspace_id,
        actor=principal.username,
        event="approval.vote",
        details={
            "approval": approval.pk,
            "revision": approval.revision,
            "digest": approval.digest,
            "votes": given,
            "quorum": needed,
            "note": note,
        },
    )
    announce(approval)
    return False


def _check_eyes(approval: Approval, principal: Principal, *, four_eyes: bool) -> None:
    """Raise Forbidden where the person who caused the action, or wrote its arguments, is not the one to approve it."""
    is_theirs = approval.requested_by_id == principal.user_id
    if is_theirs and Scope.APPROVE not in principal.scopes:
        raise Forbidden("You caused this action; who decides in somebody's place does not approve their own.")
    if four_eyes and (is_theirs or approval.edited_by_id == principal.user_id):
        raise Forbidden("You caused this action, so somebody else must approve it.")


def check_wanted(approval: Approval) -> None:
    """Raise AgentPaused or Conflict when nothing can come of an approval now."""
    agent = Agent.objects.get(pk=approval.agent_id)
    if agent.status != AgentStatus.ACTIVE:
        raise AgentPaused(f"The agent {agent.slug} is {agent.status}; nothing can be approved for it now.")
    if oversight_of(agent.workspace_id).is_stopped:
        raise AgentPaused("All agents of this workspace are stopped; nothing can be approved now.")
    if approval.is_run_by_atom and approval.run_id is not None:
        run = Run.objects.get(pk=approval.run_id)
        if not run.is_open:
            raise Conflict("The run that asked for this has ended.")


def _check_budget(approval: Approval) -> None:
    """Raise OverBudget when there is no money to go on with; who has a free model to go on with needs none."""
    run = Run.objects.filter(pk=approval.run_id).first() if approval.run_id else None
    models = [*approval.agent.models, *([run.model_requested] if run else [])]
    if any(is_free(model, approval.workspace_id) for model in models):
        return
    require_left(
        gate.Spender(
            workspace_id=approval.workspace_id,
            agent_id=approval.agent_id,
            run_id=approval.run_id,
            token_id=run.token_id if run else None,
            session_id=run.session_id if run else None,
        )
    )


def _decide(approval: Approval, principal: Principal, revision: int, status: ApprovalStatus, note: str) -> Approval:
    """Pending → `status`, for one caller only, with its audit entry."""
    now = timezone.now()
    won = Approval.objects.filter(
        pk=approval.pk, status=ApprovalStatus.PENDING, revision=revision, expires_at__gt=now
    ).update(status=status, decided_by=principal.user_id, decided_at=now, note=note)
    if not won:
        raise AlreadyDecided(why_not(approval.pk))
    decided = whole(approval.pk)
    audit.append(
        workspace_id=decided.workspace_id,
        actor=principal.username,
        event=f"approval.{status}",
        details={
            "approval": decided.pk,
            "agent": decided.agent.slug,
            "action": decided.action,
            "revision": revision,
            "digest": decided.digest,
            "policy_version": decided.decision.policy_version,
            "note": note,
        },
    )
    announce(decided)
    transaction.on_commit(lambda: approval_closed.send(sender=Approval, approval_id=decided.pk))
    return decided


def whole(approval_id: UUID) -> Approval:
    """The approval with all that an answer about it needs."""
    return Approval.objects.select_related("agent", "decision", "decided_by", "edited_by").get(pk=approval_id)


def why_not(approval_id: UUID) -> str:
    """Why an approval cannot be decided (any more), for people."""
    found = Approval.objects.select_related("decided_by").get(pk=approval_id)
    if found.current_status == ApprovalStatus.EXPIRED:
        return "This approval has expired."
    if found.status == ApprovalStatus.PENDING:
        return f"This approval is at revision {found.revision} now; look at it again."
    by = f" by {found.decided_by.username}" if found.decided_by else ""
    word = ApprovalStatus.APPROVED if found.status in _AFTER_APPROVAL else found.status
    return f"This was already {word}{by}."


_AFTER_APPROVAL = (ApprovalStatus.EXECUTED, ApprovalStatus.FAILED)


def _queue(approval_id: UUID) -> None:
    try:
        execute_approved.apply_async((str(approval_id),), retry=False)
    except AWAY:
        # The decision stands; the sweeper queues it when the broker is back.
        log.warning("approved_not_queued", approval=str(approval_id))


@transaction.atomic
def take(approval_id: UUID) -> gate.Answer:
    """Hand an approved action to the client that waits for it: approved → executed, once."""
    approval = Approval.objects.select_related("agent", "decided_by", "decision").get(pk=approval_id)
    if approval.current_status == ApprovalStatus.PENDING:
        return gate.Answer("pending", {})
    if approval.current_status == ApprovalStatus.EXPIRED:
        return gate.Answer("refused", {}, "The approval expired before anybody decided.")
    if approval.status == ApprovalStatus.APPROVED and not approval.is_run_by_atom:
        if approval.agent.status != AgentStatus.ACTIVE:
            return gate.Answer("refused", {}, f"The agent {approval.agent.slug} is {approval.agent.status}.")
        if oversight_of(approval.workspace_id).is_stopped:
            return gate.Answer("refused", {}, "All agents of this workspace are stopped.")
        if not is_as_bound(approval):
            return gate.Answer("refused", {}, "The stored arguments are not the ones that were approved.")
        if forbidden := denied_today(approval):
            return gate.Answer("refused", {}, f"It may not happen any more. {forbidden}")
        if finish(approval, status=ApprovalStatus.EXECUTED, by=f"agent/{approval.agent.slug}"):
            return gate.Answer("approved", approval.arguments)
        return gate.Answer("refused", {}, "The approved action was taken already.")
    because = f": {approval.note}" if approval.note else ""
    return gate.Answer("refused", {}, f"{why_not(approval_id).removesuffix('.')}{because}.")


@transaction.atomic
def report_outcome(
    *, decision: Decision, principal: Principal, status: str, result: Any = None, error: str = ""
) -> Decision:
    """What came of an action that its client ran, once. An approval becomes executed or failed with it.

    Raises Conflict before an approval, after a refusal, for Atom's own actions, and the second time.
    """
    if decision.decision == gate.Decision.DENY:
        raise Conflict("This action was denied, so it can have no outcome.")
    if decision.is_run_by_atom:
        raise Conflict("Atom runs this action itself.")
    if decision.decision == gate.Decision.ASK:
        approval = Approval.objects.select_related("agent").get(decision=decision)
        ended = ApprovalStatus.EXECUTED if status == Outcome.SUCCEEDED else ApprovalStatus.FAILED
        if not finish(approval, status=ended, result=result, error=error, by=principal.username):
            raise Conflict(_no_outcome(approval))
    else:
        reported = Decision.objects.filter(pk=decision.pk, outcome="").update(
            outcome=status,
            outcome_result=result if status == Outcome.SUCCEEDED else {"error": error},
            outcome_at=timezone.now(),
        )
        if not reported:
            raise Conflict("The outcome was already reported.")
        _record_outcome(decision, principal, status, error)
    decision.refresh_from_db()
    return decision


def _record_outcome(decision: Decision, principal: Principal, status: str, error: str) -> None:
    audit.append(
        workspace_id=decision.workspace_id,
        actor=principal.username,
        event=f"action.{status}",
        details={
            "decision": decision.pk,
            "agent": decision.agent.slug,
            "action": decision.action,
            "run": decision.run_id,
            "error": error,
        },
    )


def _no_outcome(approval: Approval) -> str:
    if approval.status in _AFTER_APPROVAL:
        return "The outcome was already reported."
    return f"This action was not approved: it is {approval.current_status}."
