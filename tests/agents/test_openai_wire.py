"""`/v1`, judged by the official `openai` client."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import openai
import pytest

from agents.models import Agent, Run
from atom.ground.principal import Principal
from tests.events import bearer, sse_events
from tests.simulators.openai import OpenAISimulator

MakeAgent = Callable[..., Agent]
USER: Any = [{"role": "user", "content": "hi"}]


@pytest.fixture
def client(server: str, alice: Principal, token_of: Callable[[Principal], str]) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server}/v1", api_key=token_of(alice), max_retries=0, timeout=30) as made:
        yield made


def test_the_official_client_gets_a_successful_completion_with_finish_reason_stop(
    client: openai.OpenAI, make_agent: MakeAgent, openai_simulator: OpenAISimulator
) -> None:
    make_agent("helper")
    openai_simulator.will_say("Hello there")
    answer = client.chat.completions.create(model="agent/helper", messages=USER)
    assert answer.id.startswith("chatcmpl-")
    assert answer.object == "chat.completion"
    assert answer.choices[0].message.content == "Hello there"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0


def test_the_official_client_streams_role_first_finish_last(
    client: openai.OpenAI, make_agent: MakeAgent, openai_simulator: OpenAISimulator
) -> None:
    make_agent("helper")
    openai_simulator.will_say("one two three")
    stream = client.chat.completions.create(
        model="agent/helper", messages=USER, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    *said, usage = chunks
    assert len({chunk.id for chunk in chunks}) == 1
    assert said[0].choices[0].delta.role == "assistant"
    assert all(chunk.choices[0].delta.role is None for chunk in said[1:])
    assert "".join(chunk.choices[0].delta.content or "" for chunk in said) == "one two three"
    assert [chunk.choices[0].finish_reason for chunk in said[:-1]] == [None] * (len(said) - 1)
    assert said[-1].choices[0].finish_reason == "stop"
    assert usage.choices == []
    assert usage.usage is not None
    assert usage.usage.completion_tokens > 0


def test_sse_format_is_exact_and_says_who_served(
    server: str,
    alice: Principal,
    token_of: Callable[[Principal], str],
    make_agent: MakeAgent,
    openai_simulator: OpenAISimulator,
) -> None:
    openai_simulator.will_say("a b")
    body = {"model": "openai/gpt-4o-mini", "messages": USER, "stream": True}
    with httpx.stream("POST", f"{server}/v1/chat/completions", json=body, headers=bearer(token_of(alice))) as answer:
        raw = answer.read().decode()
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-atom-provider"] == "openai"
    assert answer.headers["x-atom-model"] == "gpt-4o-mini"
    assert answer.headers["x-atom-attempts"] == "1"
    assert Run.objects.filter(pk=answer.headers["x-atom-run"]).exists()
    assert raw.endswith("data: [DONE]\n\n")
    assert raw.split("\n\n")[0].count('"delta":{"role":"assistant"}') == 1
    assert all(frame.startswith("data: ") for frame in raw.strip().split("\n\n"))


def test_a_call_without_an_agent_acts_as_direct(client: openai.OpenAI, openai_simulator: OpenAISimulator) -> None:
    openai_simulator.will_say("ok")
    client.chat.completions.create(model="openai/gpt-4o-mini", messages=USER)
    assert Run.objects.get().agent.slug == "direct"


def test_a_user_message_is_required_streamed_too(client: openai.OpenAI, make_agent: MakeAgent) -> None:
    for stream in (False, True):
        nobody: Any = ([], [{"role": "system", "content": "x"}])
        for messages in nobody:
            with pytest.raises(openai.BadRequestError) as caught:
                client.chat.completions.create(model="agent/x", messages=messages, stream=stream)
            assert caught.value.code == "missing_user_message"
            assert caught.value.param == "messages"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", 2.1),
        ("temperature", -0.1),
        ("max_tokens", 0),
        ("top_p", 1.5),
        ("stop", [1]),
        ("messages", "hi"),
        ("tools", [{"type": "function"}]),
    ],
)
def test_an_invalid_request_says_which_parameter(client: openai.OpenAI, field: str, value: object) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.post("/chat/completions", cast_to=object, body={"model": "openai/x", "messages": USER, field: value})
    assert caught.value.type == "invalid_request_error"
    assert str(caught.value.param).startswith(field)


def test_an_explicit_zero_is_zero_and_defaults_are_left_out(
    client: openai.OpenAI, openai_simulator: OpenAISimulator
) -> None:
    client.chat.completions.create(model="openai/gpt-4o-mini", messages=USER, temperature=0, seed=0)
    sent = openai_simulator.requests[-1].json
    assert (sent["temperature"], sent["seed"]) == (0, 0)
    assert not {"top_p", "stop", "max_tokens", "tools"} & sent.keys()


def test_a_list_of_parts_is_joined_by_newlines(client: openai.OpenAI, openai_simulator: OpenAISimulator) -> None:
    parts: Any = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    client.chat.completions.create(model="openai/gpt-4o-mini", messages=[{"role": "user", "content": parts}])
    assert openai_simulator.requests[-1].json["messages"][-1]["content"] == "one\ntwo"


def test_unknown_models_providers_and_agents_are_404_model_not_found(client: openai.OpenAI) -> None:
    for model in ("nosuchmodel-9", "noprovider/x", "agent/nobody"):
        with pytest.raises(openai.NotFoundError) as caught:
            client.chat.completions.create(model=model, messages=USER)
        assert caught.value.code == "model_not_found"


def test_a_failure_before_the_first_chunk_is_an_http_error_also_for_streams(
    client: openai.OpenAI, openai_simulator: OpenAISimulator
) -> None:
    openai_simulator.will_fail(429, retry_after=7)
    with pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(model="openai/gpt-4o-mini", messages=USER, stream=True)
    assert caught.value.response.headers["retry-after"] == "7"
    assert caught.value.response.headers["x-atom-run"]


def test_a_connection_closed_while_streaming_is_sse_data_without_done(
    server: str, alice: Principal, token_of: Callable[[Principal], str], openai_simulator: OpenAISimulator
) -> None:
    openai_simulator.will_say("one two three four five", cut_after=2)
    body = {"model": "openai/gpt-4o-mini", "messages": USER, "stream": True}
    with httpx.stream("POST", f"{server}/v1/chat/completions", json=body, headers=bearer(token_of(alice))) as answer:
        events = list(sse_events(answer))
    assert answer.status_code == 200
    assert events[-1]["error"]["type"] == "provider_error"
    assert {"done": True} not in events


def test_the_official_client_raises_on_a_truncated_stream(
    client: openai.OpenAI, openai_simulator: OpenAISimulator
) -> None:
    openai_simulator.will_say("one two three four five", cut_after=2)
    with pytest.raises(openai.APIError):
        list(client.chat.completions.create(model="openai/gpt-4o-mini", messages=USER, stream=True))


def test_models_lists_agents_and_configured_models(client: openai.OpenAI, make_agent: MakeAgent) -> None:
    make_agent("helper")
    found = {model.id for model in client.models.list()}
    assert "agent/helper" in found
    assert any(name.startswith("openai/") for name in found)
    assert not any(name.startswith("deepseek/") for name in found)
    assert client.models.retrieve("agent/helper").owned_by == "atom"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("agent/nobody")


def test_mallory_cannot_use_alices_agent(
    server: str, mallory: Principal, make_agent: MakeAgent, token_of: Callable[[Principal], str]
) -> None:
    make_agent("helper")
    with openai.OpenAI(base_url=f"{server}/v1", api_key=token_of(mallory), max_retries=0) as hers:
        with pytest.raises(openai.NotFoundError):
            hers.chat.completions.create(model="agent/helper", messages=USER)
        assert "agent/helper" not in {model.id for model in hers.models.list()}
