"""`/v1/embeddings`, judged by the official `openai` client."""

from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest

from agents.models import Attempt, Run, RunStatus
from atom.ground.principal import Principal
from llm.services import create_key
from tests.simulators.openai import OpenAISimulator

MODEL = "openai/text-embedding-3-small"


@pytest.fixture
def client(server: str, alice: Principal, token_of: Callable[[Principal], str]) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server}/v1", api_key=token_of(alice), max_retries=0, timeout=30) as made:
        yield made


def test_the_official_client_gets_vectors(client: openai.OpenAI, openai_simulator: OpenAISimulator) -> None:
    answer = client.embeddings.create(model=MODEL, input=["a", "bcd"])
    assert [row.embedding for row in answer.data] == [[1.0, 0.5], [3.0, 0.5]]
    assert (answer.model, answer.usage.prompt_tokens, answer.usage.total_tokens) == (MODEL, 10, 10)
    assert openai_simulator.requests[-1].path == "/v1/embeddings"
    assert openai_simulator.requests[-1].json["model"] == "text-embedding-3-small"


def test_everything_of_a_request_is_passed_on(client: openai.OpenAI, openai_simulator: OpenAISimulator) -> None:
    client.embeddings.create(model=MODEL, input=[[1, 2], [3]], dimensions=2, encoding_format="float", user="u")
    sent = {"model": "text-embedding-3-small", "input": [[1, 2], [3]], "dimensions": 2, "user": "u"}
    assert openai_simulator.requests[-1].json == {**sent, "encoding_format": "float"}


def test_a_call_is_a_run_with_its_usage(client: openai.OpenAI) -> None:
    answer = client.embeddings.with_raw_response.create(model=MODEL, input="hello")
    run = Run.objects.get(pk=answer.headers["x-atom-run"])
    assert (run.door, run.status, run.input_tokens, run.output_tokens) == ("embeddings", RunStatus.SUCCEEDED, 5, 0)
    assert (run.provider, run.model) == ("openai", "text-embedding-3-small")
    assert Attempt.objects.get().outcome == "succeeded"


def test_a_refused_key_is_followed_by_the_next(client: openai.OpenAI, openai_simulator: OpenAISimulator) -> None:
    openai_simulator.will_fail(500)
    answer = client.embeddings.with_raw_response.create(model=MODEL, input="hello")
    assert answer.headers["x-atom-attempts"] == "2"


@pytest.mark.parametrize("given", ["", [], ["a", ""], [1, "a"], {"a": 1}, 7, [True], [[]], ["a"] * 2049])
def test_an_invalid_input_is_refused(client: openai.OpenAI, given: object) -> None:
    body: Any = {"model": MODEL, "input": given}
    with pytest.raises(openai.BadRequestError) as caught:
        client.post("/embeddings", cast_to=object, body=body)
    assert caught.value.param == "input"


def test_failures_have_the_classes_of_the_official_client(
    client: openai.OpenAI, openai_simulator: OpenAISimulator
) -> None:
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model="agent/nobody", input="x")
    openai_simulator.will_fail(429, retry_after=3)
    with pytest.raises(openai.RateLimitError) as caught:
        client.embeddings.create(model=MODEL, input="x")
    assert caught.value.response.headers["retry-after"] == "3"


@pytest.mark.parametrize("body", ["{}", '{"data": 7}', '{"data": [{}]}', "[]", "no json"])
def test_an_answer_without_vectors_is_a_bad_answer(
    client: openai.OpenAI, openai_simulator: OpenAISimulator, body: str
) -> None:
    openai_simulator.will_send(body.encode(), content_type="application/json")
    openai_simulator.will_send(body.encode(), content_type="application/json")
    with pytest.raises(openai.InternalServerError) as caught:
        client.embeddings.create(model=MODEL, input="x")
    assert caught.value.status_code == 502


def test_a_provider_of_another_wire_has_none(
    client: openai.OpenAI, openai_simulator: OpenAISimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-simulated-anthropic")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", openai_simulator.root_url)
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(model="anthropic/claude-haiku-4-5", input="x")
    assert "anthropic has no embeddings" in caught.value.message
    assert openai_simulator.requests == []


def test_mallory_uses_neither_alices_keys_nor_her_agents(
    client: openai.OpenAI,
    alice: Principal,
    mallory: Principal,
    token_of: Callable[[Principal], str],
    openai_simulator: OpenAISimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    create_key(
        workspace_id=alice.workspace_id,
        provider="openai",
        name="mine",
        secret="sk-alices-own-key",
        base_url=openai_simulator.base_url,
        by="alice",
    )
    client.embeddings.create(model=MODEL, input="x")
    assert openai_simulator.requests[-1].key == "Bearer sk-alices-own-key"
    hers = client.with_options(api_key=token_of(mallory))
    with pytest.raises(openai.InternalServerError) as caught:
        hers.embeddings.create(model=MODEL, input="x")
    assert caught.value.code == "no_provider"
