"""A call that waited for people: asked for again with the approval's id, it is given once, without asking the model."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import openai
import pytest
from pytest_django import Settings

from agents.models import Agent, Run
from atom.ground.principal import Principal
from governance.models import Approval
from governance.services import approve, reject
from tests.events import bearer
from tests.simulators.openai import OpenAISimulator

MakeAgent = Callable[..., Agent]
TOOL: Any = {"type": "function", "function": {"name": "delete", "parameters": {"type": "object", "properties": {}}}}
ASK: Any = {"model": "agent/intern", "messages": [{"role": "user", "content": "delete 7"}], "tools": [TOOL]}


@pytest.fixture
def client(
    server: str, alice: Principal, token_of: Callable[[Principal], str], settings: Settings
) -> Iterator[openai.OpenAI]:
    settings.ATOM_APPROVAL_HOLD = 0.3
    with openai.OpenAI(base_url=f"{server}/v1", api_key=token_of(alice), max_retries=0, timeout=30) as made:
        yield made


@pytest.fixture
def waiting(client: openai.OpenAI, make_agent: MakeAgent, openai_simulator: OpenAISimulator) -> Approval:
    """An intern's call that its client asked for and did not get yet."""
    make_agent("intern", maturity="intern")
    openai_simulator.will_call("delete", {"id": 7})
    client.chat.completions.create(**ASK)
    return Approval.objects.get()


def again(client: openai.OpenAI, approval: Approval, **given: Any) -> Any:
    return client.chat.completions.create(**ASK, **given, extra_headers={"x-atom-approval": str(approval.pk)})


def test_an_approved_call_is_given_to_who_asks_again(
    client: openai.OpenAI, waiting: Approval, openai_simulator: OpenAISimulator, bob: Principal
) -> None:
    approve(approval=waiting, principal=bob, revision=1)
    choice = again(client, waiting).choices[0]
    [call] = choice.message.tool_calls or []
    assert (choice.finish_reason, call.function.name) == ("tool_calls", "delete")
    assert json.loads(call.function.arguments) == {"id": 7}
    assert call.id == waiting.call_id
    assert len(openai_simulator.requests) == 1
    waiting.refresh_from_db()
    assert waiting.status == "executed"


def test_it_streams_too(client: openai.OpenAI, waiting: Approval, bob: Principal) -> None:
    approve(approval=waiting, principal=bob, revision=1)
    chunks = [chunk for chunk in again(client, waiting, stream=True) if chunk.choices]
    assert any(chunk.choices[0].delta.tool_calls for chunk in chunks)
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


def test_an_approved_call_is_given_once(client: openai.OpenAI, waiting: Approval, bob: Principal) -> None:
    approve(approval=waiting, principal=bob, revision=1)
    assert again(client, waiting).choices[0].message.tool_calls
    second = again(client, waiting).choices[0]
    assert (second.message.tool_calls, "already approved" in second.message.content) == (None, True)


def test_what_still_waits_says_so_again(client: openai.OpenAI, waiting: Approval) -> None:
    answer = again(client, waiting).choices[0]
    assert f"approval_pending: delete waits for the approval {waiting.pk}" in answer.message.content
    assert Approval.objects.count() == 1


def test_a_rejected_call_says_why(client: openai.OpenAI, waiting: Approval, bob: Principal) -> None:
    reject(approval=waiting, principal=bob, revision=1, note="not that one")
    answer = again(client, waiting).choices[0]
    assert (answer.message.tool_calls, "not that one" in answer.message.content) == (None, True)


def test_an_approval_of_another_agent_or_workspace_is_not_there(
    client: openai.OpenAI,
    server: str,
    waiting: Approval,
    make_agent: MakeAgent,
    mallory: Principal,
    token_of: Callable[[Principal], str],
) -> None:
    make_agent("other", maturity="intern")
    headers = {"x-atom-approval": str(waiting.pk)}
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(**{**ASK, "model": "agent/other"}, extra_headers=headers)
    body = {**ASK, "model": "openai/gpt-4o-mini"}
    hers = {**bearer(token_of(mallory)), **headers}
    assert httpx.post(f"{server}/v1/chat/completions", json=body, headers=hers).status_code == 404
    bad = {**bearer(client.api_key), "x-atom-approval": "seven"}
    assert httpx.post(f"{server}/v1/chat/completions", json=ASK, headers=bad).status_code == 400


def test_a_parked_call_of_atoms_own_is_followed_to_its_end(
    client: openai.OpenAI, make_agent: MakeAgent, openai_simulator: OpenAISimulator, bob: Principal
) -> None:
    tool = {
        "name": "delete_record",
        "description": "d",
        "parameters": {"type": "object", "properties": {}},
        "action": "delete",
        "kind": "http",
        "url": f"{openai_simulator.base_url}/tool",
        "method": "POST",
    }
    make_agent("intern", maturity="intern", tools=[tool])
    openai_simulator.will_call("delete_record", {"id": 7})
    client.chat.completions.create(**{**ASK, "tools": []})
    waiting = Approval.objects.get()
    pending = again(client, waiting).choices[0].message.content
    assert "approval_pending" in pending
    reject(approval=waiting, principal=bob, revision=1, note="no")
    assert Run.objects.count() == 1
