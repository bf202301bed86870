"""`make bench`: Atom as a gateway, beside a bare forwarder and beside the upstream itself.

All are real processes on this machine: an upstream that costs next to nothing (`bench.upstream`), an ASGI forwarder
that does nothing else (`bench.forwarder`), and a whole Atom (`manage.py up`, one web process, embedded database and
store). Rounds alternate, so that whatever else the machine does meets all alike. A gateway's cost is in the ratio.
"""

import argparse
import asyncio
import json
import statistics
import sys
import time
from dataclasses import dataclass, field

import aiohttp

from bench.processes import BenchFailed, Target, targets

ROUNDS = 3
ROUND_S = 4.0
WARM_UP_S = 1.5
AT_ONCE = 64
WORDS = 16
# Full speed: so many streams, each of so many words.
FAST_STREAMS = 50
FAST_WORDS = 1_000
# Paced: what people read along.
PACED_STREAMS = 500
PACED_WORDS = 100
PACED_EVERY_S = 0.05
PATIENCE = aiohttp.ClientTimeout(total=120)
DONE = b"data: [DONE]\n\n"
WORD = b'"content":" word"'


@dataclass(slots=True)
class Figures:
    """What was measured of one target, all its rounds together; times in seconds."""

    first_word_s: list[float] = field(default_factory=list)
    whole_s: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    words: int = 0
    missing: int = 0
    busy_s: float = 0.0


async def ask(client: aiohttp.ClientSession, target: Target, figures: Figures, words: int, pause_s: float = 0) -> None:
    """One streamed completion, read to its end; what is missing of it is counted."""
    wish = json.dumps({"words": words, "pause_s": pause_s})
    body = {"model": target.model, "stream": True, "messages": [{"role": "user", "content": wish}]}
    headers = {"Authorization": f"Bearer {target.token}"}
    began = time.perf_counter()
    first: float | None = None
    heard, tail = 0, b""
    try:
        async with client.post(f"{target.url}/chat/completions", json=body, headers=headers) as answer:
            if not answer.ok:
                figures.failures.append(f"{target.name}: {answer.status} {(await answer.text())[:200]}")
                return
            async for piece in answer.content.iter_any():
                # What stands on both sides of a seam is counted once: the tail is shorter than what is counted.
                heard += (tail + piece).count(WORD)
                if first is None and heard:
                    first = time.perf_counter() - began
                tail = (tail + piece)[-(len(WORD) - 1) :]
    except (aiohttp.ClientError, TimeoutError) as exc:
        figures.failures.append(f"{target.name}: {type(exc).__name__}: {exc}")
        return
    figures.words += heard
    figures.missing += words - heard
    if first is None or heard != words or not tail.endswith(DONE):
        figures.failures.append(f"{target.name}: {heard} of {words} words, the end is {tail[-40:]!r}")
        return
    figures.first_word_s.append(first)
    figures.whole_s.append(time.perf_counter() - began)


# --- The three loads ----------------------------------------------------------------------------------------
async def short_answers(client: aiohttp.ClientSession, target: Target, figures: Figures, seconds: float) -> None:
    """`AT_ONCE` clients, each asking again as soon as it has its answer."""
    began = time.perf_counter()

    async def keep_asking() -> None:
        while time.perf_counter() - began < seconds:
            seen_failures = len(figures.failures)
            await ask(client, target, figures, WORDS)
            if len(figures.failures) > seen_failures:
                # Failing is quick: without a pause it would be measured as speed.
                await asyncio.sleep(0.1)

    await asyncio.gather(*(keep_asking() for _ in range(AT_ONCE)))
    figures.busy_s += time.perf_counter() - began


async def streams(
    client: aiohttp.ClientSession, target: Target, figures: Figures, *, count: int, words: int, pause_s: float = 0
) -> None:
    """`count` streams at once, each read to its end."""
    began = time.perf_counter()
    await asyncio.gather(*(ask(client, target, figures, words, pause_s) for _ in range(count)))
    figures.busy_s += time.perf_counter() - began


# --- Telling ----------------------------------------------------------------------------------------------
def percentile_ms(values: list[float], percent: int) -> float:
    if len(values) < 2:
        return float("nan")
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1] * 1000


def row(name: str, targets: list[Target], values: list[float]) -> None:
    """One line: a figure of each target, then Atom's as a share of the forwarder's."""
    cells = "".join(f"{value:>14.1f}" for value in values)
    by_name = dict(zip((target.name for target in targets), values, strict=True))
    share = by_name["Atom"] / by_name["forwarder"] if by_name.get("forwarder") else float("nan")
    print(f"{name:28}{cells}{share:>18.2f}")


def heading(text: str, targets: list[Target]) -> None:
    names = "".join(f"{target.name:>14}" for target in targets)
    print(f"\n{text}\n{'':28}{names}{'Atom / forwarder':>18}")


async def measure(targets: list[Target]) -> list[Figures]:
    """All three loads on all targets, told as they are measured; gives every figure taken."""
    taken: list[Figures] = []
    async with aiohttp.ClientSession(timeout=PATIENCE, connector=aiohttp.TCPConnector(limit=0)) as client:
        for target in targets:
            await short_answers(client, target, Figures(), WARM_UP_S)

        found = [Figures() for _ in targets]
        for _ in range(ROUNDS):
            for target, figures in zip(targets, found, strict=True):
                await short_answers(client, target, figures, ROUND_S)
        heading(f"streamed answers of {WORDS} words, {AT_ONCE} at once", targets)
        row("requests/s", targets, [len(one.whole_s) / one.busy_s for one in found])
        for percent in (50, 99):
            row(f"first word p{percent}, ms", targets, [percentile_ms(one.first_word_s, percent) for one in found])
        taken += found

        found = [Figures() for _ in targets]
        for _ in range(ROUNDS):
            for target, figures in zip(targets, found, strict=True):
                await streams(client, target, figures, count=FAST_STREAMS, words=FAST_WORDS)
        heading(f"{FAST_STREAMS} streams of {FAST_WORDS} words, as fast as they come", targets)
        row("events/s", targets, [one.words / one.busy_s for one in found])
        taken += found

        found = [Figures() for _ in targets]
        for target, figures in zip(targets, found, strict=True):
            await streams(client, target, figures, count=PACED_STREAMS, words=PACED_WORDS, pause_s=PACED_EVERY_S)
        heading(f"{PACED_STREAMS} streams of {PACED_WORDS} words, {1 / PACED_EVERY_S:.0f} a second each", targets)
        row("whole answer p50, ms", targets, [percentile_ms(one.whole_s, 50) for one in found])
        row("whole answer p99, ms", targets, [percentile_ms(one.whole_s, 99) for one in found])
        row("words lost", targets, [float(one.missing) for one in found])
    return taken + found


def main() -> int:
    argparse.ArgumentParser(description=__doc__).parse_args()
    try:
        with targets() as (upstream, forwarder, governed):
            taken = asyncio.run(measure([upstream, forwarder, governed]))
    except BenchFailed as exc:
        print(f"bench: {exc}", file=sys.stderr)
        return 1
    failures = [failure for figures in taken for failure in figures.failures]
    for failure in failures[:5]:
        print(f"failed: {failure}", file=sys.stderr)
    # Figures are only figures: what fails the bench is an answer that did not come whole.
    return 1 if failures or not all(figures.whole_s for figures in taken) else 0


if __name__ == "__main__":
    sys.exit(main())
