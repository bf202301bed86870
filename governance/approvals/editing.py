"""Other arguments for a question that waits: a new revision, judged again; what was shown before cannot be approved."""

from typing import Any

from django.db import transaction

from agents.gate import Decision
from atom.ground import audit
from atom.ground.errors import AlreadyDecided, Conflict
from atom.ground.principal import Principal
from governance.approvals.inbox import announce
from governance.approvals.rights import require_decider
from governance.judging import binding_digest, judge_again
from governance.models import Approval, ApprovalRevision, ApprovalStatus
from governance.services import check_wanted, whole, why_not


@transaction.atomic
def edit(*, approval: Approval, principal: Principal, revision: int, arguments: dict[str, Any]) -> Approval:
    """The approval at its next revision, still pending, bound to `arguments`.

    Raises Forbidden, AlreadyDecided (also for an old revision), AgentPaused, or Conflict when the policy denies the
    action with these arguments. Votes for an earlier revision no longer count.
    """
    require_decider(principal)
    kept = Approval.objects.select_for_update().select_related("decision", "agent").get(pk=approval.pk)
    if kept.current_status != ApprovalStatus.PENDING or kept.revision != revision:
        raise AlreadyDecided(why_not(kept.pk))
    check_wanted(kept)
    shown = ApprovalRevision(
        approval=kept,
        revision=kept.revision,
        arguments=kept.arguments,
        digest=kept.digest,
        replaced_by_id=principal.user_id,
    )
    kept.arguments = arguments
    now = judge_again(kept)
    if now.decision == Decision.DENY:
        raise Conflict(f"With these arguments it may not happen. {now.reason}")
    shown.save()
    kept.digest = binding_digest(
        agent_id=kept.agent_id,
        action=kept.action,
        arguments=arguments,
        policy_version=kept.decision.policy_version,
    )
    kept.revision += 1
    kept.quorum, kept.four_eyes = max(kept.quorum, now.quorum), kept.four_eyes or now.four_eyes
    kept.edited_by_id = principal.user_id
    kept.save(update_fields=["arguments", "digest", "revision", "quorum", "four_eyes", "edited_by"])
    _record(kept, shown, principal)
    announce(kept)
    return whole(kept.pk)


def _record(approval: Approval, before: ApprovalRevision, principal: Principal) -> None:
    details = {
        "approval": approval.pk,
        "agent": approval.agent.slug,
        "action": approval.action,
        "revision": approval.revision,
        "digest_before": before.digest,
        "digest": approval.digest,
    }
    audit.append(workspace_id=approval.workspace_id, actor=principal.username, event="approval.edited", details=details)
