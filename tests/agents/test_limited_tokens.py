"""Tokens that may use some models only, and tokens that act as one agent only."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from rest_framework.test import APIClient

from agents.models import Agent, Run, RunStatus, Session
from agents.tasks import continue_run
from atom.ground.models import AuditEntry
from atom.ground.principal import Principal
from governance.models import Approval
from governance.services import approve, reject
from governance.tasks import execute_approved
from llm.model_services import set_alias
from tests.agents.test_tools import tool
from tests.events import bearer
from tests.simulators.anthropic import AnthropicSimulator
from tests.simulators.openai import OpenAISimulator

pytestmark = pytest.mark.django_db(transaction=True)
Api = Callable[[Principal | None], APIClient]
MakeAgent = Callable[..., Agent]
MINI, BIG, CLAUDE = "openai/gpt-4o-mini", "openai/gpt-4.1", "anthropic/claude-haiku-4-5"


@pytest.fixture
def client_with(server: str, http: httpx.Client) -> Callable[..., httpx.Client]:
    """A client whose token Alice has made with these limits."""

    def make(**limits: Any) -> httpx.Client:
        made = http.post("/api/tokens/", json={"name": "limited", **limits})
        assert made.status_code == 201, made.text
        return httpx.Client(base_url=server, headers=bearer(made.json()["token"]), timeout=30)

    return make


def ask(client: httpx.Client, model: str, **given: Any) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], **given}
    return client.post("/v1/chat/completions", json=body)


def refusal(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def asked_of(simulator: OpenAISimulator) -> list[str]:
    return [seen.json["model"] for seen in simulator.requests]


# --- Models -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", [BIG, "gpt-4.1", f"{BIG}(high)", "anthropic/claude-haiku-4-5", "ours"])
def test_a_model_that_is_not_on_the_list_is_a_403_and_not_called(
    client_with: Callable[..., httpx.Client],
    alice: Principal,
    openai_simulator: OpenAISimulator,
    model: str,
    stream: bool,
) -> None:
    set_alias(workspace_id=alice.workspace_id, alias="ours", model=BIG, by="test")
    with client_with(models=[MINI]) as client:
        assert refusal(ask(client, model, stream=stream)) == (403, "model_not_allowed")
    assert openai_simulator.requests == []


@pytest.mark.parametrize("model", [MINI, "gpt-4o-mini", "ours", "auto"])
def test_a_model_on_the_list_answers_by_any_of_its_names(
    client_with: Callable[..., httpx.Client], alice: Principal, openai_simulator: OpenAISimulator, model: str
) -> None:
    set_alias(workspace_id=alice.workspace_id, alias="ours", model=MINI, by="test")
    with client_with(models=[MINI]) as client:
        assert ask(client, model).status_code == 200
    assert asked_of(openai_simulator) == ["gpt-4o-mini"]


@pytest.mark.parametrize("model", ["auto", "auto:cheap", "auto:best"])
def test_auto_stays_on_the_list(
    client_with: Callable[..., httpx.Client], openai_simulator: OpenAISimulator, model: str
) -> None:
    with client_with(models=["openai/gpt-4o"]) as client:
        assert ask(client, model).status_code == 200
    # Left to itself it would take another of the provider's.
    assert asked_of(openai_simulator) == ["gpt-4o"]


def test_auto_with_nothing_on_the_list_that_is_configured_is_refused(client_with: Callable[..., httpx.Client]) -> None:
    with client_with(models=["groq/llama-3.3-70b-versatile"]) as client:
        assert refusal(ask(client, "auto")) == (403, "model_not_allowed")


def test_failover_of_an_agent_stays_on_the_list(
    client_with: Callable[..., httpx.Client],
    make_agent: MakeAgent,
    openai_simulator: OpenAISimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_agent("careful", models=[MINI, CLAUDE, BIG])
    with AnthropicSimulator() as claude, client_with(models=[MINI, BIG]) as client:
        monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-claude")
        monkeypatch.setenv("ANTHROPIC_BASE_URL", claude.base_url)
        openai_simulator.will_fail(500)
        answer = ask(client, "agent/careful")
        assert (answer.status_code, answer.headers["x-atom-model"]) == (200, "gpt-4.1")
        assert claude.requests == []
    assert asked_of(openai_simulator) == ["gpt-4o-mini", "gpt-4.1"]


def test_an_agent_none_of_whose_models_is_on_the_list_is_refused(
    client_with: Callable[..., httpx.Client], make_agent: MakeAgent, openai_simulator: OpenAISimulator
) -> None:
    make_agent("mini")
    with client_with(models=[BIG]) as client:
        assert refusal(ask(client, "agent/mini")) == (403, "model_not_allowed")
        answer = client.post("/api/agents/mini/chat/", json={"message": "hi"})
        assert refusal(answer) == (403, "model_not_allowed")
    assert openai_simulator.requests == []


def test_the_list_of_models_holds_what_the_token_may_use(
    client_with: Callable[..., httpx.Client], make_agent: MakeAgent
) -> None:
    make_agent("mini")
    with client_with(models=[MINI, "openai/gpt-next", "groq/not-configured"]) as client:
        listed = [row["id"] for row in client.get("/v1/models").json()["data"] if not row["id"].startswith("agent/")]
        assert listed == [MINI, "openai/gpt-next"]
        assert client.get(f"/v1/models/{MINI}").status_code == 200
        assert refusal(client.get(f"/v1/models/{BIG}")) == (404, "model_not_found")
        assert [row["model"] for row in client.get("/api/models/").json()["results"]] == [MINI]


def test_the_explained_choice_stays_on_the_list(client_with: Callable[..., httpx.Client]) -> None:
    with client_with(models=["openai/gpt-4o"]) as client:
        found = client.post("/api/models/route/", json={"messages": [{"role": "user", "content": "hi"}]}).json()
        assert found["order"] == ["openai/gpt-4o"]
        dropped = {f"{row['provider']}/{row['model']}": row["dropped"] for row in found["candidates"]}
        assert dropped[MINI] == ["This token may not use it."]
        assert refusal(client.post("/api/models/route/", json={"model": MINI})) == (403, "model_not_allowed")


def test_a_run_that_waited_for_approval_goes_on_within_the_list(
    client_with: Callable[..., httpx.Client],
    make_agent: MakeAgent,
    openai_simulator: OpenAISimulator,
    bob: Principal,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worker_tool = tool(openai_simulator, "delete_record", "delete_record")
    agent = make_agent("worker", maturity="intern", models=[BIG, CLAUDE, MINI], tools=[worker_tool])
    openai_simulator.will_call("delete_record", {"id": 7})
    with client_with(models=[MINI]) as client:
        answer = client.post("/api/agents/worker/chat/", json={"message": "delete 7"})
    assert answer.status_code == 202
    approval = Approval.objects.get(agent=agent)
    approve(principal=bob, approval=approval, revision=1)
    execute_approved(str(approval.id))
    run = Run.objects.get(agent=agent)
    continue_run(str(run.id))
    run.refresh_from_db()
    assert (run.status, run.model) == (RunStatus.SUCCEEDED, "gpt-4o-mini")
    assert set(asked_of(openai_simulator)) == {"gpt-4o-mini"}


def test_a_token_without_a_list_may_use_every_model(http: httpx.Client, openai_simulator: OpenAISimulator) -> None:
    assert ask(http, BIG).status_code == 200


@pytest.mark.parametrize("models", [[], ["gpt-4o-mini"], ["nobody/gpt"], ["openai/"], [""], "openai/gpt-4o", [7]])
def test_a_list_that_makes_no_sense_is_a_400(http: httpx.Client, models: Any) -> None:
    answer = http.post("/api/tokens/", json={"name": "x", "models": models})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"].startswith("models")


def test_the_limits_are_shown_and_audited(http: httpx.Client, make_agent: MakeAgent) -> None:
    make_agent("helper")
    made = http.post("/api/tokens/", json={"name": "x", "models": [MINI], "agent": "helper"}).json()
    assert (made["models"], made["agent"]) == ([MINI], "helper")
    listed = {row["id"]: row for row in http.get("/api/tokens/").json()["results"]}
    assert (listed[made["id"]]["models"], listed[made["id"]]["agent"]) == ([MINI], "helper")
    assert all(row["agent"] is None for key, row in listed.items() if key != made["id"])
    entries = AuditEntry.objects.filter(entry__contains=made["id"]).order_by("seq")
    assert [entry.event for entry in entries] == ["token.created", "token.bound"]
    assert MINI in entries[0].entry
    assert "helper" in entries[1].entry


# --- Agents -------------------------------------------------------------------------------------------------
def test_a_bound_token_acts_as_its_agent_when_it_names_a_plain_model(
    client_with: Callable[..., httpx.Client], make_agent: MakeAgent, openai_simulator: OpenAISimulator
) -> None:
    agent = make_agent("pirate", system_prompt="You are a pirate.")
    with client_with(agent="pirate") as client:
        answer = ask(client, BIG)
    assert answer.status_code == 200
    assert Run.objects.get(pk=answer.headers["x-atom-run"]).agent_id == agent.id
    assert openai_simulator.requests[0].json["messages"][0] == {"role": "system", "content": "You are a pirate."}
    assert asked_of(openai_simulator) == ["gpt-4.1"]


def test_a_bound_token_may_name_its_own_agent_and_no_other(
    client_with: Callable[..., httpx.Client], make_agent: MakeAgent, openai_simulator: OpenAISimulator
) -> None:
    make_agent("own")
    make_agent("other")
    action = {"action": "read_record", "arguments": {}}
    with client_with(agent="own") as client:
        assert ask(client, "agent/own").status_code == 200
        assert client.post("/api/agents/own/chat/", json={"message": "hi"}).status_code == 200
        assert client.post("/api/actions/", json={"agent": "own", **action}).is_success
        before = Run.objects.count()
        for answer in (
            ask(client, "agent/other"),
            client.post("/api/agents/other/chat/", json={"message": "hi"}),
            client.post("/api/actions/", json={"agent": "other", **action}),
        ):
            assert refusal(answer) == (403, "agent_not_allowed")
        assert refusal(ask(client, "agent/nobody")) == (404, "model_not_found")
        assert (Run.objects.count(), Session.objects.filter(agent__slug="other").count()) == (before, 0)
        agents = [row["id"] for row in client.get("/v1/models").json()["data"] if row["id"].startswith("agent/")]
        assert agents == ["agent/own"]


def test_a_bound_token_does_not_go_on_with_another_agents_session(
    http: httpx.Client, client_with: Callable[..., httpx.Client], make_agent: MakeAgent
) -> None:
    make_agent("own")
    make_agent("other")
    session = http.post("/api/sessions/", json={"agent": "other"}).json()["id"]
    with client_with(agent="own") as client:
        answer = client.post("/api/agents/own/chat/", json={"message": "hi", "session_id": session})
    assert refusal(answer) == (404, "not_found")


@pytest.mark.parametrize("limits", [{"agent": "own"}, {"models": [MINI]}])
def test_a_limited_token_makes_no_token_without_its_limits(
    client_with: Callable[..., httpx.Client], make_agent: MakeAgent, limits: dict[str, Any]
) -> None:
    make_agent("own")
    with client_with(**limits) as client:
        assert refusal(client.post("/api/tokens/", json={"name": "wide"})) == (403, "forbidden")


def test_a_token_gives_no_scopes_that_it_does_not_have(client_with: Callable[..., httpx.Client]) -> None:
    with client_with(scopes=["chat"]) as client:
        assert refusal(client.post("/api/tokens/", json={"name": "x", "scopes": ["admin"]})) == (403, "forbidden")
        assert client.post("/api/tokens/", json={"name": "x"}).json()["scopes"] == ["chat"]


def test_mallory_binds_no_token_to_alices_agent(api: Api, make_agent: MakeAgent, mallory: Principal) -> None:
    make_agent("helper")
    answer = api(mallory).post("/api/tokens/", {"name": "x", "agent": "helper"}, format="json")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


def test_mallorys_agent_is_unknown_to_a_bound_token(
    client_with: Callable[..., httpx.Client], make_agent: MakeAgent, api: Api, mallory: Principal
) -> None:
    make_agent("own")
    theirs = {"name": "Theirs", "slug": "theirs", "system_prompt": ""}
    assert api(mallory).post("/api/agents/", theirs, format="json").status_code == 201
    with client_with(agent="own") as client:
        assert refusal(ask(client, "agent/theirs")) == (404, "model_not_found")


# --- Approvals ----------------------------------------------------------------------------------------------
HELD = [{"type": "function", "function": {"name": "delete", "parameters": {"type": "object", "properties": {}}}}]


def ask_on_each_wire(client: httpx.Client) -> Iterator[str]:
    """What every door says of a call that needs an approval."""
    flat = {"name": "delete", "parameters": {"type": "object", "properties": {}}}
    schema = {"name": "delete", "input_schema": {"type": "object", "properties": {}}}
    said = [{"role": "user", "content": "delete"}]
    chat = {"model": "agent/intern", "messages": said, "tools": HELD}
    body: dict[str, Any]
    for streams in (False, True):
        yield client.post("/v1/chat/completions", json={**chat, "stream": streams}).text
        body = {"model": "agent/intern", "input": "delete", "tools": [{"type": "function", **flat}], "stream": streams}
        yield client.post("/v1/responses", json=body).text
        body = {"model": "agent/intern", "max_tokens": 9, "messages": said, "tools": [schema], "stream": streams}
        yield client.post("/v1/messages", json=body).text


def test_a_tokens_own_hold_counts_on_every_door(
    client_with: Callable[..., httpx.Client], make_agent: MakeAgent, openai_simulator: OpenAISimulator, settings: Any
) -> None:
    settings.ATOM_APPROVAL_HOLD = 60
    make_agent("intern", maturity="intern")
    for _ in range(6):
        openai_simulator.will_call("delete", {"id": 7})
    # Nobody decides: a door that held for the installation's minute would run into this client's timeout.
    with client_with(approval_hold_seconds=0) as impatient:
        answers = list(ask_on_each_wire(impatient))
    assert len(answers) == 6
    assert all("approval_pending" in answer for answer in answers)


@pytest.mark.parametrize("own_tool", [False, True])
def test_a_token_that_waits_gets_what_is_approved_where_others_would_not(
    client_with: Callable[..., httpx.Client],
    make_agent: MakeAgent,
    openai_simulator: OpenAISimulator,
    bob: Principal,
    settings: Any,
    own_tool: bool,
) -> None:
    settings.ATOM_APPROVAL_HOLD = 0
    tools = [tool(openai_simulator, "delete_record", "delete")] if own_tool else []
    make_agent("intern", maturity="intern", tools=tools)
    openai_simulator.will_call("delete_record" if own_tool else "delete", {"id": 7})
    with client_with(approval_hold_seconds=20) as patient, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask, patient, "agent/intern", **({} if own_tool else {"tools": HELD}))
        until = time.monotonic() + 10
        while not Approval.objects.exists() and time.monotonic() < until:
            time.sleep(0.02)
        approval = Approval.objects.get()
        (reject if own_tool else approve)(approval=approval, principal=bob, revision=1)
        if own_tool:
            continue_run(str(approval.run_id))
        body = answer.result().json()
    assert "approval_pending" not in str(body)
    assert body["choices"][0]["finish_reason"] == ("stop" if own_tool else "tool_calls")


@pytest.mark.parametrize("wrong", [-1, 601, 1.5, "long", [1]], ids=str)
def test_a_hold_beyond_its_bounds_is_a_400_of_the_field(http: httpx.Client, wrong: Any) -> None:
    refused = http.post("/api/tokens/", json={"name": "limited", "approval_hold_seconds": wrong})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "approval_hold_seconds")


def test_a_tokens_hold_is_shown_and_null_means_the_installations(http: httpx.Client) -> None:
    for given in (0, 600, None):
        made = http.post("/api/tokens/", json={"name": "limited", "approval_hold_seconds": given})
        assert (made.status_code, made.json()["approval_hold_seconds"]) == (201, given)
    assert [one["approval_hold_seconds"] for one in http.get("/api/tokens/").json()["results"]][:3] == [None, 600, 0]
