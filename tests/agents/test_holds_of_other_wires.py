"""Calls that need a person, on the Anthropic and the responses wire: held, told as pending, given when asked again."""

from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import openai
import pytest
from pytest_django import Settings

from agents.models import Agent, Run
from atom.ground.principal import Principal
from governance.models import Approval
from governance.services import approve
from tests.simulators.openai import OpenAISimulator

MakeAgent = Callable[..., Agent]
SCHEMA: Any = {"type": "object", "properties": {"id": {"type": "integer"}}}
CREATE: Any = {
    "model": "agent/intern",
    "input": "delete 7",
    "tools": [{"type": "function", "name": "delete", "parameters": SCHEMA, "strict": False}],
}
MESSAGE: Any = {
    "model": "agent/intern",
    "max_tokens": 99,
    "messages": [{"role": "user", "content": "delete 7"}],
    "tools": [{"name": "delete", "input_schema": SCHEMA}],
}


@pytest.fixture
def token(
    server: str,
    alice: Principal,
    token_of: Callable[[Principal], str],
    settings: Settings,
    make_agent: MakeAgent,
    openai_simulator: OpenAISimulator,
) -> str:
    """Of Alice, whose intern is about to delete something. A hold is short."""
    settings.ATOM_APPROVAL_HOLD = 0.3
    make_agent("intern", maturity="intern")
    openai_simulator.will_call("delete", {"id": 7})
    return token_of(alice)


@pytest.fixture
def responses(server: str, token: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server}/v1", api_key=token, max_retries=0, timeout=30) as made:
        yield made


@pytest.fixture
def messages(server: str, token: str) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=server, api_key=token, max_retries=0, timeout=30) as made:
        yield made


def header(approval: Approval) -> dict[str, str]:
    return {"x-atom-approval": str(approval.pk)}


def approved(by: Principal) -> Approval:
    waiting = Approval.objects.get()
    approve(approval=waiting, principal=by, revision=1)
    return waiting


@pytest.mark.parametrize("stream", [False, True])
def test_a_message_says_that_its_call_waits_and_gives_it_once_approved(
    messages: anthropic.Anthropic, bob: Principal, openai_simulator: OpenAISimulator, stream: bool
) -> None:
    def ask(**given: Any) -> Any:
        if not stream:
            return messages.messages.create(**MESSAGE, **given)
        with messages.messages.stream(**MESSAGE, **given) as opened:
            return opened.get_final_message()

    pending = ask()
    assert "approval_pending: delete waits for the approval" in pending.content[0].text
    assert pending.stop_reason == "end_turn"
    answer = ask(extra_headers=header(approved(bob)))
    assert (answer.stop_reason, answer.content[-1].name, answer.content[-1].input) == ("tool_use", "delete", {"id": 7})
    assert len(openai_simulator.requests) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_a_response_says_that_its_call_waits_and_gives_it_once_approved(
    responses: openai.OpenAI, bob: Principal, openai_simulator: OpenAISimulator, stream: bool
) -> None:
    def ask(**given: Any) -> Any:
        if not stream:
            return responses.responses.create(**CREATE, **given)
        with responses.responses.stream(**CREATE, **given) as opened:
            return opened.get_final_response()

    pending = ask()
    assert "approval_pending: delete waits for the approval" in pending.output_text
    answer = ask(extra_headers=header(approved(bob)))
    (call,) = answer.output
    assert (call.type, call.name, call.arguments) == ("function_call", "delete", '{"id":7}')
    assert len(openai_simulator.requests) == 1


def test_a_response_whose_own_call_waits_is_the_same_when_asked_again(
    responses: openai.OpenAI, make_agent: MakeAgent, bob: Principal, openai_simulator: OpenAISimulator
) -> None:
    tool = {
        "name": "delete",
        "description": "d",
        "parameters": SCHEMA,
        "action": "delete",
        "kind": "http",
        "url": openai_simulator.tool_url("delete"),
        "method": "POST",
    }
    make_agent("keeper", maturity="intern", tools=[tool])
    ask: Any = {"model": "agent/keeper", "input": "delete 7"}
    first = responses.responses.create(**ask)
    assert "approval_pending" in first.output_text
    assert responses.responses.retrieve(first.id).status == "in_progress"
    waiting = Approval.objects.get()
    again = responses.responses.create(**ask, extra_headers=header(waiting))
    assert (again.id, "approval_pending" in again.output_text) == (first.id, True)
    assert Run.objects.count() == 1
    assert responses.responses.cancel(first.id).status == "cancelled"
