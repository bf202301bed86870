"""A budget for asking again: an upstream that is wholly down must not see much more than the calls themselves.

Ten calls pay for one repetition, and a small sum is there to begin with, for all processes together. A process tells
the store what its calls have paid in only when it wants to repeat, so that calls that go well cost nothing. While the
store is away, each process keeps a budget of its own.
"""

from collections import OrderedDict

from llm.shared import run_script

# What one repetition costs; each call pays in 1.
PRICE = 10
MOST = 5 * PRICE
# An upstream that nobody has wanted to ask again for an hour begins anew.
KEEP_S = 3600
# Upstreams that a process remembers; the longest unused are forgotten.
REMEMBER_MOST = 10_000

# KEYS: the upstream's budget; ARGV: paid in since, most, price, seconds to keep it. 1 when it is repeated.
_TAKE_OUT = """
local left = math.min(tonumber(ARGV[2]), (tonumber(redis.call('GET', KEYS[1])) or tonumber(ARGV[2])) + ARGV[1])
local is_enough = left >= tonumber(ARGV[3])
if is_enough then left = left - ARGV[3] end
redis.call('SET', KEYS[1], string.format('%d', left), 'EX', ARGV[4])
return is_enough and 1 or 0
"""

# What this process's calls have paid in and the store has not heard of; what is left for it alone without the store.
_paid: OrderedDict[str, int] = OrderedDict()
_alone: OrderedDict[str, int] = OrderedDict()


def pay_in(upstream: str, calls: int = 1) -> None:
    """So many first calls go out (a repetition that was paid for and did not go out counts as PRICE)."""
    _remember(_paid, upstream, min(MOST, _paid.get(upstream, 0) + calls))


async def take_out(upstream: str) -> bool:
    """Whether the upstream may be asked again; if so, that is paid for."""
    paid = _paid.pop(upstream, 0)
    answer = await run_script(_TAKE_OUT, [f"atom:retries:{upstream}"], [paid, MOST, PRICE, KEEP_S])
    return _take_out_alone(upstream, paid) if answer is None else bool(answer)


def forget() -> None:
    _paid.clear()
    _alone.clear()


def _take_out_alone(upstream: str, paid: int) -> bool:
    left = min(MOST, _alone.get(upstream, MOST) + paid)
    is_enough = left >= PRICE
    _remember(_alone, upstream, left - PRICE if is_enough else left)
    return is_enough


def _remember(sums: OrderedDict[str, int], upstream: str, value: int) -> None:
    sums[upstream] = value
    sums.move_to_end(upstream)
    if len(sums) > REMEMBER_MOST:
        sums.popitem(last=False)
