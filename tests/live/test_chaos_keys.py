"""kill -9 while a request with an Idempotency-Key is at work: asked again, it has had its effect once."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.events import bearer
from tests.live.instance import Instance, wait_until
from tests.simulators.openai import OpenAISimulator

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.live,
    pytest.mark.xdist_group("live"),
    pytest.mark.timeout(600),
]
# From before the request is read to the middle of its answer.
KILL_AFTER_S = (0.0, 0.02, 0.1, 0.5, 1.0)
# So many of the requests begin a run.
RUNS = 3
# A lease, and the time in which a run whose process died is closed.
FREE_WITHIN_S = 60


def asked_until_answered(client: httpx.Client, path: str, body: Any, key: str) -> httpx.Response:
    deadline = time.monotonic() + FREE_WITHIN_S + 30
    while time.monotonic() < deadline:
        try:
            answer = client.post(path, json=body, headers={"Idempotency-Key": key})
            if answer.status_code in {200, 201}:
                return answer
            assert answer.status_code in {409, 502, 503}, answer.text
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    raise AssertionError(f"the key {key} was not free in time")


def test_a_killed_web_process_leaves_each_key_with_one_effect(
    new_instance: Callable[..., Instance], openai_simulator: OpenAISimulator
) -> None:
    instance = new_instance(
        OPENAI_API_KEY="sk-simulated-openai-key",
        OPENAI_BASE_URL=openai_simulator.base_url,
        ATOM_ALLOWED_PROVIDER_HOSTS="127.0.0.1",
    )
    instance.start()
    headers = bearer(instance.credentials()["access_token"])
    with httpx.Client(base_url=instance.url, headers=headers, timeout=30, trust_env=False) as client:
        client.post("/api/agents/", json={"name": "T", "slug": "talker", "models": ["openai/gpt-4o-mini"]})
        for number, kill_after_s in enumerate(KILL_AFTER_S):
            say = {"model": "agent/talker", "messages": [{"role": "user", "content": "Hi"}]}
            asked = {
                "/v1/chat/completions": say,
                "/v1/messages": {**say, "max_tokens": 100, "stream": True},
                "/v1/responses": {"model": "agent/talker", "input": "Hi"},
                "/api/sessions/": {"agent": "talker", "title": f"title {number}"},
            }

            def first_try(path: str, body: Any, key: str) -> None:
                with contextlib.suppress(httpx.TransportError):
                    client.post(path, json=body, headers={"Idempotency-Key": key})

            for _ in range(RUNS):
                openai_simulator.will_say("one two three four five", delay_s=0.3)
            threads = [threading.Thread(target=first_try, args=(*one, f"k{number}")) for one in asked.items()]
            [web] = instance.processes("manage.py serve")[:1]
            for thread in threads:
                thread.start()
            time.sleep(kill_after_s)
            os.kill(web, signal.SIGKILL)
            for thread in threads:
                thread.join()
            wait_until(lambda: instance.readiness() == 200, 30, "the web is back")
            for path, body in asked.items():
                first = asked_until_answered(client, path, body, f"k{number}")
                assert asked_until_answered(client, path, body, f"k{number}").content == first.content
        runs = client.get("/api/runs/", params={"page_size": 200}).json()["results"]
        assert len([run for run in runs if run["status"] == "succeeded"]) == RUNS * len(KILL_AFTER_S)
        titles = [one["title"] for one in client.get("/api/sessions/").json()["results"]]
        assert sorted(titles) == [f"title {number}" for number in range(len(KILL_AFTER_S))]
