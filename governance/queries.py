"""Reads of decisions and approvals, always for somebody; a foreign row is NotFound."""

from uuid import UUID

from django.db.models import Case, IntegerField, Q, QuerySet, Value, When
from django.db.models.expressions import OrderBy
from django.utils import timezone

from agents.gate import Held
from atom.ground.errors import BadRequest, Forbidden, NotFound
from atom.ground.models import Scope
from atom.ground.principal import Principal
from governance.models import Approval, ApprovalStatus, Decision

# Anybody in the workspace may look; deciding is another matter.
MAY_LOOK = frozenset({Scope.CHAT, Scope.APPROVE})


def require_look(principal: Principal) -> None:
    if not MAY_LOOK & principal.scopes:
        raise Forbidden("This needs the scope 'chat' or 'approve'.")


def approvals_of(principal: Principal) -> QuerySet[Approval]:
    require_look(principal)
    rows = Approval.objects.filter(workspace_id=principal.workspace_id)
    return rows.select_related("agent", "decision", "decided_by", "edited_by").prefetch_related("votes__user")


def get_approval(principal: Principal, approval_id: UUID) -> Approval:
    found = approvals_of(principal).filter(pk=approval_id).first()
    if found is None:
        raise NotFound("There is no such approval.")
    return found


def with_status(rows: QuerySet[Approval], status: str) -> QuerySet[Approval]:
    """Those that are in `status` now: what is overdue counts as expired before the sweeper has been there."""
    if status not in ApprovalStatus.values:
        raise BadRequest(f"status is one of: {', '.join(ApprovalStatus.values)}.", param="status")
    overdue = Q(status=ApprovalStatus.PENDING, expires_at__lte=timezone.now())
    if status == ApprovalStatus.PENDING:
        return rows.filter(status=status).exclude(overdue)
    if status == ApprovalStatus.EXPIRED:
        return rows.filter(Q(status=status) | overdue)
    return rows.filter(status=status)


def waiting_first() -> OrderBy:
    """An ordering: what waits for people before the rest."""
    waits = When(status=ApprovalStatus.PENDING, expires_at__gt=timezone.now(), then=Value(0))
    return Case(waits, default=Value(1), output_field=IntegerField()).asc()


def held_call(workspace_id: UUID, approval_id: UUID) -> Held | None:
    """The tool call that an approval is about; None for a foreign one, and for an action outside of any run."""
    found = Approval.objects.select_related("decision").filter(pk=approval_id, workspace_id=workspace_id).first()
    if found is None or not found.call_id:
        return None
    return Held(
        approval_id=found.pk,
        agent_id=found.agent_id,
        run_id=found.run_id,
        tool=found.tool,
        call_id=found.call_id,
        is_run_by_atom=found.is_run_by_atom,
        reason=found.decision.reason,
    )


def decisions_of(principal: Principal) -> QuerySet[Decision]:
    require_look(principal)
    return Decision.objects.filter(workspace_id=principal.workspace_id).select_related("agent")


def get_decision(principal: Principal, decision_id: UUID) -> Decision:
    found = Decision.objects.filter(workspace_id=principal.workspace_id, pk=decision_id).first()
    if found is None:
        raise NotFound("There is no such action.")
    return found
