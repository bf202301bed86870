"""What a new user does in the first minutes, on a real Atom with its local model."""

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from websockets.sync.client import connect

from tests.events import bearer
from tests.live.instance import Instance, wait_until

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("live"), pytest.mark.timeout(180)]


@pytest.fixture
def client(live_atom: Instance) -> Iterator[httpx.Client]:
    headers = bearer(live_atom.credentials()["access_token"])
    with httpx.Client(base_url=live_atom.url, headers=headers, timeout=60, trust_env=False) as opened:
        yield opened


def test_the_official_client_streams_from_helper_on_the_local_model(live_atom: Instance) -> None:
    key = live_atom.credentials()["access_token"]
    said: Any = [{"role": "user", "content": "Say hello."}]
    with openai.OpenAI(base_url=f"{live_atom.url}/v1", api_key=key, max_retries=0) as asking:
        chunks = list(asking.chat.completions.create(model="agent/helper", messages=said, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert chunks[-1].choices[0].finish_reason in {"stop", "length"}


def test_the_websocket_streams_from_helper(live_atom: Instance) -> None:
    protocols: Any = ["atom.v1", f"bearer.{live_atom.credentials()['access_token']}"]
    address = f"{live_atom.url.replace('http', 'ws')}/ws/chat/"
    with connect(address, subprotocols=protocols, proxy=None) as socket:
        socket.send(json.dumps({"type": "message.create", "agent": "helper", "content": "Hi"}))
        kinds = []
        while "run_ended" not in kinds:
            kinds.append(json.loads(socket.recv(timeout=60))["type"])
    assert kinds[0] == "message.accepted"
    assert "text_delta" in kinds


def test_feedback_shows_in_analytics_after_the_worker_summed_it(client: httpx.Client) -> None:
    before = client.get("/api/feedback/analytics/?agent=helper").json()["positive"]
    answer = client.post("/api/agents/helper/chat/", json={"message": "Hi"}).json()
    given = client.post("/api/feedback/", json={"message_id": answer["message"]["id"], "thumb": "up"})
    assert given.status_code == 201
    wait_until(
        lambda: client.get("/api/feedback/analytics/?agent=helper").json()["positive"] == before + 1,
        30,
        "the worker summed the feedback",
    )


def test_a_student_is_denied_an_interns_action_waits_and_a_decision_counts_once(client: httpx.Client) -> None:
    def judged(agent: str) -> dict[str, Any]:
        body = {"agent": agent, "action": "delete", "arguments": {"id": 7}}
        found: dict[str, Any] = client.post("/api/actions/", json=body).json()
        return found

    assert judged("student")["decision"] == "deny"
    waiting = judged("intern")
    assert waiting["decision"] == "ask"
    outcome = f"/api/actions/{waiting['id']}/outcome/"
    assert client.post(outcome, json={"status": "succeeded"}).status_code == 409
    approve = f"/api/approvals/{waiting['approval_id']}/approve/"
    assert client.post(approve, json={"revision": 1}).status_code == 200
    assert client.post(approve, json={"revision": 1}).status_code == 409
    assert client.post(outcome, json={"status": "succeeded"}).status_code == 200
    assert client.post(outcome, json={"status": "succeeded"}).status_code == 409


def test_health_and_root_tell_programs_and_browsers_apart(live_atom: Instance) -> None:
    with httpx.Client(base_url=live_atom.url, trust_env=False) as anybody:
        assert anybody.get("/healthz").status_code == 200
        health = anybody.get("/health").json()
        assert (health["status"], bool(health["version"])) == ("healthy", True)
        assert set(anybody.get("/").json()) == {"name", "version", "docs"}
        browser = anybody.get("/", headers={"Accept": "text/html"})
        assert (browser.status_code, browser.headers["location"]) == (302, "/admin/")
        missing = anybody.get("/nowhere")
        assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")


def test_a_revoked_token_is_refused_a_second_later(client: httpx.Client, live_atom: Instance) -> None:
    made = client.post("/api/tokens/", json={"name": "short-lived"}).json()
    with httpx.Client(base_url=live_atom.url, headers=bearer(made["token"]), trust_env=False) as theirs:
        assert theirs.get("/api/agents/").status_code == 200
        assert client.delete(f"/api/tokens/{made['id']}/").status_code == 204
        time.sleep(1.1)
        assert theirs.get("/api/agents/").status_code == 401
