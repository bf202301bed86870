"""Provider metrics take the same memory however many calls are made, and all processes count together."""

import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from uuid import UUID, uuid4

import pytest
import redis

from llm import metrics
from llm.events import Usage
from llm.metrics import LAST_BUCKET, Watch

ROOT = Path(__file__).resolve().parents[2]
HERE = uuid4()
MODELS = [f"model-{number}" for number in range(10)]
# Of one model in one hash: three latencies with all their buckets, and less than 20 counts.
FIELDS_OF_A_MODEL = 3 * (LAST_BUCKET + 1) + 20


async def count(workspace_id: UUID, model: str, watch: Watch) -> None:
    metrics.record(
        workspace_id=workspace_id,
        provider="openai",
        model=model,
        outcome="succeeded",
        watch=watch,
        usage=Usage(3, 2),
        cost_in=Decimal("0.000001"),
        cost_out=Decimal(0),
    )
    await metrics.flush()


class TimedWatch(Watch):
    """A call that took so long, without waiting for it."""

    def __init__(self, total_s: float) -> None:
        super().__init__()
        self._took_s = total_s
        self.first_s = total_s / 2
        self.gaps[metrics.bucket_of(total_s / 10)] += 1

    @property
    def total_s(self) -> float:
        return self._took_s


def fields(store: redis.Redis) -> dict[bytes, int]:
    return {key: int(store.hlen(key)) for key in store.scan_iter("atom:metrics:*")}


async def test_thousands_of_calls_take_no_more_memory_than_hundreds(
    store: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llm.metrics.time.time", lambda: 1_800_000_000.0)
    sizes = []
    for _ in range(4):
        for number in range(600):
            await count(HERE, MODELS[number % 10], TimedWatch(0.01 * 1.2 ** (number % 40)))
        sizes.append(fields(store))
    # The same keys with the same fields after 600 calls as after 2400: only the numbers in them have grown.
    assert sizes[0] == sizes[1] == sizes[2] == sizes[3]
    assert len(sizes[0]) == 3
    assert max(sizes[0].values()) <= len(MODELS) * FIELDS_OF_A_MODEL
    found = (await metrics.figures_of(HERE))["openai"]
    assert sum(one.counts["requests"] for one in found.values()) == 2400
    [ever] = await metrics.figures_ever([HERE])
    assert sum(one.counts["requests"] for one in ever["openai"].values()) == 2400


async def test_every_key_goes_away_by_itself(store: redis.Redis) -> None:
    await count(HERE, "m", Watch())
    assert all(0 < int(store.ttl(key)) <= metrics.EVER_S for key in store.scan_iter("atom:metrics:*"))


COUNT_ELSEWHERE = """
import asyncio, sys
from uuid import UUID
import django
django.setup()
from tests.llm.test_metrics_memory import count
from llm.metrics import Watch

async def main():
    for _ in range(50):
        await count(UUID(sys.argv[1]), "m", Watch())

asyncio.run(main())
"""


async def test_two_processes_count_together(store: redis.Redis, own_environment: dict[str, str]) -> None:
    here = uuid4()
    command = [sys.executable, "-c", COUNT_ELSEWHERE, str(here)]
    running = [subprocess.Popen(command, cwd=ROOT, env=own_environment) for _ in range(2)]  # noqa: ASYNC220
    for _ in range(50):
        await count(here, "m", Watch())
    assert [process.wait(60) for process in running] == [0, 0]
    assert (await metrics.figures_of(here))["openai"]["m"].counts["requests"] == 150


@pytest.fixture
def own_environment(store_url: str) -> dict[str, str]:
    return {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", "REDIS_URL": store_url}
