"""Spot checks: some of the allowed actions are looked at by a person afterwards, for nobody looked is no evidence."""

import hashlib
from decimal import Decimal
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from agents import gate
from atom.ground import audit
from atom.ground.errors import AlreadyDecided
from atom.ground.models import Scope
from atom.ground.principal import Principal
from governance.models import Decision, Review, ReviewStatus
from governance.signals import evidence_gained

# Turns of conversation are answers, judged by feedback.
CHAT = "chat"


def is_drawn(decision_id: UUID, share: Decimal) -> bool:
    """Whether this decision is among the `share` that is checked: at random, and always the same for one decision."""
    drawn = int.from_bytes(hashlib.sha256(decision_id.bytes).digest()[:8]) / 2**64
    return drawn < share


def mark(decision: Decision, share: Decimal) -> None:
    """Put an allowed action into the queue of reviews, if it is drawn. In the transaction that decided it."""
    is_allowed = decision.decision in {gate.Decision.ALLOW, gate.Decision.WATCH}
    if is_allowed and decision.action != CHAT and is_drawn(decision.pk, share):
        Review.objects.create(workspace_id=decision.workspace_id, agent_id=decision.agent_id, decision=decision)


@transaction.atomic
def judge_review(*, review: Review, principal: Principal, is_right: bool, note: str = "") -> Review:
    """Say whether the action was right, once. Raises Forbidden or AlreadyDecided."""
    principal.require(Scope.APPROVE)
    status = ReviewStatus.RIGHT if is_right else ReviewStatus.WRONG
    judged = Review.objects.filter(pk=review.pk, status=ReviewStatus.PENDING).update(
        status=status, reviewed_by_id=principal.user_id, reviewed_at=timezone.now(), note=note
    )
    review = Review.objects.select_related("agent", "decision", "reviewed_by").get(pk=review.pk)
    if not judged:
        by = f" by {review.reviewed_by.username}" if review.reviewed_by else ""
        raise AlreadyDecided(f"This action was already reviewed{by}.")
    audit.append(
        workspace_id=review.workspace_id,
        actor=principal.username,
        event=f"review.{status}",
        details={"review": review.pk, "decision": review.decision_id, "agent": review.agent.slug, "note": note},
    )
    transaction.on_commit(lambda: evidence_gained.send(sender=Review, agent_id=review.agent_id))
    return review
