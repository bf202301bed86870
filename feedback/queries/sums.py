"""Figures over a period, from the sums: totals, cohorts, trends, comparisons. None of it reads a single feedback."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from django.db.models import Min, QuerySet, Sum
from django.utils import timezone

from agents import queries as agent_queries
from atom.ground.errors import BadRequest
from atom.ground.principal import Principal
from feedback.models import DirtyHour, FeedbackDay
from feedback.models.sums import DIMENSIONS
from feedback.rollups import COUNTED
from feedback.statistics import Interval, compare_proportions, wilson

By = Literal["agent", "provider", "model", "prompt_version", "category"]
BY: tuple[By, ...] = ("agent", "provider", "model", "prompt_version", "category")
# A trend of fewer says nothing; nor does a change of less than this many points.
LEAST_FOR_A_TREND = 5
STABLE_WITHIN = 0.05
NANO = 10**9
POINT = ("total", "positive", "negative", "neutral", "corrections")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which sums: of an agent (slug), a stretch of days (both included), and the dimensions."""

    agent: str = ""
    since: date | None = None
    until: date | None = None
    provider: str = ""
    model: str = ""
    prompt_version: str = ""
    category: str = ""


@dataclass(frozen=True, slots=True)
class Summary:
    """Counts over a period and what follows from them; None where there is nothing to divide by."""

    total: int = 0
    positive: int = 0
    negative: int = 0
    neutral: int = 0
    rated: int = 0
    corrections: int = 0
    corrections_accepted: int = 0
    comments: int = 0
    pending: int = 0
    rejected: int = 0
    average_rating: float | None = None
    ratings: dict[str, int] = field(default_factory=dict)
    positive_ratio: float | None = None
    positive_interval: Interval | None = None
    correction_rate: float | None = None
    cost_per_good_answer_usd: float | None = None
    average_latency_s: float | None = None


@dataclass(frozen=True, slots=True)
class Cohort:
    name: str
    summary: Summary


@dataclass(frozen=True, slots=True)
class Trend:
    """The second half of a period against the first. `direction`: improving, declining, stable or unknown."""

    direction: str
    first_ratio: float | None = None
    second_ratio: float | None = None
    per_day: float = 0.0


@dataclass(frozen=True, slots=True)
class Period:
    since: date
    until: date
    summary: Summary


@dataclass(frozen=True, slots=True)
class Compared:
    """A period beside the equally long one before it."""

    now: Period
    before: Period
    difference: float | None
    interval: Interval | None
    p_value: float | None


def today() -> date:
    return timezone.now().astimezone(UTC).date()


def last_days(days: int) -> tuple[date, date]:
    return today() - timedelta(days=days - 1), today()


def _days(workspace_id: UUID, wanted: Wanted) -> QuerySet[FeedbackDay]:
    found = FeedbackDay.objects.filter(workspace_id=workspace_id).order_by()
    if wanted.agent:
        found = found.filter(agent__slug=wanted.agent)
    for name in DIMENSIONS:
        if value := getattr(wanted, name):
            found = found.filter(**{name: value})
    if wanted.since:
        found = found.filter(day__gte=wanted.since)
    return found.filter(day__lte=wanted.until) if wanted.until else found


def _checked(principal: Principal, wanted: Wanted) -> Wanted:
    """With the agent's slug whatever it was named by; NotFound for somebody else's."""
    if not wanted.agent:
        return wanted
    return replace(wanted, agent=agent_queries.get_agent(principal, wanted.agent).slug)


# Under names of their own: a sum may not be called like the column that it adds up.
_SUMS: dict[str, Any] = {f"sum_{name}": Sum(name, default=0) for name in COUNTED}


def _summary(sums: dict[str, Any]) -> Summary:
    found: dict[str, int] = {name: sums[f"sum_{name}"] for name in COUNTED}
    stars = {str(number): found.pop(f"rating_{number}") for number in range(1, 6)}
    costed, cost = found.pop("costed"), found.pop("cost_nano_usd")
    timed, latency = found.pop("timed"), found.pop("latency_ms")
    by_stars = sum(stars.values())
    rated, positive = found["rated"], found["positive"]
    return Summary(
        **found,
        ratings=stars,
        average_rating=sum(int(star) * count for star, count in stars.items()) / by_stars if by_stars else None,
        positive_ratio=positive / rated if rated else None,
        positive_interval=wilson(positive, rated),
        correction_rate=found["corrections"] / found["total"] if found["total"] else None,
        cost_per_good_answer_usd=cost / NANO / positive if positive and costed else None,
        average_latency_s=latency / timed / 1000 if timed else None,
    )


def analytics(principal: Principal, wanted: Wanted | None = None) -> Summary:
    """Everything that is said, or what is wanted of it."""
    return summary_of(principal.workspace_id, _checked(principal, wanted or Wanted()))


def summary_of(workspace_id: UUID, wanted: Wanted) -> Summary:
    """For tasks, which act for a workspace and nobody in it."""
    return _summary(_days(workspace_id, wanted).aggregate(**_SUMS))


def as_of(principal: Principal) -> datetime:
    """Everything said before this moment is in the figures."""
    waiting = DirtyHour.objects.filter(agent__workspace_id=principal.workspace_id)
    oldest: datetime | None = waiting.aggregate(oldest=Min("marked_at"))["oldest"]
    return oldest or timezone.now()


def cohorts(principal: Principal, wanted: Wanted, by: str, *, most_corrected: bool = False) -> list[Cohort]:
    """The figures apart by agent, provider, model, prompt version or category; the largest first."""
    if by not in BY:
        raise BadRequest(f"Cohorts are made by one of: {', '.join(BY)}.", param="by")
    return cohorts_of(principal.workspace_id, _checked(principal, wanted), by, most_corrected=most_corrected)


def cohorts_of(workspace_id: UUID, wanted: Wanted, by: str, *, most_corrected: bool = False) -> list[Cohort]:
    """For tasks, which act for a workspace and nobody in it."""
    column = "agent__slug" if by == "agent" else by
    order = "-sum_corrections" if most_corrected else "-sum_total"
    rows = _days(workspace_id, wanted).values(column).annotate(**_SUMS).order_by(order, column)
    if most_corrected:
        rows = rows.filter(sum_corrections__gt=0)
    return [Cohort(str(row[column]), _summary(row)) for row in rows]


def trends(principal: Principal, wanted: Wanted, *, days: int = 30) -> Iterator[dict[str, Any]]:
    """One point a day, the last is today (UTC)."""
    first, last = last_days(days)
    sums = {f"sum_{name}": Sum(name) for name in POINT}
    asked = _days(principal.workspace_id, _checked(principal, wanted))
    found: Any = asked.filter(day__gte=first, day__lte=last).values("day").annotate(**sums)
    by_day = {row["day"]: {name: row[f"sum_{name}"] for name in POINT} for row in found}
    for offset in range(days):
        day = first + timedelta(days=offset)
        yield {"date": day.isoformat(), **by_day.get(day, dict.fromkeys(POINT, 0))}


def trend(principal: Principal, wanted: Wanted, *, days: int = 30) -> Trend:
    """Whether people are happier in the second half of the last days than in the first."""
    first, last = last_days(days)
    middle = first + timedelta(days=days // 2)
    halves = [
        analytics(principal, _within(wanted, since, until))
        for since, until in ((first, middle - timedelta(days=1)), (middle, last))
    ]
    total = sum(half.total for half in halves)
    one, other = (half.positive_ratio for half in halves)
    if total < LEAST_FOR_A_TREND or one is None or other is None:
        return Trend("unknown", one, other, total / days)
    change = other - one
    moves = "improving" if change > 0 else "declining"
    return Trend("stable" if abs(change) <= STABLE_WITHIN else moves, one, other, total / days)


def compare(principal: Principal, wanted: Wanted, *, days: int = 30) -> Compared:
    """The last days beside as many before them, with a test of whether the positive ratio really moved."""
    since, until = last_days(days)
    before = (since - timedelta(days=days), since - timedelta(days=1))
    now_sums, then_sums = (analytics(principal, _within(wanted, *period)) for period in ((since, until), before))
    tested = compare_proportions(
        (then_sums.positive, now_sums.positive), (then_sums.rated, now_sums.rated), expected=STABLE_WITHIN
    )
    return Compared(
        now=Period(since, until, now_sums),
        before=Period(*before, then_sums),
        difference=tested.difference if tested else None,
        interval=tested.interval if tested else None,
        p_value=tested.p_value if tested else None,
    )


def _within(wanted: Wanted, since: date, until: date) -> Wanted:
    return replace(wanted, since=since, until=until)
