"""Failover as a client of `/v1` sees it: two simulated providers behind a running server."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from agents.models import Agent, Message, Run
from atom.ground.principal import Principal
from tests.events import bearer, sse_events
from tests.simulators.openai import OpenAISimulator

MakeAgent = Callable[..., Agent]
BOTH = ["openai/gpt-4o-mini", "deepseek/deepseek-chat"]


@pytest.fixture
def second(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAISimulator]:
    with OpenAISimulator() as simulator:
        monkeypatch.setenv("DEEPSEEK_API_KEY", "sk-second")
        monkeypatch.setenv("DEEPSEEK_BASE_URL", simulator.base_url)
        yield simulator


def ask(http: httpx.Client, model: str = "agent/helper", *, stream: bool = False) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], "stream": stream}
    return http.post("/v1/chat/completions", json=body)


def content_of(answer: httpx.Response) -> str:
    chunks = [event for event in sse_events(answer) if "choices" in event]
    return "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)


@pytest.mark.parametrize("failure", ["error", "rate limit"])
def test_per_agent_fallback_order_the_second_serves_and_the_headers_say_so(
    http: httpx.Client,
    make_agent: MakeAgent,
    openai_simulator: OpenAISimulator,
    second: OpenAISimulator,
    failure: str,
) -> None:
    make_agent("helper", models=BOTH)
    openai_simulator.will_fail(500 if failure == "error" else 429)
    second.will_say("from the second")
    answer = ask(http, stream=True)
    assert content_of(answer) == "from the second"
    headers = answer.headers
    assert (headers["x-atom-provider"], headers["x-atom-model"]) == ("deepseek", "deepseek-chat")
    assert headers["x-atom-attempts"] == "2"
    run = Run.objects.get(pk=headers["x-atom-run"])
    assert (run.provider, run.attempts, run.status) == ("deepseek", 2, "succeeded")


def test_an_agents_chat_uses_its_ordered_list(
    http: httpx.Client, make_agent: MakeAgent, openai_simulator: OpenAISimulator, second: OpenAISimulator
) -> None:
    make_agent("helper", models=BOTH)
    openai_simulator.will_fail(503)
    answer = http.post("/api/agents/helper/chat/", json={"message": "hi"}).json()
    assert (answer["provider"], answer["attempts"]) == ("deepseek", 2)


def test_an_explicit_model_does_not_fail_over_but_is_repeated_once(
    http: httpx.Client, make_agent: MakeAgent, openai_simulator: OpenAISimulator, second: OpenAISimulator
) -> None:
    for _ in range(2):
        openai_simulator.will_fail(500)
    answer = ask(http, "openai/gpt-4o-mini")
    assert answer.status_code == 502
    assert answer.headers["x-atom-attempts"] == "2"
    assert (len(openai_simulator.requests), len(second.requests)) == (2, 0)


def test_streaming_fallback_is_once_and_unseen_by_the_client(
    http: httpx.Client, make_agent: MakeAgent, openai_simulator: OpenAISimulator
) -> None:
    make_agent("helper")
    openai_simulator.will_say("never heard", cut_after=0)
    openai_simulator.will_say("the whole answer")
    answer = ask(http, stream=True)
    assert content_of(answer) == "the whole answer"
    assert answer.text.count('"delta":{"role":"assistant"}') == 1
    assert answer.text.endswith("data: [DONE]\n\n")
    assert "error" not in answer.text
    assert [seen.json.get("stream", False) for seen in openai_simulator.requests] == [True, False]


def test_partial_failure_is_visible_as_incomplete_and_keeps_what_was_delivered(
    http: httpx.Client, make_agent: MakeAgent, openai_simulator: OpenAISimulator, second: OpenAISimulator
) -> None:
    make_agent("helper", models=BOTH)
    openai_simulator.will_say("one two three", cut_after=2)
    answer = ask(http, stream=True)
    events = list(sse_events(answer))
    assert content_of(answer) == "one two"
    assert "error" in events[-1]
    assert "[DONE]" not in answer.text
    assert second.requests == []
    assert Message.objects.get(role="assistant").text == "one two"


def test_all_providers_failing_is_one_error_that_names_each(
    http: httpx.Client, make_agent: MakeAgent, openai_simulator: OpenAISimulator, second: OpenAISimulator
) -> None:
    make_agent("helper", models=BOTH)
    for _ in range(2):
        openai_simulator.will_fail(500, body="their words {key}")
    second.will_fail(429)
    answer = ask(http)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (502, "all_providers_failed")
    assert [(row["provider"], row["model"]) for row in error["details"]] == [
        ("openai", "gpt-4o-mini"),
        ("deepseek", "deepseek-chat"),
        ("openai", "gpt-4o-mini"),
    ]
    assert "their words" not in answer.text
    assert Run.objects.get(pk=answer.headers["x-atom-run"]).error_message == error["message"]


def test_a_lone_rate_limit_stays_429_with_its_retry_after(
    http: httpx.Client, make_agent: MakeAgent, openai_simulator: OpenAISimulator
) -> None:
    make_agent("helper")
    openai_simulator.will_fail(429, retry_after=9)
    answer = ask(http)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "9")


def test_the_circuit_breaker_opens_and_answers_503_without_a_call(
    http: httpx.Client, make_agent: MakeAgent, openai_simulator: OpenAISimulator
) -> None:
    make_agent("helper")
    for _ in range(5):
        openai_simulator.will_fail(500)
    statuses = [ask(http).status_code for _ in range(4)]
    assert statuses == [502, 502, 502, 503]
    answer = ask(http)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "provider_unavailable")
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.headers["x-atom-attempts"] == "0"
    assert len(openai_simulator.requests) == 5


def test_metrics_of_providers_after_traffic(
    http: httpx.Client, make_agent: MakeAgent, openai_simulator: OpenAISimulator
) -> None:
    make_agent("helper")
    ask(http)
    found: dict[str, Any] = http.get("/v1/metrics/providers", params={"window": 60}).json()["openai"]
    assert (found["request_count"], found["success_rate"], found["breaker"]) == (1, 1.0, "closed")
    assert {
        "success_count",
        "failure_count",
        "total_tokens",
        "cost_usd",
        "cost_per_1k_input",
        "cost_per_1k_output",
        "latency_p50_ms",
        "latency_p95_ms",
        "latency_p99_ms",
        "ttft_p50_ms",
        "ttft_p95_ms",
    } <= found.keys()
    assert http.get("/v1/metrics/providers", params={"window": "x"}).status_code == 400


def test_metrics_of_providers_in_a_window_leave_out_what_is_older(
    http: httpx.Client, make_agent: MakeAgent, openai_simulator: OpenAISimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_agent("helper")
    now = time.time()
    with monkeypatch.context() as ten_minutes_ago:
        ten_minutes_ago.setattr("llm.metrics.time.time", lambda: now - 600)
        ask(http)
    ask(http)

    def counted(window: int) -> int:
        found = http.get("/v1/metrics/providers", params={"window": window}).json()
        return int(found["openai"]["request_count"])

    assert (counted(60), counted(1200)) == (1, 2)


def test_mallory_sees_nothing_of_alices_traffic(
    http: httpx.Client,
    make_agent: MakeAgent,
    openai_simulator: OpenAISimulator,
    mallory: Principal,
    token_of: Callable[[Principal], str],
) -> None:
    make_agent("helper")
    ask(http)
    headers = bearer(token_of(mallory))
    assert http.get("/v1/metrics/providers", headers=headers).json() == {}
    assert http.get("/v1/metrics/providers", headers={"Authorization": ""}).status_code == 401
