"""What stands around Django: body limits, request ids, trusted proxies, origins of websockets."""

from typing import Any

import orjson
import pytest
from pytest_django import Settings

from atom.ground.asgi import BodyLimit, Message, OriginCheck, Receive, RequestID, Send, TrustedProxies

Headers = list[tuple[bytes, bytes]]
HERE = (b"host", b"atom.example.com:8000")
COOKIE = (b"cookie", b"atom_session=1")


class Inside:
    """The application inside: it reads its whole body, answers 200, and remembers its scope."""

    def __init__(self) -> None:
        self.scope: dict[str, Any] | None = None

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        self.scope = dict(scope)
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


async def call(app: Any, headers: Headers, chunks: list[bytes], **scope: Any) -> list[Message]:
    """What an application sends in answer to one request whose body comes in chunks."""
    sent: list[Message] = []
    waiting = list(chunks)

    async def receive() -> Message:
        if scope.get("type") == "websocket":
            return {"type": "websocket.connect"}
        return {"type": "http.request", "body": waiting.pop(0), "more_body": bool(waiting)}

    async def send(message: Message) -> None:
        sent.append(message)

    await app({"type": "http", "path": "/", "headers": headers, **scope}, receive, send)
    return sent


def headers_of(sent: list[Message]) -> dict[bytes, bytes]:
    return dict(sent[0]["headers"])


class TestBodyLimit:
    @pytest.fixture(autouse=True)
    def limit(self, settings: Settings) -> None:
        settings.MAX_BODY_BYTES = 10

    async def test_a_body_at_the_limit_passes(self) -> None:
        sent = await call(BodyLimit(Inside()), [(b"content-length", b"10")], [b"x" * 10])
        assert [message.get("status") for message in sent] == [200, None]

    async def test_a_declared_body_beyond_it_is_refused_unread(self) -> None:
        inside = Inside()
        sent = await call(BodyLimit(inside), [(b"content-length", b"11")], [b"x" * 11])
        assert sent[0]["status"] == 413
        assert orjson.loads(sent[1]["body"])["error"]["code"] == "too_large"
        assert inside.scope is None

    async def test_an_undeclared_body_is_counted_and_answered_once(self) -> None:
        sent = await call(BodyLimit(Inside()), [], [b"x" * 6, b"x" * 6])
        assert [message.get("status") for message in sent] == [413, None]


class TestRequestID:
    async def test_a_sane_one_is_kept(self) -> None:
        sent = await call(RequestID(Inside()), [(b"x-request-id", b"abc-1")], [b""])
        assert headers_of(sent)[b"x-request-id"] == b"abc-1"

    @pytest.mark.parametrize("given", [b"", b"a b", b"a\nb", b"x" * 65, "ä".encode()])
    async def test_any_other_is_replaced(self, given: bytes) -> None:
        sent = await call(RequestID(Inside()), [(b"x-request-id", given)], [b""])
        assert len(headers_of(sent)[b"x-request-id"]) == 32


class TestTrustedProxies:
    HEADERS: Headers = [(b"x-forwarded-for", b"1.1.1.1, 203.0.113.9"), (b"x-forwarded-proto", b"https"), HERE]

    async def scope_seen(self, peer: str) -> dict[str, Any]:
        inside = Inside()
        await call(TrustedProxies(inside), self.HEADERS, [b""], client=(peer, 1), scheme="http")
        assert inside.scope is not None
        return inside.scope

    async def test_a_stranger_cannot_say_who_or_how(self, settings: Settings) -> None:
        settings.ATOM_TRUSTED_PROXIES = ["10.0.0.1"]
        scope = await self.scope_seen("10.0.0.2")
        assert (scope["client"][0], scope["scheme"], scope["headers"]) == ("10.0.0.2", "http", [HERE])

    async def test_a_trusted_proxy_is_believed(self, settings: Settings) -> None:
        settings.ATOM_TRUSTED_PROXIES = ["10.0.0.1"]
        scope = await self.scope_seen("10.0.0.1")
        assert (scope["client"][0], scope["scheme"]) == ("203.0.113.9", "https")


class TestOrigin:
    async def passes(self, *headers: tuple[bytes, bytes], scheme: str = "ws", offered: tuple[str, ...] = ()) -> bool:
        inside = Inside()
        scope = {"type": "websocket", "scheme": scheme, "subprotocols": list(offered)}
        await call(OriginCheck(inside), [HERE, *headers], [], **scope)
        return inside.scope is not None

    async def test_a_cookie_with_our_own_origin_passes(self) -> None:
        assert await self.passes(COOKIE, (b"origin", b"http://atom.example.com:8000"))

    async def test_a_bearer_without_origin_passes(self) -> None:
        assert await self.passes((b"authorization", b"Bearer sk-atom-x"))
        assert await self.passes(COOKIE, offered=("atom.v1", "bearer.sk-atom-x"))

    async def test_a_cookie_without_origin_is_refused(self) -> None:
        assert not await self.passes(COOKIE)

    @pytest.mark.parametrize(
        "origin",
        [
            b"https://atom.example.com:8000",
            b"http://atom.example.com",
            b"http://atom.example.com:8001",
            b"http://evil.com",
            b"http://atom.example.com:8000@evil.com",
            b"http://evil.com@atom.example.com:8000",
            b"http://atom.example.com.evil.com:8000",
            b"http://atom.example.com:8000/path",
            b"null",
            b"",
            b"http://atom.example.com:port",
            "http://ätom.example.com:8000".encode(),
        ],
    )
    async def test_any_other_origin_is_refused_with_or_without_a_bearer(self, origin: bytes) -> None:
        assert not await self.passes(COOKIE, (b"origin", origin))
        assert not await self.passes((b"authorization", b"Bearer sk-atom-x"), (b"origin", origin))

    async def test_behind_tls_the_origin_is_https_on_its_own_port(self) -> None:
        inside = Inside()
        scope = {"type": "websocket", "scheme": "wss", "subprotocols": []}
        headers = [(b"host", b"atom.example.com"), COOKIE, (b"origin", b"https://atom.example.com")]
        await call(OriginCheck(inside), headers, [], **scope)
        assert inside.scope is not None
