"""Parts of a live Atom are killed in the middle of the work: what was said stays, what was begun ends."""

import asyncio
import json
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.sync.client import ClientConnection, connect

from tests.events import bearer
from tests.live.calls import ask, ask_many, client_of, runs_of, upstream_of
from tests.live.instance import Instance, wait_until
from tests.simulators.unruly import SENTENCE, UnrulyOpenAI

pytestmark = [pytest.mark.chaos, pytest.mark.xdist_group("live"), pytest.mark.timeout(180)]

MODEL = "openai/gpt-4o-mini"
WORDS = 60


@pytest.fixture(scope="module")
def upstream() -> Iterator[UnrulyOpenAI]:
    with UnrulyOpenAI(seed=1, failing=0, delay_s=0.25) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def atom(upstream: UnrulyOpenAI, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """Two web processes, worker, beat and store, which each test finds whole."""
    settings = upstream_of(upstream.base_url, WEB_CONCURRENCY="2", ATOM_LOCAL_MODEL="off")
    instance = Instance(tmp_path_factory.mktemp("chaos") / "home", **settings)
    instance.start()
    try:
        yield instance
    finally:
        instance.kill()


@pytest.fixture(autouse=True)
def is_whole(atom: Instance) -> Iterator[None]:
    wait_until(lambda: atom.readiness() == 200, 30, "whole before the test")
    yield
    wait_until(lambda: atom.readiness() == 200, 30, "whole after the test")


@pytest.fixture
def http(atom: Instance) -> Iterator[httpx.Client]:
    headers = bearer(atom.credentials()["access_token"])
    with httpx.Client(base_url=atom.url, headers=headers, timeout=30, trust_env=False) as client:
        yield client


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def open_runs(atom: Instance) -> int:
    return sum(count for status, count in runs_of(atom).items() if status in {"queued", "running", "paused"})


# --- A websocket that drops ---------------------------------------------------------------------------------
def socket_to(atom: Instance) -> ClientConnection:
    protocols: Any = ["atom.v1", f"bearer.{atom.credentials()['access_token']}"]
    return connect(f"{atom.url.replace('http', 'ws')}/ws/chat/", subprotocols=protocols, proxy=None, legacy=True)


def until_dropped(socket: ClientConnection, first: dict[str, Any], dice: random.Random) -> list[dict[str, Any]]:
    """Some events of a run; then the connection is gone, without a goodbye."""
    socket.send(json.dumps(first))
    heard = []
    for _ in range(dice.randint(2, 8)):
        heard.append(json.loads(socket.recv(timeout=30)))
        if heard[-1]["type"] == "run_ended":
            return heard
    socket.socket.close()
    return heard


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_websocket_that_drops_again_and_again_hears_every_event_once(
    atom: Instance, upstream: UnrulyOpenAI, seed: int
) -> None:
    dice = random.Random(seed)
    text = " ".join(f"word{number}" for number in range(WORDS))
    upstream.will_say(text, delay_s=0.03)
    heard = until_dropped(socket_to(atom), {"type": "message.create", "agent": "direct", "content": "go"}, dice)
    accepted, *events = heard
    drops = 1
    while events[-1]["type"] != "run_ended":
        resume = {"type": "run.resume", "run_id": accepted["run_id"], "after": events[-1]["seq"]}
        events += until_dropped(socket_to(atom), resume, dice)
        drops += 1
    assert drops >= 5
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert "".join(event["text"] for event in events if event["type"] == "text_delta") == text
    assert events[-1]["status"] == "succeeded"


# --- Processes that are killed ----------------------------------------------------------------------------------
async def test_a_web_process_killed_under_forty_streams_harms_only_its_own(atom: Instance) -> None:
    web = atom.processes("serve --fd")
    async with client_of(atom) as client:
        streams = []
        for _ in range(40):
            streams.append(asyncio.create_task(ask(client, MODEL, stream=True)))
            await asyncio.sleep(0.02)
        os.kill(max(web, key=descriptors), signal.SIGKILL)
        answers = await asyncio.gather(*streams, return_exceptions=True)
        whole = [answer for answer in answers if not isinstance(answer, BaseException)]
        cut = [answer for answer in answers if isinstance(answer, BaseException)]
        # Both processes had some, or this would show nothing.
        assert whole
        assert cut
        assert all(answer.is_whole and answer.text == SENTENCE for answer in whole)
        assert all(isinstance(answer, httpx.RemoteProtocolError | httpx.ReadError) for answer in cut)
        await asyncio.to_thread(wait_until, lambda: open_runs(atom) == 0, 45, "every run has ended")
        # One whose run had come to its end, and only its last chunk had not gone out, is not interrupted.
        assert 1 <= (await asyncio.to_thread(runs_of, atom))["interrupted"] <= len(cut)
        assert (await ask(client, MODEL, stream=True)).is_whole


def test_a_killed_worker_comes_back_and_loses_no_feedback(atom: Instance, http: httpx.Client) -> None:
    def positive() -> int:
        found: int = http.get("/api/feedback/analytics/?agent=direct").json()["positive"]
        return found

    # One verdict a person and answer: six answers, asked for while everything is well.
    asked = {"message": "hi", "model": MODEL}
    answers = [http.post("/api/agents/direct/chat/", json=asked).json() for _ in range(6)]
    before = positive()
    workers = atom.processes("celery -A atom.celery --quiet worker")
    assert workers
    for given, answer in enumerate(answers):
        if given == 3:
            for pid in workers:
                os.kill(pid, signal.SIGKILL)
        rated = http.post("/api/feedback/", json={"run_id": answer["run_id"], "thumb": "up"})
        assert rated.status_code == 201
    wait_until(lambda: atom.processes("celery -A atom.celery --quiet worker"), 30, "another worker")
    wait_until(lambda: positive() == before + 6, 90, "all feedback is summed")


async def test_the_store_killed_in_the_middle_ends_every_stream_clearly_and_calls_go_on_after_it(
    atom: Instance,
) -> None:
    [store] = atom.processes("valkey-server")
    async with client_of(atom) as client:
        streams = [asyncio.create_task(ask(client, MODEL, stream=True)) for _ in range(10)]
        await asyncio.sleep(1)
        os.kill(store, signal.SIGKILL)
        began = time.monotonic()
        body = {"model": MODEL, "messages": [{"role": "user", "content": "go"}]}
        meanwhile = await client.post("/v1/chat/completions", json=body)
        # The store may be back before it is missed; what it must not be is an error without a name.
        assert meanwhile.status_code == 200 or meanwhile.json()["error"]["code"] == "unavailable"
        answers = await asyncio.wait_for(asyncio.gather(*streams), 60)
        for answer in answers:
            assert answer.is_whole or answer.code
            assert SENTENCE.startswith(answer.text.rstrip())
        await asyncio.to_thread(wait_until, lambda: atom.readiness() == 200, 30, "the store is back")
        assert time.monotonic() - began < 60
        again = await ask_many(client, [(MODEL, True), (MODEL, False)] * 5, at_once=10)
        assert all(answer.is_whole and answer.text == SENTENCE for answer in again)
        await asyncio.to_thread(wait_until, lambda: open_runs(atom) == 0, 45, "every run has ended")
