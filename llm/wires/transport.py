"""What every wire needs: a POST, its deadlines, and statuses as our errors."""

import asyncio
import math
from codecs import getincrementaldecoder
from collections.abc import AsyncGenerator, Awaitable, Mapping
from contextlib import aclosing
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any, cast

import httpx
import orjson
from httpx_sse import EventSource, SSEError

from atom.ground.http import Answer, ForbiddenAddress, GuardedClient
from llm.errors import (
    BadResponse,
    ConnectFailed,
    KeyRefused,
    LLMError,
    ProviderFailed,
    RateLimited,
    RequestRefused,
    TimedOut,
)
from llm.messages import Endpoint

# Nobody waits longer for a provider to be ready again, whatever it asks for.
MAX_RETRY_AFTER_S = 86_400
# A whole answer is held in memory; none of a model's is near this.
MAX_WHOLE_BYTES = 64 * 1024 * 1024


async def post_sse(
    url: str, body: dict[str, Any], headers: Mapping[str, str], endpoint: Endpoint, client: GuardedClient
) -> AsyncGenerator[str, None]:
    """The `data` of each server-sent event of the answer to this POST.

    Raises an LLMError for whatever goes wrong, in our words; the provider's own text is never read out.
    """
    clock = _Clock(endpoint)
    answer = await _send(url, body, headers, client, clock)
    try:
        if answer.status_code != httpx.codes.OK:
            raise error_of_status(endpoint.provider, answer.status_code, answer.headers)
        # The source asks an answer for its headers and its text, and nothing else.
        source = EventSource(cast(httpx.Response, _Timed(answer, clock)))
        async with aclosing(source.aiter_sse()) as events:
            async for event in events:
                clock.heard()
                if event.data:
                    yield event.data
    except SSEError as exc:
        raise BadResponse(f"{endpoint.provider} answered with something that is not an event stream.") from exc
    except httpx.HTTPError as exc:
        raise BadResponse(f"The connection to {endpoint.provider} broke off in the middle of its answer.") from exc
    finally:
        await answer.aclose()


async def post_json(
    url: str, body: dict[str, Any], headers: Mapping[str, str], endpoint: Endpoint, client: GuardedClient
) -> dict[str, Any]:
    """The JSON object that answers this POST, under the deadlines and errors of `post_sse`."""
    clock = _Clock(endpoint)
    answer = await _send(url, body, {"Accept": "application/json", **headers}, client, clock)
    try:
        if answer.status_code != httpx.codes.OK:
            raise error_of_status(endpoint.provider, answer.status_code, answer.headers)
        raw = bytearray()
        async with aclosing(answer.pieces()) as pieces:
            while (piece := await clock.next(pieces)) is not None:
                clock.heard()
                raw += piece
                if len(raw) > MAX_WHOLE_BYTES:
                    raise BadResponse(f"{endpoint.provider} sent an answer that is too long.")
        found = orjson.loads(raw)
    except orjson.JSONDecodeError as exc:
        raise BadResponse(f"{endpoint.provider} answered with something that is not JSON.") from exc
    except httpx.HTTPError as exc:
        raise BadResponse(f"The connection to {endpoint.provider} broke off in the middle of its answer.") from exc
    finally:
        await answer.aclose()
    if not isinstance(found, dict):
        raise BadResponse(f"{endpoint.provider} answered with JSON that is not an object.")
    return found


class _Timed:
    """An answer whose text comes under the deadlines: they are looked at once a piece, which may hold many events."""

    def __init__(self, answer: Answer, clock: "_Clock") -> None:
        self.headers = answer.headers
        self._answer, self._clock = answer, clock

    async def aiter_text(self) -> AsyncGenerator[str, None]:
        # Server-sent events are always UTF-8, whatever the header says.
        decoder = getincrementaldecoder("utf-8")(errors="replace")
        async with aclosing(self._answer.pieces()) as pieces:
            while (piece := await self._clock.next(pieces)) is not None:
                if text := decoder.decode(piece):
                    yield text
        if text := decoder.decode(b"", final=True):
            yield text


@lru_cache(maxsize=1024)
def _written(url: str) -> str:
    """The URL as it goes out."""
    return str(httpx.URL(url))


async def _send(
    url: str, body: dict[str, Any], headers: Mapping[str, str], client: GuardedClient, clock: "_Clock"
) -> Answer:
    endpoint = clock.endpoint
    limit_s = endpoint.deadlines.connect_s
    # A compressed stream comes in blocks: words would arrive late.
    own = {"Content-Type": "application/json", "Accept": "text/event-stream", "Accept-Encoding": "identity"}
    try:
        answer = await clock.first(client.post_as_is(_written(url), orjson.dumps(body), {**own, **headers}, limit_s))
    except httpx.InvalidURL as exc:
        raise ConnectFailed(f"The base URL of {endpoint.provider} is not a URL.") from exc
    except httpx.TimeoutException as exc:
        raise TimedOut(f"{endpoint.provider} did not accept a connection within {limit_s:g} s.") from exc
    except httpx.HTTPError as exc:
        raise ConnectFailed(f"{endpoint.provider} could not be reached.") from exc
    except ForbiddenAddress as exc:
        raise ConnectFailed(f"{endpoint.provider} is at an address that may not be called: {exc.message}") from exc
    if endpoint.heard is not None:
        endpoint.heard(answer.headers)
    return answer


class _Clock:
    """The deadlines of one call. Each await gets the nearest one; only waiting counts, never the reader's time."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._provider = endpoint.provider
        self._limits = endpoint.deadlines
        self._end = asyncio.get_running_loop().time() + endpoint.deadlines.total_s
        self._first_end = asyncio.get_running_loop().time() + endpoint.deadlines.first_byte_s
        self._has_begun = False
        # When who waits has waited for too long; None until somebody waits.
        self._until: float | None = self._first_end

    async def first(self, sending: Awaitable[Answer]) -> Answer:
        """The response's headers."""
        try:
            async with asyncio.timeout_at(min(self._first_end, self._end)):
                return await sending
        except TimeoutError as exc:
            raise self._too_late() from exc

    async def next(self, pieces: AsyncGenerator[bytes, None]) -> bytes | None:
        """The next piece, or None at the end. Until something is `heard` in the pieces, the deadline stays."""
        if self._until is None:
            self._until = asyncio.get_running_loop().time() + self._limits.chunk_s
        try:
            async with asyncio.timeout_at(min(self._until, self._end)):
                return await anext(pieces, None)
        except TimeoutError as exc:
            raise self._too_late() from exc

    def heard(self) -> None:
        """Something came that counts: the next may take its time again."""
        self._has_begun, self._until = True, None

    def _too_late(self) -> TimedOut:
        if asyncio.get_running_loop().time() >= self._end:
            return TimedOut(f"{self._provider} did not finish within {round(self._limits.total_s, 1):g} s.")
        if self._has_begun:
            return TimedOut(f"{self._provider} fell silent for {self._limits.chunk_s:g} s in the middle of its answer.")
        return TimedOut(f"{self._provider} did not begin to answer within {self._limits.first_byte_s:g} s.")


def error_of_status(provider: str, status: int, headers: Mapping[str, str]) -> LLMError:
    """Our error for a provider's HTTP status."""
    match status:
        case 401 | 402 | 403:
            return KeyRefused(f"{provider} refused the key (status {status}).", retry_after_s=_retry_after_s(headers))
        case 429:
            return RateLimited(f"{provider} limits the rate of calls.", retry_after_s=_retry_after_s(headers))
        case 408 | 409 | 425:
            return ProviderFailed(f"{provider} could not take the call now (status {status}).")
        case 404:
            return RequestRefused(f"{provider} does not know this model.", status=404)
        case _ if 400 <= status < 500:
            return RequestRefused(f"{provider} refused the request (status {status}).", status=status)
        case _ if status >= 500:
            return ProviderFailed(f"{provider} failed (status {status}).", retry_after_s=_retry_after_s(headers))
    return BadResponse(f"{provider} answered with status {status}, which is not an answer.")


def _retry_after_s(headers: Mapping[str, str]) -> int | None:
    """Retry-After in whole seconds; None when it is absent or nonsense (RFC 9110, section 10.2.3)."""
    given = headers.get("Retry-After", "").strip()
    try:
        seconds = float(given)
    except ValueError:
        try:
            when = parsedate_to_datetime(given)
        except ValueError:
            return None
        seconds = (when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    if not math.isfinite(seconds):
        return None
    return min(max(0, math.ceil(seconds)), MAX_RETRY_AFTER_S)
