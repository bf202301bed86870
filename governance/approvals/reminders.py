"""Questions that wait too long: approvers are reminded at half time, owners are told at three quarters."""

from collections.abc import Iterable
from datetime import datetime

import structlog
from django.conf import settings
from django.core.mail import send_mail
from django.db import transaction
from django.utils import timezone

from atom.ground import audit
from atom.ground.models import ROLE_SCOPES, Membership, Role, Scope
from governance.approvals.inbox import announce
from governance.models import Approval, ApprovalStatus

log = structlog.get_logger(__name__)

REMIND_AT, ESCALATE_AT = 0.5, 0.75
APPROVERS = tuple(role for role, scopes in ROLE_SCOPES.items() if Scope.APPROVE in scopes)


def remind_due() -> int:
    """Remind and escalate what is due; gives how many were told of."""
    now = timezone.now()
    waiting = Approval.objects.filter(status=ApprovalStatus.PENDING, expires_at__gt=now, escalated_at=None)
    return sum(_tell_if_due(approval, now) for approval in waiting.select_related("agent").iterator())


def _tell_if_due(approval: Approval, now: datetime) -> bool:
    share = (now - approval.created_at) / (approval.expires_at - approval.created_at)
    if share >= ESCALATE_AT:
        return _tell(approval, "escalated_at", "approval.escalated", (Role.OWNER,), now)
    if share >= REMIND_AT and approval.reminded_at is None:
        return _tell(approval, "reminded_at", "approval.reminded", APPROVERS, now)
    return False


@transaction.atomic
def _tell(approval: Approval, field: str, event: str, roles: Iterable[str], now: datetime) -> bool:
    """Once, whichever worker comes first; in the audit trail, the open inboxes, and by e-mail where there is one."""
    still = Approval.objects.filter(pk=approval.pk, status=ApprovalStatus.PENDING, **{field: None})
    if not still.update(**{field: now}):
        return False
    details = {"approval": approval.pk, "agent": approval.agent.slug, "action": approval.action}
    audit.append(workspace_id=approval.workspace_id, actor="atom", event=event, details=details)
    announce(approval)
    transaction.on_commit(lambda: _mail(approval, event, list(roles)))
    return True


def _mail(approval: Approval, event: str, roles: list[str]) -> None:
    members = Membership.objects.filter(workspace_id=approval.workspace_id, role__in=roles, user__is_active=True)
    to = [address for address in members.values_list("user__email", flat=True) if address]
    if not to or not settings.ATOM_EMAIL_FROM:
        return
    late = "nobody has decided yet" if event == "approval.escalated" else "half of its time is over"
    text = (
        f"{approval.agent.slug} asks to {approval.action}, and {late}.\n"
        f"It expires at {approval.expires_at:%Y-%m-%d %H:%M} UTC.\n"
        f"{settings.ATOM_PUBLIC_URL}/admin/governance/approval/{approval.pk}/change/\n"
    )
    try:
        send_mail(f"Atom: {approval.agent.slug} waits for a decision", text, settings.ATOM_EMAIL_FROM, to)
    except OSError:
        log.exception("reminder_not_mailed", approval=str(approval.pk))
