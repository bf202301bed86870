"""The least that a gateway can do: pass a call on and its bytes back. The yardstick of `bench.gateway`.

`python -m bench.forwarder UPSTREAM_URL` serves on a free loopback port and prints its own URL. It is a bare ASGI
application on the same server and the same HTTP client as Atom: no token, no judgement, nothing read or kept.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

import aiohttp
import uvicorn

from atom.supervisor.parts import free_port

Message: TypeAlias = MutableMapping[str, Any]
PASSED_BACK = (b"content-type", b"cache-control")


class Forwarder:
    """POSTs what it gets to the same path below `upstream_url`, and streams the answer back as it comes."""

    def __init__(self, upstream_url: str) -> None:
        self.upstream_url = upstream_url
        self.client: aiohttp.ClientSession | None = None

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"nothing else than HTTP is forwarded, not {scope['type']}")
        if self.client is None:
            self.client = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        body, is_more = b"", True
        while is_more:
            message = await receive()
            body, is_more = body + message.get("body", b""), message.get("more_body", False)
        headers = {"Content-Type": "application/json", "Authorization": "Bearer simulated"}
        url = self.upstream_url + scope["path"].removeprefix("/v1")
        async with self.client.post(url, data=body, headers=headers) as answer:
            passed = [(name.lower(), value) for name, value in answer.raw_headers if name.lower() in PASSED_BACK]
            await send({"type": "http.response.start", "status": answer.status, "headers": passed})
            async for piece in answer.content.iter_any():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def main(upstream_url: str) -> None:
    port = free_port()
    config = uvicorn.Config(
        Forwarder(upstream_url),
        port=port,
        log_level="warning",
        access_log=False,
        lifespan="off",
        ws="none",
        timeout_keep_alive=300,
    )
    serving = asyncio.create_task(uvicorn.Server(config).serve())
    await asyncio.sleep(0.5)
    print(f"http://127.0.0.1:{port}/v1", flush=True)
    await serving


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
