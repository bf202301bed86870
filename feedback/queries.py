"""Reads of feedback and its sums, always for somebody."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from uuid import UUID

from django.db.models import QuerySet, Sum
from django.db.models.functions import TruncDate
from django.utils import timezone

from agents import queries as agent_queries
from atom.ground.errors import NotFound
from atom.ground.principal import Principal
from feedback.models import Feedback, FeedbackHour
from feedback.rollups import COUNTED


@dataclass(frozen=True, slots=True)
class Summary:
    """Counts over a period; `average_rating` is None where nobody rated."""

    total: int = 0
    positive: int = 0
    negative: int = 0
    neutral: int = 0
    corrections: int = 0
    average_rating: float | None = None
    ratings: dict[str, int] = field(default_factory=dict)


def feedback_of(
    principal: Principal, *, agent: str | None = None, session: UUID | None = None, run: UUID | None = None
) -> QuerySet[Feedback]:
    """What was said in this workspace; a filter that names nothing here is NotFound."""
    found = Feedback.objects.filter(workspace_id=principal.workspace_id).select_related("agent", "user")
    if agent:
        found = found.filter(agent=agent_queries.get_agent(principal, agent))
    if session:
        found = found.filter(session=agent_queries.get_session(principal, session))
    if run:
        found = found.filter(run=agent_queries.get_run(principal, run))
    return found


def get_feedback(principal: Principal, feedback_id: UUID) -> Feedback:
    found = feedback_of(principal).filter(pk=feedback_id).first()
    if found is None:
        raise NotFound("There is no such feedback.")
    return found


def _hours(principal: Principal, agent: str | None) -> QuerySet[FeedbackHour]:
    hours = FeedbackHour.objects.filter(workspace_id=principal.workspace_id)
    return hours.filter(agent=agent_queries.get_agent(principal, agent)) if agent else hours


def analytics(principal: Principal, *, agent: str | None = None) -> Summary:
    """Everything said so far, from the hourly sums."""
    sums = _hours(principal, agent).order_by().aggregate(**{name: Sum(name, default=0) for name in COUNTED})
    stars = {str(number): sums.pop(f"rating_{number}") for number in range(1, 6)}
    rated = sum(stars.values())
    average = sum(int(number) * count for number, count in stars.items()) / rated if rated else None
    return Summary(**sums, average_rating=average, ratings=stars)


def trends(principal: Principal, *, agent: str | None = None, days: int = 30) -> Iterator[dict[str, object]]:
    """One point a day, the last is today (UTC)."""
    today = timezone.now().date()
    first = today - timedelta(days=days - 1)
    names = ("total", "positive", "negative", "neutral", "corrections")
    days_of_hours = _hours(principal, agent).filter(hour__date__gte=first).order_by().annotate(day=TruncDate("hour"))
    rows = days_of_hours.values_list("day").annotate(*(Sum(name) for name in names))
    by_day: dict[date, dict[str, int]] = {day: dict(zip(names, sums, strict=True)) for day, *sums in rows}
    for offset in range(days):
        day = first + timedelta(days=offset)
        yield {"date": day.isoformat(), **by_day.get(day, dict.fromkeys(names, 0))}
