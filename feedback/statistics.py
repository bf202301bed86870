"""The statistics behind the figures: intervals, tests, sample sizes. Plain functions over counts and moments.

Formulas: Wilson (1927) for proportions; the pooled two-proportion z test with an unpooled interval; Welch (1947) with
the Welch-Satterthwaite degrees of freedom; Student's t by the incomplete beta function as a continued fraction
(Lentz); the mixture sequential probability ratio test of Robbins (1970) for looking at any time.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

CONFIDENCE = 0.95
_NORMAL = NormalDist()
_Z = _NORMAL.inv_cdf(0.5 + CONFIDENCE / 2)
_TINY = 1e-300
_STEPS = 300


@dataclass(frozen=True, slots=True)
class Interval:
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Moments:
    """How many values, their mean, and their variance (of a sample: divided by count - 1)."""

    count: int
    mean: float
    variance: float

    @property
    def squared_error(self) -> float:
        return self.variance / self.count


@dataclass(frozen=True, slots=True)
class Comparison:
    """`difference` is the second minus the first. `p_value` holds for one look at the planned size,
    `sequential_p_value` for looking whenever one likes."""

    difference: float
    interval: Interval
    p_value: float
    sequential_p_value: float


def wilson(successes: int, count: int) -> Interval | None:
    """The 95 % interval of a proportion; None without any trial."""
    if count == 0:
        return None
    share = successes / count
    shrunk = 1 + _Z**2 / count
    middle = (share + _Z**2 / (2 * count)) / shrunk
    reach = _Z / shrunk * math.sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2))
    return Interval(max(0.0, middle - reach), min(1.0, middle + reach))


def compare_proportions(successes: tuple[int, int], counts: tuple[int, int], expected: float) -> Comparison | None:
    """Two proportions; None where one has no trial. `expected` is the difference worth finding."""
    if 0 in counts:
        return None
    one, other = successes[0] / counts[0], successes[1] / counts[1]
    pooled = sum(successes) / sum(counts)
    under_null = pooled * (1 - pooled) * (1 / counts[0] + 1 / counts[1])
    squared_error = one * (1 - one) / counts[0] + other * (1 - other) / counts[1]
    difference = other - one
    reach = _Z * math.sqrt(squared_error)
    return Comparison(
        difference=difference,
        interval=Interval(max(-1.0, difference - reach), min(1.0, difference + reach)),
        p_value=_two_sided(difference, under_null),
        sequential_p_value=sequential_p_value(difference, under_null, expected),
    )


def compare_means(one: Moments, other: Moments, expected: float) -> Comparison | None:
    """Welch's test of two means; None where one has fewer than two values."""
    if min(one.count, other.count) < 2:
        return None
    difference = other.mean - one.mean
    squared_error = one.squared_error + other.squared_error
    if squared_error == 0:
        p_value = 1.0 if difference == 0 else 0.0
        return Comparison(difference, Interval(difference, difference), p_value, p_value)
    freedom = squared_error**2 / (one.squared_error**2 / (one.count - 1) + other.squared_error**2 / (other.count - 1))
    t = difference / math.sqrt(squared_error)
    reach = student_quantile(0.5 + CONFIDENCE / 2, freedom) * math.sqrt(squared_error)
    return Comparison(
        difference=difference,
        interval=Interval(difference - reach, difference + reach),
        p_value=2 * student_tail(abs(t), freedom),
        sequential_p_value=sequential_p_value(difference, squared_error, expected),
    )


def _two_sided(difference: float, variance: float) -> float:
    if variance == 0:
        return 1.0 if difference == 0 else 0.0
    # The tail by erfc: 1 - cdf would round small p-values to nothing.
    return math.erfc(abs(difference) / math.sqrt(2 * variance))


def sequential_p_value(difference: float, variance: float, expected: float) -> float:
    """A p-value that stays honest however often one looks: 1 over the mixture likelihood ratio, at most 1.

    The effect is mixed over a normal distribution whose spread is the effect worth finding.
    """
    if variance == 0:
        return 1.0
    spread = expected**2
    exponent = difference**2 * spread / (2 * variance * (variance + spread))
    log_ratio = 0.5 * math.log(variance / (variance + spread)) + exponent
    return math.exp(-log_ratio) if log_ratio > 0 else 1.0


def student_tail(t: float, freedom: float) -> float:
    """P(T > t) for t >= 0."""
    return 0.5 * _incomplete_beta(freedom / 2, 0.5, freedom / (freedom + t * t))


def student_quantile(probability: float, freedom: float) -> float:
    """The t with P(T < t) = probability, for probabilities above one half, by bisection."""
    low, high = 0.0, 1.0
    while student_tail(high, freedom) > 1 - probability:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        if student_tail(middle, freedom) > 1 - probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function I_x(a, b)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        # The fraction converges quickly on this side only.
        return 1 - _incomplete_beta(b, a, 1 - x)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    return math.exp(log_front) * _beta_fraction(a, b, x) / a


def _beta_fraction(a: float, b: float, x: float) -> float:
    c, d = 1.0, 1 / _not_zero(1 - (a + b) * x / (a + 1))
    found = d
    for m in range(1, _STEPS):
        for part in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / _not_zero(1 + part * d)
            c = _not_zero(1 + part / c)
            found *= c * d
        if abs(c * d - 1) < 1e-14:
            break
    return found


def _not_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


def size_for_proportions(share: float, effect: float, *, arms: int = 2, power: float = 0.8) -> int:
    """Feedbacks per arm to find `effect` from a base of `share` with this power at 5 %, shared among comparisons."""
    other = min(max(share + effect, 0.0), 1.0)
    if other == share:
        other = max(share - abs(effect), 0.0)
    middle = (share + other) / 2
    z_alpha, z_power = _critical(arms), _NORMAL.inv_cdf(power)
    spread = z_alpha * math.sqrt(2 * middle * (1 - middle)) + z_power * math.sqrt(
        share * (1 - share) + other * (1 - other)
    )
    return math.ceil((spread / (other - share)) ** 2)


def size_for_means(variance: float, effect: float, *, arms: int = 2, power: float = 0.8) -> int:
    """Values per arm to find a difference of `effect` between two means."""
    return math.ceil(2 * variance * ((_critical(arms) + _NORMAL.inv_cdf(power)) / effect) ** 2)


def _critical(arms: int) -> float:
    return _NORMAL.inv_cdf(1 - (1 - CONFIDENCE) / 2 / max(1, arms - 1))


def correlation(count: int, sums: tuple[float, float], squares: tuple[float, float], products: float) -> float | None:
    """Pearson's r from sums of x and y, of their squares and of x·y; None where one of them never varies."""
    if count < 2:
        return None
    x_spread = squares[0] - sums[0] ** 2 / count
    y_spread = squares[1] - sums[1] ** 2 / count
    if x_spread <= 1e-9 * abs(squares[0]) or y_spread <= 1e-9 * abs(squares[1]):
        return None
    r = (products - sums[0] * sums[1] / count) / math.sqrt(x_spread * y_spread)
    return max(-1.0, min(1.0, r))


def cramers_v(table: Sequence[Sequence[int]]) -> float | None:
    """How far rows and columns of counts go together, from 0 to 1 (Cramér 1946); None with a single row or column."""
    rows = [row for row in table if sum(row)]
    columns = [column for column in zip(*rows, strict=True) if sum(column)]
    if min(len(rows), len(columns)) < 2:
        return None
    count = sum(map(sum, rows))
    by_chance = [[sum(row) * sum(column) / count for column in columns] for row in rows]
    seen = [[row[place] for place, column in enumerate(zip(*rows, strict=True)) if sum(column)] for row in rows]
    chi_squared = sum(
        (got - expected) ** 2 / expected
        for got_row, expected_row in zip(seen, by_chance, strict=True)
        for got, expected in zip(got_row, expected_row, strict=True)
    )
    return math.sqrt(chi_squared / (count * (min(len(rows), len(columns)) - 1)))
