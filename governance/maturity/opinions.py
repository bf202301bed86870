"""What people's words do to confidence: feedback and decisions on approvals. Each is brought to what its row says now,
so that hearing of it twice, late or in another order ends the same."""

from datetime import timedelta
from decimal import Decimal
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from agents.services import DIRECT
from feedback.models import Feedback, Part
from feedback.rollups import CORRECTION_ACCEPTED, NEGATIVE, OPINION_ACCEPTED, POSITIVE
from governance.maturity.confidence import Cause, apply_change, locked, reverse_changes
from governance.maturity.runs import LEAVE_TIME, LOOK_BACK, recount_interventions
from governance.models import Approval, ApprovalStatus, ConfidenceChange, ConfidenceEvent, Source

CORRECTED = Decimal("-0.10")
SENTIMENTS = {
    "positive": (ConfidenceEvent.FEEDBACK_POSITIVE, Decimal("0.005")),
    "negative": (ConfidenceEvent.FEEDBACK_NEGATIVE, Decimal("-0.01")),
}
# Which feedback counts as what; the same as `_causes`, said to the database.
COUNTS = {
    ConfidenceEvent.CORRECTION_ACCEPTED: CORRECTION_ACCEPTED,
    ConfidenceEvent.FEEDBACK_POSITIVE: OPINION_ACCEPTED & POSITIVE,
    ConfidenceEvent.FEEDBACK_NEGATIVE: OPINION_ACCEPTED & NEGATIVE,
}
# Thumbs and ratings of one member on one agent that count, a day (UTC).
MOST_A_DAY = 3
EDITED, REJECTED = Decimal("-0.05"), Decimal("-0.10")
_APPROVED = (ApprovalStatus.APPROVED, ApprovalStatus.EXECUTED, ApprovalStatus.FAILED)


@transaction.atomic
def settle_feedback(feedback_id: UUID) -> UUID | None:
    """Count what is accepted of a feedback, take back what is not or not any more; gives the agent."""
    agent_id = Feedback.objects.filter(pk=feedback_id).values_list("agent_id", flat=True).first()
    if agent_id is None:
        return None
    locked(agent_id)
    # Read under the lock: of two who come at once, the later sees what the earlier saw or something newer.
    feedback = Feedback.objects.get(pk=feedback_id)
    causes = _causes(feedback)
    now = "withdrawn" if feedback.is_withdrawn else feedback.status
    reverse_changes(agent_id, feedback_id, reason=f"The feedback is {now} now.", but=[cause.event for cause in causes])
    for cause in causes:
        apply_change(agent_id, cause)
    return agent_id


def _causes(feedback: Feedback) -> list[Cause]:
    """What counts of it now: of a split one part, of what is pending, rejected or withdrawn nothing."""
    found = []
    if feedback.is_accepted(Part.CORRECTION):
        reason = "A correction was accepted."
        found.append(Cause(ConfidenceEvent.CORRECTION_ACCEPTED, CORRECTED, reason, Source.FEEDBACK, feedback.pk))
    sentiment = feedback.get_sentiment()
    if sentiment in SENTIMENTS and feedback.is_accepted(Part.OPINION):
        event, delta = SENTIMENTS[sentiment]
        reason = f"Feedback was {sentiment}."
        if _counted_today(feedback) >= MOST_A_DAY:
            delta, reason = Decimal(0), f"{reason} This member's {MOST_A_DAY} of the day on this agent were used up."
        found.append(Cause(event, delta, reason, Source.FEEDBACK, feedback.pk))
    return found


def _counted_today(feedback: Feedback) -> int:
    """How many other thumbs and ratings of this member on this agent count for the day of this one.

    People without an account share one member's share: nobody knows whether they are one or many.
    """
    midnight = feedback.created_at.replace(hour=0, minute=0, second=0, microsecond=0)
    of_the_day = Feedback.objects.filter(
        agent_id=feedback.agent_id,
        user=feedback.user,
        created_at__gte=midnight,
        created_at__lt=midnight + timedelta(days=1),
    ).exclude(pk=feedback.pk)
    counted = ConfidenceChange.objects.filter(
        event__in=[event for event, _ in SENTIMENTS.values()],
        source_id__in=of_the_day.values("pk"),
        reverses=None,
        reversal=None,
    )
    return counted.exclude(delta=0).count()


@transaction.atomic
def settle_approval(approval_id: UUID) -> UUID | None:
    """Count what people changed or refused; gives the agent."""
    approval = Approval.objects.select_related("run").filter(pk=approval_id).first()
    if approval is None:
        return None
    what = f"'{approval.action}'"
    event, delta, reason = None, Decimal(0), ""
    if approval.status == ApprovalStatus.REJECTED:
        event, delta, reason = ConfidenceEvent.APPROVAL_REJECTED, REJECTED, f"A person rejected the action {what}."
    elif approval.status in _APPROVED and approval.revision > 1:
        event, delta, reason = ConfidenceEvent.APPROVAL_EDITED, EDITED, f"A person changed the action {what} first."
    if event is not None:
        apply_change(approval.agent_id, Cause(event, delta, reason, Source.APPROVAL, approval.pk))
    if approval.run is not None:
        recount_interventions(approval.run)
    return approval.agent_id


def missed_feedback_ids() -> list[UUID]:
    """Feedback whose effect is not what its row says."""
    now = timezone.now()
    lately = Q(updated_at__gt=now - LOOK_BACK) | Q(adjudicated_at__gt=now - LOOK_BACK)
    late = Feedback.objects.filter(lately, created_at__lt=now - LEAVE_TIME).exclude(agent__slug=DIRECT)
    stands = ConfidenceChange.objects.filter(source_id=OuterRef("pk"), reverses=None, reversal=None)
    is_missed = Q()
    for event, counts in COUNTS.items():
        is_settled = Q(Exists(stands.filter(event=event)))
        should_be = counts & Q(withdrawn_at=None)
        is_missed |= (should_be & ~is_settled) | (~should_be & is_settled)
    return list(late.filter(is_missed).values_list("pk", flat=True))


def missed_approval_ids() -> list[UUID]:
    """Decisions of people that were not counted."""
    now = timezone.now()
    lately = Approval.objects.filter(decided_at__gt=now - LOOK_BACK, decided_at__lt=now - LEAVE_TIME)
    lately = lately.exclude(agent__slug=DIRECT)
    counts = Q(status=ApprovalStatus.REJECTED) | Q(status__in=_APPROVED, revision__gt=1)
    settled = ConfidenceChange.objects.filter(source_id=OuterRef("pk"))
    uncounted = lately.filter(counts).annotate(is_settled=Exists(settled)).filter(is_settled=False)
    return list(uncounted.values_list("pk", flat=True))
