"""Many streams at once behind a real server: each its own text, none harmed by another, nothing left behind."""

import asyncio
import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import httpx
import pytest
from aiohttp import ClientSession
from pytest_django import Settings

from agents.models import Run
from agents.runs.following import _readers
from agents.runs.live import _live
from atom.ground.principal import Principal
from llm import attempts
from llm import http as llm_http
from tests.events import bearer
from tests.simulators.openai import OpenAISimulator
from tests.simulators.scripts import Ending, Script, Seen
from tests.simulators.server import words

WORDS = 8


class ByWord(OpenAISimulator):
    """What was asked says what becomes of it: `cut…`, `reset…`, `hang…`, `error…`; anything else is echoed."""

    def _echo(self, asked: Seen) -> Script:
        word = self.last_said(asked).split()[0]
        pieces = words(" ".join([word] * WORDS))
        match word.rstrip("0123456789x"):
            case "cut":
                return Script(pieces=pieces, delay_s=0.01, cut_after=3)
            case "reset":
                return Script(pieces=pieces, delay_s=0.01, cut_after=3, ending=Ending.RST)
            case "hang":
                return Script(pieces=pieces, delay_s=0.01, cut_after=3, ending=Ending.HANG)
            case "error":
                return Script(status=500, body="{}")
        return Script(pieces=pieces, delay_s=0.01)


@dataclass(frozen=True, slots=True)
class Heard:
    status: int
    text: str
    is_done: bool
    took_s: float


@pytest.fixture
def by_word(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[ByWord]:
    with ByWord() as simulator:
        monkeypatch.setenv("OPENAI_BASE_URL", simulator.base_url)
        yield simulator


@pytest.fixture
def client(server: str, alice: Principal, token_of: Callable[[Principal], str]) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=None)
    return httpx.AsyncClient(
        base_url=server, headers=bearer(token_of(alice)), timeout=60, trust_env=False, limits=limits
    )


async def ask(client: httpx.AsyncClient, word: str) -> Heard:
    # A model of its own for each kind, so that failures of one kind open no breaker for another.
    kind = word.rstrip("0123456789x")
    body = {"model": f"openai/{kind}", "stream": True, "messages": [{"role": "user", "content": word}]}
    text, is_done, started = "", False, time.monotonic()
    async with client.stream("POST", "/v1/chat/completions", json=body) as answer:
        async for line in answer.aiter_lines():
            if line == "data: [DONE]":
                is_done = True
            elif line.startswith("data: ") and "choices" in (chunk := json.loads(line[6:])):
                text += chunk["choices"][0]["delta"].get("content") or ""
    return Heard(answer.status_code, text, is_done, time.monotonic() - started)


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for something that happens in the server's thread."""
    async with asyncio.timeout(20):
        while not is_so():  # noqa: ASYNC110  # another thread sets no event of this loop
            await asyncio.sleep(0.05)


async def ask_all(client: httpx.AsyncClient, asked: list[str]) -> list[Heard]:
    return await asyncio.gather(*(ask(client, word) for word in asked))


@pytest.mark.parametrize("streams", [10, 100])
async def test_concurrent_streams_are_isolated_and_failures_harm_no_other(
    client: httpx.AsyncClient, by_word: ByWord, settings: Settings, streams: int
) -> None:
    settings.ATOM_CHUNK_TIMEOUT = 5
    kinds = ["cut", "reset", "error"]
    asked = [f"{kinds[n // 10 % 3]}{n}x" if n % 10 == 3 else f"word{n}x" for n in range(streams)]
    async with client:
        heard = await ask_all(client, asked)
    for word, answer in zip(asked, heard, strict=True):
        if word.startswith("word"):
            assert (answer.text, answer.is_done) == (" ".join([word] * WORDS), True)
        else:
            expected = (502, "") if word.startswith("error") else (200, " ".join([word] * 3))
            assert (answer.status, answer.text) == expected
            assert not answer.is_done
    statuses = await asyncio.to_thread(lambda: sorted(Run.objects.values_list("status", flat=True)))
    failed = sum(not word.startswith("word") for word in asked)
    assert statuses == ["failed"] * failed + ["succeeded"] * (streams - failed)


async def test_under_failure_the_success_path_is_not_slowed(client: httpx.AsyncClient, by_word: ByWord) -> None:
    good = [f"word{n}x" for n in range(10)]
    async with client:
        await ask_all(client, good)
        alone = await ask_all(client, good)
        hanging = [asyncio.create_task(ask(client, f"hang{n}x")) for n in range(10)]
        await until(lambda: sum("hang" in by_word.last_said(seen) for seen in by_word.requests) == 10)
        beside = (await ask_all(client, [*good, *(f"cut{n}x" for n in range(5))]))[: len(good)]
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)
    assert all(answer.is_done for answer in beside)
    # Generous: what must not be is that good streams wait for bad ones to run out of time.
    usual = statistics.median(answer.took_s for answer in alone)
    assert statistics.median(answer.took_s for answer in beside) < usual * 3 + 1


async def test_under_failure_an_answer_comes_in_less_than_a_second(client: httpx.AsyncClient, by_word: ByWord) -> None:
    async with client:
        took = [(await ask(client, f"error{n}x")).took_s for n in range(4)]
    assert min(took) < 1


# --- Nothing is left ------------------------------------------------------------------------------------------
def connections_in_use() -> int:
    """Upstream connections of the running server that are taken by a call."""
    transports = [client._transport for by_hosts in list(llm_http._clients.values()) for client in by_hosts.values()]
    sessions = [getattr(transport, "client", None) for transport in transports]
    connectors = [session.connector for session in sessions if isinstance(session, ClientSession)]
    assert connectors
    return sum(len(connector._acquired) for connector in connectors if connector is not None)


def runs_in_progress() -> int:
    return sum(len(each.runs) for each in list(_live.values()))


def runs_followed() -> int:
    return sum(len(each.followers) for each in list(_readers.values()))


def tasks_of_calls() -> list[str]:
    """Tasks of the server's loop that belong to a run or a call."""
    tasks = [task for loop in list(_live) for task in asyncio.all_tasks(loop)]
    return [repr(task) for task in tasks if task.get_name().startswith("run-") or "llm/" in repr(task.get_coro())]


async def test_resources_are_cleaned_up_after_failures_and_clients_that_went(
    client: httpx.AsyncClient, by_word: ByWord, settings: Settings
) -> None:
    settings.ATOM_CHUNK_TIMEOUT = 1
    settings.ATOM_ABANDON_AFTER = 1
    kinds = ["word", "cut", "reset", "hang", "error"]
    async with client:
        leaving = [asyncio.create_task(ask(client, f"hang{n}x")) for n in range(5)]
        await ask_all(client, [f"{kinds[n % 5]}{n}x" for n in range(50)])
        for task in leaving:
            task.cancel()
        await asyncio.gather(*leaving, return_exceptions=True)
    await until(lambda: not (runs_in_progress() or runs_followed() or connections_in_use()))
    await until(lambda: not attempts._in_background)
    await until(lambda: not tasks_of_calls())
    assert not await asyncio.to_thread(Run.objects.filter(ended_at=None).exists)
