"""How many values an experiment needs, said before it begins."""

from dataclasses import dataclass
from datetime import timedelta

from django.db.models import Avg, Count, FloatField, Q, Variance
from django.db.models.functions import Cast
from django.utils import timezone

from agents.models import Agent, Run, RunStatus
from feedback.experiments.results import LEAST_PER_ARM
from feedback.models import Metric
from feedback.rollups import POSITIVE, RATED, current
from feedback.statistics import size_for_means, size_for_proportions

DAYS = 30
# Where nothing is known yet: the share of which one can tell least, and stars spread over half the scale.
UNKNOWN_SHARE = 0.5
UNKNOWN_RATING_VARIANCE = 1.5
MOST_PER_ARM = 100_000


@dataclass(frozen=True, slots=True)
class Advice:
    """`per_arm` values to find the effect with 80 % power; `days` at the last month's pace, None without any."""

    per_arm: int
    days: int | None
    baseline: float | None


def advise(agent: Agent, *, metric: str, min_effect: float, arms: int) -> Advice:
    """From what the agent's last 30 days were like."""
    since = timezone.now() - timedelta(days=DAYS)
    if metric in {Metric.COST, Metric.LATENCY}:
        column = "cost_usd" if metric == Metric.COST else "time_to_first_token_s"
        count, baseline, variance = _of_runs(agent, column, since)
        size = size_for_means(variance or (baseline or min_effect) ** 2, min_effect, arms=arms)
    else:
        count, baseline, variance = _of_feedback(agent, metric, since)
        size = (
            size_for_proportions(UNKNOWN_SHARE if baseline is None else baseline, min_effect, arms=arms)
            if metric == Metric.POSITIVE
            else size_for_means(variance or UNKNOWN_RATING_VARIANCE, min_effect, arms=arms)
        )
    per_arm = min(max(size, LEAST_PER_ARM), MOST_PER_ARM)
    days = round(per_arm * arms / (count / DAYS)) if count else None
    return Advice(per_arm, days, baseline)


def _of_runs(agent: Agent, column: str, since: object) -> tuple[int, float | None, float | None]:
    rows = Run.objects.filter(agent=agent, status=RunStatus.SUCCEEDED, created_at__gte=since)
    value = Cast(column, FloatField())
    found = rows.aggregate(count=Count(column), mean=Avg(value), variance=Variance(value, sample=True))
    return found["count"], found["mean"], found["variance"]


def _of_feedback(agent: Agent, metric: str, since: object) -> tuple[int, float | None, float | None]:
    rows = current().filter(agent=agent, created_at__gte=since)
    if metric == Metric.POSITIVE:
        found = rows.aggregate(count=Count("pk", filter=RATED), positive=Count("pk", filter=POSITIVE))
        share = found["positive"] / found["count"] if found["count"] else None
        return found["count"], share, None
    stars = rows.filter(Q(rating__isnull=False))
    found = stars.aggregate(count=Count("pk"), mean=Avg("rating"), variance=Variance("rating", sample=True))
    return found["count"], found["mean"], found["variance"]
