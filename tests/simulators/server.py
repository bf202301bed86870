"""What all simulated providers share: a real server on a loopback port, its scripts, and what it does with them.

Scripts are used up in order, one per request; without one it echoes the last user message in a sentence.
"""

import argparse
import asyncio
import json
import re
import socket
import struct
import threading
from abc import ABC, abstractmethod
from collections import deque
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from tests.simulators.scripts import Ending, Script, ScriptedCall, Seen

# A hanging answer lets go after this long, so that no test hangs for ever.
HANG_S = 60.0


class Simulator(ABC):
    """A real server in its own thread. `requests` and `tool_calls` are what it saw, oldest first."""

    # How the ids of this provider's tool calls begin.
    call_prefix = "call_"

    def __init__(self, *, port: int = 0, delay_s: float = 0.0) -> None:
        self.requests: list[Seen] = []
        self.tool_calls: list[Seen] = []
        self.tool_result: Any = {"ok": True}
        self.tool_delay_s = 0.0
        # How many streams were left by the client before their end.
        self.abandoned = 0
        # Refuse, as the provider does, calls that come back without the sealed thoughts that led to them.
        self.demands_seals = False
        self.seals: set[str] = set()
        self._scripts: deque[Script] = deque()
        self._default_delay_s = delay_s
        self._port = port
        self._ids = 0
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name=type(self).__name__, daemon=True)

    # --- Control ----------------------------------------------------------------------------------------
    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        self._thread.start()
        if not self._ready.wait(10):
            raise RuntimeError("the simulator did not start")

    def stop(self) -> None:
        if self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def join(self) -> None:
        self._thread.join()

    @property
    def port(self) -> int:
        return self._port

    @property
    def root_url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    @abstractmethod
    def base_url(self) -> str:
        """As this provider's official client takes it."""

    @property
    def tools_url(self) -> str:
        """`{tools_url}/<name>` is a tool that answers `tool_result`."""
        return f"{self.root_url}/tools"

    def tool_url(self, name: str) -> str:
        return f"{self.tools_url}/{name}"

    def forget(self) -> None:
        """Be as new: no scripts, nothing seen."""
        self._scripts.clear()
        self.requests.clear()
        self.tool_calls.clear()
        self.abandoned = 0

    # --- Scripts -----------------------------------------------------------------------------------------
    @property
    def has_script(self) -> bool:
        return bool(self._scripts)

    def will(self, script: Script) -> Script:
        self._scripts.append(script)
        return script

    def will_say(self, text: str, **given: Any) -> Script:
        """Stream `text` word by word; the rest are fields of `Script` (`delay_s`, `cut_after`, `ending`, …)."""
        return self.will(Script(pieces=words(text), **given))

    def will_think(self, thought: str, text: str, **given: Any) -> Script:
        return self.will(Script(thinking=words(thought), pieces=words(text), **given))

    def will_call(self, name: str, arguments: dict[str, Any] | str, *, say: str = "", **given: Any) -> Script:
        return self.will_call_all([(name, arguments)], say=say, **given)

    def will_call_all(self, calls: list[tuple[str, dict[str, Any] | str]], *, say: str = "", **given: Any) -> Script:
        """Several tool calls in one answer; arguments given as text go out as they are."""
        scripted = []
        for name, arguments in calls:
            text = arguments if isinstance(arguments, str) else json.dumps(arguments)
            scripted.append(ScriptedCall(name, text, f"{self.call_prefix}{self.next_id()}"))
        return self.will(Script(pieces=words(say), calls=scripted, **given))

    def will_fail(
        self, status: int, *, retry_after: float | str | None = None, body: str | None = None, **given: Any
    ) -> Script:
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        text = json.dumps(self.error_body(status, "simulated failure")) if body is None else body
        return self.will(Script(status=status, headers=headers, body=text, **given))

    def will_hang(self) -> Script:
        """Take the request and say nothing, not even headers."""
        return self.will(Script(headers_delay_s=HANG_S))

    def will_send(self, *raw: bytes, content_type: str = "text/event-stream", **given: Any) -> Script:
        """Send these bytes as the body, one packet each."""
        return self.will(Script(raw=list(raw), content_type=content_type, **given))

    # --- The server --------------------------------------------------------------------------------------
    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        app = web.Application(client_max_size=64 * 1024 * 1024)
        self.add_routes(app.router)
        app.router.add_post("/tools/{name}", self._tool)
        app.router.add_get("/tools/{name}", self._tool)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self._port, backlog=1024)
        await site.start()
        self._port = runner.addresses[0][1]
        self._ready.set()
        await self._stop.wait()
        server = runner.server
        await runner.cleanup()
        # Who was let in while the door was closing.
        await asyncio.sleep(0.01)
        if server is not None:
            await server.shutdown(0)
            await asyncio.sleep(0)

    def next_id(self) -> int:
        self._ids += 1
        return self._ids

    async def _tool(self, request: web.Request) -> web.Response:
        self.tool_calls.append(await seen(request))
        await asyncio.sleep(self.tool_delay_s)
        return web.json_response(self.tool_result)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """The door of the model: what the next script says, or an echo."""
        asked = await seen(request)
        self.requests.append(asked)
        if self.demands_seals and self.lacks_seals(asked):
            return web.json_response(self.error_body(400, "a thought is missing"), status=400)
        script = self._scripts.popleft() if self._scripts else self._echo(asked)
        self.seals |= {script.seal} if script.seal else set()
        await asyncio.sleep(script.headers_delay_s)
        if script.raw is not None:
            return await self._send_raw(request, script)
        if script.body is not None:
            return web.Response(
                status=script.status,
                text=script.body.replace("{key}", asked.key),
                headers=script.headers,
                content_type=script.content_type,
            )
        if self.is_streamed(asked):
            return await self._stream(request, asked, script)
        await asyncio.sleep(script.first_delay_s + script.delay_s * len(script.pieces))
        return web.json_response(self.whole(asked, script), headers=script.headers)

    def _echo(self, asked: Seen) -> Script:
        return Script(pieces=words(f"You said: {self.last_said(asked)}"), delay_s=self._default_delay_s)

    async def _send_raw(self, request: web.Request, script: Script) -> web.StreamResponse:
        response = web.StreamResponse(status=script.status, headers=script.headers)
        response.content_type = script.content_type
        await response.prepare(request)
        for packet in script.raw or []:
            await response.write(packet)
            await asyncio.sleep(script.delay_s)
        return await self._ended(request, response, script)

    async def _stream(self, request: web.Request, asked: Seen, script: Script) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", **script.headers})
        await response.prepare(request)
        await asyncio.sleep(script.first_delay_s)
        try:
            await self._write_chunks(response, asked, script)
        except asyncio.CancelledError:
            self.abandoned += 1
            raise
        except ConnectionError:
            self.abandoned += 1
            return response
        return await self._ended(request, response, script)

    async def _write_chunks(self, response: web.StreamResponse, asked: Seen, script: Script) -> None:
        chunks = self.chunks(asked, script)
        if script.cut_after is not None or script.error is not None:
            # Counted without the first, which only opens the answer.
            chunks = chunks[: (script.cut_after or 0) + 1]
        elif script.done:
            chunks += self.farewell()
        if script.error is not None:
            chunks.append(self.error_event(script.error, asked.key))
        for place, text in enumerate(chunks):
            if place and script.delay_s:
                await asyncio.sleep(script.delay_s)
            if script.pings:
                text = f": ping\n\n{text}"  # noqa: PLW2901
            if text:
                await response.write(text.replace("\n", script.newline).encode())

    async def _ended(self, request: web.Request, response: web.StreamResponse, script: Script) -> web.StreamResponse:
        if script.ending is Ending.HANG:
            await asyncio.sleep(HANG_S)
        if script.ending is Ending.RST and request.transport is not None:
            # Linger 0 makes the close a reset instead of a clean end.
            request.transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
            request.transport.abort()
            return response
        if script.cut_after is not None and script.error is None and request.transport is not None:
            # Without the last chunk of the chunked body: the connection ends in the middle of the answer.
            request.transport.close()
            return response
        await response.write_eof()
        return response

    # --- The wire, which each provider has its own way of ---------------------------------------------------
    @abstractmethod
    def add_routes(self, router: web.UrlDispatcher) -> None:
        """The addresses that lead to `answer`."""

    @abstractmethod
    def is_streamed(self, asked: Seen) -> bool: ...

    @abstractmethod
    def last_said(self, asked: Seen) -> str:
        """The text of the last user message."""

    @abstractmethod
    def chunks(self, asked: Seen, script: Script) -> list[str]:
        """The stream in packets: one that opens it (may be empty), one for each piece, one that finishes it."""

    @abstractmethod
    def lacks_seals(self, asked: Seen) -> bool:
        """Whether calls come back without one of the `seals`."""

    def farewell(self) -> list[str]:
        """What comes after the finish and is left out with `done=False`."""
        return []

    @abstractmethod
    def whole(self, asked: Seen, script: Script) -> dict[str, Any]:
        """The answer that is not streamed."""

    @abstractmethod
    def error_event(self, kind: str, message: str) -> str:
        """An error in the middle of a stream; `kind` is this wire's own word for it."""

    def error_body(self, status: int, message: str) -> dict[str, Any]:
        return {"error": {"message": message, "code": status}}


def words(text: str) -> list[str]:
    """The text in pieces that join to itself: each word with the blanks before it."""
    return re.findall(r"\s*\S+\s*$|\s*\S+|\s+$", text)


async def seen(request: web.Request) -> Seen:
    raw = await request.read()
    try:
        body = json.loads(raw) if raw else dict(request.query)
    except ValueError:
        body = raw.decode(errors="replace")
    headers = {name.lower(): value for name, value in request.headers.items()}
    return Seen(request.method, request.path, headers, body, dict(request.query))


def sse(data: dict[str, Any], event: str = "") -> str:
    """One server-sent event."""
    text = f"data: {json.dumps(data, ensure_ascii=False)}\n\n"
    return f"event: {event}\n{text}" if event else text


def halves(text: str) -> list[str]:
    """The text in two pieces; none of them empty."""
    middle = len(text) // 2
    return [piece for piece in (text[:middle], text[middle:]) if piece]


def counts_of(asked: Seen, script: Script) -> tuple[int, int]:
    """Four characters of the conversation are a token in, a chunk is a token out."""
    conversation = asked.json.get("messages") or asked.json.get("contents") or asked.json.get("input") or []
    return max(1, len(json.dumps(conversation)) // 4), len(script.pieces) + len(script.thinking) + len(script.calls)


def main(kind: type[Simulator]) -> None:
    """Serve alone until killed, after a line with the base URL."""
    parser = argparse.ArgumentParser(description="A simulated provider on a loopback port.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds between chunks")
    given = parser.parse_args()
    simulator = kind(port=given.port, delay_s=given.delay)
    simulator.start()
    print(simulator.base_url, flush=True)
    simulator.join()
