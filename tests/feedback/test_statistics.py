"""The statistics, against figures from textbooks and tables."""

import math
from random import Random

import pytest

from feedback.statistics import (
    Moments,
    compare_means,
    compare_proportions,
    correlation,
    sequential_p_value,
    size_for_means,
    size_for_proportions,
    student_quantile,
    student_tail,
    wilson,
)


@pytest.mark.parametrize(
    ("successes", "count", "low", "high"),
    [
        # Newcombe (1998), table I: 81 of 263 and 15 of 148; and none of ten.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
    ],
)
def test_wilsons_interval(successes: int, count: int, low: float, high: float) -> None:
    found = wilson(successes, count)
    assert found is not None
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)


def test_nothing_has_no_interval() -> None:
    assert wilson(0, 0) is None
    assert compare_proportions((0, 1), (0, 2), 0.1) is None
    assert compare_means(Moments(1, 1.0, 0.0), Moments(9, 1.0, 1.0), 0.1) is None


@pytest.mark.parametrize(
    ("probability", "freedom", "t"),
    [(0.975, 1, 12.706), (0.975, 10, 2.228), (0.995, 5, 4.032), (0.95, 30, 1.697), (0.975, 1000, 1.962)],
)
def test_students_quantiles_as_tables_have_them(probability: float, freedom: float, t: float) -> None:
    assert student_quantile(probability, freedom) == pytest.approx(t, abs=0.001)
    assert student_tail(t, freedom) == pytest.approx(1 - probability, rel=0.002)


def test_two_proportions_by_hand() -> None:
    # 45 of 100 against 60 of 100: pooled 0.525, z = 0.15 / 0.07062 = 2.124, p = 0.0337.
    found = compare_proportions((45, 60), (100, 100), 0.1)
    assert found is not None
    assert found.p_value == pytest.approx(0.0337, abs=0.0001)
    assert (round(found.interval.low, 3), round(found.interval.high, 3)) == (0.013, 0.287)


def test_welch_by_hand() -> None:
    # n 20 and 25, means 10 and 12, variances 4 and 9: t = 2 / sqrt(0.2 + 0.36) = 2.673 at 42.0 degrees of freedom.
    found = compare_means(Moments(20, 10.0, 4.0), Moments(25, 12.0, 9.0), 1.0)
    assert found is not None
    assert found.p_value == pytest.approx(0.0107, abs=0.0002)
    assert found.interval.low == pytest.approx(0.49, abs=0.01)


def test_equal_values_differ_surely_or_not_at_all() -> None:
    same = compare_means(Moments(5, 1.0, 0.0), Moments(5, 1.0, 0.0), 0.1)
    other = compare_means(Moments(5, 1.0, 0.0), Moments(5, 2.0, 0.0), 0.1)
    assert same is not None
    assert other is not None
    assert (same.p_value, other.p_value) == (1.0, 0.0)


def test_sample_sizes_as_textbooks_have_them() -> None:
    # Fleiss: 0.5 against 0.6 at 5 % and 80 % power; half a standard deviation.
    assert size_for_proportions(0.5, 0.1) == 388
    assert size_for_means(1.0, 0.5) == 63
    assert size_for_proportions(0.5, 0.1, arms=3) > 388
    assert size_for_proportions(1.0, 0.1) == size_for_proportions(0.0, 0.1)


def test_looking_all_the_time_finds_nothing_where_nothing_is() -> None:
    """With 2000 looks at coins that are the same, a plain test cries wolf often, the sequential one rarely."""
    random, plain, sequential = Random(11), 0, 0
    for _ in range(100):
        heads = [0, 0]
        lowest, lowest_sequential = 1.0, 1.0
        for tossed in range(1, 401):
            heads = [count + (random.random() < 0.5) for count in heads]
            if tossed >= 50:
                found = compare_proportions((heads[0], heads[1]), (tossed, tossed), 0.1)
                assert found is not None
                lowest = min(lowest, found.p_value)
                lowest_sequential = min(lowest_sequential, found.sequential_p_value)
        plain += lowest < 0.05
        sequential += lowest_sequential < 0.05
    assert plain > 15
    assert sequential <= 5


def test_a_large_difference_is_found_early_too() -> None:
    assert sequential_p_value(0.3, 0.003, 0.1) < 0.01
    assert sequential_p_value(0.0, 0.003, 0.1) == 1.0


def test_correlation_is_pearsons() -> None:
    x, y = [1.0, 2.0, 3.0, 4.0], [2.0, 1.0, 4.0, 3.0]
    products = sum(one * other for one, other in zip(x, y, strict=True))
    squares = (sum(one * one for one in x), sum(one * one for one in y))
    assert correlation(4, (sum(x), sum(y)), squares, products) == pytest.approx(0.6)
    assert correlation(4, (4.0, sum(y)), (4.0, squares[1]), sum(y)) is None
    assert correlation(1, (1.0, 1.0), (1.0, 1.0), 1.0) is None
    assert not math.isnan(correlation(4, (sum(x), sum(x)), (squares[0], squares[0]), squares[0]) or math.nan)
