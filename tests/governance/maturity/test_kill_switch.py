import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import redis
from rest_framework.test import APIClient
from websockets.sync.client import connect

from agents.models import Agent, Run, RunStatus
from agents.runs.live import mark_stopped, stopped_key
from atom.ground.errors import AgentPaused, Conflict, Forbidden
from atom.ground.models import AuditEntry
from atom.ground.principal import Principal
from governance import execution, killswitch, services
from governance.judging import judge_action
from governance.models import Approval, ApprovalStatus
from tests.events import bearer, sse_events
from tests.governance.conftest import Tool, action_of
from tests.simulators.openai import OpenAISimulator

Api = Callable[..., APIClient]
# The contract's bound for the end of what runs.
WITHIN_S = 1.0
LONG = " ".join(f"word{number}" for number in range(400))


# --- who may, and what the gate says -----------------------------------------------------------------------


def test_the_switch_denies_all_agents_of_the_workspace_and_frees_them(
    captain: Agent, intern: Agent, alice: Principal, store: object
) -> None:
    state = killswitch.set_kill_switch(principal=alice, on=True, reason="runaway")
    assert (state.is_stopped, state.stopped_by, state.stopped_reason) == (True, "alice", "runaway")
    for agent in (captain, intern):
        verdict = judge_action(action_of(agent, "chat"))
        assert (verdict.decision, verdict.rule) == ("deny", "kill-switch")
        assert verdict.reason == "All agents of this workspace are stopped: runaway"
    killswitch.set_kill_switch(principal=alice, on=False, reason="fixed")
    assert judge_action(action_of(captain, "delete")).decision == "allow"
    assert list(AuditEntry.objects.filter(event__startswith="kill_switch").order_by("seq").values_list("event")) == [
        ("kill_switch.on",),
        ("kill_switch.off",),
    ]


def test_other_workspaces_go_on(captain: Agent, mallory: Principal, store: object) -> None:
    killswitch.set_kill_switch(principal=mallory, on=True, reason="mine")
    assert judge_action(action_of(captain, "delete")).decision == "allow"


def test_an_approver_stops_and_only_an_owner_frees(bob: Principal, carol: Principal, store: object) -> None:
    with pytest.raises(Forbidden):
        killswitch.set_kill_switch(principal=carol, on=True, reason="x")
    assert killswitch.set_kill_switch(principal=bob, on=True, reason="x").is_stopped
    with pytest.raises(Forbidden):
        killswitch.set_kill_switch(principal=bob, on=False, reason="x")


def test_the_door_says_which_it_is(api: Api, alice: Principal, carol: Principal, captain: Agent, store: object) -> None:
    body = {"on": True, "reason": "runaway"}
    assert api(carol).post("/api/kill-switch/", body, format="json").status_code == 403
    answer = api(alice).post("/api/kill-switch/", body, format="json")
    assert (answer.status_code, answer.json()["on"], answer.json()["by"]) == (200, True, "alice")
    assert api(carol).get("/api/kill-switch/").json()["reason"] == "runaway"
    verdict = api(carol).post("/api/actions/", {"agent": "captain", "action": "read"}, format="json").json()
    assert verdict["decision"] == "deny"
    assert api(alice).post("/api/kill-switch/", {"reason": "?"}, format="json").status_code == 400
    assert not api(alice).post("/api/kill-switch/", {"on": False, "reason": ""}, format="json").json()["on"]


def test_one_agent_is_stopped_and_the_others_go_on(
    api: Api, bob: Principal, carol: Principal, captain: Agent, intern: Agent, store: object
) -> None:
    assert api(carol).post("/api/agents/captain/kill/", {"reason": "x"}, format="json").status_code == 403
    answer = api(bob).post("/api/agents/captain/kill/", {"reason": "x"}, format="json")
    assert (answer.status_code, answer.json()["status"]) == (200, "paused")
    assert judge_action(action_of(captain, "read")).decision == "deny"
    assert judge_action(action_of(intern, "read")).decision == "allow"
    assert AuditEntry.objects.get(event="agent.killed").actor == "bob"


def test_a_stop_holds_without_the_store(captain: Agent, alice: Principal) -> None:
    killswitch.set_kill_switch(principal=alice, on=True, reason="x")
    assert judge_action(action_of(captain, "read")).decision == "deny"


# --- approvals ---------------------------------------------------------------------------------------------


def test_nothing_is_approved_while_all_is_stopped(
    ask: Callable[..., Approval], alice: Principal, bob: Principal, store: object
) -> None:
    approval = ask()
    killswitch.set_kill_switch(principal=alice, on=True, reason="x")
    with pytest.raises(AgentPaused):
        services.approve(approval=approval, principal=bob, revision=1)
    approval.refresh_from_db()
    assert approval.status == ApprovalStatus.PENDING


def test_what_was_approved_before_does_not_run_until_it_is_freed(
    run_approval: Approval, alice: Principal, tool: Tool, store: object
) -> None:
    Approval.objects.update(status=ApprovalStatus.APPROVED)
    # The run itself stays, so that only the switch holds the action back.
    killswitch._switch(alice, True, "x")
    assert execution.due_ids() == []
    assert not execution.execute(run_approval.pk)
    assert tool.calls == []
    killswitch._switch(alice, False, "x")
    assert execution.due_ids() == [run_approval.pk]


def test_a_waiting_client_is_refused(ask: Callable[..., Approval], alice: Principal, store: object) -> None:
    approval = ask()
    Approval.objects.update(status=ApprovalStatus.APPROVED)
    killswitch.set_kill_switch(principal=alice, on=True, reason="x")
    assert services.take(approval.pk).status == "refused"


# --- what runs ---------------------------------------------------------------------------------------------


@pytest.fixture
def client(server: str, alice: Principal, token_of: Callable[[Principal], str]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server, headers=bearer(token_of(alice)), timeout=30, trust_env=False) as opened:
        yield opened


def stop_soon(client: httpx.Client, path: str, body: dict[str, Any], stopped_at: list[float]) -> threading.Thread:
    def stop() -> None:
        stopped_at.append(time.monotonic())
        assert client.post(path, json=body).status_code == 200

    thread = threading.Thread(target=stop)
    thread.start()
    return thread


@pytest.mark.parametrize(
    ("path", "body"),
    [("/api/kill-switch/", {"on": True, "reason": "x"}), ("/api/agents/captain/kill/", {"reason": "x"})],
)
def test_a_running_stream_ends_with_an_error_event(
    client: httpx.Client, captain: Agent, openai_simulator: OpenAISimulator, path: str, body: dict[str, Any]
) -> None:
    openai_simulator.will_say(LONG, delay_s=0.05)
    seen: list[dict[str, Any]] = []
    stopped_at: list[float] = []
    with client.stream("POST", "/api/agents/captain/chat/", json={"message": "go", "stream": True}) as answer:
        for event in sse_events(answer):
            seen.append(event)
            if len(seen) == 3:
                thread = stop_soon(client, path, body, stopped_at)
    took = time.monotonic() - stopped_at[0]
    thread.join()
    assert (seen[-1]["type"], seen[-1]["status"]) == ("run_ended", "terminated")
    assert seen[-1]["error"]["code"] == "agent_stopped"
    assert took <= WITHIN_S
    run = Run.objects.get()
    assert (run.status, run.error_code) == ("terminated", "agent_stopped")
    refused = client.post("/api/agents/captain/chat/", json={"message": "again"})
    assert refused.status_code in {403, 409}


def test_v1_streams_end_with_an_error_and_new_calls_are_refused(
    client: httpx.Client, captain: Agent, openai_simulator: OpenAISimulator
) -> None:
    openai_simulator.will_say(LONG, delay_s=0.05)
    body = {"model": "agent/captain", "messages": [{"role": "user", "content": "go"}], "stream": True}
    stopped_at: list[float] = []
    lines = []
    with client.stream("POST", "/v1/chat/completions", json=body) as answer:
        for line in answer.iter_lines():
            lines.append(line)
            if len(lines) == 6:
                thread = stop_soon(client, "/api/kill-switch/", {"on": True, "reason": "x"}, stopped_at)
    took = time.monotonic() - stopped_at[0]
    thread.join()
    assert any('"error"' in line and "its agent was stopped" in line for line in lines)
    assert took <= WITHIN_S
    assert client.post("/v1/chat/completions", json={**body, "stream": False}).status_code == 403
    client.post("/api/kill-switch/", json={"on": False, "reason": "fine"})
    openai_simulator.will_say("hello again")
    assert client.post("/v1/chat/completions", json={**body, "stream": False}).status_code == 200


def test_a_socket_is_told(server: str, client: httpx.Client, captain: Agent, openai_simulator: OpenAISimulator) -> None:
    openai_simulator.will_say(LONG, delay_s=0.05)
    token = client.headers["Authorization"].removeprefix("Bearer ")
    with connect(
        f"{server.replace('http', 'ws')}/ws/chat/",
        subprotocols=["atom.v1", f"bearer.{token}"],  # type: ignore[list-item]
        proxy=None,
    ) as opened:
        opened.send(json.dumps({"type": "message.create", "agent": "captain", "content": "go"}))
        for _ in range(4):
            opened.recv(timeout=10)
        began = time.monotonic()
        assert client.post("/api/kill-switch/", json={"on": True, "reason": "x"}).status_code == 200
        while (frame := json.loads(opened.recv(timeout=10)))["type"] != "run_ended":
            pass
        assert frame["error"]["code"] == "agent_stopped"
        assert time.monotonic() - began <= WITHIN_S


@pytest.mark.django_db(transaction=True)
def test_a_run_that_waits_for_a_person_ends_too(
    waiting_run: Run, run_approval: Approval, alice: Principal, store: redis.Redis
) -> None:
    killswitch.set_kill_switch(principal=alice, on=True, reason="x")
    waiting_run.refresh_from_db()
    assert (waiting_run.status, waiting_run.error_code) == (RunStatus.TERMINATED, "agent_stopped")
    told: Any = store.xrevrange(f"atom:run:{waiting_run.pk}:events", count=1)
    assert b'"run_ended"' in told[0][1][b"e"]
    with pytest.raises((Conflict, AgentPaused)):
        services.approve(approval=run_approval, principal=alice, revision=1)


def test_a_run_that_was_judged_before_the_stop_and_begins_after_it_ends_at_once(
    client: httpx.Client, captain: Agent, openai_simulator: OpenAISimulator
) -> None:
    openai_simulator.will_say(LONG, delay_s=0.05)
    # What is left of a stop for a run that was judged a moment before it.
    mark_stopped(captain.pk)
    answer = client.post("/api/agents/captain/chat/", json={"message": "go", "stream": True})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "run_stopped")
    assert Run.objects.get().error_code == "agent_stopped"


def test_a_freed_agent_works_at_once(
    client: httpx.Client, captain: Agent, openai_simulator: OpenAISimulator, store: redis.Redis
) -> None:
    client.post("/api/agents/captain/kill/", json={"reason": "x"})
    assert store.exists(stopped_key(captain.pk))
    assert client.post("/api/agents/captain/resume/", json={"reason": "fine"}).status_code == 200
    openai_simulator.will_say("hello again")
    assert client.post("/api/agents/captain/chat/", json={"message": "hi"}).json()["status"] == "succeeded"


@pytest.mark.django_db(transaction=True)
def test_the_sweep_ends_what_was_not_told(
    captain: Agent, alice: Principal, waiting_run: Run, store: redis.Redis
) -> None:
    killswitch._switch(alice, True, "x")
    assert killswitch.enforce_stops() == 1
    assert store.get(f"atom:run:{waiting_run.pk}:stop") == b"kill"
