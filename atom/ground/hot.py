"""The quick way from the socket to the hot doors: Django's routes and views, and nothing of it around them."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from functools import lru_cache
from io import BytesIO
from typing import Any, TypeAlias, cast

from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.exception import convert_exception_to_response
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import ResolverMatch, get_resolver
from django.utils.log import log_response

PATHS_REMEMBERED = 1024

Respond: TypeAlias = Callable[[HttpRequest], Awaitable[HttpResponseBase]]


class EventStream(StreamingHttpResponse):
    """A body that is written as it comes: each of the `frames` at once, as it is."""

    def __init__(self, frames: AsyncGenerator[bytes, None], headers: dict[str, str]) -> None:
        super().__init__(frames, content_type="text/event-stream", headers=headers)
        self.frames = frames


@lru_cache(PATHS_REMEMBERED)
def _resolved(path: str) -> ResolverMatch:
    return get_resolver().resolve(path)


async def _view(request: HttpRequest) -> HttpResponseBase:
    match = _resolved(request.path_info)
    response: HttpResponseBase = await match.func(request, *match.args, **match.kwargs)
    return response


class HotHandler(ASGIHandler):
    """For async views that take tokens only: without middleware, without a thread, without signals.

    Django gives each request a thread of its own, to tell sync code that it begins and ends. These views have no sync
    code but what `in_db` runs on threads that look after their own connections.
    """

    def load_middleware(self, is_async: bool = False) -> None:
        self._respond = cast(Respond, convert_exception_to_response(_view))

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            body = await self._body(receive)
        except RequestAborted:
            return
        request, refusal = self.create_request(scope, BytesIO(body))
        if request is None:
            await self.send_response(refusal, send)
            return
        answering, is_left = asyncio.current_task(), False

        async def leave() -> None:
            nonlocal is_left
            await receive()
            is_left = True
            if answering is not None:
                answering.cancel()

        # The only thing that a client can still say is that it goes, and then the view ends.
        leaving = asyncio.create_task(leave())
        try:
            await self._answer(request, send)
        except asyncio.CancelledError:
            if not is_left or answering is None:
                raise
            answering.uncancel()
        finally:
            leaving.cancel()

    async def _body(self, receive: Any) -> bytes:
        """The whole body; `BodyLimit` has bounded it."""
        pieces: list[bytes] = []
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise RequestAborted
            pieces.append(message.get("body", b""))
            if not message.get("more_body", False):
                return b"".join(pieces)

    async def _answer(self, request: HttpRequest, send: Any) -> None:
        response = await self._respond(request)
        if response.status_code >= 400:
            reason = response.reason_phrase
            log_response("%s: %s", reason, request.path, response=cast(HttpResponse, response), request=request)
        await self.send_response(response, send)

    async def send_response(self, response: Any, send: Any) -> None:
        if not response.streaming:
            response.headers.setdefault("Content-Length", str(len(response.content)))
        headers = [(name.encode("ascii"), value.encode("latin-1")) for name, value in response.items()]
        await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
        if not response.streaming:
            await send({"type": "http.response.body", "body": response.content})
            return
        async with aclosing(response.frames if isinstance(response, EventStream) else aiter(response)) as frames:
            async for frame in frames:
                await send({"type": "http.response.body", "body": frame, "more_body": True})
        await send({"type": "http.response.body"})
