"""How sure a share is: the Wilson score interval."""

import math
from dataclasses import dataclass

# The standard normal distribution's 97.5 % point: 95 % lie within z of the middle.
Z = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Interval:
    """Where the true share lies with 95 % confidence, both ends in [0, 1]."""

    low: float
    high: float


def interval(hits: float, count: int) -> Interval:
    """The Wilson score interval of `hits` of `count`; everything is possible while nothing was counted.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of the
    American Statistical Association 22 (1927), 209-212; recommended for small counts by Brown, Cai and DasGupta,
    "Interval estimation for a binomial proportion", Statistical Science 16 (2001), 101-133.

    `hits` may be a sum of values in [0, 1]: such values scatter less than yes and no with the same mean (variance at
    most p(1 - p)), so that the interval is then rather too wide.
    """
    if count == 0:
        return Interval(0.0, 1.0)
    share = hits / count
    middle = share + Z**2 / (2 * count)
    reach = Z * math.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2))
    scale = 1 + Z**2 / count
    return Interval(max(0.0, (middle - reach) / scale), min(1.0, (middle + reach) / scale))


def more_for(hits: float, count: int, needed: float) -> int | None:
    """How many more, all of them hits, lift the interval's lower end to `needed`; None where none can (1 and above)."""
    if needed >= 1:
        return None

    def is_enough(more: int) -> bool:
        return interval(hits + more, count + more).low >= needed

    most = 1
    while not is_enough(most):
        most *= 2
    least = 0
    while least < most:
        middle = (least + most) // 2
        least, most = (least, middle) if is_enough(middle) else (middle + 1, most)
    return least
