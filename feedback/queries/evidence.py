"""What feedback proves about an agent: the facts that promotion and confidence lean on. Accepted feedback only."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Avg, Count, Q
from django.utils import timezone

from agents.models import Agent
from feedback.rollups import CORRECTION_ACCEPTED, NEGATIVE, OPINION_ACCEPTED, POSITIVE, current
from feedback.statistics import Interval, wilson

DAYS = 30
LEAST_FEEDBACKS = 10


@dataclass(frozen=True, slots=True)
class Bar:
    """What a level asks for (GOVERNANCE.md, "Feedback aggregates")."""

    positive_ratio: float
    rating: float
    corrections: int


BAR = Bar(positive_ratio=0.75, rating=3.8, corrections=5)
AUTONOMOUS_BAR = Bar(positive_ratio=0.90, rating=4.5, corrections=2)


@dataclass(frozen=True, slots=True)
class PromotionEvidence:
    """Accepted feedback of 30 days about one agent. `average_rating` is None where nobody rated by stars."""

    total: int
    positive: int
    negative: int
    corrections: int
    positive_ratio: float | None
    interval: Interval | None
    average_rating: float | None

    def against(self, level: str) -> list[str]:
        """Why people's words speak against the level, in sentences.

        Shares of fewer than 10 feedbacks say nothing; corrections that reviewers accepted always do.
        """
        bar = AUTONOMOUS_BAR if level == "autonomous" else BAR
        found = []
        is_enough = self.total >= LEAST_FEEDBACKS
        if is_enough and self.positive_ratio is not None and self.positive_ratio < bar.positive_ratio:
            found.append(f"{self.positive_ratio:.0%} of the feedback is positive; {bar.positive_ratio:.0%} must be.")
        if is_enough and self.average_rating is not None and self.average_rating < bar.rating:
            found.append(f"The average rating is {self.average_rating:.1f}; {bar.rating} is needed.")
        if self.corrections > bar.corrections:
            found.append(f"{self.corrections} corrections were accepted; at most {bar.corrections} may be.")
        return found

    def in_words(self, level: str) -> str:
        """What people's words say about the level, in a sentence or more."""
        against = self.against(level)
        if against:
            return " ".join(against)
        if self.total < LEAST_FEEDBACKS:
            return f"{LEAST_FEEDBACKS - self.total} more accepted feedbacks would say something."
        return f"{self.positive} of {self.total} accepted feedbacks are positive."


def promotion_evidence(agent: Agent, *, since: datetime) -> PromotionEvidence:
    """What people said about this agent since then, at most 30 days ago, as far as it was accepted."""
    since = max(since, timezone.now() - timedelta(days=DAYS))
    found = (
        current()
        .filter(agent=agent, created_at__gte=since)
        .aggregate(
            total=Count("pk", filter=OPINION_ACCEPTED | CORRECTION_ACCEPTED),
            rated=Count("pk", filter=OPINION_ACCEPTED),
            positive=Count("pk", filter=OPINION_ACCEPTED & POSITIVE),
            negative=Count("pk", filter=OPINION_ACCEPTED & NEGATIVE),
            corrections=Count("pk", filter=CORRECTION_ACCEPTED),
            average_rating=Avg("rating", filter=OPINION_ACCEPTED & Q(rating__isnull=False)),
        )
    )
    rated = found.pop("rated")
    return PromotionEvidence(
        **found,
        positive_ratio=found["positive"] / rated if rated else None,
        interval=wilson(found["positive"], rated),
    )
