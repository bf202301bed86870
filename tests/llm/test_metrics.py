"""Provider metrics: what calls leave in the store, and what is made of it."""

import time
from decimal import Decimal
from uuid import uuid4

import pytest
import redis

from atom.ground.errors import BadRequest
from atom.ground.models import Workspace
from llm import attempts, metrics
from llm.api.metrics import provider_metrics, window_of
from llm.errors import LLMError, RequestRefused
from llm.events import Usage
from llm.metrics import Figures, Watch, bucket_of, milliseconds_of
from tests.llm.calls import call_of, events_of, key_at, until
from tests.simulators.openai import OpenAISimulator

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def in_store(store: redis.Redis) -> redis.Redis:
    return store


async def test_metrics_after_traffic_count_calls_tokens_cost_and_time(
    workspace: Workspace, openai_simulator: OpenAISimulator
) -> None:
    await key_at(workspace, openai_simulator)
    for _ in range(3):
        openai_simulator.will_say(
            "one two three",
            usage={"prompt_tokens": 1000, "completion_tokens": 500},
            first_delay_s=0.1,
            delay_s=0.02,
        )
        await events_of(call_of(workspace))
    openai_simulator.will_fail(400)
    with pytest.raises(RequestRefused):
        await events_of(call_of(workspace))
    found = (await provider_metrics(workspace.id, None))["openai"]
    assert (found["request_count"], found["success_count"], found["failure_count"]) == (4, 3, 1)
    assert found["success_rate"] == 0.75
    assert (found["input_tokens"], found["output_tokens"], found["total_tokens"]) == (3000, 1500, 4500)
    # gpt-4o-mini: 0.15 $ and 0.60 $ for a million.
    assert found["cost_usd"] == pytest.approx(0.00135)
    assert found["cost_per_1k_input"] == pytest.approx(0.00015)
    assert found["cost_per_1k_output"] == pytest.approx(0.0006)
    assert 90 <= found["ttft_p50_ms"] <= found["ttft_p95_ms"] <= found["latency_p99_ms"]
    assert found["latency_p50_ms"] >= 120
    assert found["gap_p50_ms"] >= 10
    assert found["breaker"] == "closed"
    assert found["models"]["gpt-4o-mini"]["request_count"] == 4


async def test_failover_and_the_breaker_show_in_the_metrics(
    workspace: Workspace, openai_simulator: OpenAISimulator
) -> None:
    await key_at(workspace, openai_simulator)
    for _ in range(6):
        openai_simulator.will_fail(500)
    for _ in range(3):
        with pytest.raises(LLMError):
            await events_of(call_of(workspace))
    found = (await provider_metrics(workspace.id, "60"))["openai"]
    assert (found["request_count"], found["failure_count"], found["success_rate"]) == (5, 5, 0)
    assert found["breaker"] == "open"


async def test_a_client_that_went_away_is_neither_success_nor_failure(
    workspace: Workspace, openai_simulator: OpenAISimulator
) -> None:
    await key_at(workspace, openai_simulator)
    openai_simulator.will_say("one two three", delay_s=0.05)
    events = call_of(workspace).events()
    await anext(events)
    await events.aclose()
    await until(lambda: not attempts._in_background)
    found = (await provider_metrics(workspace.id, None))["openai"]
    assert (found["request_count"], found["success_count"], found["failure_count"]) == (1, 0, 0)
    assert found["success_rate"] is None


async def test_metrics_are_the_workspaces_own(workspace: Workspace, openai_simulator: OpenAISimulator) -> None:
    await key_at(workspace, openai_simulator)
    await events_of(call_of(workspace))
    assert await provider_metrics(uuid4(), None) == {}


HERE = uuid4()


def seen(model: str, cost_in: Decimal = Decimal(0)) -> None:
    metrics.record(
        workspace_id=HERE,
        provider="openai",
        model=model,
        outcome="succeeded",
        watch=Watch(),
        usage=Usage(1, 1),
        cost_in=cost_in,
        cost_out=Decimal(0),
    )


async def count(model: str) -> None:
    """Seen, and told to the store."""
    seen(model, Decimal("0.000000075"))
    await metrics.flush()


def told(in_store: redis.Redis) -> int:
    """How many calls of the model `m` the store knows of."""
    return int(in_store.hget(metrics._ever(HERE), "openai\nm\nrequests") or 0)


async def test_what_many_calls_left_is_told_to_the_store_at_once_and_soon(in_store: redis.Redis) -> None:
    in_store.config_resetstat()
    for _ in range(50):
        seen("m")
    assert told(in_store) == 0
    await until(lambda: told(in_store) == 50)
    scripts = in_store.info("commandstats")
    assert sum(scripts[name]["calls"] for name in ("cmdstat_eval", "cmdstat_evalsha") if name in scripts) <= 2
    seen("m")
    await until(lambda: told(in_store) == 51)


async def test_who_reads_finds_what_has_not_been_told_yet(in_store: redis.Redis) -> None:
    seen("m")
    [ever] = await metrics.figures_ever([HERE])
    assert ever["openai"]["m"].counts["requests"] == 1
    seen("m")
    assert (await metrics.figures_of(HERE))["openai"]["m"].counts["requests"] == 2


async def test_a_window_leaves_out_what_is_older(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now - 600)
    await count("old")
    monkeypatch.setattr(time, "time", lambda: now)
    await count("new")
    assert set((await metrics.figures_of(HERE, window_s=60))["openai"]) == {"new"}
    assert set((await metrics.figures_of(HERE, window_s=900))["openai"]) == {"old", "new"}
    assert set((await metrics.figures_of(HERE, window_s=3600))["openai"]) == {"old", "new"}


async def test_small_money_is_counted_exactly() -> None:
    for _ in range(3):
        await count("m")
    assert (await metrics.figures_of(HERE))["openai"]["m"].cost_usd == Decimal("0.000000225")


async def test_memory_is_constant_whatever_models_are_named(
    store: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "MOST_FIELDS", 40)
    for number in range(50):
        await count(f"model\n{number}")
    found = (await metrics.figures_of(HERE))["openai"]
    assert metrics.OTHER_MODEL in found
    assert "model\n0" in found
    assert sum(one.counts["requests"] for one in found.values()) == 50
    assert all(store.hlen(slot) < 60 for slot in store.scan_iter("atom:metrics:*"))
    assert all(0 < int(store.ttl(slot)) <= metrics.EVER_S for slot in store.scan_iter("atom:metrics:*"))


def test_percentiles_are_exact_to_a_tenth() -> None:
    figures = Figures()
    for ms in range(1, 1001):
        figures.add(f"total.{bucket_of(ms / 1000)}", 1)
    for share in (0.5, 0.95, 0.99):
        assert figures.percentile_ms("total", share) == pytest.approx(1000 * share, rel=0.1)
    assert figures.percentile_ms("ttft", 0.5) is None


@pytest.mark.parametrize("seconds", [0.0, 0.0005, 0.001, 0.25, 600, 1e9])
def test_every_latency_has_a_bucket(seconds: float) -> None:
    assert 0 <= bucket_of(seconds) <= metrics.LAST_BUCKET
    assert milliseconds_of(bucket_of(seconds)) > 0


@pytest.mark.parametrize("given", ["0", "-1", "x", "1.5", "", "86401", "9" * 30, "１"])  # noqa: RUF001  # a full-width 1
def test_a_window_that_is_no_number_of_seconds_is_refused(given: str) -> None:
    with pytest.raises(BadRequest):
        window_of(given)
