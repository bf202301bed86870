"""Executing what was approved, once: a claim with a lease, the tool, one end; and the sweeps that lose nothing."""

import asyncio
from datetime import timedelta
from uuid import UUID

import structlog
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from agents.models import OPEN_STATUSES, Agent, AgentStatus
from agents.tasks import run_async
from agents.tools.declared import tool_named
from agents.tools.mcp.door import MCP_DOOR
from agents.tools.own import LONGEST_S, OwnTool, Progress, ToolFailed, run_tool
from atom.ground import audit
from atom.ground.database import in_db
from atom.ground.errors import AtomError
from governance.approvals.inbox import announce
from governance.judging import denied_today, is_as_bound
from governance.models import CLOSED_STATUSES, Approval, ApprovalStatus, Decision, Outcome, Oversight
from governance.signals import approval_closed
from governance.telling import tell_run, tell_waiting

log = structlog.get_logger(__name__)

# With something to spare for what a tool does around its call.
TOOL_LIMIT_S = LONGEST_S + 5.0
# Longer than a tool may take: a lease runs out only when its worker is gone.
LEASE = timedelta(seconds=90)


class CannotRun(AtomError):
    """An approved action that must not run any more, with the reason for people."""

    code = "cannot_run"
    status = 409


def due_ids() -> list[UUID]:
    """Approved actions that Atom runs and no worker has at the moment."""
    return list(_free_to_claim().values_list("pk", flat=True))


def _free_to_claim() -> QuerySet[Approval]:
    # Every condition stands on the row itself, without a join: PostgreSQL looks at them again once it has the
    # row's lock, but not at a subquery over the same table, and then two workers would have it.
    now = timezone.now()
    return (
        Approval.objects.filter(status=ApprovalStatus.APPROVED, is_run_by_atom=True)
        .filter(Q(claimed_until=None) | Q(claimed_until__lt=now))
        # A paused agent's action waits until the agent is resumed.
        .exclude(agent__in=Agent.objects.filter(status=AgentStatus.PAUSED))
        .exclude(workspace__in=Oversight.objects.filter(is_stopped=True).values("workspace"))
    )


def execute(approval_id: UUID) -> bool:
    """Run the approved action, unless somebody else has it or it has run. True when this call ran it."""
    now = timezone.now()
    if not _free_to_claim().filter(pk=approval_id).update(claimed_at=now, claimed_until=now + LEASE):
        return False
    approval = Approval.objects.select_related("agent", "run", "decision").get(pk=approval_id)
    try:
        tool = _tool_to_run(approval)
        result = run_async(_run(tool, approval))
    except AtomError as exc:
        finish(approval, status=ApprovalStatus.FAILED, error=exc.message, by="atom")
    except Exception:
        log.exception("execution_failed", approval=str(approval_id))
        finish(approval, status=ApprovalStatus.FAILED, error="The tool failed on our side.", by="atom")
    else:
        finish(approval, status=ApprovalStatus.EXECUTED, result=result, by="atom")
    tell_run(approval_id)
    return True


def _tool_to_run(approval: Approval) -> OwnTool:
    """The agent's tool as it is declared now, if what was approved is still what would run; else CannotRun."""
    if approval.agent.status == AgentStatus.RETIRED:
        raise CannotRun("The agent was retired before the action ran.")
    if approval.run is not None and approval.run.status not in OPEN_STATUSES:
        raise CannotRun("The run that asked for it had ended.")
    forbidden = denied_today(approval)
    if forbidden:
        raise CannotRun(f"It may not happen any more. {forbidden}")
    if not is_as_bound(approval):
        raise CannotRun("The stored arguments are not the ones that were approved.")
    return _declared_tool(approval.agent, approval)


def _declared_tool(agent: Agent, approval: Approval) -> OwnTool:
    tool = tool_named(agent, approval.tool, is_door=_is_asked_at_door(approval))
    if tool is None or tool.action != approval.action:
        raise CannotRun(f"The agent has no tool '{approval.tool}' for this action any more.")
    return tool


def _is_asked_at_door(approval: Approval) -> bool:
    """Whether the call came to a server's own door, and not from a run of an agent that declares the tool."""
    return bool(approval.decision.context.get("door") == MCP_DOOR)


async def _run(tool: OwnTool, approval: Approval) -> str:
    async def tell(news: Progress) -> None:
        await in_db(_note_progress, approval, news)

    try:
        async with asyncio.timeout(TOOL_LIMIT_S):
            return await run_tool(tool, approval.arguments, key=str(approval.id), tell=tell)
    except TimeoutError as exc:
        raise ToolFailed(f"The tool {tool.name} was not done within {TOOL_LIMIT_S:g} s.") from exc


@transaction.atomic
def _note_progress(approval: Approval, news: Progress) -> None:
    """For whoever has the approval open."""
    told = {"progress": news.progress, "total": news.total, "message": news.message}
    Approval.objects.filter(pk=approval.pk, status=ApprovalStatus.APPROVED).update(progress=told)
    announce(approval)


@transaction.atomic
def finish(approval: Approval, *, status: ApprovalStatus, by: str, result: object = None, error: str = "") -> bool:
    """Approved → executed or failed, once, with the decision's outcome; False when it had ended already."""
    now = timezone.now()
    ended = Approval.objects.filter(pk=approval.pk, status=ApprovalStatus.APPROVED).update(
        status=status, executed_at=now, claimed_until=None, result=result, error=error
    )
    if not ended:
        return False
    Decision.objects.filter(pk=approval.decision_id).update(
        outcome=Outcome.SUCCEEDED if status == ApprovalStatus.EXECUTED else Outcome.FAILED,
        outcome_result=result if status == ApprovalStatus.EXECUTED else {"error": error},
        outcome_at=now,
    )
    details = {"approval": approval.pk, "agent": approval.agent.slug, "action": approval.action, "run": approval.run_id}
    audit.append(
        workspace_id=approval.workspace_id,
        actor=by,
        event=f"approval.{status}",
        details={**details, "digest": approval.digest, "error": error},
    )
    announce(approval)
    return True


def close_overdue() -> int:
    """Expire what nobody decided in time, and cancel what nobody waits for; gives how many."""
    now = timezone.now()
    pending = Approval.objects.filter(status=ApprovalStatus.PENDING).select_related("agent")
    overdue = pending.filter(expires_at__lte=now)
    # The client of its own call may come back after its run has ended; a run of Atom's will not.
    orphaned = pending.filter(is_run_by_atom=True, run__isnull=False).exclude(run__status__in=OPEN_STATUSES)
    closed = sum(_close(row, ApprovalStatus.EXPIRED, "") for row in overdue)
    return closed + sum(
        _close(row, ApprovalStatus.CANCELLED, "The run that asked for it had ended.") for row in orphaned
    )


@transaction.atomic
def _close(approval: Approval, status: ApprovalStatus, note: str) -> bool:
    closed = Approval.objects.filter(pk=approval.pk, status=ApprovalStatus.PENDING).update(
        status=status, decided_at=timezone.now(), note=note
    )
    if not closed:
        return False
    details = {"approval": approval.pk, "agent": approval.agent.slug, "action": approval.action, "note": note}
    audit.append(workspace_id=approval.workspace_id, actor="atom", event=f"approval.{status}", details=details)
    announce(approval)
    transaction.on_commit(lambda: tell_waiting(approval.pk))
    transaction.on_commit(lambda: approval_closed.send(sender=Approval, approval_id=approval.pk))
    return True


def untold_ids() -> list[UUID]:
    """Closed approvals whose run has not heard of it."""
    closed = Approval.objects.filter(is_run_by_atom=True, status__in=CLOSED_STATUSES, told_at=None)
    return list(closed.filter(run__isnull=False).values_list("pk", flat=True))
