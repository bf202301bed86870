"""Who may decide: approvers, and whom they named in their place for a while."""

from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from atom.ground import audit
from atom.ground.errors import BadRequest, NotFound
from atom.ground.models import ROLE_SCOPES, Membership, Scope
from atom.ground.principal import Principal
from governance.models import ApprovalDelegation

LONGEST = timedelta(days=30)


def require_decider(principal: Principal) -> None:
    """Raise Forbidden unless this principal may decide now."""
    if Scope.APPROVE not in principal.scopes and not is_delegate(principal):
        principal.require(Scope.APPROVE)


def is_delegate(principal: Principal) -> bool:
    """Does an approver's right stand for this person at the moment?

    Not for a token that was made with less than its person may: what it was made for does not grow.
    """
    if not principal.scopes >= ROLE_SCOPES[principal.role]:
        return False
    givers = in_force().filter(workspace_id=principal.workspace_id, delegate_id=principal.user_id).values("giver_id")
    roles = [role for role, scopes in ROLE_SCOPES.items() if Scope.APPROVE in scopes]
    return Membership.objects.filter(
        workspace_id=principal.workspace_id, user_id__in=givers, role__in=roles, user__is_active=True
    ).exists()


def in_force() -> QuerySet[ApprovalDelegation]:
    now = timezone.now()
    return ApprovalDelegation.objects.filter(starts_at__lte=now, ends_at__gt=now, revoked_at=None)


def delegations_of(principal: Principal) -> QuerySet[ApprovalDelegation]:
    """Those of the workspace, newest first."""
    rows = ApprovalDelegation.objects.filter(workspace_id=principal.workspace_id)
    return rows.select_related("giver", "delegate")


def get_delegation(principal: Principal, delegation_id: UUID) -> ApprovalDelegation:
    found = delegations_of(principal).filter(pk=delegation_id).first()
    if found is None:
        raise NotFound("There is no such delegation.")
    return found


@transaction.atomic
def delegate(
    *, principal: Principal, to: str, ends_at: datetime, starts_at: datetime | None = None, reason: str = ""
) -> ApprovalDelegation:
    """Let the member `to` (a username) decide in one's place, 30 days at most. Raises Forbidden, BadRequest."""
    principal.require(Scope.APPROVE)
    begins = starts_at or timezone.now()
    if not begins < ends_at or ends_at <= timezone.now():
        raise BadRequest("ends_at must be later than starts_at, and in the future.", param="ends_at")
    if ends_at - begins > LONGEST:
        raise BadRequest(f"A delegation lasts {LONGEST.days} days at most.", param="ends_at")
    member = Membership.objects.filter(workspace_id=principal.workspace_id, user__username=to).first()
    if member is None or member.user_id == principal.user_id:
        raise BadRequest(f"'{to}' is nobody else of this workspace.", param="to")
    made = ApprovalDelegation.objects.create(
        workspace_id=principal.workspace_id,
        giver_id=principal.user_id,
        delegate_id=member.user_id,
        starts_at=begins,
        ends_at=ends_at,
        reason=reason,
    )
    _record(made, "approvals.delegated", principal)
    return made


@transaction.atomic
def end_delegation(*, delegation: ApprovalDelegation, principal: Principal) -> ApprovalDelegation:
    """Take it back before its time: whoever gave it may, and an owner."""
    if delegation.giver_id != principal.user_id:
        principal.require(Scope.ADMIN)
    ended = ApprovalDelegation.objects.filter(pk=delegation.pk, revoked_at=None).update(revoked_at=timezone.now())
    delegation.refresh_from_db()
    if ended:
        _record(delegation, "approvals.delegation_ended", principal)
    return delegation


def _record(delegation: ApprovalDelegation, event: str, principal: Principal) -> None:
    details = {
        "delegation": delegation.pk,
        "giver": delegation.giver.username,
        "delegate": delegation.delegate.username,
        "starts_at": delegation.starts_at,
        "ends_at": delegation.ends_at,
        "reason": delegation.reason,
    }
    audit.append(workspace_id=delegation.workspace_id, actor=principal.username, event=event, details=details)
