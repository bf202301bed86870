"""One small call with exactly one key: does it work? No failover, no breaker, no cooldown."""

import asyncio
import re
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import httpx
import orjson

from atom.ground.errors import AtomError
from atom.ground.http import ForbiddenAddress
from llm import http
from llm.catalog import Catalog
from llm.endpoints import Usable
from llm.errors import BadResponse, ConnectFailed, TimedOut
from llm.events import Event, Meter, Usage
from llm.messages import Deadlines, Endpoint, Message, Request, Text
from llm.prices import priced
from llm.registry import Provider
from llm.wires import WHOLE
from llm.wires.transport import error_of_status

QUESTION = "ping"
# OpenAI's responses wire takes no smaller limit than this.
ANSWER_TOKENS = 16
# What prices are compared by: a short question and its answer.
_ASKED = Usage(input_tokens=10, output_tokens=ANSWER_TOKENS)
# A server's list of its models is read this far at most.
_MAX_LIST_BYTES = 4 * 1024 * 1024
_MODEL = re.compile(r"[\w.:/@+-]{1,200}")


@dataclass(frozen=True, slots=True)
class Probed:
    """How it went: `error` and its `code` are empty when the key works. Without a call `model` may be empty."""

    model: str
    latency_ms: int
    error: str = ""
    code: str = ""

    @property
    def is_ok(self) -> bool:
        return not self.code


async def probe(row: Provider, way: Usable, *, own: Catalog, within_s: float, model: str = "") -> Probed:
    """Ask the provider's cheapest model (or `model`) one word, and wait `within_s` seconds at most."""
    limits = Deadlines(connect_s=within_s, first_byte_s=within_s, chunk_s=within_s, total_s=within_s)
    endpoint = replace(way.endpoint, deadlines=limits)
    began = time.monotonic()
    try:
        async with asyncio.timeout(within_s):
            model = model or cheapest_model(row, own) or await _first_listed(endpoint)
            request = Request(model, (Message("user", (Text(QUESTION),)),), max_tokens=ANSWER_TOKENS)
            await _to_its_end(WHOLE[row.wire_of(model)](request, endpoint, http.client(), Meter()))
    except TimeoutError:
        error: AtomError = TimedOut(f"{row.name} did not answer within {within_s:g} s.")
    except AtomError as exc:
        error = exc
    else:
        return Probed(model, _ms_since(began))
    return Probed(model, _ms_since(began), error.message, error.code)


def cheapest_model(row: Provider, own: Catalog) -> str | None:
    """Of the models that the registry or the workspace's prices name; those without a price come last."""
    priced_here = [name.partition("/")[2] for name in own.prices if name.partition("/")[0] == row.name]
    models = list(dict.fromkeys((*row.models, *priced_here)))

    def cost(model: str) -> tuple[bool, Decimal]:
        found = priced(row.name, model, _ASKED, own)
        return found is None, found or Decimal(0)

    return min(models, key=cost, default=None)


async def _to_its_end(events: AsyncGenerator[Event, None]) -> None:
    async with aclosing(events):
        async for _ in events:
            pass


async def _first_listed(endpoint: Endpoint) -> str:
    """The first model of the server's own list: what a server of one's own serves, only it knows."""
    headers = {"Authorization": f"Bearer {endpoint.secret}"} if endpoint.secret else {}
    url = f"{endpoint.base_url.rstrip('/')}/models"
    try:
        async with http.client().stream("GET", url, headers=headers) as response:
            if response.status_code not in (httpx.codes.OK, httpx.codes.NOT_FOUND):
                raise error_of_status(endpoint.provider, response.status_code, response.headers)
            raw = await _read(response)
    except (httpx.HTTPError, httpx.InvalidURL) as exc:
        raise ConnectFailed(f"{endpoint.provider} could not be reached.") from exc
    except ForbiddenAddress as exc:
        raise ConnectFailed(f"{endpoint.provider} is at an address that may not be called: {exc.message}") from exc
    model = _first_id(raw)
    # It will be shown: not what is no model's name, least of all a key that the server repeats.
    if not _MODEL.fullmatch(model) or (endpoint.secret and endpoint.secret in model):
        raise BadResponse(f"{endpoint.provider} does not say which models it has: name one.")
    return model


async def _read(response: httpx.Response) -> bytes:
    raw = bytearray()
    async for piece in response.aiter_bytes():
        raw += piece
        if len(raw) > _MAX_LIST_BYTES:
            break
    return bytes(raw)


def _first_id(raw: bytes) -> str:
    try:
        body: Any = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return ""
    rows = body.get("data") if isinstance(body, dict) else None
    row = rows[0] if isinstance(rows, list) and rows else None
    found = row.get("id") if isinstance(row, dict) else None
    return found if isinstance(found, str) else ""


def _ms_since(began: float) -> int:
    return round((time.monotonic() - began) * 1000)
