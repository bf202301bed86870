"""A conversation stays with the model that served it last: its provider has the beginning in its cache."""

from collections.abc import Callable, Iterator

import httpx
import pytest

from agents.models import Agent
from tests.agents.test_tools import tool
from tests.simulators.openai import OpenAISimulator

MakeAgent = Callable[..., Agent]


@pytest.fixture
def second(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAISimulator]:
    with OpenAISimulator() as simulator:
        monkeypatch.setenv("DEEPSEEK_API_KEY", "sk-second")
        monkeypatch.setenv("DEEPSEEK_BASE_URL", simulator.base_url)
        yield simulator


def said(http: httpx.Client, session: str | None = None) -> tuple[str, str]:
    """Who answers the next message, and in which session."""
    body = {"message": "hi", **({"session_id": session} if session else {})}
    answer = http.post("/api/agents/helper/chat/", json=body).json()
    return answer["provider"], answer["session_id"]


def test_a_session_stays_with_who_served_it_and_others_do_not(
    http: httpx.Client, make_agent: MakeAgent, openai_simulator: OpenAISimulator, second: OpenAISimulator
) -> None:
    make_agent("helper", models=["auto"])
    openai_simulator.will_fail(500)
    provider, session = said(http)
    assert provider == "deepseek"
    assert [said(http, session)[0] for _ in range(3)] == ["deepseek"] * 3
    assert said(http)[0] == "openai"


def test_a_session_leaves_who_served_it_when_that_fails_and_stays_with_the_next(
    http: httpx.Client, make_agent: MakeAgent, openai_simulator: OpenAISimulator, second: OpenAISimulator
) -> None:
    make_agent("helper", models=["auto"])
    provider, session = said(http)
    assert provider == "openai"
    openai_simulator.will_fail(503)
    assert said(http, session)[0] == "deepseek"
    assert said(http, session)[0] == "deepseek"


def test_the_rounds_of_one_run_stay_with_one_model_without_a_session(
    http: httpx.Client, make_agent: MakeAgent, openai_simulator: OpenAISimulator, second: OpenAISimulator
) -> None:
    make_agent("helper", models=["auto"], tools=[tool(openai_simulator, "fetch_record", "fetch")])
    openai_simulator.will_fail(500)
    second.will_call("fetch_record", {"id": 7})
    body = {"model": "agent/helper", "messages": [{"role": "user", "content": "fetch 7"}]}
    answer = http.post("/v1/chat/completions", json=body)
    assert answer.headers["x-atom-provider"] == "deepseek"
    assert (len(openai_simulator.requests), len(second.requests)) == (1, 2)
