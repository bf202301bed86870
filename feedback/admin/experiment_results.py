"""What came of an experiment, in the words and figures of its page."""

from dataclasses import dataclass
from typing import Any

from atom.ground.display import NOTHING
from feedback.experiments.results import Arm, results_of
from feedback.models import Experiment, Metric, Variant
from feedback.statistics import Comparison, Interval

# What may be concluded: the badge's colour, and the words.
STATES = {
    "too_few": ("warning", "Too few values to conclude anything"),
    "undecided": ("info", "Undecided yet"),
    "winner": ("success", "There is a winner"),
    "no_difference": ("", "No difference was found"),
}
# Smaller p-values are told as being below it: none is ever nothing.
LEAST_P = 0.0001


@dataclass(frozen=True, slots=True)
class Line:
    """A variant's row: its figure with the interval, and how far it is from the first one's."""

    variant: Variant
    count: int
    value: str
    between: str
    difference: str = NOTHING
    reach: str = ""
    p_value: str = NOTHING
    sequential_p_value: str = NOTHING
    is_proven: bool = False


def shown(experiment: Experiment) -> dict[str, Any]:
    """The context of `feedback/experiment_results.html`."""
    found = results_of(experiment)
    variants = {variant.id: variant for variant in experiment.variants.all()}
    colour, words = STATES[found.state]
    return {
        "colour": colour,
        "words": words,
        "notes": found.notes,
        "winner": variants.get(found.winner) if found.winner else None,
        "promoted": experiment.promoted,
        "lines": [_line(experiment.metric, variants[arm.variant_id], arm) for arm in found.arms],
    }


def _line(metric: str, variant: Variant, arm: Arm) -> Line:
    value = NOTHING if arm.value is None else number(metric, arm.value)
    between = _between(metric, arm.interval) if arm.interval else ""
    if arm.comparison is None:
        return Line(variant, arm.count, value, between)
    return Line(variant, arm.count, value, between, *_compared(metric, arm.comparison), arm.is_significant)


def _compared(metric: str, found: Comparison) -> tuple[str, str, str, str]:
    reach = f"{difference(metric, found.interval.low)} to {difference(metric, found.interval.high)}"
    return difference(metric, found.difference), reach, _p(found.p_value), _p(found.sequential_p_value)


def _between(metric: str, interval: Interval) -> str:
    return f"{number(metric, interval.low)} to {number(metric, interval.high)}"


def _p(value: float) -> str:
    return f"< {LEAST_P}" if value < LEAST_P else f"{value:.4f}"


def number(metric: str, value: float) -> str:
    match metric:
        case Metric.POSITIVE:
            return f"{100 * value:.1f}%"
        case Metric.COST:
            return f"${value:.6f}"
        case Metric.LATENCY:
            return f"{value:.3f} s"
        case _:
            return f"{value:.2f}"


def difference(metric: str, value: float) -> str:
    """With its sign; that of two shares is told in points, because per cent of a share would be something else."""
    sign = "-" if value < 0 else "+"
    if metric == Metric.POSITIVE:
        return f"{sign}{100 * abs(value):.1f} points"
    return f"{sign}{number(metric, abs(value))}"
