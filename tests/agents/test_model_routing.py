"""The model that is named decides who is called, over which wire, and which parts of a message go along."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from agents.models import Agent
from tests.simulators.anthropic import AnthropicSimulator
from tests.simulators.gemini import GeminiSimulator
from tests.simulators.openai import OpenAISimulator
from tests.simulators.responses import ResponsesSimulator
from tests.simulators.server import Simulator

MakeAgent = Callable[..., Agent]
IMAGE = "data:image/png;base64,iVBORw0KGgo="
PICTURE = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": IMAGE}}]


@pytest.fixture
def providers(
    server: str, openai_simulator: OpenAISimulator, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, Simulator]]:
    """The providers that are configured, each in its own wire."""
    with AnthropicSimulator() as claude, GeminiSimulator() as google, OpenAISimulator() as deepseek:
        found: dict[str, Simulator] = {"anthropic": claude, "gemini": google, "deepseek": deepseek}
        for name, simulator in found.items():
            monkeypatch.setenv(f"{name.upper()}_API_KEY", f"sk-{name}")
            monkeypatch.setenv(f"{name.upper()}_BASE_URL", simulator.base_url)
        yield {"openai": openai_simulator, **found}


def ask(http: httpx.Client, model: str, content: Any = "hi") -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": content}]}
    return http.post("/v1/chat/completions", json=body)


@pytest.mark.parametrize(
    ("slug", "model", "path"),
    [
        ("writer", "openai/gpt-4o-mini", "/v1/chat/completions"),
        ("thinker", "anthropic/claude-sonnet-4-5", "/v1/messages"),
        ("seer", "gemini/gemini-2.5-flash", "/v1beta/models/gemini-2.5-flash:streamGenerateContent"),
        ("saver", "deepseek/deepseek-chat", "/v1/chat/completions"),
    ],
)
def test_per_agent_model_specific_routing(
    http: httpx.Client, make_agent: MakeAgent, providers: dict[str, Simulator], slug: str, model: str, path: str
) -> None:
    make_agent(slug, models=[model])
    provider, _, name = model.partition("/")
    answer = ask(http, f"agent/{slug}")
    assert (answer.headers["x-atom-provider"], answer.headers["x-atom-model"]) == (provider, name)
    assert {one: [seen.path for seen in simulator.requests] for one, simulator in providers.items()} == {
        one: [path] if one == provider else [] for one in providers
    }


def test_a_model_for_the_responses_wire_is_called_over_it(
    http: httpx.Client, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ResponsesSimulator() as simulator:
        monkeypatch.setenv("OPENAI_BASE_URL", simulator.base_url)
        simulator.will_say("over responses")
        answer = ask(http, "openai/gpt-5-codex")
        assert answer.json()["choices"][0]["message"]["content"] == "over responses"
        assert [seen.path for seen in simulator.requests] == ["/v1/responses"]


@pytest.mark.parametrize(
    ("model", "sees"),
    [
        ("deepseek/deepseek-chat", False),
        ("openai/gpt-3.5-turbo", False),
        ("openai/gpt-4o-mini", True),
        # Nobody knows what it takes: it is sent all there is.
        ("openai/gpt-99", True),
        ("anthropic/claude-haiku-4-5", True),
        ("gemini/gemini-2.5-flash", True),
    ],
)
def test_non_text_parts_are_filtered_where_the_model_cannot_take_them(
    http: httpx.Client, providers: dict[str, Simulator], model: str, sees: bool
) -> None:
    assert ask(http, model, PICTURE).status_code == 200
    sent = str(providers[model.partition("/")[0]].requests[0].json)
    assert "What is this?" in sent
    assert ("iVBORw0KGgo=" in sent) == sees


def test_a_message_of_nothing_but_an_image_is_not_empty_for_a_model_that_does_not_see(
    http: httpx.Client, providers: dict[str, Simulator]
) -> None:
    ask(http, "deepseek/deepseek-chat", PICTURE[1:])
    [message] = providers["deepseek"].requests[0].json["messages"]
    assert "cannot see" in message["content"]


def test_auto_with_an_image_asks_one_that_sees_and_keeps_the_image_at_failover(
    http: httpx.Client, make_agent: MakeAgent, providers: dict[str, Simulator]
) -> None:
    make_agent("looker", models=["auto"])
    providers["gemini"].will_fail(500)
    answer = ask(http, "agent/looker", PICTURE)
    assert answer.status_code == 200
    assert answer.headers["x-atom-provider"] in ("openai", "anthropic")
    assert "iVBORw0KGgo=" in str(providers[answer.headers["x-atom-provider"]].requests[0].json)
    assert providers["deepseek"].requests == []
