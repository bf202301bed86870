"""Many responses at once: each gets its own answer, and none waits for the others to be finished."""

import asyncio
import statistics
import time
from collections.abc import Callable

import openai

from agents.models import Run, RunStatus
from atom.ground.database import in_db
from atom.ground.principal import Principal
from tests.simulators.openai import OpenAISimulator

MANY = 64
# What the model takes for each; one after the other they would take MANY times as long.
ANSWER_S = 1.0


async def test_p95_and_p99_of_a_concurrent_fan_out_are_far_from_one_after_the_other(
    server: str, alice: Principal, token_of: Callable[[Principal], str], openai_simulator: OpenAISimulator
) -> None:
    for number in range(MANY):
        openai_simulator.will_say(f"answer {number}", first_delay_s=ANSWER_S)
    token = await in_db(token_of, alice)
    async with openai.AsyncOpenAI(base_url=f"{server}/v1", api_key=token, max_retries=0, timeout=120) as client:

        async def one(number: int) -> tuple[str, float]:
            begun = time.monotonic()
            stream = await client.responses.create(model="openai/gpt-4o-mini", input=f"question {number}", stream=True)
            text = [event.delta async for event in stream if event.type == "response.output_text.delta"]
            return "".join(text), time.monotonic() - begun

        answers = await asyncio.gather(*(one(number) for number in range(MANY)))
    assert sorted(text for text, _ in answers) == sorted(f"answer {number}" for number in range(MANY))
    assert await in_db(Run.objects.filter(status=RunStatus.SUCCEEDED).count) == MANY
    percentiles = statistics.quantiles((took for _, took in answers), n=100)
    p95, p99 = percentiles[94], percentiles[98]
    assert p95 <= p99 < MANY * ANSWER_S / 2
