"""Websockets: who is asking, and the manners every socket of ours has.

A socket that fails authentication is accepted and then closed, because before acceptance a close is only an HTTP 403.
"""

import asyncio
import contextlib
from typing import Any, ClassVar
from uuid import UUID

import orjson
import structlog
from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer

from atom.ground import journal, tokens
from atom.ground.api.authentication import principal_of_token
from atom.ground.api.errors import as_atom_error
from atom.ground.api.parsing import parse_object
from atom.ground.database import in_db
from atom.ground.errors import AtomError, BadRequest, Forbidden, NotAuthenticated, TooLarge
from atom.ground.principal import Principal

log = structlog.get_logger(__name__)

PROTOCOL = "atom.v1"
CLOSE_UNAUTHENTICATED = 4401
CLOSE_FORBIDDEN = 4403
CLOSE_TOO_LARGE = 1009
# Where nobody needs more; `most_bytes` says otherwise.
FRAME_BYTES = 1024 * 1024
RECHECK_S = 1.0


def token_of_scope(scope: dict[str, Any]) -> str | None:
    """The token in the upgrade's `Authorization` header or in its subprotocols `atom.v1, bearer.<token>`."""
    for name, value in scope["headers"]:
        if name == b"authorization" and value.lower().startswith(b"bearer "):
            return str(value[7:].decode("latin-1").strip())
    for offered in scope.get("subprotocols", ()):
        if offered.startswith("bearer."):
            return str(offered.removeprefix("bearer."))
    return None


async def principal_of_scope(scope: dict[str, Any]) -> Principal:
    """Who opened this socket: by token, else by the admin's cookie; NotAuthenticated otherwise."""
    token = token_of_scope(scope)
    if token is not None:
        return await principal_of_token(token)
    user = scope.get("user")
    user_id: UUID | None = getattr(user, "pk", None)
    if user_id is None:
        raise NotAuthenticated
    return await in_db(tokens.principal_of_user, user_id)


class GovernedSocket(AsyncWebsocketConsumer):  # type: ignore[misc]  # channels is not typed
    """A JSON socket. Subclasses answer frames in `receive_json`; an AtomError raised there becomes an error frame."""

    needs_scope: ClassVar[str] = "chat"
    principal: Principal
    is_over = False

    async def connect(self) -> None:
        self._recheck: asyncio.Task[None] | None = None
        await self.accept(PROTOCOL if PROTOCOL in self.scope.get("subprotocols", ()) else None)
        try:
            principal = await principal_of_scope(self.scope)
            self.check(principal)
        except NotAuthenticated as exc:
            await self.refuse(exc, CLOSE_UNAUTHENTICATED)
        except Forbidden as exc:
            await self.refuse(exc, CLOSE_FORBIDDEN)
        else:
            self.principal = principal
            await journal.settled()
            self._recheck = asyncio.create_task(self._stay_welcome())
            await self.opened()

    def check(self, principal: Principal) -> None:
        """Raise Forbidden for somebody whom this socket is not for."""
        principal.require(self.needs_scope)

    @property
    def most_bytes(self) -> int:
        """How large a frame may be."""
        return FRAME_BYTES

    async def refuse(self, error: AtomError, code: int) -> None:
        """Close for this reason; a surface that tells its clients every failure says it first."""
        await self.close(code)

    async def opened(self) -> None:
        """The socket is authenticated."""

    async def closed(self) -> None:
        """The socket is gone."""

    async def receive_json(self, frame: dict[str, Any]) -> None:
        raise BadRequest("This socket takes no frames.")

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if getattr(self, "principal", None) is None:
            return
        raw = (bytes_data if text_data is None else text_data.encode("utf-8", "surrogatepass")) or b""
        if len(raw) > self.most_bytes:
            await self.refuse(TooLarge(f"The frame is larger than {self.most_bytes} bytes."), CLOSE_TOO_LARGE)
            return
        try:
            frame = parse_object(raw)
            await journal.settled()
            await self.receive_json(frame)
        except Exception as exc:
            error = as_atom_error(exc)
            if type(error) is AtomError:
                log.exception("frame_failed", path=self.scope.get("path"))
            await self.send_error(error)

    async def send(self, text_data: str | None = None, bytes_data: bytes | None = None, close: bool = False) -> None:
        """What is still said after the close, or to somebody who has gone, is said to nobody."""
        if self.is_over:
            return
        try:
            await super().send(text_data, bytes_data, close)
        except OSError:
            self.is_over = True

    async def close(self, code: int | bool | None = None, reason: str | None = None) -> None:
        await super().close(code, reason)
        self.is_over = True

    async def send_error(self, error: AtomError) -> None:
        await self.send_json({"type": "error", **error.body()})

    async def send_json(self, frame: dict[str, Any]) -> None:
        await self.send(text_data=orjson.dumps(frame, default=str).decode())

    async def _stay_welcome(self) -> None:
        """Close the socket within about a second of its token's or its person's end."""
        while True:
            await asyncio.sleep(RECHECK_S)
            try:
                principal = await principal_of_scope(self.scope)
                self.check(principal)
            except NotAuthenticated as exc:
                await self.refuse(exc, CLOSE_UNAUTHENTICATED)
                return
            except Forbidden as exc:
                await self.refuse(exc, CLOSE_FORBIDDEN)
                return
            except Exception:
                # The database being away for a moment ends nobody's stream.
                log.warning("socket_not_rechecked", exc_info=True)

    async def disconnect(self, code: int) -> None:
        if self._recheck is not None:
            self._recheck.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._recheck
        await self.closed()
        raise StopConsumer
