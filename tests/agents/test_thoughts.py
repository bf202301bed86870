"""What a model thought before it called a tool goes back to it with the result, sealed as it came."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from agents.models import Agent, Message
from agents.tasks import continue_run
from atom.ground.principal import Principal
from governance.models import Approval
from governance.services import approve
from governance.tasks import execute_approved
from tests.simulators.anthropic import AnthropicSimulator
from tests.simulators.gemini import GeminiSimulator
from tests.simulators.openai import OpenAISimulator
from tests.simulators.responses import ResponsesSimulator
from tests.simulators.server import Simulator

MakeAgent = Callable[..., Agent]
THOUGHT = "let me see"
SEAL = "c2VhbGVk"
THINKERS: list[tuple[type[Simulator], str]] = [
    (AnthropicSimulator, "anthropic/claude-sonnet-4-5(high)"),
    (GeminiSimulator, "gemini/gemini-3-pro-preview(high)"),
    (ResponsesSimulator, "openai/gpt-5-codex(high)"),
    (OpenAISimulator, "deepseek/deepseek-v4-pro(high)"),
]


@pytest.fixture(params=THINKERS, ids=lambda one: one[1].partition("/")[0])
def thinker(request: pytest.FixtureRequest, server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, str]]:
    """A provider that refuses calls without the thoughts behind them, and its model."""
    kind, model = request.param
    name = model.partition("/")[0].upper()
    with kind() as simulator:
        monkeypatch.setenv(f"{name}_API_KEY", "sk-thinker")
        monkeypatch.setenv(f"{name}_BASE_URL", simulator.base_url)
        simulator.demands_seals = True
        simulator.will_call("look", {"at": "me"}, thinking=[THOUGHT], seal=SEAL)
        yield simulator, model


def tool(simulator: Simulator, action: str) -> dict[str, Any]:
    fixed = {"kind": "http", "method": "POST", "parameters": {"type": "object", "properties": {}}}
    return {"name": "look", "description": "Looks.", "action": action, "url": simulator.tool_url("look"), **fixed}


def test_thinking_goes_on_between_the_rounds_of_a_run(
    http: httpx.Client, make_agent: MakeAgent, thinker: tuple[Any, str]
) -> None:
    simulator, model = thinker
    make_agent("worker", tools=[tool(simulator, "fetch")], models=[model])
    simulator.will_call("look", {"at": "you"}, thinking=[THOUGHT], seal=SEAL)
    simulator.will_say("Seen")
    answer = http.post("/api/agents/worker/chat/", json={"message": "look at me"})
    assert answer.json()["message"]["content"] == "Seen"
    assert (len(simulator.tool_calls), len(simulator.requests)) == (2, 3)
    first, last = simulator.requests[0].json, simulator.requests[-1].json
    for name in ("thinking", "reasoning", "reasoning_effort", "generationConfig"):
        assert first.get(name) == last.get(name)


def test_a_parked_run_and_the_next_turn_still_have_the_thoughts(
    http: httpx.Client, make_agent: MakeAgent, thinker: tuple[Any, str], bob: Principal
) -> None:
    simulator, model = thinker
    make_agent("intern", maturity="intern", tools=[tool(simulator, "delete")], models=[model])
    waiting = http.post("/api/agents/intern/chat/", json={"message": "look at me"})
    assert waiting.status_code == 202
    simulator.will_say("Seen")
    approval = Approval.objects.get()
    approve(approval=approval, principal=bob, revision=1, note="fine")
    execute_approved(str(approval.id))
    continue_run(waiting.json()["run_id"])
    assert len(simulator.requests) == 2
    simulator.will_say("Bye")
    again = {"message": "thanks", "session_id": waiting.json()["session_id"]}
    assert http.post("/api/agents/intern/chat/", json=again).json()["message"]["content"] == "Bye"


def test_people_do_not_see_sealed_thoughts(http: httpx.Client, make_agent: MakeAgent, thinker: tuple[Any, str]) -> None:
    simulator, model = thinker
    make_agent("worker", tools=[tool(simulator, "fetch")], models=[model])
    simulator.will_say("Seen")
    session = http.post("/api/agents/worker/chat/", json={"message": "look at me"}).json()["session_id"]
    kept = [part["type"] for message in Message.objects.filter(session_id=session) for part in message.parts]
    assert "thought" in kept
    rows = http.get(f"/api/sessions/{session}/messages/").json()["results"]
    assert {part["type"] for row in rows for part in row["parts"]} == {"text", "tool_call", "tool_result"}


def test_another_models_thoughts_are_left_out(
    http: httpx.Client, make_agent: MakeAgent, thinker: tuple[Any, str], openai_simulator: OpenAISimulator
) -> None:
    simulator, model = thinker
    if model.startswith("openai"):
        pytest.skip("The other model is OpenAI's.")
    agent = make_agent("worker", tools=[tool(simulator, "fetch")], models=[model])
    simulator.will_say("Seen")
    session = http.post("/api/agents/worker/chat/", json={"message": "look at me"}).json()["session_id"]
    Agent.objects.filter(pk=agent.pk).update(models=["openai/gpt-4o-mini"])
    http.post("/api/agents/worker/chat/", json={"message": "again", "session_id": session})
    said = openai_simulator.requests[-1].json["messages"]
    assert [message["role"] for message in said if "tool_calls" in message] == ["assistant"]
    assert THOUGHT not in str(said)
