"""Approvals of actions that Atom runs outside any run: whoever asked comes back for the result."""

from uuid import UUID

from django.db import transaction
from django.utils import timezone

from agents import gate
from governance.digest import digest
from governance.models import CLOSED_STATUSES, Approval, ApprovalStatus
from governance.telling import result_text


def asked_before(action: gate.Action) -> UUID | None:
    """The newest approval of the same action, by the same person, whose end nobody has been told yet."""
    found = Approval.objects.filter(
        workspace_id=action.workspace_id,
        agent_id=action.agent_id,
        action=action.name,
        tool=action.tool,
        requested_by_id=action.user_id,
        # The decision keeps what was asked first, also when somebody edited it since.
        decision__arguments_digest=digest(action.arguments),
        run=None,
        is_run_by_atom=True,
        told_at=None,
    )
    return found.order_by("-created_at").values_list("pk", flat=True).first()


@transaction.atomic
def outcome(approval_id: UUID) -> gate.Answer:
    """`pending` until it has ended, then the end, for one caller: the next one who asks the same asks anew."""
    approval = Approval.objects.select_related("decided_by").get(pk=approval_id)
    status = ApprovalStatus(approval.current_status)
    if status not in CLOSED_STATUSES:
        return gate.Answer("pending", approval.arguments)
    told = Approval.objects.filter(pk=approval_id, told_at=None).update(told_at=timezone.now())
    if not told:
        return gate.Answer("refused", {}, "The result of this call was handed out already.")
    # An overdue one reads as expired, whether or not the sweeper has been there.
    approval.status = status
    said = result_text(approval)
    if status in {ApprovalStatus.EXECUTED, ApprovalStatus.FAILED}:
        return gate.Answer(status, approval.arguments, said)
    return gate.Answer("refused", {}, said)
