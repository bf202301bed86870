"""`make bench`: how late words are at 20 websockets, one of which nobody reads, beside SSE through a bare forwarder.

Every word carries the time at which the upstream said it; what passes until a reader has it is its lag.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator

import aiohttp
from websockets.asyncio.client import connect

from bench.gateway import PATIENCE, percentile_ms
from bench.processes import BenchFailed, Target, targets

SOCKETS = 20
EVENTS_PER_S = 5_000
SECONDS = 8
WORDS = EVENTS_PER_S // SOCKETS * SECONDS
WISH = json.dumps({"words": WORDS, "pause_s": SOCKETS / EVENTS_PER_S, "stamped": True})


async def over_websocket(target: Target) -> AsyncIterator[str]:
    """The words of one run, as the chat socket tells them."""
    url = target.url.replace("http", "ws").removesuffix("/v1") + "/ws/chat/"
    headers = {"Authorization": f"Bearer {target.token}"}
    async with connect(url, additional_headers=headers, proxy=None, compression=None) as socket:
        asked = {"type": "message.create", "agent": "direct", "model": target.model, "content": WISH}
        await socket.send(json.dumps(asked))
        async for raw in socket:
            event = json.loads(raw)
            if event["type"] == "text_delta":
                yield event["text"]
            elif event["type"] == "run_ended":
                return


async def over_sse(target: Target) -> AsyncIterator[str]:
    """The words of one streamed completion."""
    body = {"model": target.model, "stream": True, "messages": [{"role": "user", "content": WISH}]}
    headers = {"Authorization": f"Bearer {target.token}"}
    async with (
        aiohttp.ClientSession(timeout=PATIENCE) as client,
        client.post(f"{target.url}/chat/completions", json=body, headers=headers) as answer,
    ):
        async for line in answer.content:
            if line.startswith(b'data: {"id"'):
                yield json.loads(line[6:])["choices"][0]["delta"].get("content", "")


async def lags_of(words: AsyncIterator[str]) -> list[float]:
    """Seconds from the upstream's mouth to here, of each word; words that came together come apart again."""
    found: list[float] = []
    async for text in words:
        now = time.monotonic()
        found += [now - float(stamp) for stamp in text.split()]
    return found


async def leave_unread(target: Target) -> None:
    """A socket that asks, and then takes nothing."""
    url = target.url.replace("http", "ws").removesuffix("/v1") + "/ws/chat/"
    headers = {"Authorization": f"Bearer {target.token}"}
    async with connect(url, additional_headers=headers, proxy=None, compression=None, max_queue=1) as socket:
        asked = {"type": "message.create", "agent": "direct", "model": target.model, "content": WISH}
        await socket.send(json.dumps(asked))
        await asyncio.sleep(SECONDS)


async def measure(forwarder: Target, governed: Target) -> tuple[list[list[float]], list[list[float]]]:
    """The lags of each reader: through the forwarder, then of Atom's websockets while one more is not read."""
    through = await asyncio.gather(*(lags_of(over_sse(forwarder)) for _ in range(SOCKETS)))
    unread = asyncio.create_task(leave_unread(governed))
    here = await asyncio.gather(*(lags_of(over_websocket(governed)) for _ in range(SOCKETS - 1)))
    await unread
    return through, here


def main() -> int:
    argparse.ArgumentParser(description=__doc__).parse_args()
    try:
        with targets() as (_, forwarder, governed):
            through, here = asyncio.run(measure(forwarder, governed))
    except BenchFailed as exc:
        print(f"bench: {exc}", file=sys.stderr)
        return 1
    names = ("forwarder, SSE", "Atom, websocket")
    print(f"\n{SOCKETS} readers, {EVENTS_PER_S:,} words/s in all; of Atom's one socket is not read")
    print(f"{'':28}" + "".join(f"{name:>18}" for name in names))
    for percent in (50, 99):
        told = [percentile_ms([lag for one in lags for lag in one], percent) for lags in (through, here)]
        print(f"{f'lag p{percent}, ms':28}" + "".join(f"{value:>18.1f}" for value in told))
    missing = [sum(WORDS - len(one) for one in lags) for lags in (through, here)]
    print(f"{'words lost':28}" + "".join(f"{value:>18}" for value in missing))
    return 1 if any(missing) else 0


if __name__ == "__main__":
    sys.exit(main())
