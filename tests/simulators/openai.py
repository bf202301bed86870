"""A provider that speaks the OpenAI chat wire on a loopback port; see `tests.simulators.server`.

Stands alone for the bench: `python -m tests.simulators.openai --port 9000`.
"""

import base64
import struct
from typing import Any

from aiohttp import web

from tests.simulators.scripts import Script, ScriptedCall, Seen
from tests.simulators.server import Simulator, counts_of, halves, main, seen, sse

CREATED = 1_700_000_000


class OpenAISimulator(Simulator):
    @property
    def base_url(self) -> str:
        return f"{self.root_url}/v1"

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_post("/v1/chat/completions", self.answer)
        router.add_post("/v1/embeddings", self._embed)
        router.add_get("/v1/models", self._models)

    async def _models(self, request: web.Request) -> web.Response:
        row = {"id": "gpt-4o-mini", "object": "model", "created": CREATED, "owned_by": "simulator"}
        return web.json_response({"object": "list", "data": [row]})

    async def _embed(self, request: web.Request) -> web.StreamResponse:
        """What the next script says, or for each text a vector of its length in two numbers."""
        if self.has_script:
            return await self.answer(request)
        asked = await seen(request)
        self.requests.append(asked)
        given = asked.json["input"]
        texts = [given] if isinstance(given, str) else given
        rows = [
            {"object": "embedding", "index": place, "embedding": embedding_of(text, asked.json)}
            for place, text in enumerate(texts)
        ]
        usage = {"prompt_tokens": 5 * len(rows), "total_tokens": 5 * len(rows)}
        return web.json_response({"object": "list", "data": rows, "model": asked.json["model"], "usage": usage})

    def is_streamed(self, asked: Seen) -> bool:
        return bool(asked.json.get("stream"))

    def last_said(self, asked: Seen) -> str:
        said = [message for message in asked.json.get("messages", []) if message.get("role") == "user"]
        content = said[-1].get("content", "") if said else ""
        return content if isinstance(content, str) else " ".join(part.get("text", "") for part in content)

    def chunks(self, asked: Seen, script: Script) -> list[str]:
        base = self._base(asked, "chat.completion.chunk")
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
        deltas += [{"reasoning_content": piece} for piece in script.thinking]
        deltas += [{"content": piece} for piece in script.pieces]
        for index, call in enumerate(script.calls):
            deltas += call_deltas(index, call)
        found: list[dict[str, Any]] = [{**base, "choices": [choice(delta, None)]} for delta in deltas]
        last: dict[str, Any] = {**base, "choices": [choice({}, finish_of(script))]}
        found.append(last)
        wants_usage = (asked.json.get("stream_options") or {}).get("include_usage")
        if script.usage is not None and wants_usage:
            usage = script.usage or usage_of(asked, script)
            if script.usage_cumulative:
                found = [{**chunk, "usage": so_far(usage, place + 1, len(found))} for place, chunk in enumerate(found)]
            elif script.usage_with_finish:
                last["usage"] = usage
            else:
                found.append({**base, "choices": [], "usage": usage})
        return [sse(chunk) for chunk in found]

    def lacks_seals(self, asked: Seen) -> bool:
        """This wire has no seal: some servers of it want the words back."""
        return any(
            message.get("tool_calls") and not message.get("reasoning_content") for message in asked.json["messages"]
        )

    def farewell(self) -> list[str]:
        return ["data: [DONE]\n\n"]

    def whole(self, asked: Seen, script: Script) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": "".join(script.pieces) or None}
        if script.thinking:
            message["reasoning_content"] = "".join(script.thinking)
        if script.calls:
            message["tool_calls"] = [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                for call in script.calls
            ]
        found = {"index": 0, "message": message, "finish_reason": finish_of(script)}
        whole = {**self._base(asked, "chat.completion"), "choices": [found]}
        return whole if script.usage is None else {**whole, "usage": script.usage or usage_of(asked, script)}

    def error_event(self, kind: str, message: str) -> str:
        return sse({"error": {"type": kind, "message": message}})

    def _base(self, asked: Seen, kind: str) -> dict[str, Any]:
        model = asked.json.get("model", "")
        return {"id": f"chatcmpl-sim-{self.next_id()}", "object": kind, "created": CREATED, "model": model}


def embedding_of(text: Any, asked: dict[str, Any]) -> Any:
    """Two numbers, in base64 where that is asked for, as the official client does."""
    numbers = [float(len(text)), 0.5]
    if asked.get("encoding_format") != "base64":
        return numbers
    return base64.b64encode(struct.pack("<2f", *numbers)).decode()


def choice(delta: dict[str, Any], finish: str | None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "finish_reason": finish}


def finish_of(script: Script) -> str:
    return script.finish or ("tool_calls" if script.calls else "stop")


def call_deltas(index: int, call: ScriptedCall) -> list[dict[str, Any]]:
    """A call as providers send it: first its name, then its arguments in two pieces."""
    first = {"index": index, "id": call.id, "type": "function", "function": {"name": call.name, "arguments": ""}}
    rest = [{"index": index, "function": {"arguments": piece}} for piece in halves(call.arguments)]
    return [{"tool_calls": [piece]} for piece in [first, *rest]]


def usage_of(asked: Seen, script: Script) -> dict[str, Any]:
    sent, said = counts_of(asked, script)
    return {"prompt_tokens": sent, "completion_tokens": said, "total_tokens": sent + said}


def so_far(usage: dict[str, Any], part: int, of: int) -> dict[str, Any]:
    """The usage when `part` of `of` chunks are out: what was sent stands, what is said grows."""
    return {**usage, "completion_tokens": usage.get("completion_tokens", 0) * part // of}


if __name__ == "__main__":
    main(OpenAISimulator)
