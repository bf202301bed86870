"""kill -9 in the middle of an answer loses nothing that had been said."""

import os
import signal
from collections.abc import Callable

import httpx
import pytest

from tests.events import bearer, sse_events, text_of
from tests.live.instance import Instance, wait_until
from tests.simulators.openai import OpenAISimulator

pytestmark = [pytest.mark.chaos, pytest.mark.xdist_group("live"), pytest.mark.timeout(180)]

USED = {"prompt_tokens": 1000, "completion_tokens": 200}


def test_a_killed_web_process_leaves_an_interrupted_run_with_its_text_and_the_history(
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
        made = {"name": "T", "slug": "talker", "system_prompt": "", "models": ["openai/gpt-4o-mini"]}
        assert client.post("/api/agents/", json=made).status_code == 201
        openai_simulator.will_say("an earlier answer")
        first = client.post("/api/agents/talker/chat/", json={"message": "one"}).json()
        openai_simulator.will_say(
            " ".join(f"word{number}" for number in range(200)), delay_s=0.1, usage=USED, usage_cumulative=True
        )
        seen = []
        body = {"message": "two", "session_id": first["session_id"], "stream": True}
        try:
            with client.stream("POST", "/api/agents/talker/chat/", json=body) as answer:
                for event in sse_events(answer):
                    seen.append(event)
                    if len(seen) == 5:
                        os.kill(instance.processes("manage.py serve")[0], signal.SIGKILL)
        except httpx.HTTPError:
            pass
        run_id = seen[0]["run_id"]
        wait_until(lambda: instance.readiness() == 200, 30, "the web is back")
        wait_until(
            lambda: client.get(f"/api/runs/{run_id}/").json()["status"] == "interrupted", 40, "the run is interrupted"
        )
        kept = client.get(f"/api/sessions/{first['session_id']}/messages/").json()["results"]
        assert [message["content"] for message in kept[:3]] == ["one", "an earlier answer", "two"]
        assert kept[3]["content"].startswith(text_of(seen))
        assert not kept[3]["is_complete"]
        rest = client.get(f"/api/runs/{run_id}/events/", headers={"Last-Event-ID": str(seen[-1]["seq"])}).text
        assert '"interrupted"' in rest
        run = client.get(f"/api/runs/{run_id}/").json()
        [tried] = run["tried"]
        assert tried["usage"] == run["usage"]
        assert run["usage"]["input_tokens"] == USED["prompt_tokens"]
        assert float(run["cost_usd"]) > 0
