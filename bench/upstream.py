"""A model that costs next to nothing to ask: it speaks the OpenAI chat wire, and how much it says is in the question.

`python -m bench.upstream` serves on a free loopback port and prints its base URL. The last message's content is a JSON
object: `words`, how many it says, and `pause_s` between two of them (0: as fast as they are taken); with `stamped`
each word is the time at which it was said, in seconds of this machine's monotonic clock.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

import orjson
import uvicorn

from atom.supervisor.parts import free_port

Message: TypeAlias = MutableMapping[str, Any]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
HEAD = {"id": "chatcmpl-bench", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "gpt-4o-mini"}
JSON_HEADERS = [(b"content-type", b"application/json")]
STREAM_HEADERS = [(b"content-type", b"text/event-stream")]


def chunk(delta: dict[str, str], finish_reason: str | None = None, usage: dict[str, int] | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    body = {**HEAD, "choices": [choice]} | ({"usage": usage} if usage else {})
    return b"data: %s\n\n" % orjson.dumps(body)


ROLE = chunk({"role": "assistant", "content": ""})
WORD = chunk({"content": " word"})


async def answer(asked: dict[str, Any], send: Send) -> None:
    """One answer: whole, or as a stream of single words."""
    wish = orjson.loads(asked["messages"][-1]["content"])
    words, pause_s = int(wish["words"]), float(wish.get("pause_s", 0))
    usage = {"prompt_tokens": 10, "completion_tokens": words, "total_tokens": words + 10}
    if not asked.get("stream"):
        message = {"role": "assistant", "content": " word" * words}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        body = orjson.dumps({**HEAD, "object": "chat.completion", "choices": [choice], "usage": usage})
        await send({"type": "http.response.start", "status": 200, "headers": JSON_HEADERS})
        await send({"type": "http.response.body", "body": body})
        return
    await send({"type": "http.response.start", "status": 200, "headers": STREAM_HEADERS})
    await send({"type": "http.response.body", "body": ROLE, "more_body": True})
    began = time.monotonic()
    for place in range(words):
        if pause_s and place:
            # Kept to over all the words: what one sleeps too long, the next sleeps less.
            await asyncio.sleep(max(0.0, began + place * pause_s - time.monotonic()))
        word = chunk({"content": f" {time.monotonic():.6f}"}) if wish.get("stamped") else WORD
        await send({"type": "http.response.body", "body": word, "more_body": True})
    last = chunk({}, "stop", usage) + b"data: [DONE]\n\n"
    await send({"type": "http.response.body", "body": last, "more_body": False})


async def application(scope: Message, receive: Callable[[], Awaitable[Message]], send: Send) -> None:
    if scope["type"] != "http":
        raise RuntimeError(f"nothing else than HTTP is answered, not {scope['type']}")
    body, is_more = b"", True
    while is_more:
        message = await receive()
        body, is_more = body + message.get("body", b""), message.get("more_body", False)
    await answer(orjson.loads(body), send)


async def main() -> None:
    port = free_port()
    config = uvicorn.Config(
        application, port=port, log_level="warning", access_log=False, lifespan="off", ws="none", timeout_keep_alive=300
    )
    serving = asyncio.create_task(uvicorn.Server(config).serve())
    await asyncio.sleep(0.5)
    print(f"http://127.0.0.1:{port}/v1", flush=True)
    await serving


if __name__ == "__main__":
    asyncio.run(main())
