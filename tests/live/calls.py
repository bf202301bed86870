"""Many calls to a live Atom at once, and how each of them ended."""

import asyncio
import json
import sqlite3
from dataclasses import dataclass

import httpx

from tests.events import bearer
from tests.live.instance import Instance


@dataclass(frozen=True, slots=True)
class Ended:
    """How a call ended: its text, and the error's code if it failed; `is_whole` when it came to its proper end."""

    status: int
    text: str
    code: str
    is_whole: bool
    attempts: int
    run_id: str


def upstream_of(base_url: str, **given: str) -> dict[str, str]:
    """The environment of an instance whose only provider is a simulated OpenAI."""
    return {
        "OPENAI_API_KEY": "sk-simulated-openai-key",
        "OPENAI_BASE_URL": base_url,
        "ATOM_ALLOWED_PROVIDER_HOSTS": "127.0.0.1",
        "ATOM_LOG_LEVEL": "ERROR",
        **given,
    }


def client_of(instance: Instance, *, keep_alive: bool = False) -> httpx.AsyncClient:
    """Without keep-alive each call has a connection of its own, so that all web processes get their share."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None if keep_alive else 0)
    headers = bearer(instance.credentials()["access_token"])
    return httpx.AsyncClient(base_url=instance.url, headers=headers, timeout=60, trust_env=False, limits=limits)


async def ask(client: httpx.AsyncClient, model: str, *, stream: bool) -> Ended:
    body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": "go"}]}
    async with client.stream("POST", "/v1/chat/completions", json=body) as answer:
        if not stream or answer.status_code != httpx.codes.OK:
            return _whole(answer, json.loads(await answer.aread()))
        text, code, is_done = "", "", False
        async for line in answer.aiter_lines():
            if line == "data: [DONE]":
                is_done = True
            elif line.startswith("data: "):
                event = json.loads(line[6:])
                code = event["error"]["code"] if "error" in event else code
                text += "".join(one["delta"].get("content") or "" for one in event.get("choices", ()))
        return _ended(answer, text, code, is_whole=is_done)


def _whole(answer: httpx.Response, body: dict[str, dict[str, str]]) -> Ended:
    if "error" in body:
        return _ended(answer, "", body["error"]["code"], is_whole=False)
    [choice] = body["choices"]
    return _ended(answer, choice["message"]["content"], "", is_whole=True)  # type: ignore[index]


def _ended(answer: httpx.Response, text: str, code: str, *, is_whole: bool) -> Ended:
    attempts = int(answer.headers["x-atom-attempts"])
    return Ended(answer.status_code, text, code, is_whole, attempts, answer.headers["x-atom-run"])


async def ask_many(client: httpx.AsyncClient, asked: list[tuple[str, bool]], *, at_once: int) -> list[Ended]:
    """Each `(model, stream)`, so many at a time."""
    places = asyncio.Semaphore(at_once)

    async def one(model: str, stream: bool) -> Ended:
        async with places:
            return await ask(client, model, stream=stream)

    return await asyncio.gather(*(one(*each) for each in asked))


def runs_of(instance: Instance) -> dict[str, int]:
    """How many runs the instance's own database has, by status."""
    with sqlite3.connect(f"file:{instance.home / 'atom.sqlite3'}?mode=ro", uri=True, timeout=30) as database:
        return dict(database.execute("SELECT status, count(*) FROM agents_run GROUP BY status").fetchall())
