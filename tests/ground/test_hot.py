"""The quick way to the hot doors, over real sockets."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from agents.models import OPEN_STATUSES, Run
from atom.ground.database import in_db
from atom.ground.principal import Principal
from tests.conftest import WebServer
from tests.events import bearer
from tests.live.instance import wait_until
from tests.simulators.openai import OpenAISimulator

ASKED = {"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
async def client(server: str, alice: Principal, token_of: Callable[[Principal], str]) -> httpx.AsyncClient:
    headers = bearer(await in_db(token_of, alice))
    return httpx.AsyncClient(base_url=server, headers=headers, timeout=30, trust_env=False)


async def test_no_request_gets_a_thread_of_its_own(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []
    start = threading.Thread.start

    def noted(thread: threading.Thread, *args: Any) -> None:
        begun.append(thread.name)
        start(thread, *args)

    async with client:
        await client.post("/v1/chat/completions", json=ASKED)
        monkeypatch.setattr(threading.Thread, "start", noted)
        for _ in range(20):
            answer = await client.post("/v1/chat/completions", json=ASKED)
            assert answer.status_code == 200
    assert [name for name in begun if not name.startswith("atom-db")] == []


async def test_whole_answers_say_how_long_they_are(client: httpx.AsyncClient) -> None:
    async with client:
        for path in ("/healthz", "/v1/models", "/v1/nothing/here"):
            answer = await client.get(path)
            assert int(answer.headers["content-length"]) == len(answer.content), path


async def test_a_path_that_is_none_is_404_in_our_shape(client: httpx.AsyncClient) -> None:
    async with client:
        for _ in range(2):
            answer = await client.get("/v1/nothing/here")
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


async def test_a_client_that_goes_before_its_answer_leaves_no_view_waiting_and_harms_no_other(
    client: httpx.AsyncClient, web_server: WebServer, openai_simulator: OpenAISimulator
) -> None:
    openai_simulator.will_say("one two three four five six", delay_s=5)
    async with client:
        with pytest.raises(httpx.ReadTimeout):
            await client.post("/v1/chat/completions", json=ASKED, timeout=1)
        await asyncio.to_thread(wait_until, lambda: not web_server.server_state.tasks, 10, "nobody waits")
        [run] = (await client.get("/api/runs/")).json()["results"]
        assert run["status"] == "running"
        openai_simulator.will_say("still here")
        answer = await client.post("/v1/chat/completions", json=ASKED)
        assert answer.json()["choices"][0]["message"]["content"] == "still here"
        # Without it the run would go on for a while, and into the next test.
        await client.post(f"/api/runs/{run['id']}/cancel/")
    is_open = Run.objects.filter(status__in=OPEN_STATUSES).exists
    await asyncio.to_thread(wait_until, lambda: not is_open(), 20, "the run is cancelled")
