"""What each budget has spent and holds, in the store: one script reserves in all of a call's budgets, one settles.

Amounts are whole numbers of 1e-12 USD, so that adding them up is exact. A counter that the store does not have is
begun from the ledger. A hold that nobody settles falls away when its time is over.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import Any
from uuid import UUID

import redis
import redis.asyncio

UNIT = Decimal("1e-12")
# Counters of a window that is over are looked at for so long still.
KEEP_S = 40 * 86_400

# Holds whose time is over no longer count.
_PURGE = """
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
local function purge(counter, holds, expiries)
    for _, gone in ipairs(redis.call('ZRANGEBYSCORE', expiries, '-inf', ms)) do
        local amount = redis.call('HGET', holds, gone)
        if amount and amount ~= '0' then redis.call('HINCRBY', counter, 'reserved', '-' .. amount) end
        redis.call('HDEL', holds, gone)
        redis.call('ZREM', expiries, gone)
    end
end
"""

# KEYS: counter, holds and their expiries of each budget. ARGV: hold, amount, its time in ms, keep s, model, then for
# each budget its limit and whether it is hard. Gives what happened, the place of the budget, spent and reserved.
# A hold is at least what calls to the model have lately cost: providers overrun the tokens that they were allowed.
_RESERVE = (
    _PURGE
    + """
for i = 1, #KEYS, 3 do
    local place = (i - 1) / 3
    purge(KEYS[i], KEYS[i + 1], KEYS[i + 2])
    local spent, reserved = unpack(redis.call('HMGET', KEYS[i], 'spent', 'reserved'))
    if not spent then return {'unknown', place, '0', '0'} end
    local taken = tonumber(spent) + tonumber(reserved or '0')
    if ARGV[7 + 2 * place] == '1' and taken >= tonumber(ARGV[6 + 2 * place]) then
        return {'full', place, spent, reserved or '0'}
    end
end
for i = 1, #KEYS, 3 do
    local lately = tonumber(redis.call('HGET', KEYS[i], 'lately:' .. ARGV[5]) or '0')
    local amount = string.format('%.0f', math.max(lately, tonumber(ARGV[2])))
    if amount ~= '0' then redis.call('HINCRBY', KEYS[i], 'reserved', amount) end
    redis.call('HSET', KEYS[i + 1], ARGV[1], amount)
    redis.call('ZADD', KEYS[i + 2], ms + tonumber(ARGV[3]), ARGV[1])
    for place = 0, 2 do redis.call('EXPIRE', KEYS[i + place], ARGV[4]) end
end
return {'held', 0, '0', '0'}
"""
)

# KEYS as above. ARGV: hold, cost, model, then the limit of each budget. Gives the places of those that this used up.
# What calls to the model cost lately is the largest cost, fading with every call that costs less.
_SETTLE = """
local used_up = {}
for i = 1, #KEYS, 3 do
    local amount = redis.call('HGET', KEYS[i + 1], ARGV[1])
    if amount then
        if amount ~= '0' then redis.call('HINCRBY', KEYS[i], 'reserved', '-' .. amount) end
        redis.call('HDEL', KEYS[i + 1], ARGV[1])
        redis.call('ZREM', KEYS[i + 2], ARGV[1])
    end
    local before = redis.call('HGET', KEYS[i], 'spent')
    if before and ARGV[2] ~= '0' then
        redis.call('HINCRBY', KEYS[i], 'spent', ARGV[2])
        local field = 'lately:' .. ARGV[3]
        local lately = math.max(tonumber(ARGV[2]), 0.8 * tonumber(redis.call('HGET', KEYS[i], field) or '0'))
        redis.call('HSET', KEYS[i], field, string.format('%.0f', lately))
        local place = (i - 1) / 3
        local limit = tonumber(ARGV[4 + place])
        if tonumber(before) < limit and tonumber(before) + tonumber(ARGV[2]) >= limit then
            table.insert(used_up, place)
        end
    end
end
return used_up
"""

# Begin a counter, or lift it to what the ledger says: the store may have lost its last second, never invented one.
_LIFT = """
local spent = redis.call('HGET', KEYS[1], 'spent')
if not spent or tonumber(spent) < tonumber(ARGV[1]) then redis.call('HSET', KEYS[1], 'spent', ARGV[1]) end
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 1
"""


# Spent and reserved now; without `spent` the store does not have the counter.
_READ = (
    _PURGE
    + """
purge(KEYS[1], KEYS[2], KEYS[3])
return redis.call('HMGET', KEYS[1], 'spent', 'reserved')
"""
)


@dataclass(frozen=True, slots=True)
class Counter:
    """One budget in one window. `limit` is in units."""

    budget_id: UUID
    window: str
    limit: int
    is_hard: bool

    @property
    def keys(self) -> list[str]:
        key = f"atom:budget:{self.budget_id}:{self.window}"
        return [key, f"{key}:holds", f"{key}:expiries"]


@dataclass(frozen=True, slots=True)
class Answer:
    """`word` is held, full (by the counter at `place`, with what it has spent and reserved) or unknown (begin it)."""

    word: str
    place: int
    spent: int
    reserved: int


def units(amount: Decimal) -> int:
    """US dollars as whole units; what is finer counts as one more."""
    return int((amount / UNIT).to_integral_value(ROUND_CEILING))


def dollars(amount: int) -> Decimal:
    return amount * UNIT


async def reserve(
    client: redis.asyncio.Redis, counters: Sequence[Counter], *, hold: str, amount: int, model: str, hold_s: float
) -> Answer:
    """Hold `amount` for a call to `model` in all the counters, or in none."""
    args: list[Any] = [hold, amount, int(hold_s * 1000), KEEP_S, model]
    for counter in counters:
        args += [counter.limit, int(counter.is_hard)]
    script = client.register_script(_RESERVE)
    word, place, spent, reserved = await script(keys=_keys(counters), args=args)
    return Answer(word.decode(), int(place), int(spent), int(reserved))


async def settle(
    client: redis.asyncio.Redis, counters: Sequence[Counter], *, hold: str, cost: int, model: str
) -> list[int]:
    """Let the hold go and count what the call cost; gives the places of the counters that this used up."""
    script = client.register_script(_SETTLE)
    args: list[Any] = [hold, cost, model, *(counter.limit for counter in counters)]
    return [int(place) for place in await script(keys=_keys(counters), args=args)]


def lift(client: redis.Redis, counter: Counter, spent: int) -> None:
    """Let the counter say at least `spent`."""
    client.register_script(_LIFT)(keys=counter.keys[:1], args=[spent, KEEP_S])


def read(client: redis.Redis, counter: Counter) -> tuple[int, int] | None:
    """Spent and reserved; None when the store does not have the counter."""
    spent, reserved = client.register_script(_READ)(keys=counter.keys)
    return None if spent is None else (int(spent), int(reserved or 0))


def _keys(counters: Sequence[Counter]) -> list[str]:
    return [key for counter in counters for key in counter.keys]
