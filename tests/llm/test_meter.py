"""What the provider counted is known also of an answer that breaks off, on every wire."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from decimal import Decimal

import orjson
import pytest
import redis

from atom.ground.http import GuardedClient
from atom.ground.models import Workspace
from llm import attempts, metrics
from llm.errors import BadResponse, LLMError
from llm.events import Meter, TextDelta, Usage
from llm.wires import WIRES
from tests.llm.calls import call_of, events_of
from tests.llm.conftest import asking
from tests.llm.wirekit import KITS, Kit, Talk
from tests.simulators.openai import OpenAISimulator
from tests.simulators.server import sse

# OpenAI's responses are counted at the end only.
COUNT_ALONG = [kit for kit in KITS if kit.wire != "openai_responses"]
RESPONSES = next(kit for kit in KITS if kit.wire == "openai_responses")
# Of gpt-4o-mini, in dollars for a token: https://openai.com/api/pricing
IN, OUT = Decimal("0.00000015"), Decimal("0.0000006")
SENT = {"prompt_tokens": 1000, "completion_tokens": 10}


@pytest.fixture(params=COUNT_ALONG, ids=lambda kit: kit.wire)
async def talk(request: pytest.FixtureRequest, upstream: GuardedClient) -> AsyncIterator[Talk]:
    kit: Kit = request.param
    with kit.simulator() as simulator:
        yield Talk(kit, simulator, upstream)


async def test_a_reader_that_leaves_after_the_first_word_knows_what_was_counted(talk: Talk) -> None:
    talk.simulator.will_say("one two three", usage=talk.kit.usage(11, 6, 3, 0), usage_cumulative=True)
    meter = Meter()
    async with aclosing(WIRES[talk.kit.wire](asking(), talk.endpoint(), talk.client, meter)) as answer:
        assert await anext(answer) == TextDelta("one")
    assert meter.usage is not None
    assert (meter.usage.input_tokens, meter.usage.cached_tokens) == (11, 3)
    assert meter.usage.output_tokens < 6


async def test_a_stream_that_is_cut_leaves_what_was_counted(talk: Talk) -> None:
    talk.simulator.will_say("one two three", usage=talk.kit.usage(11, 6, 3, 0), usage_cumulative=True, cut_after=2)
    meter = Meter()
    with pytest.raises(BadResponse):
        await talk.events(meter=meter)
    assert meter.usage is not None
    assert meter.usage.input_tokens == 11


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("kit", KITS, ids=lambda kit: kit.wire)
async def test_an_explicit_zero_is_something_else_than_nothing(
    kit: Kit, upstream: GuardedClient, streamed: bool
) -> None:
    with kit.simulator() as simulator:
        talk = Talk(kit, simulator, upstream)
        for usage, expected in ((kit.usage(0, 0, 0, 0), Usage()), (None, None)):
            simulator.will_say("x", usage=usage)
            meter = Meter()
            await talk.events(streamed=streamed, meter=meter)
            assert meter.usage == expected


async def test_a_response_that_failed_tells_what_it_used(upstream: GuardedClient) -> None:
    failed = {
        "status": "failed",
        "error": {"code": "server_error", "message": "broke"},
        "usage": RESPONSES.usage(11, 6, 3, 2),
    }
    with RESPONSES.simulator() as simulator:
        simulator.will_send(sse({"type": "response.failed", "response": failed}).encode())
        meter = Meter()
        with pytest.raises(LLMError):
            await Talk(RESPONSES, simulator, upstream).events(meter=meter)
    assert meter.usage == Usage(11, 6, 3, 2)


async def test_a_gemini_chunk_that_is_refused_has_counted_all_the_same(upstream: GuardedClient) -> None:
    kit = next(kit for kit in KITS if kit.wire == "gemini")
    broken = {
        "candidates": [{"content": {"parts": []}, "finishReason": "MALFORMED_FUNCTION_CALL"}],
        "usageMetadata": kit.usage(11, 6, 0, 0),
    }
    with kit.simulator() as simulator:
        simulator.will_send(b"data: " + orjson.dumps(broken) + b"\n\n")
        meter = Meter()
        with pytest.raises(BadResponse):
            await Talk(kit, simulator, upstream).events(meter=meter)
    assert meter.usage == Usage(11, 6)


async def test_a_count_that_no_model_can_reach_is_none(upstream: GuardedClient) -> None:
    for kit in KITS:
        with kit.simulator() as simulator:
            simulator.will_say("x", usage=kit.usage(10**12, 7, 0, 0))
            meter = Meter()
            await Talk(kit, simulator, upstream).events(meter=meter)
            assert meter.usage == Usage(0, 7), kit.wire


# --- In a call ------------------------------------------------------------------------------------------
@pytest.fixture
def simulator(
    transactional_db: None, store: redis.Redis, openai_simulator: OpenAISimulator, monkeypatch: pytest.MonkeyPatch
) -> OpenAISimulator:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-first")
    monkeypatch.setenv("OPENAI_BASE_URL", openai_simulator.base_url)
    return openai_simulator


async def test_a_call_that_is_left_costs_what_was_counted_until_then(
    workspace: Workspace, simulator: OpenAISimulator
) -> None:
    simulator.will_say("one two three", usage=SENT, usage_cumulative=True)
    call = call_of(workspace)
    async with aclosing(call.events()) as events:
        await anext(events)
        [now] = call.so_far()
        assert call.tried == []
        assert (now.outcome, now.usage.input_tokens, call.used) == ("left", 1000, now.usage)
    [left] = call.tried
    assert (left.outcome, left.has_usage) == ("left", True)
    assert left.cost_usd == 1000 * IN + left.usage.output_tokens * OUT
    assert call.so_far() == call.tried
    # The metrics are written after the client has gone.
    await asyncio.gather(*attempts._in_background)
    figures = await metrics.figures_of(workspace.id)
    assert figures["openai"]["gpt-4o-mini"].cost_usd == left.cost_usd


async def test_a_call_that_is_left_uncounted_says_that_nothing_is_known(
    workspace: Workspace, simulator: OpenAISimulator
) -> None:
    simulator.will_say("one two three", usage=SENT)
    call = call_of(workspace)
    async with aclosing(call.events()) as events:
        await anext(events)
    [left] = call.tried
    assert (left.has_usage, left.usage, left.cost_usd) == (False, Usage(), Decimal(0))


async def test_a_finished_call_of_a_model_without_a_price_has_no_cost(
    workspace: Workspace, simulator: OpenAISimulator
) -> None:
    call = call_of(workspace, "openai/nobody-has-heard-of-it")
    await events_of(call)
    assert call.tried[0].cost_usd is None


async def test_a_failed_call_of_a_model_without_a_price_costs_nothing(
    workspace: Workspace, simulator: OpenAISimulator
) -> None:
    simulator.will_fail(400)
    call = call_of(workspace, "openai/nobody-has-heard-of-it")
    with pytest.raises(LLMError):
        await events_of(call)
    assert [one.cost_usd for one in call.tried] == [0]
