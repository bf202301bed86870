"""What breaks in one place is told plainly, and stays there."""

import asyncio
import json
from collections.abc import Callable, Iterator

import httpx
import pytest
from django.db import connection

from agents.models import Agent, Run
from atom.ground.principal import Principal
from tests.events import bearer
from tests.simulators.openai import OpenAISimulator

MakeAgent = Callable[..., Agent]


@pytest.fixture
def no_run_table(transactional_db: None) -> Iterator[None]:
    """The database refuses to write runs: their table is away."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE agents_run RENAME TO agents_run_away")
        yield
        cursor.execute("ALTER TABLE agents_run_away RENAME TO agents_run")


def test_a_database_error_is_a_500_in_our_shape_and_words(
    http: httpx.Client, make_agent: MakeAgent, no_run_table: None
) -> None:
    make_agent("helper")
    for path, body in (
        ("/api/agents/helper/chat/", {"message": "hi"}),
        ("/v1/chat/completions", {"model": "agent/helper", "messages": [{"role": "user", "content": "hi"}]}),
    ):
        answer = http.post(path, json=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
        assert "agents_run" not in answer.text


def test_empty_content_is_passed_on_as_it_is(
    http: httpx.Client, make_agent: MakeAgent, openai_simulator: OpenAISimulator
) -> None:
    body = {"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": ""}]}
    assert http.post("/v1/chat/completions", json=body).status_code == 200
    assert openai_simulator.requests[-1].json["messages"][-1]["content"] == ""


async def test_of_ten_concurrent_streams_one_failure_harms_no_other(
    server: str, alice: Principal, token_of: Callable[[Principal], str], openai_simulator: OpenAISimulator
) -> None:
    openai_simulator.will_say("broken off in the middle of it", cut_after=2, delay_s=0.02)
    token = await asyncio.to_thread(token_of, alice)

    async def ask(client: httpx.AsyncClient, word: str) -> tuple[str, bool]:
        body = {"model": "openai/gpt-4o-mini", "stream": True, "messages": [{"role": "user", "content": word}]}
        text, is_done = "", False
        async with client.stream("POST", "/v1/chat/completions", json=body) as answer:
            async for line in answer.aiter_lines():
                if line == "data: [DONE]":
                    is_done = True
                elif line.startswith("data: ") and "choices" in (chunk := json.loads(line[6:])):
                    text += chunk["choices"][0]["delta"].get("content") or ""
        return text, is_done

    words = [f"word{number}x" for number in range(10)]
    async with httpx.AsyncClient(base_url=server, headers=bearer(token), timeout=30, trust_env=False) as client:
        answers = await asyncio.gather(*(ask(client, word) for word in words))
    whole = [(word, text) for word, (text, is_done) in zip(words, answers, strict=True) if is_done]
    assert len(whole) == 9
    for word, text in whole:
        assert word in text
        assert not any(other in text for other in words if other != word)
    statuses = await asyncio.to_thread(lambda: sorted(Run.objects.values_list("status", flat=True)))
    assert statuses == ["failed"] + ["succeeded"] * 9
