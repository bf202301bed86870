"""Tool calls inside a run: judged one by one, run by Atom or handed to the client."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import openai
import pytest
from pytest_django import Settings

from agents.models import Agent, Run
from agents.tasks import continue_run
from atom.ground.principal import Principal
from governance.models import Approval
from governance.services import approve, reject
from governance.tasks import execute_approved
from tests.events import sse_events, text_of
from tests.simulators.openai import OpenAISimulator

MakeAgent = Callable[..., Agent]
PARAMETERS = {"type": "object", "properties": {"id": {"type": "integer"}}}


def tool(simulator: OpenAISimulator, name: str, action: str) -> dict[str, Any]:
    root = simulator.base_url.removesuffix("/v1")
    return {
        "name": name,
        "description": "A tool",
        "parameters": PARAMETERS,
        "action": action,
        "kind": "http",
        "url": f"{root}/tools/{name}",
        "method": "POST",
    }


def chat(http: httpx.Client, slug: str, message: str) -> list[dict[str, Any]]:
    with http.stream("POST", f"/api/agents/{slug}/chat/", json={"message": message, "stream": True}) as answer:
        return list(sse_events(answer))


def test_an_allowed_tool_is_run_and_its_result_reaches_the_model(
    http: httpx.Client, make_agent: MakeAgent, openai_simulator: OpenAISimulator
) -> None:
    make_agent("worker", tools=[tool(openai_simulator, "fetch_record", "fetch")])
    openai_simulator.will_call("fetch_record", {"id": 7})
    openai_simulator.will_say("Found it")
    events = chat(http, "worker", "fetch record 7")
    kinds = [event["type"] for event in events if event["type"] != "text_delta"]
    assert kinds == ["tool_judged", "tool_started", "tool_ended", "run_ended"]
    assert [call.json for call in openai_simulator.tool_calls] == [{"id": 7}]
    sent = openai_simulator.requests[-1].json["messages"]
    assert sent[-2]["tool_calls"][0]["function"]["name"] == "fetch_record"
    assert sent[-1]["role"] == "tool"
    assert text_of(events) == "Found it"


def test_a_student_is_blocked_from_dangerous_actions(
    http: httpx.Client, make_agent: MakeAgent, openai_simulator: OpenAISimulator
) -> None:
    make_agent("student", maturity="student", tools=[tool(openai_simulator, "delete_record", "delete")])
    openai_simulator.will_call("delete_record", {"id": 7})
    openai_simulator.will_say("I may not")
    events = chat(http, "student", "delete record 7")
    [judged] = [event for event in events if event["type"] == "tool_judged"]
    assert judged["decision"] == "deny"
    assert openai_simulator.tool_calls == []
    assert "Refused" in openai_simulator.requests[-1].json["messages"][-1]["content"]


def test_an_intern_requires_approval_and_the_action_is_executed_once(
    http: httpx.Client, make_agent: MakeAgent, openai_simulator: OpenAISimulator, bob: Principal
) -> None:
    make_agent("intern", maturity="intern", tools=[tool(openai_simulator, "delete_record", "delete")])
    openai_simulator.will_call("delete_record", {"id": 7})
    waiting = http.post("/api/agents/intern/chat/", json={"message": "delete record 7"})
    assert waiting.status_code == 202
    assert waiting.json()["status"] == "waiting_approval"
    assert openai_simulator.tool_calls == []
    approval = Approval.objects.get(pk=waiting.json()["approval"]["id"])
    approve(approval=approval, principal=bob, revision=1, note="fine")
    openai_simulator.will_say("Deleted")
    execute_approved(str(approval.id))
    execute_approved(str(approval.id))
    assert [call.json for call in openai_simulator.tool_calls] == [{"id": 7}]
    run = Run.objects.get(pk=waiting.json()["run_id"])
    assert run.status == "running"
    continue_run(str(run.id))
    run.refresh_from_db()
    assert run.status == "succeeded"
    events = http.get(f"/api/runs/{run.id}/events/").text
    assert events.index("approval_needed") < events.index("Deleted") < events.index("run_ended")


def test_a_rejected_call_tells_the_model_who_said_no(
    http: httpx.Client, make_agent: MakeAgent, openai_simulator: OpenAISimulator, bob: Principal
) -> None:
    make_agent("intern", maturity="intern", tools=[tool(openai_simulator, "delete_record", "delete")])
    openai_simulator.will_call("delete_record", {"id": 7})
    waiting = http.post("/api/agents/intern/chat/", json={"message": "delete record 7"}).json()
    approval = Approval.objects.get(pk=waiting["approval"]["id"])
    reject(approval=approval, principal=bob, revision=1, note="too risky")
    continue_run(waiting["run_id"])
    assert openai_simulator.tool_calls == []
    told = openai_simulator.requests[-1].json["messages"][-1]["content"]
    assert "bob" in told
    assert "too risky" in told


def test_a_failing_tool_is_told_in_our_words(
    http: httpx.Client, make_agent: MakeAgent, openai_simulator: OpenAISimulator
) -> None:
    broken = {**tool(openai_simulator, "fetch_record", "fetch"), "url": "http://127.0.0.1:9/nothing"}
    make_agent("worker", tools=[broken])
    openai_simulator.will_call("fetch_record", {"id": 7})
    openai_simulator.will_say("Sorry")
    events = chat(http, "worker", "fetch")
    [ended] = [event for event in events if event["type"] == "tool_ended"]
    assert not ended["ok"]
    assert "could not be reached" in ended["result"]
    assert events[-1]["status"] == "succeeded"


def test_a_model_that_never_stops_calling_tools_is_stopped(
    http: httpx.Client, make_agent: MakeAgent, openai_simulator: OpenAISimulator
) -> None:
    make_agent("worker", tools=[tool(openai_simulator, "fetch_record", "fetch")])
    for _ in range(20):
        openai_simulator.will_call("fetch_record", {"id": 7})
    events = chat(http, "worker", "fetch")
    assert events[-1]["error"]["code"] == "too_many_tool_rounds"


CLIENT_TOOL: Any = {"type": "function", "function": {"name": "delete", "parameters": PARAMETERS}}
ASK: Any = [{"role": "user", "content": "delete 7"}]


@pytest.fixture
def client(server: str, alice: Principal, token_of: Callable[[Principal], str]) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server}/v1", api_key=token_of(alice), max_retries=0, timeout=30) as made:
        yield made


def test_an_allowed_call_of_a_client_tool_reaches_the_client(
    client: openai.OpenAI, make_agent: MakeAgent, openai_simulator: OpenAISimulator
) -> None:
    make_agent("free", maturity="autonomous")
    openai_simulator.will_call("delete", {"id": 7})
    answer = client.chat.completions.create(model="agent/free", messages=ASK, tools=[CLIENT_TOOL])
    assert answer.choices[0].finish_reason == "tool_calls"
    [call] = answer.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert (call.function.name, call.function.arguments.replace(" ", "")) == ("delete", '{"id":7}')


def test_a_denied_call_is_replaced_by_a_refusal_and_none_of_it_reaches_the_client(
    client: openai.OpenAI, make_agent: MakeAgent, openai_simulator: OpenAISimulator
) -> None:
    make_agent("student", maturity="student")
    openai_simulator.will_call("delete", {"id": 987654})
    stream = client.chat.completions.create(model="agent/student", messages=ASK, tools=[CLIENT_TOOL], stream=True)
    chunks = [chunk for chunk in stream if chunk.choices]
    assert all(chunk.choices[0].delta.tool_calls is None for chunk in chunks)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert "delete" in text
    assert "987654" not in "".join(chunk.model_dump_json() for chunk in chunks)
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_a_call_that_needs_approval_says_approval_pending_after_the_hold(
    client: openai.OpenAI, make_agent: MakeAgent, openai_simulator: OpenAISimulator, settings: Settings
) -> None:
    settings.ATOM_APPROVAL_HOLD = 0.3
    make_agent("intern", maturity="intern")
    openai_simulator.will_call("delete", {"id": 7})
    answer = client.chat.completions.create(model="agent/intern", messages=ASK, tools=[CLIENT_TOOL])
    approval = Approval.objects.get()
    assert "approval_pending" in (answer.choices[0].message.content or "")
    assert str(approval.id) in (answer.choices[0].message.content or "")
    assert approval.status == "pending"


def test_a_call_approved_during_the_hold_is_released(
    client: openai.OpenAI, make_agent: MakeAgent, openai_simulator: OpenAISimulator, bob: Principal
) -> None:
    make_agent("intern", maturity="intern")
    openai_simulator.will_call("delete", {"id": 7})
    stream = client.chat.completions.create(model="agent/intern", messages=ASK, tools=[CLIENT_TOOL], stream=True)
    first = next(stream)
    assert first.choices[0].delta.role == "assistant"
    deadline = time.monotonic() + 10
    while not Approval.objects.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    approve(approval=Approval.objects.get(), principal=bob, revision=1, note="")
    rest = [chunk for chunk in stream if chunk.choices]
    assert [chunk.choices[0].finish_reason for chunk in rest][-1] == "tool_calls"
    assert any(chunk.choices[0].delta.tool_calls for chunk in rest)
    assert Approval.objects.get().status == "executed"


def test_a_parked_tool_of_atoms_own_is_pending_on_the_openai_wire_too(
    client: openai.OpenAI, make_agent: MakeAgent, openai_simulator: OpenAISimulator, settings: Settings
) -> None:
    settings.ATOM_APPROVAL_HOLD = 0.3
    make_agent("intern", maturity="intern", tools=[tool(openai_simulator, "delete_record", "delete")])
    for stream in (False, True):
        openai_simulator.will_call("delete_record", {"id": 7})
        answer: Any = client.chat.completions.create(model="agent/intern", messages=ASK, stream=stream)
        if stream:
            text = "".join(chunk.choices[0].delta.content or "" for chunk in answer if chunk.choices)
        else:
            text = answer.choices[0].message.content
        assert "approval_pending" in text
    assert Run.objects.filter(status="waiting_approval").count() == 2


def test_a_waiting_run_can_be_cancelled(
    http: httpx.Client, make_agent: MakeAgent, openai_simulator: OpenAISimulator
) -> None:
    make_agent("intern", maturity="intern", tools=[tool(openai_simulator, "delete_record", "delete")])
    openai_simulator.will_call("delete_record", {"id": 7})
    run_id = http.post("/api/agents/intern/chat/", json={"message": "delete"}).json()["run_id"]
    assert http.post(f"/api/runs/{run_id}/cancel/").json()["status"] == "cancelled"
    assert '"run_ended"' in http.get(f"/api/runs/{run_id}/events/").text
    assert http.post(f"/api/runs/{run_id}/cancel/").status_code == 409


def test_a_tool_address_on_a_private_host_is_refused_at_save(http: httpx.Client) -> None:
    body = {
        "name": "X",
        "slug": "x",
        "system_prompt": "",
        "tools": [{"name": "t", "kind": "http", "url": "http://169.254.169.254/latest", "action": "fetch"}],
    }
    assert http.post("/api/agents/", json=body).status_code == 400
