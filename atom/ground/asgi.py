"""What stands around Django: body limits, request ids, the quick way to the hot doors, origins of websockets."""

import gc
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import orjson
import structlog
from django.conf import settings
from django.urls import URLPattern

from atom.ground import journal
from atom.ground.draining import do_last_things
from atom.ground.errors import TooLarge

ASGIScope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Any, Any, Any], Awaitable[None]]

# Doors that take tokens only and answer under load: they go the quick way (`atom.ground.hot`).
HOT_PREFIXES = ("/v1/", "/message", "/messages", "/status", "/events", "/agent/", "/mcp/")
HOT_PATHS = re.compile(r"/(healthz|readyz|health|metrics|api/agents/[^/]+/chat/|api/runs/[^/]+/events/)")
# What proxies add besides `X-Forwarded-…`.
PROXY_HEADERS = frozenset({b"forwarded", b"via", b"x-real-ip"})
# Here errors have Anthropic's shape.
ANTHROPIC_PREFIX = "/v1/messages"
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


def header(scope: ASGIScope, name: bytes) -> bytes | None:
    """The first value of a header; names are lower-case."""
    for key, value in scope["headers"]:
        if key == name:
            found: bytes = value
            return found
    return None


class SplitByPath:
    def __init__(self, *, hot: App, rest: App) -> None:
        self.hot, self.rest = hot, rest

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        is_hot = path.startswith(HOT_PREFIXES) or HOT_PATHS.fullmatch(path) is not None
        await (self.hot if is_hot else self.rest)(scope, receive, send)


class Settled:
    """Pages and REST read the database: what the hot doors left in the journal is written first."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        if not scope["path"].startswith(settings.STATIC_URL):
            await journal.settled()
        await self.app(scope, receive, send)


class RequestID:
    """Each answer carries `x-request-id`, and so does each log line of its request."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        given = header(scope, b"x-request-id") or b""
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid4().hex.encode()

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id)]
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id.decode()):
            await self.app(scope, receive, send_with_id)


class BodyLimit:
    """413 for a body beyond `MAX_BODY_BYTES`, before Django spools any of it."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        limit: int = settings.MAX_BODY_BYTES
        declared = header(scope, b"content-length") or b"0"
        if declared.isdigit() and int(declared) > limit:
            return await self._refuse(scope, send)
        seen = 0
        is_answered = False

        async def count() -> Message:
            nonlocal seen, is_answered
            message = await receive()
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                if seen > limit and not is_answered:
                    is_answered = True
                    await self._refuse(scope, send)
                    return {"type": "http.disconnect"}
            return message

        async def send_once(message: Message) -> None:
            if not is_answered:
                await send(message)

        return await self.app(scope, count, send_once)

    async def _refuse(self, scope: ASGIScope, send: Send) -> None:
        error = TooLarge(f"The body is larger than {settings.MAX_BODY_BYTES} bytes.")
        said = error.body()
        if scope["path"].startswith(ANTHROPIC_PREFIX):
            said = {"type": "error", "error": {"type": "request_too_large", "message": error.message}}
        body = orjson.dumps(said)
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        # The rest of the body is not read: the connection ends with the answer.
        headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": error.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class TrustedProxies:
    """Believe `X-Forwarded-For` and `-Proto` from `ATOM_TRUSTED_PROXIES` only; from anybody else they are dropped.

    `is_forwarded` in the scope says whether a request names a proxy, trusted or not.
    """

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        names = {name for name, _ in scope["headers"]}
        if not any(name.startswith(b"x-forwarded-") for name in names):
            return await self.app({**scope, "is_forwarded": not PROXY_HEADERS.isdisjoint(names)}, receive, send)
        peer = (scope.get("client") or ("",))[0]
        forwarded_for, proto = header(scope, b"x-forwarded-for"), header(scope, b"x-forwarded-proto")
        kept = [(name, value) for name, value in scope["headers"] if not name.startswith(b"x-forwarded-")]
        scope = {**scope, "headers": kept, "is_forwarded": True}
        if peer in settings.ATOM_TRUSTED_PROXIES:
            if forwarded_for:
                scope["client"] = (forwarded_for.split(b",")[-1].strip().decode("latin-1"), 0)
            if proto in {b"http", b"https"}:
                is_socket = scope["type"] == "websocket"
                scope["scheme"] = ("wss" if proto == b"https" else "ws") if is_socket else proto.decode()
        return await self.app(scope, receive, send)


def is_own_origin(scope: ASGIScope) -> bool:
    """Whether the upgrade's Origin is this very site: scheme, host and port."""
    try:
        origin = urlsplit((header(scope, b"origin") or b"").decode("ascii").lower())
        here = urlsplit("//" + (header(scope, b"host") or b"").decode("ascii").lower())
        scheme = "https" if scope.get("scheme") == "wss" else "http"
        default = 443 if scheme == "https" else 80
        return (
            (origin.scheme, origin.hostname, origin.port or default) == (scheme, here.hostname, here.port or default)
            and origin.hostname is not None
            and not (origin.path or origin.query or origin.fragment or origin.username)
        )
    except ValueError:
        return False


class OriginCheck:
    """A socket that comes with a cookie needs our own Origin; one with a bearer token and no Origin passes.

    Any other Origin is refused before acceptance, which a client sees as HTTP 403.
    """

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        authorization = (header(scope, b"authorization") or b"").lower()
        has_bearer = authorization.startswith(b"bearer ") or any(
            offered.startswith("bearer.") for offered in scope.get("subprotocols", ())
        )
        has_origin = header(scope, b"origin") is not None
        if is_own_origin(scope) if has_origin else has_bearer or header(scope, b"cookie") is None:
            return await self.app(scope, receive, send)
        return await refuse_socket(receive, send)


class SocketPaths:
    """A websocket to an address that has none is refused, not a traceback."""

    def __init__(self, app: App, patterns: Iterable[URLPattern]) -> None:
        self.app, self.patterns = app, list(patterns)

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        path = scope["path"].removeprefix("/")
        if any(pattern.pattern.match(path) for pattern in self.patterns):
            return await self.app(scope, receive, send)
        return await refuse_socket(receive, send)


async def refuse_socket(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.close", "code": 4403})


class Lifespan:
    """The process's beginning and end, on servers that tell."""

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                # What is loaded by now stays: the collector need not look through it ever again.
                gc.collect()
                gc.freeze()
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await do_last_things()
                await send({"type": "lifespan.shutdown.complete"})
                return
