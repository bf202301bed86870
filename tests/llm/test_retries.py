"""The budget of repetitions, which all processes and, behind an environment's key, all workspaces share."""

from collections.abc import Iterator
from uuid import uuid4

import pytest
import redis
from pytest_django import Settings

from atom.ground.models import Workspace
from llm import breaker, retries
from llm.breaker import Circuit
from llm.errors import LLMError
from tests.llm.calls import call_of, events_of
from tests.simulators.openai import OpenAISimulator

UPSTREAM = "environment:openai:http://127.0.0.1/v1"


@pytest.fixture(autouse=True)
def in_store(store: redis.Redis) -> Iterator[redis.Redis]:
    retries.forget()
    yield store
    retries.forget()


async def taken(times: int) -> int:
    return sum([await retries.take_out(UPSTREAM) for _ in range(times)])


async def test_ten_calls_pay_for_one_repetition_after_the_sum_to_begin_with() -> None:
    assert await taken(20) == 5
    retries.pay_in(UPSTREAM, 9)
    assert await taken(1) == 0
    retries.pay_in(UPSTREAM)
    assert await taken(2) == 1


async def test_a_process_that_begins_finds_what_others_have_left() -> None:
    assert await taken(5) == 5
    # What a process remembers by itself is gone, as after a start.
    retries.forget()
    assert await taken(1) == 0


async def test_no_more_is_saved_up_than_the_sum_to_begin_with() -> None:
    retries.pay_in(UPSTREAM, 10_000)
    assert await taken(20) == 5
    retries.pay_in(UPSTREAM, 10_000)
    assert await taken(20) == 5


async def test_without_the_store_a_process_keeps_a_budget_of_its_own(settings: Settings) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    assert await taken(20) == 5
    retries.pay_in(UPSTREAM, 20)
    assert await taken(20) == 2


async def test_memory_is_bounded_whatever_upstreams_are_named(
    monkeypatch: pytest.MonkeyPatch, store: redis.Redis
) -> None:
    monkeypatch.setattr(retries, "REMEMBER_MOST", 10)
    for number in range(100):
        retries.pay_in(f"upstream {number}")
    assert len(retries._paid) == 10
    await taken(1)
    assert 0 < int(store.ttl(f"atom:retries:{UPSTREAM}")) <= retries.KEEP_S


@pytest.mark.django_db(transaction=True)
async def test_an_upstream_behind_the_environments_key_has_one_budget_for_all_workspaces(
    workspace: Workspace, openai_simulator: OpenAISimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-env")
    monkeypatch.setenv("OPENAI_BASE_URL", openai_simulator.base_url)
    for _ in range(40):
        openai_simulator.will_fail(500)
    for number in range(20):
        # A tenant and a model of its own each time, so that no breaker opens.
        with pytest.raises(LLMError):
            await events_of(call_of(Workspace(id=uuid4()), f"openai/model-{number}"))
    # Twenty streams, five repetitions to begin with, and the two that were paid for.
    assert len(openai_simulator.requests) <= 27


@pytest.mark.django_db(transaction=True)
async def test_a_repetition_that_the_breaker_stops_is_not_paid_for(
    workspace: Workspace, openai_simulator: OpenAISimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-env")
    monkeypatch.setenv("OPENAI_BASE_URL", openai_simulator.base_url)
    for _ in range(4):
        permit = await breaker.admit(Circuit(workspace.id, "openai", None, "gpt-4o-mini"), probe_s=60)
        assert permit is not None
        await breaker.record(permit, "failed")
    openai_simulator.will_fail(500)
    with pytest.raises(LLMError):
        await events_of(call_of(workspace))
    assert len(openai_simulator.requests) == 1
    upstream = f"environment:openai:{openai_simulator.base_url}"
    assert sum([await retries.take_out(upstream) for _ in range(9)]) == 5
