"""How much to think, as `/v1` and an agent's list of models say it."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from agents.models import Agent, Run
from tests.simulators.openai import OpenAISimulator

PATH = "/v1/chat/completions"
USER = [{"role": "user", "content": "hi"}]


def asked(http: httpx.Client, model: str = "openai/gpt-5", **given: Any) -> httpx.Response:
    return http.post(PATH, json={"model": model, "messages": USER, **given})


@pytest.mark.parametrize(
    ("model", "given", "sent"),
    [
        ("openai/gpt-5", {"reasoning_effort": "low"}, "low"),
        ("openai/gpt-5", {"reasoning": {"effort": "high"}}, "high"),
        ("openai/gpt-5", {"reasoning": {"max_tokens": 8192}}, "medium"),
        ("openai/gpt-5(high)", {"reasoning_effort": "low"}, "high"),
        ("openai/gpt-5(auto)", {}, "medium"),
        ("openai/gpt-5", {}, None),
        ("openai/gpt-4o(high)", {"reasoning_effort": "low"}, None),
        ("openai/gpt-99", {"reasoning_effort": "max"}, "max"),
    ],
)
def test_the_model_is_sent_what_it_takes(
    http: httpx.Client, openai_simulator: OpenAISimulator, model: str, given: dict[str, Any], sent: str | None
) -> None:
    openai_simulator.will_say("ok")
    answer = asked(http, model, **given)
    assert answer.status_code == 200
    assert answer.json()["model"] == model
    assert "x-atom-warning" not in answer.headers
    body = openai_simulator.requests[0].json
    assert body.get("reasoning_effort") == sent
    assert body["model"] == model.partition("/")[2].partition("(")[0]
    assert "reasoning" not in body


@pytest.mark.parametrize("stream", [False, True])
def test_a_suffix_that_was_not_recognised_is_warned_about(
    http: httpx.Client, openai_simulator: OpenAISimulator, stream: bool
) -> None:
    openai_simulator.will_say("ok")
    answer = asked(http, "openai/gpt-5(banana)", stream=stream, reasoning_effort="low")
    assert answer.status_code == 200
    assert "not recognised" in answer.headers["x-atom-warning"]
    body = openai_simulator.requests[0].json
    assert (body["model"], body["reasoning_effort"]) == ("gpt-5", "low")


@pytest.mark.parametrize(
    ("model", "given", "code"),
    [
        ("openai/gpt-5", {"reasoning_effort": "xhigh"}, "level_not_supported"),
        ("openai/gpt-5(max)", {}, "level_not_supported"),
        ("openai/gpt-5", {"reasoning": {"max_tokens": -7}}, "budget_out_of_range"),
        ("openai/gpt-5", {"reasoning_effort": 7}, "invalid_request"),
        ("openai/gpt-5", {"reasoning": {"max_tokens": "many"}}, "invalid_request"),
    ],
)
def test_what_the_model_cannot_take_is_a_400_and_calls_nobody(
    http: httpx.Client, openai_simulator: OpenAISimulator, model: str, given: dict[str, Any], code: str
) -> None:
    answer = asked(http, model, **given)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)
    assert openai_simulator.requests == []


def test_an_agents_models_may_carry_a_suffix(
    http: httpx.Client, make_agent: Callable[..., Agent], openai_simulator: OpenAISimulator
) -> None:
    make_agent("thinker", models=["openai/o3(high)"])
    for model, sent in (("agent/thinker", "high"), ("agent/thinker(low)", "low")):
        openai_simulator.will_say("ok")
        assert asked(http, model).status_code == 200
        assert openai_simulator.requests[-1].json["reasoning_effort"] == sent


def test_a_chat_with_an_agent_may_name_a_model_with_a_suffix(
    http: httpx.Client, make_agent: Callable[..., Agent], openai_simulator: OpenAISimulator
) -> None:
    agent = make_agent("helper")
    openai_simulator.will_say("ok")
    answer = http.post(f"/api/agents/{agent.id}/chat/", json={"message": "hi", "model": "openai/o3(high)"})
    assert answer.status_code == 200
    assert openai_simulator.requests[0].json["reasoning_effort"] == "high"
    assert Run.objects.get().model == "o3"
