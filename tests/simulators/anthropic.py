"""A provider that speaks the Anthropic wire on a loopback port; see `tests.simulators.server`.

Stands alone: `python -m tests.simulators.anthropic --port 9001`.
"""

import json
from collections.abc import Iterator
from typing import Any

from aiohttp import web

from tests.simulators.scripts import Script, Seen
from tests.simulators.server import Simulator, counts_of, halves, main, sse

ERROR_KINDS = {400: "invalid_request_error", 401: "authentication_error", 429: "rate_limit_error"}


class AnthropicSimulator(Simulator):
    call_prefix = "toolu_"

    @property
    def base_url(self) -> str:
        return self.root_url

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_post("/v1/messages", self.answer)

    def is_streamed(self, asked: Seen) -> bool:
        return bool(asked.json.get("stream"))

    def last_said(self, asked: Seen) -> str:
        said = [message for message in asked.json.get("messages", []) if message.get("role") == "user"]
        content = said[-1].get("content", "") if said else ""
        return content if isinstance(content, str) else " ".join(part.get("text", "") for part in content)

    def chunks(self, asked: Seen, script: Script) -> list[str]:
        message = {**self._message(asked), "content": [], "stop_reason": None}
        finish: dict[str, Any] = {"type": "message_delta", "delta": {"stop_reason": stop_of(script)}}
        if script.usage is not None:
            finish["usage"] = self._usage(asked, script)
            # Counts are cumulative: the first is the first word's.
            message["usage"] = {**finish["usage"], "output_tokens": min(1, finish["usage"].get("output_tokens", 0))}
        start = sse({"type": "message_start", "message": message}, "message_start")
        packets = [packet for index, block in enumerate(blocks_of(script)) for packet in block_packets(index, block)]
        return [start, *packets, sse(finish, "message_delta")]

    def lacks_seals(self, asked: Seen) -> bool:
        said = [message["content"] for message in asked.json["messages"] if message["role"] == "assistant"]
        calling = [blocks for blocks in said if any(block["type"] == "tool_use" for block in blocks)]
        return any(
            blocks[0]["type"] != "thinking" or blocks[0]["signature"] not in self.seals or not blocks[0]["thinking"]
            for blocks in calling
        )

    def farewell(self) -> list[str]:
        return [sse({"type": "message_stop"}, "message_stop")]

    def whole(self, asked: Seen, script: Script) -> dict[str, Any]:
        content = [whole_block(block) for block in blocks_of(script)]
        found = {**self._message(asked), "content": content, "stop_reason": stop_of(script)}
        return found if script.usage is None else {**found, "usage": self._usage(asked, script)}

    def error_event(self, kind: str, message: str) -> str:
        return sse({"type": "error", "error": {"type": kind, "message": message}}, "error")

    def error_body(self, status: int, message: str) -> dict[str, Any]:
        return {"type": "error", "error": {"type": ERROR_KINDS.get(status, "api_error"), "message": message}}

    def _message(self, asked: Seen) -> dict[str, Any]:
        fixed = {"type": "message", "role": "assistant", "stop_sequence": None}
        return {"id": f"msg_{self.next_id()}", "model": asked.json.get("model", ""), **fixed}

    def _usage(self, asked: Seen, script: Script) -> dict[str, Any]:
        sent, said = counts_of(asked, script)
        return script.usage or {"input_tokens": sent, "output_tokens": said}


def stop_of(script: Script) -> str:
    return script.finish or ("tool_use" if script.calls else "end_turn")


def blocks_of(script: Script) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Each content block as it begins, and the deltas that fill it."""
    if script.thinking:
        deltas: list[dict[str, Any]] = [{"type": "thinking_delta", "thinking": piece} for piece in script.thinking]
        if script.seal:
            deltas.append({"type": "signature_delta", "signature": script.seal})
        yield {"type": "thinking", "thinking": "", "signature": ""}, deltas
    if script.pieces:
        yield {"type": "text", "text": ""}, [{"type": "text_delta", "text": piece} for piece in script.pieces]
    for call in script.calls:
        pieces = [{"type": "input_json_delta", "partial_json": piece} for piece in halves(call.arguments)]
        yield {"type": "tool_use", "id": call.id, "name": call.name, "input": {}}, pieces


def block_packets(index: int, block: tuple[dict[str, Any], list[dict[str, Any]]]) -> list[str]:
    """A packet for each delta; the first also begins the block, the last also ends it."""
    begin, deltas = block
    packets = [
        sse({"type": "content_block_delta", "index": index, "delta": delta}, "content_block_delta") for delta in deltas
    ] or [""]
    ping = sse({"type": "ping"}, "ping")
    start = {"type": "content_block_start", "index": index, "content_block": begin}
    packets[0] = sse(start, "content_block_start") + ping + packets[0]
    packets[-1] += sse({"type": "content_block_stop", "index": index}, "content_block_stop")
    return packets


def whole_block(block: tuple[dict[str, Any], list[dict[str, Any]]]) -> dict[str, Any]:
    begin, deltas = block
    match begin["type"]:
        case "tool_use":
            text = "".join(delta["partial_json"] for delta in deltas)
            return {**begin, "input": json.loads(text) if text else {}}
        case "thinking":
            seal = "".join(delta.get("signature", "") for delta in deltas)
            return {**begin, "thinking": "".join(delta.get("thinking", "") for delta in deltas), "signature": seal}
        case kind:
            return {**begin, kind: "".join(delta[kind] for delta in deltas)}


if __name__ == "__main__":
    main(AnthropicSimulator)
