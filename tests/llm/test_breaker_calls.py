"""The circuit breaker around calls to a real upstream."""

import asyncio
import time

import pytest
import redis
from pytest_django import Settings

from atom.ground.models import Workspace
from llm import attempts, breaker
from llm.breaker import Circuit
from llm.errors import BreakerOpen, KeyRefused, LLMError, ProviderFailed, RequestRefused
from tests.llm.calls import call_of, events_of, key_at, until
from tests.simulators.openai import OpenAISimulator
from tests.simulators.scripts import Ending


@pytest.fixture(autouse=True)
def in_store(store: redis.Redis) -> redis.Redis:
    return store


pytestmark = pytest.mark.django_db(transaction=True)


async def failing(workspace: Workspace, simulator: OpenAISimulator, times: int, **given: object) -> list[LLMError]:
    """Errors of so many calls, each failing as a stream and, where it is repeated, as a whole."""
    found = []
    for _ in range(times):
        simulator.will_fail(500)
        simulator.will_fail(500)
        with pytest.raises(LLMError) as caught:
            await events_of(call_of(workspace))
        found.append(caught.value)
    return found


async def test_the_6th_call_reaches_nobody_and_answers_within_50_ms(
    workspace: Workspace, openai_simulator: OpenAISimulator, settings: Settings
) -> None:
    settings.AGENT_FALLBACK_ENABLED = False
    await key_at(workspace, openai_simulator)
    for error in await failing(workspace, openai_simulator, 5):
        assert isinstance(error, ProviderFailed)
    took = []
    for _ in range(10):
        call, started = call_of(workspace), time.monotonic()
        with pytest.raises(BreakerOpen):
            await events_of(call)
        took.append(time.monotonic() - started)
    # The middle one: a busy machine must not decide this.
    assert sorted(took)[5] < 0.05
    assert len(openai_simulator.requests) == 5
    assert call.attempts == 0
    assert [(one.outcome, one.was_called) for one in call.tried] == [("provider_unavailable", False)]


async def test_a_failed_stream_and_its_failed_repetition_are_two_failures(
    workspace: Workspace, openai_simulator: OpenAISimulator
) -> None:
    await key_at(workspace, openai_simulator)
    await failing(workspace, openai_simulator, 3)
    # Two and two, and the fifth opens it: the fallback is not tried while it is open.
    assert len(openai_simulator.requests) == 5
    with pytest.raises(BreakerOpen):
        await events_of(call_of(workspace))
    assert len(openai_simulator.requests) == 5


async def test_a_stream_that_breaks_off_after_its_first_word_counts(
    workspace: Workspace, openai_simulator: OpenAISimulator
) -> None:
    await key_at(workspace, openai_simulator)
    for _ in range(5):
        openai_simulator.will_say("one two three", cut_after=2, ending=Ending.RST)
        with pytest.raises(LLMError):
            await events_of(call_of(workspace))
    with pytest.raises(BreakerOpen):
        await events_of(call_of(workspace))


@pytest.mark.parametrize("status", [400, 404, 422])
async def test_a_refused_request_does_not_count(
    workspace: Workspace, openai_simulator: OpenAISimulator, status: int
) -> None:
    await key_at(workspace, openai_simulator)
    for _ in range(6):
        openai_simulator.will_fail(status)
        with pytest.raises(RequestRefused):
            await events_of(call_of(workspace))
    assert len(openai_simulator.requests) == 6


async def test_a_client_that_went_away_does_not_count(workspace: Workspace, openai_simulator: OpenAISimulator) -> None:
    await key_at(workspace, openai_simulator)
    for _ in range(6):
        openai_simulator.will_say("one two three", delay_s=0.05)
        events = call_of(workspace).events()
        await anext(events)
        await events.aclose()
    assert await breaker.statuses(workspace.id) == []


async def test_a_cancelled_probe_makes_room_for_the_next(
    workspace: Workspace, openai_simulator: OpenAISimulator, settings: Settings
) -> None:
    settings.ATOM_BREAKER_OPEN = 0.05
    settings.AGENT_FALLBACK_ENABLED = False
    await key_at(workspace, openai_simulator)
    for _ in range(5):
        openai_simulator.will_fail(500)
        with pytest.raises(LLMError):
            await events_of(call_of(workspace))
    await asyncio.sleep(0.1)
    openai_simulator.will_hang()
    probe = asyncio.create_task(events_of(call_of(workspace)))
    await until(lambda: len(openai_simulator.requests) == 6)
    with pytest.raises(BreakerOpen):
        await events_of(call_of(workspace))
    probe.cancel()
    await asyncio.gather(probe, return_exceptions=True)
    # The place is given back in the background.
    await until(lambda: not attempts._in_background)
    assert await events_of(call_of(workspace))


async def test_half_open_reaches_the_upstream_once_under_100_concurrent_calls_and_recovers(
    workspace: Workspace, openai_simulator: OpenAISimulator, settings: Settings
) -> None:
    settings.ATOM_BREAKER_OPEN = 0.2
    settings.AGENT_FALLBACK_ENABLED = False
    await key_at(workspace, openai_simulator)
    for _ in range(5):
        openai_simulator.will_fail(500)
        with pytest.raises(LLMError):
            await events_of(call_of(workspace))
    await asyncio.sleep(0.3)
    openai_simulator.will_say("hello", first_delay_s=1)
    answers = await asyncio.gather(*(events_of(call_of(workspace)) for _ in range(100)), return_exceptions=True)
    assert sum(isinstance(answer, list) for answer in answers) == 1
    assert len(openai_simulator.requests) == 6
    await events_of(call_of(workspace))
    assert [one.state for one in await breaker.statuses(workspace.id)] == ["closed"]


async def test_a_bad_key_of_one_workspace_leaves_the_environments_key_alone(
    workspace: Workspace, openai_simulator: OpenAISimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-env")
    monkeypatch.setenv("OPENAI_BASE_URL", openai_simulator.base_url)
    bad = await key_at(workspace, openai_simulator)
    for _ in range(5):
        permit = await breaker.admit(Circuit(workspace.id, "openai", bad.id, "gpt-4o-mini"), probe_s=60)
        assert permit is not None
        await breaker.record(permit, "failed")
    call = call_of(workspace)
    await events_of(call)
    assert [one.headers["authorization"] for one in openai_simulator.requests] == ["Bearer sk-env"]
    assert [one.outcome for one in call.tried] == ["succeeded"]


async def test_a_refused_key_counts_for_its_own_breaker(
    workspace: Workspace, openai_simulator: OpenAISimulator
) -> None:
    await key_at(workspace, openai_simulator)
    for _ in range(5):
        openai_simulator.will_fail(401)
        with pytest.raises(KeyRefused):
            await events_of(call_of(workspace))
    with pytest.raises(BreakerOpen):
        await events_of(call_of(workspace))
    assert len(openai_simulator.requests) == 5
