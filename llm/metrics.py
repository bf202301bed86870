"""How providers fare: counts, tokens, cost and latencies of each workspace, in constant memory, for all processes.

What a process has seen gathers there for a moment, and then is told to the store, for many calls at once.

The store keeps a hash for each slot of time: 10 s slots for the last quarter of an hour, 5 min slots for a day; and
one that counts on for as long as the workspace calls anybody at all.
Latencies go into buckets on a logarithmic scale, so a percentile is exact to a tenth of its value.
"""

import asyncio
import math
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal, TypeAlias
from uuid import UUID

import redis.asyncio

from llm.events import Usage
from llm.shared import asked, run_script

Outcome: TypeAlias = Literal["succeeded", "failed", "left"]
Series: TypeAlias = Literal["ttft", "total", "gap"]

# Seconds in a slot, and how long slots of that size are kept.
FINE = (10, 900)
COARSE = (300, 86_400)
MAX_WINDOW_S = COARSE[1]
# Counts that only grow are forgotten after this long without a call.
EVER_S = 90 * 86_400
DEFAULT_WINDOW_S = 3600
# Each bucket's upper end is this much above its lower one; the first ends at 1 ms, the last lies beyond 2 hours.
GROWTH = 1.1
LAST_BUCKET = 166
# A workspace may name any model: beyond this many fields in a slot, further models are counted as one.
MOST_FIELDS = 2000
OTHER_MODEL = "(other models)"
# Money is counted in whole 10⁻¹² dollars: counters of the store are integers.
PICO = Decimal(10) ** 12
# A process that is killed takes with it what it counted for so long.
GATHER_S = 0.2

# KEYS: the slots; ARGV: most fields, then for each slot its seconds to live, then provider, model, its stand-in, pairs.
_RECORD = """
local places = #KEYS
for place, slot in ipairs(KEYS) do
    local model = ARGV[places + 3]
    local first = ARGV[places + 2] .. '\\n' .. model .. '\\nrequests'
    if redis.call('HLEN', slot) >= tonumber(ARGV[1]) and redis.call('HEXISTS', slot, first) == 0 then
        model = ARGV[places + 4]
    end
    for at = places + 5, #ARGV, 2 do
        redis.call('HINCRBY', slot, ARGV[places + 2] .. '\\n' .. model .. '\\n' .. ARGV[at], ARGV[at + 1])
    end
    redis.call('EXPIRE', slot, ARGV[1 + place])
end
return 1
"""


class Watch:
    """The times of one call: until its first event, between events, and in all."""

    def __init__(self) -> None:
        self.first_s: float | None = None
        self.gaps: Counter[int] = Counter()
        self._started = self._last = time.monotonic()

    def tick(self) -> None:
        """An event came."""
        now = time.monotonic()
        if self.first_s is None:
            self.first_s = now - self._started
        else:
            self.gaps[bucket_of(now - self._last)] += 1
        self._last = now

    @property
    def total_s(self) -> float:
        return time.monotonic() - self._started


@dataclass(slots=True)
class Figures:
    """What is known of one provider or model in a window of time."""

    counts: Counter[str] = field(default_factory=Counter)
    series: defaultdict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))

    def add(self, name: str, value: int) -> None:
        kind, dot, bucket = name.partition(".")
        if dot:
            self.series[kind][int(bucket)] += value
        else:
            self.counts[name] += value

    def absorb(self, other: "Figures") -> None:
        self.counts.update(other.counts)
        for kind, buckets in other.series.items():
            self.series[kind].update(buckets)

    @property
    def success_rate(self) -> float | None:
        """Of the calls that came to an end; None without any."""
        ended = self.counts["succeeded"] + self.counts["failed"]
        return self.counts["succeeded"] / ended if ended else None

    @property
    def cost_usd(self) -> Decimal:
        return (self.counts["cost_in"] + self.counts["cost_out"]) / PICO

    def cost_per_1k(self, side: Literal["in", "out"]) -> Decimal | None:
        tokens = self.counts[f"tokens_{side}"]
        return self.counts[f"cost_{side}"] / PICO / tokens * 1000 if tokens else None

    def percentile_ms(self, series: Series, share: float) -> float | None:
        """The latency that `share` (0 to 1) of the calls stayed within; None without any."""
        buckets = self.series.get(series)
        if not buckets:
            return None
        rank, passed = math.ceil(share * buckets.total()), 0
        for bucket in sorted(buckets):
            passed += buckets[bucket]
            if passed >= rank:
                return round(milliseconds_of(bucket), 3)
        return None


def bucket_of(seconds: float) -> int:
    ms = seconds * 1000
    return 0 if ms <= 1 else min(LAST_BUCKET, math.ceil(math.log(ms, GROWTH)))


def milliseconds_of(bucket: int) -> float:
    """The middle of a bucket."""
    return float(GROWTH ** (bucket - 0.5)) if bucket else 0.5


@dataclass(frozen=True, slots=True)
class _Where:
    """Which counters of which model."""

    slots: tuple[str, ...]
    provider: str
    model: str


# What the store has not been told yet, by all event loops of this process.
_untold: defaultdict[_Where, Counter[str]] = defaultdict(Counter)
_untold_lock = threading.Lock()
_tellers: dict[asyncio.AbstractEventLoop, asyncio.Task[None]] = {}


def record(
    *,
    workspace_id: UUID,
    provider: str,
    model: str,
    outcome: Outcome,
    watch: Watch,
    usage: Usage,
    cost_in: Decimal,
    cost_out: Decimal,
) -> None:
    """One call to a provider has ended. Dollars for what was sent (`cost_in`) and said.

    The store is told within GATHER_S seconds; readers in this process find it at once.
    """
    figures: dict[str, int] = {
        "requests": 1,
        outcome: 1,
        "tokens_in": usage.input_tokens,
        "tokens_out": usage.output_tokens,
        "cost_in": int(cost_in * PICO),
        "cost_out": int(cost_out * PICO),
        **{f"gap.{bucket}": count for bucket, count in watch.gaps.items()},
    }
    if outcome == "succeeded":
        figures[f"total.{bucket_of(watch.total_s)}"] = 1
    if watch.first_s is not None:
        figures[f"ttft.{bucket_of(watch.first_s)}"] = 1
    now = int(time.time())
    slots = (*(_slot(workspace_id, size, now) for size, _ in (FINE, COARSE)), _ever(workspace_id))
    with _untold_lock:
        _untold[_Where(slots, provider, model)].update(figures)
    loop = asyncio.get_running_loop()
    if loop not in _tellers:
        _tellers[loop] = loop.create_task(_tell())
        _tellers[loop].add_done_callback(lambda _: _tellers.pop(loop, None))


async def _tell() -> None:
    while _untold:
        await asyncio.sleep(GATHER_S)
        await flush()


async def flush() -> None:
    """Tell the store what has gathered. While it is away, nothing is counted."""
    with _untold_lock:
        told = dict(_untold)
        _untold.clear()
    lives = [*(kept + size for size, kept in (FINE, COARSE)), EVER_S]
    scripts = []
    for where, figures in told.items():
        pairs = [part for name, value in figures.items() if value for part in (name, value)]
        args = [MOST_FIELDS, *lives, where.provider, where.model, OTHER_MODEL, *pairs]
        scripts.append(run_script(_RECORD, where.slots, args))
    await asyncio.gather(*scripts)


async def figures_of(workspace_id: UUID, *, window_s: int = DEFAULT_WINDOW_S) -> dict[str, dict[str, Figures]]:
    """Provider → model → figures of the workspace's own calls in the last `window_s` seconds."""
    await flush()
    size, _ = FINE if window_s <= FINE[1] else COARSE
    now = int(time.time())
    slots = [_slot(workspace_id, size, at) for at in _slot_times(now, window_s, size)]
    return _summed(await asked(lambda client: _read(client, slots)) or ())


async def figures_ever(workspace_ids: Sequence[UUID]) -> list[dict[str, dict[str, Figures]]]:
    """For each workspace its provider → model → figures, counted since it began; empty while the store is away."""
    await flush()
    kept = await asked(lambda client: _read(client, [_ever(one) for one in workspace_ids]))
    return [_summed([slot]) for slot in kept or ({} for _ in workspace_ids)]


def together(figures: Iterable[Figures]) -> Figures:
    whole = Figures()
    for one in figures:
        whole.absorb(one)
    return whole


def _summed(slots: Iterable[dict[bytes, bytes]]) -> dict[str, dict[str, Figures]]:
    found: dict[str, dict[str, Figures]] = {}
    for slot in slots:
        for name, value in slot.items():
            # A model's name may hold anything; the others have no line breaks.
            provider, _, rest = name.decode().partition("\n")
            model, _, what = rest.rpartition("\n")
            found.setdefault(provider, {}).setdefault(model, Figures()).add(what, int(value))
    return found


async def _read(client: redis.asyncio.Redis, slots: Sequence[str]) -> list[dict[bytes, bytes]]:
    pipeline = client.pipeline(transaction=False)
    for slot in slots:
        pipeline.hgetall(slot)
    answer: list[dict[bytes, bytes]] = await pipeline.execute()
    return answer


def _slot_times(now: int, window_s: int, size: int) -> Iterator[int]:
    yield from range((now - window_s) // size * size, now + 1, size)


def _slot(workspace_id: UUID, size: int, at: int) -> str:
    return f"atom:metrics:{workspace_id}:{size}:{at // size}"


def _ever(workspace_id: UUID) -> str:
    return f"atom:metrics:{workspace_id}:ever"
