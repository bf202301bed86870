"""The kill switch reaches every process: one address stops what runs behind the other."""

import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from atom.supervisor.parts import free_port
from tests.events import bearer, sse_events
from tests.live.instance import MANAGE, ROOT, Instance, wait_until
from tests.simulators.openai import OpenAISimulator

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("pair"), pytest.mark.timeout(180)]

WITHIN_S = 1.0
LONG = " ".join(f"word{number}" for number in range(600))
CHAT = {"message": "go", "stream": True}


@pytest.fixture(scope="module")
def other(pair: Instance) -> Iterator[str]:
    """One more web process on the same database and store, behind a port of its own."""
    port = free_port()
    environment = {**pair.environment, "PORT": str(port), "WEB_CONCURRENCY": "1"}
    with pair.log.open("ab") as log:
        process = subprocess.Popen([*MANAGE, "serve"], cwd=ROOT, env=environment, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    wait_until(lambda: is_there(url), 60, "the other web process")
    yield url
    process.kill()
    process.wait(10)


def is_there(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", timeout=5, trust_env=False).is_success
    except httpx.HTTPError:
        return False


class Listener(threading.Thread):
    """Reads one stream of a chat to its end, and notes when that was."""

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        super().__init__()
        self.url, self.headers = url, headers
        self.seen: list[dict[str, Any]] = []
        self.ended_at = 0.0

    def run(self) -> None:
        with (
            httpx.Client(base_url=self.url, headers=self.headers, timeout=60, trust_env=False) as client,
            client.stream("POST", "/api/agents/talker/chat/", json=CHAT) as answer,
        ):
            for event in sse_events(answer):
                self.seen.append(event)
        self.ended_at = time.monotonic()


def test_both_processes_stop_within_a_second_and_refuse_until_they_are_freed(
    pair: Instance, other: str, provider: OpenAISimulator
) -> None:
    headers = bearer(pair.credentials()["access_token"])
    with (
        httpx.Client(base_url=pair.url, headers=headers, timeout=30, trust_env=False) as here,
        httpx.Client(base_url=other, headers=headers, timeout=30, trust_env=False) as there,
    ):
        made = {"name": "T", "slug": "talker", "maturity": "autonomous", "models": ["openai/gpt-4o-mini"]}
        assert here.post("/api/agents/", json=made).status_code == 201
        listeners = [Listener(url, headers) for url in (pair.url, other) * 3]
        for listener in listeners:
            provider.will_say(LONG, delay_s=0.1)
            listener.start()
        wait_until(lambda: all(len(listener.seen) > 3 for listener in listeners), 30, "all of them stream")
        stopped_at = time.monotonic()
        assert there.post("/api/kill-switch/", json={"on": True, "reason": "runaway"}).status_code == 200
        for listener in listeners:
            listener.join(30)
            last = listener.seen[-1]
            assert (last["type"], last["status"], last["error"]["code"]) == ("run_ended", "terminated", "agent_stopped")
            assert listener.ended_at - stopped_at <= WITHIN_S
        for client in (here, there):
            assert client.post("/api/agents/talker/chat/", json={"message": "hi"}).status_code in {403, 409}
            verdict = client.post("/api/actions/", json={"agent": "talker", "action": "read"}).json()
            assert verdict["decision"] == "deny"
        assert here.post("/api/kill-switch/", json={"on": False, "reason": "fine"}).status_code == 200
        for client in (there, here):
            provider.will_say("hello again")
            assert client.post("/api/agents/talker/chat/", json={"message": "hi"}).json()["status"] == "succeeded"


def test_a_demotion_in_one_process_binds_the_other_at_once(pair: Instance, other: str) -> None:
    headers = bearer(pair.credentials()["access_token"])
    with (
        httpx.Client(base_url=pair.url, headers=headers, timeout=30, trust_env=False) as here,
        httpx.Client(base_url=other, headers=headers, timeout=30, trust_env=False) as there,
    ):
        made = {"name": "F", "slug": "fallen", "maturity": "autonomous"}
        assert here.post("/api/agents/", json=made).status_code == 201
        wanted = {"agent": "fallen", "action": "delete"}
        assert there.post("/api/actions/", json=wanted).json()["decision"] == "allow"
        assert here.post("/api/agents/fallen/demote/", json={"to": "student", "reason": "x"}).status_code == 200
        assert there.post("/api/actions/", json=wanted).json()["decision"] == "deny"


def test_a_finished_chat_run_adds_a_hundredth(pair: Instance, provider: OpenAISimulator) -> None:
    headers = bearer(pair.credentials()["access_token"])
    with httpx.Client(base_url=pair.url, headers=headers, timeout=30, trust_env=False) as here:
        made = {"name": "L", "slug": "learner", "models": ["openai/gpt-4o-mini"]}
        assert here.post("/api/agents/", json=made).status_code == 201
        provider.will_say("hello")
        assert here.post("/api/agents/learner/chat/", json={"message": "hi"}).is_success
        wait_until(lambda: here.get("/api/agents/learner/").json()["confidence"] == 0.51, 20, "the run is counted")
