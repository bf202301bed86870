"""Operators, runs and listeners in two web processes: a run is steered from whichever process its operator is on."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from websockets.sync.client import ClientConnection, connect

from tests.events import bearer, text_of
from tests.live.instance import Instance, wait_until
from tests.simulators.openai import OpenAISimulator

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("pair"), pytest.mark.timeout(180)]

WORDS = " ".join(f"w{number}" for number in range(60))
# Connections are spread over the processes by the kernel: of so many, each process has some.
SOCKETS = 8


@pytest.fixture(scope="module")
def atom(pair: Instance) -> Instance:
    with client_of(pair) as client:
        body = {"name": "W", "slug": "watched", "models": ["openai/gpt-4o-mini"], "maturity": "supervised"}
        assert client.post("/api/agents/", json=body).status_code == 201
    return pair


def client_of(atom: Instance) -> httpx.Client:
    headers = bearer(atom.credentials()["access_token"])
    # A connection for each call, so that both processes get some.
    limits = httpx.Limits(max_keepalive_connections=0)
    return httpx.Client(base_url=atom.url, headers=headers, timeout=30, trust_env=False, limits=limits)


def socket_to(atom: Instance, path: str) -> ClientConnection:
    protocols: Any = ["atom.v1", f"bearer.{atom.credentials()['access_token']}"]
    return connect(f"{atom.url.replace('http', 'ws')}{path}", subprotocols=protocols, proxy=None)


def until(socket: ClientConnection, kind: str, **fields: object) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while not (found and found[-1]["type"] == kind and fields.items() <= found[-1].items()):
        try:
            found.append(json.loads(socket.recv(timeout=20)))
        except TimeoutError:
            raise AssertionError(f"no {kind} came, but {found[-5:]}") from None
        assert found[-1]["type"] != "error", found[-1]
    return found


@pytest.fixture
def operators(atom: Instance) -> Iterator[list[ClientConnection]]:
    with ExitStack() as stack:
        opened = [stack.enter_context(socket_to(atom, "/ws/supervise/")) for _ in range(SOCKETS)]
        for socket in opened:
            until(socket, "runs")
        yield opened


def test_every_process_sees_every_run_and_steers_it(
    atom: Instance, operators: list[ClientConnection], provider: OpenAISimulator
) -> None:
    """Each operator in turn takes a run of a socket that may be on the other process: pause, correct, resume."""
    for operator in operators:
        provider.will_say(WORDS, delay_s=0.05)
        provider.will_say("As you say.")
        with socket_to(atom, "/ws/chat/") as talk:
            talk.send(json.dumps({"type": "message.create", "agent": "watched", "content": "go"}))
            run_id = until(talk, "text_delta")[0]["run_id"]
            for step in ("run.pause", "run.correct", "run.resume"):
                operator.send(json.dumps({"type": step, "run_id": run_id, "text": "Stop that."}))
                if step == "run.pause":
                    until(talk, "paused")
            events = until(talk, "run_ended")
        assert [event["type"] for event in events if event["type"] in {"resumed", "corrected"}] == [
            "resumed",
            "corrected",
        ]
        assert events[-1]["status"] == "succeeded"
        assert text_of(events).endswith("As you say.")
        for watching in operators:
            seen = [frame for frame in until(watching, "run_ended", run_id=run_id) if frame.get("run_id") == run_id]
            assert [frame["seq"] for frame in seen] == list(range(1, len(seen) + 1))


def test_terminating_from_any_process_closes_the_upstream_within_a_second(
    atom: Instance, provider: OpenAISimulator
) -> None:
    with client_of(atom) as client:
        for place in range(SOCKETS):
            provider.will_say(WORDS, delay_s=0.5)
            with socket_to(atom, "/ws/chat/") as talk:
                talk.send(json.dumps({"type": "message.create", "agent": "watched", "content": "go"}))
                run_id = until(talk, "text_delta")[0]["run_id"]
                began = time.monotonic()
                assert client.post(f"/api/runs/{run_id}/terminate/").status_code == 202
                wait_until(lambda: provider.abandoned > place, 5, "the upstream is closed")  # noqa: B023
                assert time.monotonic() - began < 1
                assert until(talk, "run_ended")[-1]["status"] == "terminated"
            assert client.post(f"/api/runs/{run_id}/terminate/").status_code == 409


def test_a_paused_run_outlives_its_clients_socket_and_goes_on_for_the_next(
    atom: Instance, provider: OpenAISimulator
) -> None:
    provider.will_say(WORDS, delay_s=0.05)
    with client_of(atom) as client:
        with socket_to(atom, "/ws/chat/") as talk:
            talk.send(json.dumps({"type": "message.create", "agent": "watched", "content": "go"}))
            run_id = until(talk, "text_delta")[0]["run_id"]
            assert client.post(f"/api/runs/{run_id}/pause/").json()["status"] == "paused"
            until(talk, "paused")
        assert client.post(f"/api/runs/{run_id}/pause/").status_code == 409
        with socket_to(atom, "/ws/chat/") as talk:
            talk.send(json.dumps({"type": "run.resume", "run_id": run_id, "after": 0}))
            until(talk, "paused")
            assert client.post(f"/api/runs/{run_id}/resume/").json()["status"] == "running"
            until(talk, "run_ended", status="succeeded")
        kept = client.get(f"/api/runs/{run_id}/interventions/").json()["results"]
        session = client.get(f"/api/runs/{run_id}/").json()["session_id"]
        last = client.get(f"/api/sessions/{session}/messages/").json()["results"][-1]
    assert [one["kind"] for one in kept] == ["pause", "resume"]
    assert last["content"] == WORDS
