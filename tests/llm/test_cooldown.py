"""Keys that were refused or limited rest, and keys of one priority take turns."""

import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
import redis

from atom.ground.models import Workspace
from llm import cooldown
from llm.errors import KeyRefused, ProviderFailed, RateLimited
from tests.llm.calls import call_of, events_of, key_at, used
from tests.simulators.openai import OpenAISimulator

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def in_store(store: redis.Redis) -> redis.Redis:
    return store


@pytest.mark.parametrize("status", [401, 402, 403, 429])
async def test_a_refused_or_limited_key_rests_and_the_next_key_serves(
    workspace: Workspace, openai_simulator: OpenAISimulator, status: int
) -> None:
    for priority, name in enumerate(["first", "second"]):
        await key_at(workspace, openai_simulator, name=name, priority=priority)
    openai_simulator.will_fail(status)
    for _ in range(3):
        await events_of(call_of(workspace))
    assert used(openai_simulator) == ["sk-first", "sk-second", "sk-second", "sk-second"]


async def test_a_failing_upstream_is_no_fault_of_the_key(
    workspace: Workspace, openai_simulator: OpenAISimulator
) -> None:
    for priority, name in enumerate(["first", "second"]):
        await key_at(workspace, openai_simulator, name=name, priority=priority)
    openai_simulator.will_fail(500)
    await events_of(call_of(workspace))
    await events_of(call_of(workspace))
    assert used(openai_simulator) == ["sk-first", "sk-second", "sk-first"]


async def test_retry_after_of_a_lone_key_is_kept_to_without_a_call(
    workspace: Workspace, openai_simulator: OpenAISimulator
) -> None:
    await key_at(workspace, openai_simulator)
    openai_simulator.will_fail(429, retry_after=20)
    with pytest.raises(RateLimited) as first:
        await events_of(call_of(workspace))
    assert first.value.retry_after_s == 20
    call = call_of(workspace)
    with pytest.raises(RateLimited) as second:
        await events_of(call)
    assert 18 <= (second.value.retry_after_s or 0) <= 20
    assert (len(openai_simulator.requests), call.attempts) == (1, 0)
    assert [one.outcome for one in call.tried] == ["rate_limited"]


@pytest.mark.parametrize("status", [401, 402, 403])
async def test_retry_after_of_a_refusal_is_kept_to_and_stays_a_refusal(
    workspace: Workspace, openai_simulator: OpenAISimulator, status: int
) -> None:
    await key_at(workspace, openai_simulator)
    openai_simulator.will_fail(status, retry_after=20)
    for _ in range(2):
        with pytest.raises(KeyRefused) as refused:
            await events_of(call_of(workspace))
        assert 18 <= (refused.value.retry_after_s or 0) <= 20
    assert len(openai_simulator.requests) == 1


@pytest.mark.parametrize("status", [401, 402, 403, 429])
async def test_retry_after_as_a_date_is_kept_to(
    workspace: Workspace, openai_simulator: OpenAISimulator, status: int
) -> None:
    key = await key_at(workspace, openai_simulator)
    until = format_datetime(datetime.now(UTC) + timedelta(seconds=900), usegmt=True)
    openai_simulator.will_fail(status, retry_after=until)
    with pytest.raises((KeyRefused, RateLimited)):
        await events_of(call_of(workspace))
    name = cooldown.name_of("openai", key.id)
    rest = (await cooldown.rests([name]))[name]
    assert rest.is_told
    assert 840 <= rest.left_s <= 900


async def test_a_refused_lone_key_is_tried_again_and_works_when_it_is_good_again(
    workspace: Workspace, openai_simulator: OpenAISimulator
) -> None:
    key = await key_at(workspace, openai_simulator)
    openai_simulator.will_fail(401)
    with pytest.raises(KeyRefused):
        await events_of(call_of(workspace))
    name = cooldown.name_of("openai", key.id)
    assert await cooldown.rests([name])
    await events_of(call_of(workspace))
    assert await cooldown.rests([name]) == {}


async def test_a_rest_is_each_keys_own() -> None:
    await cooldown.cool("a", RateLimited("", retry_after_s=7))
    await cooldown.cool("b", KeyRefused(""))
    await cooldown.cool("c", ProviderFailed("", retry_after_s=7))
    await cooldown.cool("d", RateLimited("", retry_after_s=0))
    found = await cooldown.rests(["a", "b", "c", "d"])
    assert {name: rest.is_told for name, rest in found.items()} == {"a": True, "b": False}
    assert found["a"].left_s == 7
    assert 58 <= found["b"].left_s <= cooldown.REFUSED_S


async def test_no_provider_keeps_a_key_away_for_days() -> None:
    await cooldown.cool("a", RateLimited("", retry_after_s=86_400))
    assert (await cooldown.rests(["a"]))["a"].left_s <= cooldown.MOST_S


async def test_keys_of_one_priority_take_turns_and_a_lower_one_goes_first(
    workspace: Workspace, openai_simulator: OpenAISimulator
) -> None:
    for name in ["a", "b", "c"]:
        await key_at(workspace, openai_simulator, name=name, priority=1)
    await key_at(workspace, openai_simulator, name="spare", priority=2)
    for _ in range(6):
        await events_of(call_of(workspace))
    assert used(openai_simulator) == ["sk-a", "sk-b", "sk-c"] * 2


async def test_what_another_process_was_told_of_a_key_is_known_within_an_instant(in_store: redis.Redis) -> None:
    name = cooldown.name_of("openai", None)
    assert await cooldown.rests([name]) == {}
    in_store.set(name, b"told", ex=30)
    await asyncio.sleep(cooldown.REMEMBER_S)
    assert (await cooldown.rests([name]))[name].is_told
    in_store.delete(name)
    await asyncio.sleep(cooldown.REMEMBER_S)
    assert await cooldown.rests([name]) == {}


async def test_calls_that_begin_at_the_same_moment_ask_once_how_their_key_rests(in_store: redis.Redis) -> None:
    name = cooldown.name_of("openai", None)
    in_store.config_resetstat()
    await asyncio.gather(*(cooldown.rests([name]) for _ in range(100)))
    await cooldown.rests([name])
    assert in_store.info("commandstats")["cmdstat_mget"]["calls"] == 1
    # Of what it did itself a process knows at once.
    await cooldown.cool(name, RateLimited("slow down", retry_after_s=30))
    assert (await cooldown.rests([name]))[name].left_s >= 29
    await cooldown.wake(name)
    assert await cooldown.rests([name]) == {}
