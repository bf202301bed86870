"""The guarded HTTP client for the mcp library, which knows only its own HTTP library: each request is handed over."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import httpx
import httpx2
from django.conf import settings

from atom.ground.errors import AtomError
from atom.ground.http import build_client

# One answer of a server, or all that one of its streams says.
MAX_ANSWER_BYTES = 4_000_000


@contextmanager
def _their_errors(request: httpx2.Request) -> Iterator[None]:
    try:
        yield
    except httpx.TimeoutException as exc:
        raise httpx2.ReadTimeout("no answer in time", request=request) from exc
    except httpx.HTTPError as exc:
        raise httpx2.ConnectError("no connection", request=request) from exc
    except AtomError as exc:
        raise httpx2.UnsupportedProtocol(exc.message, request=request) from exc


class _Body(httpx2.AsyncByteStream):
    def __init__(self, answer: httpx.Response, request: httpx2.Request) -> None:
        self._answer, self._request = answer, request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        count = 0
        with _their_errors(self._request):
            async for piece in self._answer.aiter_raw():
                count += len(piece)
                if count > MAX_ANSWER_BYTES:
                    raise httpx2.ReadError("the answer is too large", request=self._request)
                yield piece

    async def aclose(self) -> None:
        await self._answer.aclose()


class GuardedHandover(httpx2.AsyncBaseTransport):
    """Sends what the mcp library wants to send through `atom.ground.http`."""

    def __init__(self) -> None:
        self._client = build_client(allowed_hosts=settings.ATOM_ALLOWED_TOOL_HOSTS, timeout=httpx.Timeout(None))

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        # Not compressed: an answer's size is counted as it comes in.
        headers = [(name, value) for name, value in request.headers.raw if name.lower() != b"accept-encoding"]
        ours = self._client.build_request(
            request.method,
            str(request.url),
            headers=[*headers, (b"accept-encoding", b"identity")],
            content=await request.aread(),
        )
        with _their_errors(request):
            answer = await self._client.send(ours, stream=True)
        if answer.headers.get("content-encoding", "identity") != "identity":
            await answer.aclose()
            raise httpx2.ReadError("the answer is compressed", request=request)
        return httpx2.Response(
            answer.status_code, headers=answer.headers.raw, stream=_Body(answer, request), request=request
        )

    async def aclose(self) -> None:
        await self._client.aclose()


def guarded_client(headers: dict[str, str]) -> httpx2.AsyncClient:
    """As the mcp library takes it; `headers` go along with every request."""
    return httpx2.AsyncClient(
        transport=GuardedHandover(),
        headers=headers,
        timeout=httpx2.Timeout(None),
        follow_redirects=False,
        trust_env=False,
    )
