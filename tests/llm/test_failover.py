"""Failover between providers, and the one repetition without streaming, against two real simulators."""

from collections.abc import Iterator

import pytest
import redis
from pytest_django import Settings

from atom.ground.models import Workspace
from llm import retries
from llm.errors import (
    AllFailed,
    BadResponse,
    BreakerOpen,
    KeyRefused,
    LLMError,
    ProviderFailed,
    RateLimited,
    RequestRefused,
    TimedOut,
)
from llm.events import Event, Finished, TextDelta
from tests.llm.calls import MODEL, call_of, events_of
from tests.llm.conftest import text_of
from tests.simulators.openai import OpenAISimulator
from tests.simulators.scripts import Ending

pytestmark = pytest.mark.django_db(transaction=True)

SECOND = "deepseek/deepseek-chat"
BOTH = (MODEL, SECOND)


@pytest.fixture(autouse=True)
def in_store(store: redis.Redis) -> redis.Redis:
    retries.forget()
    return store


@pytest.fixture
def first(openai_simulator: OpenAISimulator, monkeypatch: pytest.MonkeyPatch) -> OpenAISimulator:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-first")
    monkeypatch.setenv("OPENAI_BASE_URL", openai_simulator.base_url)
    return openai_simulator


@pytest.fixture
def second(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAISimulator]:
    with OpenAISimulator() as simulator:
        monkeypatch.setenv("DEEPSEEK_API_KEY", "sk-second")
        monkeypatch.setenv("DEEPSEEK_BASE_URL", simulator.base_url)
        yield simulator


def streamed(simulator: OpenAISimulator) -> list[bool]:
    return [seen.json.get("stream", False) for seen in simulator.requests]


# --- To the next candidate -----------------------------------------------------------------------------
@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 529, 401, 402, 403])
async def test_failover_on_error_and_rate_limit_asks_the_next_in_order(
    workspace: Workspace, first: OpenAISimulator, second: OpenAISimulator, status: int
) -> None:
    first.will_fail(status)
    second.will_say("from the second")
    call = call_of(workspace, models=BOTH)
    events = await events_of(call)
    assert text_of(events) == "from the second"
    assert (call.provider, call.model, call.attempts) == ("deepseek", "deepseek-chat", 2)
    assert (streamed(first), streamed(second)) == ([True], [True])
    assert [one.provider for one in call.tried] == ["openai", "deepseek"]
    assert call.tried[1].outcome == "succeeded"
    assert call.tried[1].usage == events[-1].usage if isinstance(events[-1], Finished) else False


async def test_failover_on_timeout_works_within_what_is_left_of_the_deadline(
    workspace: Workspace, first: OpenAISimulator, second: OpenAISimulator, settings: Settings
) -> None:
    settings.ATOM_FIRST_BYTE_TIMEOUT, settings.ATOM_TOTAL_TIMEOUT = 0.3, 3.0
    first.will_hang()
    call = call_of(workspace, models=BOTH)
    assert isinstance((await events_of(call))[-1], Finished)
    assert [one.outcome for one in call.tried] == ["provider_timeout", "succeeded"]


async def test_failover_when_there_is_no_connection(
    workspace: Workspace, first: OpenAISimulator, second: OpenAISimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    call = call_of(workspace, models=BOTH)
    await events_of(call)
    assert [one.outcome for one in call.tried] == ["provider_unreachable", "succeeded"]


@pytest.mark.parametrize("body", [b"<html>hello</html>", b"", b"data: {not json\n\n"])
async def test_failover_when_the_answer_is_rubbish(
    workspace: Workspace, first: OpenAISimulator, second: OpenAISimulator, body: bytes
) -> None:
    first.will_send(body)
    call = call_of(workspace, models=BOTH)
    await events_of(call)
    assert [one.outcome for one in call.tried] == ["bad_provider_response", "succeeded"]


async def test_a_stream_that_fails_before_its_first_content_counts_as_failed_before_the_first_event(
    workspace: Workspace, first: OpenAISimulator, second: OpenAISimulator
) -> None:
    first.will_say("never heard", cut_after=0, ending=Ending.RST)
    second.will_say("heard")
    assert text_of(await events_of(call_of(workspace, models=BOTH))) == "heard"


@pytest.mark.parametrize("status", [400, 404, 422])
async def test_a_refused_request_goes_to_nobody_else(
    workspace: Workspace, first: OpenAISimulator, second: OpenAISimulator, status: int
) -> None:
    first.will_fail(status)
    with pytest.raises(RequestRefused) as caught:
        await events_of(call_of(workspace, models=BOTH))
    assert caught.value.status == status
    assert (len(first.requests), len(second.requests)) == (1, 0)


async def test_an_explicit_model_never_becomes_another(
    workspace: Workspace, first: OpenAISimulator, second: OpenAISimulator
) -> None:
    for _ in range(2):
        first.will_fail(500)
    with pytest.raises(ProviderFailed):
        await events_of(call_of(workspace))
    assert second.requests == []


async def test_an_agents_unknown_and_unconfigured_models_are_passed_over(
    workspace: Workspace, first: OpenAISimulator
) -> None:
    call = call_of(workspace, models=("nobody/x", "anthropic-is-not-set", SECOND, MODEL))
    await events_of(call)
    assert call.provider == "openai"


async def test_open_breakers_are_passed_over_without_a_call(
    workspace: Workspace, first: OpenAISimulator, second: OpenAISimulator
) -> None:
    for _ in range(5):
        first.will_fail(500)
        await events_of(call_of(workspace, models=BOTH))
    call = call_of(workspace, models=BOTH)
    await events_of(call)
    assert (len(first.requests), len(second.requests)) == (5, 6)
    assert (call.provider, call.attempts) == ("deepseek", 1)


# --- Once more without streaming ------------------------------------------------------------------------
async def test_streaming_fallback_to_a_call_without_streaming_once_and_unseen(
    workspace: Workspace, first: OpenAISimulator
) -> None:
    first.will_fail(500)
    first.will_say("the whole answer")
    call = call_of(workspace)
    events = await events_of(call)
    assert text_of(events) == "the whole answer"
    assert sum(isinstance(event, Finished) for event in events) == 1
    assert streamed(first) == [True, False]
    assert [(one.outcome, one.streamed) for one in call.tried] == [("provider_failed", True), ("succeeded", False)]
    assert (call.provider, call.attempts) == ("openai", 2)


async def test_each_candidate_is_streamed_once_before_the_first_is_repeated(
    workspace: Workspace, first: OpenAISimulator, second: OpenAISimulator
) -> None:
    first.will_fail(500)
    second.will_fail(500)
    first.will_say("at last")
    assert text_of(await events_of(call_of(workspace, models=BOTH))) == "at last"
    assert (streamed(first), streamed(second)) == ([True, False], [True])


async def test_fallback_only_once_and_no_retry_loop(workspace: Workspace, first: OpenAISimulator) -> None:
    for _ in range(3):
        first.will_fail(500)
    call = call_of(workspace)
    with pytest.raises(ProviderFailed):
        await events_of(call)
    assert (len(first.requests), call.attempts) == (2, 2)


async def test_of_several_candidates_only_the_first_is_repeated(
    workspace: Workspace, first: OpenAISimulator, second: OpenAISimulator
) -> None:
    for _ in range(3):
        first.will_fail(500)
        second.will_fail(500)
    with pytest.raises(ProviderFailed):
        await events_of(call_of(workspace, models=BOTH))
    assert (streamed(first), streamed(second)) == ([True, False], [True])


async def test_the_fallback_is_not_tried_where_the_breaker_is_open(
    workspace: Workspace, first: OpenAISimulator, second: OpenAISimulator, settings: Settings
) -> None:
    settings.AGENT_FALLBACK_ENABLED = False
    for _ in range(4):
        first.will_fail(500)
        with pytest.raises(ProviderFailed):
            await events_of(call_of(workspace))
    settings.AGENT_FALLBACK_ENABLED = True
    first.will_fail(500)
    second.will_fail(500)
    second.will_say("repeated by the second")
    # The first's stream was its fifth failure, so the second is the first whose breaker is closed.
    assert text_of(await events_of(call_of(workspace, models=BOTH))) == "repeated by the second"
    assert (streamed(first), streamed(second)) == ([True] * 5, [True, False])


async def test_a_rate_limit_is_not_repeated_and_stays_429(workspace: Workspace, first: OpenAISimulator) -> None:
    first.will_fail(429, retry_after=9)
    with pytest.raises(RateLimited) as caught:
        await events_of(call_of(workspace))
    assert (caught.value.status, caught.value.retry_after_s) == (429, 9)
    assert len(first.requests) == 1


async def test_partial_failure_delivers_what_came_and_repeats_nothing(
    workspace: Workspace, first: OpenAISimulator, second: OpenAISimulator
) -> None:
    first.will_say("one two three", cut_after=2)
    call, seen = call_of(workspace, models=BOTH), list[Event]()
    with pytest.raises(BadResponse):
        await events_of(call, seen)
    assert seen == [TextDelta("one"), TextDelta(" two")]
    assert (len(first.requests), len(second.requests)) == (1, 0)
    assert [(one.outcome, one.was_called) for one in call.tried] == [("bad_provider_response", True)]


async def test_fallback_disabled_raises_the_first_error_at_once_with_its_reason(
    workspace: Workspace, first: OpenAISimulator, second: OpenAISimulator, settings: Settings
) -> None:
    settings.AGENT_FALLBACK_ENABLED = False
    first.will_fail(503)
    with pytest.raises(ProviderFailed, match=r"openai failed \(status 503\)"):
        await events_of(call_of(workspace, models=BOTH))
    assert (len(first.requests), len(second.requests)) == (1, 0)


# --- All fail ------------------------------------------------------------------------------------------
async def failure(workspace: Workspace) -> LLMError:
    with pytest.raises(LLMError) as caught:
        await events_of(call_of(workspace, models=BOTH))
    return caught.value


async def test_all_failing_is_one_error_that_names_each_and_why(
    workspace: Workspace, first: OpenAISimulator, second: OpenAISimulator
) -> None:
    first.will_fail(500)
    second.will_fail(429)
    first.will_fail(502)
    error = await failure(workspace)
    assert (type(error), error.status) == (AllFailed, 502)
    assert "openai/gpt-4o-mini: openai failed (status 500)." in error.message
    assert "deepseek/deepseek-chat: deepseek limits the rate of calls." in error.message
    assert "openai/gpt-4o-mini: openai failed (status 502), also without streaming." in error.message
    assert isinstance(error.details, list)
    assert [(row["provider"], row["code"], row["streamed"]) for row in error.details] == [
        ("openai", "provider_failed", True),
        ("deepseek", "rate_limited", True),
        ("openai", "provider_failed", False),
    ]


async def test_all_keys_refused_is_a_502_that_says_so(
    workspace: Workspace, first: OpenAISimulator, second: OpenAISimulator
) -> None:
    first.will_fail(401)
    second.will_fail(403)
    error = await failure(workspace)
    assert (type(error), error.status, error.code) == (KeyRefused, 502, "provider_refused_key")


async def test_all_limited_is_a_429_with_the_shortest_wait(
    workspace: Workspace, first: OpenAISimulator, second: OpenAISimulator
) -> None:
    first.will_fail(429, retry_after=30)
    second.will_fail(429, retry_after=4)
    error = await failure(workspace)
    assert (error.status, error.retry_after_s) == (429, 4)


async def test_the_deadline_for_all_is_a_504(
    workspace: Workspace, first: OpenAISimulator, second: OpenAISimulator, settings: Settings
) -> None:
    settings.ATOM_TOTAL_TIMEOUT = 0.4
    first.will_fail(500)
    second.will_hang()
    error = await failure(workspace)
    assert (type(error), error.status) == (TimedOut, 504)
    assert len(second.requests) == 1


async def test_open_breakers_only_are_a_503(
    workspace: Workspace, first: OpenAISimulator, second: OpenAISimulator
) -> None:
    for _ in range(5):
        for simulator in (first, second, first, second):
            simulator.will_fail(500)
        await failure(workspace)
    calls = len(first.requests), len(second.requests)
    error = await failure(workspace)
    assert (type(error), error.status) == (BreakerOpen, 503)
    assert "openai" in error.message
    assert "deepseek" in error.message
    assert (len(first.requests), len(second.requests)) == calls == (5, 5)


async def test_an_upstream_that_is_wholly_down_sees_little_more_than_the_calls(
    workspace: Workspace, first: OpenAISimulator, settings: Settings
) -> None:
    # Without a breaker, so that the budget of repetitions is alone.
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    for _ in range(400):
        first.will_fail(500)
    for _ in range(100):
        with pytest.raises(LLMError):
            await events_of(call_of(workspace))
    assert len(first.requests) <= 120


async def test_agent_fallback_order_orders_the_providers_of_auto(
    workspace: Workspace, first: OpenAISimulator, second: OpenAISimulator, settings: Settings
) -> None:
    settings.AGENT_FALLBACK_ORDER = ["deepseek", "openai"]
    second.will_fail(500)
    call = call_of(workspace, "auto")
    await events_of(call)
    assert [one.provider for one in call.tried] == ["deepseek", "openai"]
