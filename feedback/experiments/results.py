"""What came of an experiment: each arm's figure, its comparison with the first arm, and whether it may be believed.

The question is asked twice at most. Once, at the planned size, by a plain test of the first `planned_per_arm` values of
each arm: it stays the same however often one looks. And before that, at any time, by a sequential test that allows
looking. Both together are wrong in at most 5 of 100 experiments without a difference: 1 for the looks, 4 for the end,
shared among the comparisons (Bonferroni).
"""

import statistics
from dataclasses import dataclass
from uuid import UUID

from django.db.models import F, FloatField
from django.db.models.functions import Cast

from agents.models import Run, RunStatus
from feedback.models import Experiment, FeedbackStatus, Metric, Variant
from feedback.rollups import RATED, current
from feedback.statistics import (
    Comparison,
    Interval,
    Moments,
    compare_means,
    compare_proportions,
    wilson,
)

LEAST_PER_ARM = 100
EARLY_ALPHA = 0.01
FINAL_ALPHA = 0.04
# Of these less is better.
LESS_IS_BETTER = frozenset({Metric.COST, Metric.LATENCY})


@dataclass(frozen=True, slots=True)
class Arm:
    """One variant's figure; `comparison` with the first arm, None for the first itself or too few values."""

    variant_id: UUID
    name: str
    count: int
    value: float | None
    interval: Interval | None
    comparison: Comparison | None = None
    is_significant: bool = False


@dataclass(frozen=True, slots=True)
class Results:
    """`state`: `too_few`, `undecided`, `winner`, `no_difference`. `notes` are sentences for whoever looks."""

    state: str
    arms: tuple[Arm, ...]
    winner: UUID | None
    has_planned_size: bool
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Test:
    """Which p-value is asked, and below what it has to lie."""

    is_planned: bool
    alpha: float

    def finds(self, compared: Comparison | None) -> bool:
        if compared is None:
            return False
        return (compared.p_value if self.is_planned else compared.sequential_p_value) <= self.alpha


def results_of(experiment: Experiment) -> Results:
    """The figures as they stand now."""
    variants = list(experiment.variants.all())
    values = {variant.id: _values(experiment, variant) for variant in variants}
    is_planned = all(len(found) >= experiment.planned_per_arm for found in values.values())
    test = Test(is_planned, (FINAL_ALPHA if is_planned else EARLY_ALPHA) / (len(variants) - 1))
    base = values[variants[0].id]
    arms = tuple(_arm(experiment, variant, base, values[variant.id], test) for variant in variants)
    least = min(arm.count for arm in arms)
    if least < LEAST_PER_ARM:
        note = f"At least {LEAST_PER_ARM} values per arm are needed; the smallest has {least}."
        return Results("too_few", arms, None, False, (note,))
    winner = _winner(experiment, arms)
    if winner:
        return Results("winner", arms, winner, is_planned, _notes(experiment, is_planned))
    return Results(
        "no_difference" if is_planned else "undecided", arms, None, is_planned, _notes(experiment, is_planned)
    )


def _values(experiment: Experiment, variant: Variant) -> list[float]:
    """The first values of an arm, at most the planned number; 1 and 0 for positive and other feedback."""
    if experiment.metric in {Metric.COST, Metric.LATENCY}:
        column = "cost_usd" if experiment.metric == Metric.COST else "time_to_first_token_s"
        runs = Run.objects.filter(variant=variant.id, status=RunStatus.SUCCEEDED, **{f"{column}__isnull": False})
        rows = runs.order_by("created_at").annotate(value=Cast(F(column), FloatField()))
        return list(rows.values_list("value", flat=True)[: experiment.planned_per_arm])
    given = current().filter(variant=variant.id).exclude(status=FeedbackStatus.REJECTED).order_by("created_at")
    if experiment.metric == Metric.RATING:
        stars = given.filter(rating__isnull=False).values_list("rating", flat=True)[: experiment.planned_per_arm]
        return [float(star) for star in stars if star is not None]
    rated = given.filter(RATED).only("thumb", "rating")[: experiment.planned_per_arm]
    return [float(row.get_sentiment() == "positive") for row in rated]


def _arm(experiment: Experiment, variant: Variant, base: list[float], own: list[float], test: Test) -> Arm:
    value = statistics.fmean(own) if own else None
    interval = wilson(round(sum(own)), len(own)) if experiment.metric == Metric.POSITIVE else _interval(own)
    if variant.place == 0:
        return Arm(variant.id, variant.name, len(own), value, interval)
    compared = _compare(experiment, base, own)
    return Arm(variant.id, variant.name, len(own), value, interval, compared, test.finds(compared))


def _compare(experiment: Experiment, base: list[float], own: list[float]) -> Comparison | None:
    if experiment.metric == Metric.POSITIVE:
        wins = (round(sum(base)), round(sum(own)))
        return compare_proportions(wins, (len(base), len(own)), experiment.min_effect)
    if min(len(base), len(own)) < 2:
        return None
    return compare_means(moments(base), moments(own), experiment.min_effect)


def moments(values: list[float]) -> Moments:
    return Moments(len(values), statistics.fmean(values), statistics.variance(values))


def _interval(values: list[float]) -> Interval | None:
    """The 95 % interval of one mean: Welch's with a fixed zero would be the same."""
    if len(values) < 2:
        return None
    found = moments(values)
    reach = statistics.NormalDist().inv_cdf(0.975) * float(found.squared_error**0.5)
    return Interval(found.mean - reach, found.mean + reach)


def _winner(experiment: Experiment, arms: tuple[Arm, ...]) -> UUID | None:
    """The best of the arms that beat the first; the first where every other is worse for sure."""
    sign = -1 if experiment.metric in LESS_IS_BETTER else 1
    others = [(sign * arm.comparison.difference, arm) for arm in arms[1:] if arm.comparison and arm.is_significant]
    better = [(gain, arm) for gain, arm in others if gain > 0]
    if better:
        return max(better, key=lambda found: found[0])[1].variant_id
    return arms[0].variant_id if len(others) == len(arms) - 1 else None


def _notes(experiment: Experiment, is_planned: bool) -> tuple[str, ...]:
    if is_planned:
        return (f"Decided on the first {experiment.planned_per_arm} values of each arm; looking changes nothing.",)
    return (
        f"This is a look before the planned {experiment.planned_per_arm} values per arm. The plain p-value is not to be"
        " believed yet; only a difference that the sequential test finds counts.",
    )
