"""A budget for asking again: an upstream that is wholly down must not see much more than the calls themselves.

Each call pays in a tenth, each repetition takes one out, so repetitions are at most a tenth of the calls, but for a
small sum to begin with. Each process keeps its own.
"""

from collections import OrderedDict
from collections.abc import Hashable

PAID_IN = 0.1
MOST = 5.0
# Upstreams that are remembered; the longest unused are forgotten, and begin anew.
REMEMBER_MOST = 10_000

_left: OrderedDict[Hashable, float] = OrderedDict()


def pay_in(upstream: Hashable) -> None:
    """A first call goes out."""
    _set(upstream, min(MOST, _left.get(upstream, MOST) + PAID_IN))


def may_repeat(upstream: Hashable) -> bool:
    """Whether the upstream may be asked again."""
    return _left.get(upstream, MOST) >= 1


def take_out(upstream: Hashable) -> None:
    """It is asked again."""
    _set(upstream, _left.get(upstream, MOST) - 1)


def forget() -> None:
    _left.clear()


def _set(upstream: Hashable, left: float) -> None:
    _left[upstream] = left
    _left.move_to_end(upstream)
    if len(_left) > REMEMBER_MOST:
        _left.popitem(last=False)
