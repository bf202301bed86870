"""How well people review: how long they take, how much they approve, how often they cannot have read it."""

from dataclasses import dataclass
from datetime import timedelta

from django.db.models import Avg, Count, F, Q
from django.utils import timezone

from atom.ground.models import Scope
from atom.ground.principal import Principal
from governance.models import Approval, ApprovalStatus

OVER_DAYS = 30
# Nobody reads a question and its arguments in less.
TOO_FAST = timedelta(seconds=2)
_APPROVED = (ApprovalStatus.APPROVED, ApprovalStatus.EXECUTED, ApprovalStatus.FAILED)


@dataclass(frozen=True, slots=True)
class Reviewer:
    """One person's decisions of the last 30 days. Seconds from the question to the decision."""

    username: str
    decisions: int
    approved: int
    mean_seconds: float
    under_two_seconds: int

    @property
    def share_approved(self) -> float:
        return self.approved / self.decisions


def reviewers_of(principal: Principal) -> list[Reviewer]:
    """Everybody who decided lately, the busiest first."""
    principal.require(Scope.ADMIN)
    since = timezone.now() - timedelta(days=OVER_DAYS)
    rows = (
        Approval.objects.filter(workspace_id=principal.workspace_id, decided_at__gte=since, decided_by__isnull=False)
        .annotate(took=F("decided_at") - F("created_at"))
        .values("decided_by__username")
        .annotate(
            decisions=Count("pk"),
            approved=Count("pk", filter=Q(status__in=_APPROVED)),
            mean=Avg("took"),
            fast=Count("pk", filter=Q(took__lt=TOO_FAST)),
        )
        .order_by("-decisions")
    )
    return [
        Reviewer(
            row["decided_by__username"], row["decisions"], row["approved"], row["mean"].total_seconds(), row["fast"]
        )
        for row in rows
    ]
