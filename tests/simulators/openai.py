"""A provider that speaks the OpenAI chat wire on a loopback port.

Scripts are used up in order, one per request; without one it echoes the last user message in a sentence.
Stands alone for the bench: `python -m tests.simulators.openai --port 9000`.
"""

import argparse
import asyncio
import json
import re
import socket
import struct
import threading
from collections import deque
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from tests.simulators.scripts import Ending, Script, ScriptedCall, Seen

# A hanging answer lets go after this long, so that no test hangs for ever.
HANG_S = 60.0
CREATED = 1_700_000_000


class OpenAISimulator:
    """A real server in its own thread. `requests` and `tool_calls` are what it saw, oldest first."""

    def __init__(self, *, port: int = 0, delay_s: float = 0.0) -> None:
        self.requests: list[Seen] = []
        self.tool_calls: list[Seen] = []
        self.tool_result: Any = {"ok": True}
        # How many streams were left by the client before their end.
        self.abandoned = 0
        self._scripts: deque[Script] = deque()
        self._default_delay_s = delay_s
        self._port = port
        self._ids = 0
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="openai-simulator", daemon=True)

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
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def tools_url(self) -> str:
        """`{tools_url}/<name>` is a tool that answers `tool_result`."""
        return f"http://127.0.0.1:{self._port}/tools"

    def tool_url(self, name: str) -> str:
        return f"{self.tools_url}/{name}"

    # --- Scripts -----------------------------------------------------------------------------------------
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
            scripted.append(ScriptedCall(name, text, f"call_{self._next_id()}"))
        return self.will(Script(pieces=words(say), calls=scripted, **given))

    def will_fail(
        self, status: int, *, retry_after: float | str | None = None, body: str | None = None, **given: Any
    ) -> Script:
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        text = json.dumps({"error": {"message": "simulated failure"}}) if body is None else body
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
        app.router.add_post("/v1/chat/completions", self._completions)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/tools/{name}", self._tool)
        app.router.add_get("/tools/{name}", self._tool)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self._port, backlog=1024)
        await site.start()
        self._port = runner.addresses[0][1]
        self._ready.set()
        await self._stop.wait()
        await runner.cleanup()

    def _next_id(self) -> int:
        self._ids += 1
        return self._ids

    async def _models(self, request: web.Request) -> web.Response:
        row = {"id": "gpt-4o-mini", "object": "model", "created": CREATED, "owned_by": "simulator"}
        return web.json_response({"object": "list", "data": [row]})

    async def _tool(self, request: web.Request) -> web.Response:
        self.tool_calls.append(await seen(request))
        return web.json_response(self.tool_result)

    async def _completions(self, request: web.Request) -> web.StreamResponse:
        asked = await seen(request)
        self.requests.append(asked)
        script = self._scripts.popleft() if self._scripts else self._echo(asked)
        await asyncio.sleep(script.headers_delay_s)
        if script.raw is not None:
            return await self._send_raw(request, script)
        if script.body is not None:
            body = script.body.replace("{key}", asked.headers.get("authorization", ""))
            return web.Response(
                status=script.status, text=body, headers=script.headers, content_type=script.content_type
            )
        if asked.json.get("stream"):
            return await self._stream(request, asked, script)
        await asyncio.sleep(script.first_delay_s + script.delay_s * len(script.pieces))
        return web.json_response(self._whole(asked, script), headers=script.headers)

    def _echo(self, asked: Seen) -> Script:
        said = [message for message in asked.json.get("messages", []) if message.get("role") == "user"]
        content = said[-1].get("content", "") if said else ""
        if isinstance(content, list):
            content = " ".join(part.get("text", "") for part in content)
        return Script(pieces=words(f"You said: {content}"), delay_s=self._default_delay_s)

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
        if script.cut_after is None and script.done:
            await response.write(f"data: [DONE]{script.newline * 2}".encode())
        return await self._ended(request, response, script)

    async def _write_chunks(self, response: web.StreamResponse, asked: Seen, script: Script) -> None:
        chunks = self._chunks(asked, script)
        for place, chunk in enumerate(chunks if script.cut_after is None else chunks[: script.cut_after + 1]):
            if place and script.delay_s:
                await asyncio.sleep(script.delay_s)
            text = f"data: {json.dumps(chunk, ensure_ascii=False)}{script.newline * 2}"
            if script.pings:
                text = f": ping{script.newline * 2}{text}"
            await response.write(text.encode())

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
        if script.cut_after is not None and request.transport is not None:
            # Without the last chunk of the chunked body: the connection ends in the middle of the answer.
            request.transport.close()
            return response
        await response.write_eof()
        return response

    # --- The wire ------------------------------------------------------------------------------------------
    def _chunks(self, asked: Seen, script: Script) -> list[dict[str, Any]]:
        base = self._base(asked, "chat.completion.chunk")
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
        deltas += [{"reasoning_content": piece} for piece in script.thinking]
        deltas += [{"content": piece} for piece in script.pieces]
        for index, call in enumerate(script.calls):
            deltas += call_deltas(index, call)
        chunks = [{**base, "choices": [choice(delta, None)]} for delta in deltas]
        last: dict[str, Any] = {**base, "choices": [choice({}, finish_of(script))]}
        chunks.append(last)
        wants_usage = (asked.json.get("stream_options") or {}).get("include_usage")
        if script.usage is not None and wants_usage:
            usage = script.usage or usage_of(asked, script)
            if script.usage_with_finish:
                last["usage"] = usage
            else:
                chunks.append({**base, "choices": [], "usage": usage})
        return chunks

    def _whole(self, asked: Seen, script: Script) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": "".join(script.pieces) or None}
        if script.calls:
            message["tool_calls"] = [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                for call in script.calls
            ]
        found = {"index": 0, "message": message, "finish_reason": finish_of(script)}
        whole = {**self._base(asked, "chat.completion"), "choices": [found]}
        return whole if script.usage is None else {**whole, "usage": script.usage or usage_of(asked, script)}

    def _base(self, asked: Seen, kind: str) -> dict[str, Any]:
        model = asked.json.get("model", "")
        return {"id": f"chatcmpl-sim-{self._next_id()}", "object": kind, "created": CREATED, "model": model}


def words(text: str) -> list[str]:
    """The text in pieces that join to itself: each word with the blanks before it."""
    return re.findall(r"\s*\S+\s*$|\s*\S+|\s+$", text)


def choice(delta: dict[str, Any], finish: str | None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "finish_reason": finish}


def finish_of(script: Script) -> str:
    return script.finish or ("tool_calls" if script.calls else "stop")


def call_deltas(index: int, call: ScriptedCall) -> list[dict[str, Any]]:
    """A call as providers send it: first its name, then its arguments in two pieces."""
    middle = len(call.arguments) // 2
    first = {"index": index, "id": call.id, "type": "function", "function": {"name": call.name, "arguments": ""}}
    pieces = [call.arguments[:middle], call.arguments[middle:]]
    rest = [{"index": index, "function": {"arguments": piece}} for piece in pieces if piece]
    return [{"tool_calls": [piece]} for piece in [first, *rest]]


def usage_of(asked: Seen, script: Script) -> dict[str, Any]:
    """Four characters of the conversation are a token in, a chunk is a token out."""
    sent = max(1, len(json.dumps(asked.json.get("messages", []))) // 4)
    said = len(script.pieces) + len(script.thinking) + len(script.calls)
    return {"prompt_tokens": sent, "completion_tokens": said, "total_tokens": sent + said}


async def seen(request: web.Request) -> Seen:
    raw = await request.read()
    try:
        body = json.loads(raw) if raw else dict(request.query)
    except ValueError:
        body = raw.decode(errors="replace")
    headers = {name.lower(): value for name, value in request.headers.items()}
    return Seen(request.method, request.path, headers, body)


def main() -> None:
    parser = argparse.ArgumentParser(description="A simulated OpenAI on a loopback port.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds between chunks")
    given = parser.parse_args()
    simulator = OpenAISimulator(port=given.port, delay_s=given.delay)
    simulator.start()
    print(simulator.base_url, flush=True)
    simulator.join()


if __name__ == "__main__":
    main()
